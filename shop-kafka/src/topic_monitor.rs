//! Keeps the state of topics current, in a thread with one shared client.
//!
//! A log adds its topics to its [`TopicMonitor`]. The thread of the monitor runs
//! [`Topic::refresh`] for each topic at an interval that depends on the state of the topic. Its
//! requests go through the [`TopicAdmin`], which the other parts of the log share.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaResult;
use shop_core::{Error, ErrorKind, Outcome, Result};

use crate::client::{
    ClientHealth, Context, StandaloneConsumer, authenticate, close_in_background, create_client,
    deliver_events, start_thread,
};
use crate::error::{from_kafka, kafka_error, not_reached};
use crate::topic::{Topic, TopicDescription};
use crate::{KafkaLogOptions, SaslMechanism, config};

/// Describes and creates topics. Clones share the client for metadata.
#[derive(Clone)]
pub(crate) struct TopicAdmin {
    /// The client for metadata, which reads no records.
    pub(crate) metadata_client: Arc<StandaloneConsumer>,
    pub(crate) health: Arc<ClientHealth>,
    /// The configuration of the administrative client that each [`request`](Self::request) creates.
    config: ClientConfig,
    /// The id of the cluster, which the first metadata response reports.
    cluster: Arc<OnceLock<Arc<str>>>,
}

/// The timeout of a metadata request.
const METADATA_TIMEOUT: Duration = Duration::from_millis(1_500);
/// The timeout of an administrative request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

impl TopicAdmin {
    /// Delivers the queued log lines and errors of the client for metadata. Blocks for up to 20 ms.
    pub(crate) fn deliver_events(&self) {
        drop(self.metadata_client.poll(Duration::from_millis(20)));
        deliver_events(&self.metadata_client);
    }

    /// Requests the description of a topic, without its settings. Blocks.
    ///
    /// Returns `None` if the topic is missing.
    pub(crate) fn describe(&self, topic: &str) -> Result<Option<TopicDescription>> {
        let metadata = self
            .metadata_client
            .fetch_metadata(Some(topic), METADATA_TIMEOUT)
            .map_err(from_kafka)?;
        // The response contained the cluster's id, so librdkafka returns the id without a request.
        if self.cluster.get().is_none()
            && let Some(id) = self
                .metadata_client
                .client()
                .fetch_cluster_id(METADATA_TIMEOUT)
        {
            self.cluster.get_or_init(|| id.into());
        }
        TopicDescription::from_metadata(&metadata, topic)
    }

    /// Runs an administrative request with a new client, such as the creation of a topic. Blocks.
    ///
    /// # Errors
    /// - [`Unsupported`](ErrorKind::Unsupported) with OAUTHBEARER
    /// - [`Unavailable`](ErrorKind::Unavailable) if the system starts no runtime
    /// - otherwise, the error of librdkafka or of the brokers
    pub(crate) fn request<T, F>(
        &self,
        request: impl FnOnce(&AdminClient<Context>, AdminOptions) -> F,
    ) -> Result<T>
    where
        F: Future<Output = KafkaResult<T>>,
    {
        if self.config.get("sasl.mechanism") == Some(SaslMechanism::OauthBearer.as_str()) {
            // A client gets its token while it is polled, and nothing polls an administrative
            // client.
            let message = "administrative requests are not possible with OAUTHBEARER";
            return Err(kafka_error(ErrorKind::Unsupported, message));
        }

        let client: AdminClient<Context> = create_client(&self.config, &self.health, ())?;
        let options = AdminOptions::new()
            .request_timeout(Some(REQUEST_TIMEOUT))
            .operation_timeout(Some(REQUEST_TIMEOUT));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Unavailable, "failed to start a runtime").with_source(error)
            })?;

        let response = runtime
            .block_on(request(&client, options))
            .map_err(from_kafka);
        // Closing the client blocks, so another thread does it.
        close_in_background(move || drop(client));
        response
    }
}

/// Keeps the states of topics current, in a thread that ends when the monitor is dropped.
pub(crate) struct TopicMonitor {
    pub(crate) admin: TopicAdmin,
    /// Sends new topics to the thread. The field is dropped last: the thread then ends, and closes
    /// the client, which blocks.
    new_topics: Sender<Arc<Topic>>,
}

/// The timeout of a check. It exceeds the timeout of a metadata request, so that the request ends
/// first and the cause of its failure is known.
const CHECK_TIMEOUT: Duration = Duration::from_millis(1_800);

impl TopicMonitor {
    /// Creates the client for metadata, and starts the thread.
    ///
    /// # Errors
    /// If librdkafka rejects the options, or if the system starts no thread.
    pub(crate) fn start(options: &KafkaLogOptions, health: &Arc<ClientHealth>) -> Result<Self> {
        let config = config::metadata_client(options);
        let mut metadata_config = config.clone();
        // With uncommitted reads, this client sees the ends of partitions behind open transactions.
        metadata_config.set("isolation.level", "read_uncommitted");
        let admin = TopicAdmin {
            metadata_client: Arc::new(create_client(&metadata_config, health, ())?),
            health: Arc::clone(health),
            config,
            cluster: Arc::default(),
        };

        let (new_topics, new_topics_receiver) = channel();
        let thread_admin = admin.clone();
        start_thread("shop-kafka-topics", move || {
            run_monitor(&thread_admin, &new_topics_receiver);
        })?;
        Ok(Self { admin, new_topics })
    }

    /// Starts to monitor `topic`, whose first check follows at once.
    pub(crate) fn add_topic(&self, topic: Arc<Topic>) {
        // The send succeeds: the thread keeps the receiver until this sender is dropped.
        let _result = self.new_topics.send(topic);
    }

    /// Returns the id of the cluster.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if no metadata response has reported the id yet.
    pub(crate) fn cluster(&self) -> Result<Arc<str>> {
        let message = "the cluster reports no id, and record ids are derived from it";
        self.admin
            .cluster
            .get()
            .cloned()
            .ok_or_else(|| kafka_error(ErrorKind::Unavailable, message))
    }

    /// Checks that Kafka is available and serves `topic`, within [`CHECK_TIMEOUT`].
    ///
    /// # Errors
    /// The reason why the topic cannot be used, or the rejected login that caused it, with the
    /// outcome `NotApplied`.
    pub(crate) async fn check(&self, topic: &Topic) -> Result<()> {
        let check = async {
            topic.wait_for_check(CHECK_TIMEOUT).await?;
            topic.ping(&self.admin).await
        };
        let result = tokio::time::timeout(CHECK_TIMEOUT, check)
            .await
            .unwrap_or_else(|_elapsed| Err(not_reached()));
        result.map_err(|error| {
            self.admin
                .health
                .explain(error)
                .with_outcome(Outcome::NotApplied)
        })
    }
}

/// The interval of checks for a ready topic, whose configuration may change.
const READY_INTERVAL: Duration = Duration::from_secs(10);
/// The interval of checks for a topic with leaderless partitions, or with an error that an operator
/// must fix.
const LEADERLESS_INTERVAL: Duration = Duration::from_secs(5);
/// The interval of checks for a missing topic, or while the cluster's id is unknown.
const MISSING_INTERVAL: Duration = Duration::from_millis(300);
/// The pause between two polls of the client while all topics are ready.
const READY_POLL_PAUSE: Duration = Duration::from_secs(1);

/// Checks the topics that `new_topics` receives, each at its interval, until the sender is dropped.
/// This is the main function of the monitor thread.
fn run_monitor(admin: &TopicAdmin, new_topics: &Receiver<Arc<Topic>>) {
    // Each topic with the time of its next check.
    let mut topics: Vec<(Arc<Topic>, Instant)> = Vec::new();
    // A metadata request waits for the token, if the client authenticates with tokens.
    authenticate(&admin.metadata_client);
    loop {
        // After a failed delivery, all topics are checked now, because a changed setting or leader
        // may be the reason.
        let has_failed_delivery = admin
            .health
            .has_failed_delivery
            .swap(false, Ordering::AcqRel);
        for (topic, check_at) in &mut topics {
            if *check_at > Instant::now() && !has_failed_delivery {
                continue;
            }
            topic.refresh(admin);
            *check_at = Instant::now() + check_interval(admin, topic);
        }
        admin.deliver_events();

        // While a topic is not ready, the loop continues without a pause, because `deliver_events`
        // blocks for a moment.
        let are_all_ready = topics
            .iter()
            .all(|(topic, _)| topic.description().is_some())
            && admin.cluster.get().is_some();
        let pause = if are_all_ready {
            READY_POLL_PAUSE
        } else {
            Duration::ZERO
        };
        match new_topics.recv_timeout(pause) {
            Ok(topic) => topics.push((topic, Instant::now())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Returns the time until the next check of `topic`, which depends on its state.
fn check_interval(admin: &TopicAdmin, topic: &Topic) -> Duration {
    let is_cluster_known = admin.cluster.get().is_some();
    match topic.state() {
        Some(Ok(description)) if is_cluster_known && description.is_complete() => READY_INTERVAL,
        Some(Ok(_)) if is_cluster_known => LEADERLESS_INTERVAL,
        Some(Err(error)) if !error.is_retryable() => LEADERLESS_INTERVAL,
        // The topic is missing or unchecked, or the cluster's id is unknown.
        _ => MISSING_INTERVAL,
    }
}
