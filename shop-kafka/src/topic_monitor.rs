//! Keeps the state of topics current, in a thread with one shared client.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaResult;
use shop_core::{Error, ErrorKind, Outcome, Result};

use crate::client::{
    ClientHealth, Context, StandaloneConsumer, authenticate, close_in_background, deliver_events,
    start_thread,
};
use crate::error::{from_kafka, kafka_error, not_reached};
use crate::topic::{Topic, TopicDescription};
use crate::{KafkaLogOptions, SaslMechanism, config};

/// Describes and creates topics. Clones share the client for metadata.
#[derive(Clone)]
pub(crate) struct TopicAdmin {
    /// The client for metadata, which reads no records.
    pub(crate) observer: Arc<StandaloneConsumer>,
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
        drop(self.observer.poll(Duration::from_millis(20)));
        deliver_events(&self.observer);
    }

    /// Requests the description of a topic, without its settings; `None` if the topic is missing.
    /// Blocks.
    pub(crate) fn describe(&self, topic: &str) -> Result<Option<TopicDescription>> {
        let metadata = self
            .observer
            .fetch_metadata(Some(topic), METADATA_TIMEOUT)
            .map_err(from_kafka)?;
        // The cluster's id is part of every metadata response.
        if self.cluster.get().is_none()
            && let Some(id) = self.observer.client().fetch_cluster_id(METADATA_TIMEOUT)
        {
            self.cluster.get_or_init(|| id.into());
        }
        TopicDescription::find(&metadata, topic)
    }

    /// Runs an administrative request with a new client, such as the creation of a topic. Blocks.
    ///
    /// # Errors
    /// - [`Unsupported`](ErrorKind::Unsupported) with OAUTHBEARER
    /// - [`Unavailable`](ErrorKind::Unavailable) if the system starts no runtime
    /// - the error of librdkafka or of the brokers otherwise
    pub(crate) fn request<T, F>(
        &self,
        request: impl FnOnce(&AdminClient<Context>, AdminOptions) -> F,
    ) -> Result<T>
    where
        F: Future<Output = KafkaResult<T>>,
    {
        if self.config.get("sasl.mechanism") == Some(SaslMechanism::OauthBearer.as_str()) {
            // Nothing polls an administrative client, so it never gets a token.
            let message = "administrative requests are not possible with OAUTHBEARER";
            return Err(kafka_error(ErrorKind::Unsupported, message));
        }
        let context = Context::new(Arc::clone(&self.health), ());
        let admin =
            AdminClient::from_config_and_context(&self.config, context).map_err(from_kafka)?;
        let options = AdminOptions::new()
            .request_timeout(Some(REQUEST_TIMEOUT))
            .operation_timeout(Some(REQUEST_TIMEOUT));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::Unavailable, "failed to start a runtime").with_source(error)
            })?;
        let response = runtime
            .block_on(request(&admin, options))
            .map_err(from_kafka);
        // Closing the client blocks, so another thread does it.
        close_in_background(move || drop(admin));
        response
    }
}

/// Keeps the states of topics current, in a thread that ends when the monitor is dropped.
pub(crate) struct TopicMonitor {
    pub(crate) admin: TopicAdmin,
    /// Sends topics to the thread. The field is dropped last: the thread then ends, and closes the
    /// client, which blocks.
    added: Sender<Arc<Topic>>,
}

/// The timeout of a check. It is above the timeout of a metadata request, so that the request has
/// ended by then and the cause of its failure is known.
const CHECK_TIMEOUT: Duration = Duration::from_millis(1_800);

impl TopicMonitor {
    /// Creates the client for metadata, and starts the thread.
    ///
    /// # Errors
    /// If librdkafka rejects the options, or if the system starts no thread.
    pub(crate) fn start(options: &KafkaLogOptions, health: &Arc<ClientHealth>) -> Result<Self> {
        let config = config::observer(options);
        let mut observing = config.clone();
        // With uncommitted reads, this client sees the ends of partitions behind open transactions.
        observing.set("isolation.level", "read_uncommitted");
        let context = Context::new(Arc::clone(health), ());
        let observer =
            StandaloneConsumer::from_config_and_context(&observing, context).map_err(from_kafka)?;
        let observer = Arc::new(observer);
        let health = Arc::clone(health);
        let admin = TopicAdmin {
            observer,
            health,
            config,
            cluster: Arc::default(),
        };
        let (added, topics) = channel();
        let monitored = admin.clone();
        start_thread("shop-kafka-topics", move || monitor(&monitored, &topics))?;
        Ok(Self { admin, added })
    }

    /// Starts to monitor `topic`, whose first check follows at once.
    pub(crate) fn add(&self, topic: Arc<Topic>) {
        // The thread ends when this sender is dropped.
        let _received = self.added.send(topic);
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
    /// The reason why the topic cannot be used, with its known cause. The outcome is `NotApplied`.
    pub(crate) async fn check(&self, topic: &Topic) -> Result<()> {
        let checked = async {
            topic.checked(CHECK_TIMEOUT).await?;
            topic.ping(&self.admin).await
        };
        let result = tokio::time::timeout(CHECK_TIMEOUT, checked)
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
/// The interval of checks for a topic with leaderless partitions, or with an error that an operator has to fix.
const LEADERLESS_INTERVAL: Duration = Duration::from_secs(5);
/// The interval of checks for a missing topic, or while the cluster's id is unknown.
const MISSING_INTERVAL: Duration = Duration::from_millis(300);
/// The pause between two polls of the client while all topics are ready.
const READY_POLL_PAUSE: Duration = Duration::from_secs(1);

/// Checks the topics that `added` receives, each at its interval, until the sender is dropped. Runs
/// in its own thread.
fn monitor(admin: &TopicAdmin, added: &Receiver<Arc<Topic>>) {
    let mut topics: Vec<(Arc<Topic>, Instant)> = Vec::new();
    authenticate(&admin.observer);
    loop {
        // A setting or a leader that has changed may be the reason why a record was not
        // acknowledged. So all topics are checked now.
        let has_failed = admin.health.has_failed.swap(false, Ordering::AcqRel);
        for (topic, due) in &mut topics {
            if *due > Instant::now() && !has_failed {
                continue;
            }
            topic.refresh(admin);
            *due = Instant::now() + interval(admin, topic);
        }
        admin.deliver_events();
        // While a topic is not ready, the loop continues without a pause, because `deliver_events`
        // blocks for a moment.
        let are_ready = topics.iter().all(|(topic, _)| topic.known().is_some())
            && admin.cluster.get().is_some();
        match added.recv_timeout(if are_ready {
            READY_POLL_PAUSE
        } else {
            Duration::ZERO
        }) {
            Ok(topic) => topics.push((topic, Instant::now())),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Returns the time until the next check of `topic`, which depends on its state.
fn interval(admin: &TopicAdmin, topic: &Topic) -> Duration {
    let is_cluster_known = admin.cluster.get().is_some();
    match topic.state() {
        Some(Ok(found)) if is_cluster_known && found.is_complete() => READY_INTERVAL,
        Some(Ok(_)) if is_cluster_known => LEADERLESS_INTERVAL,
        Some(Err(error)) if !error.is_retryable() => LEADERLESS_INTERVAL,
        _ => MISSING_INTERVAL,
    }
}
