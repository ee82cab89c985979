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

/// Describes and creates topics.
#[derive(Clone)]
pub(crate) struct TopicAdmin {
    pub(crate) observer: Arc<StandaloneConsumer>,
    pub(crate) health: Arc<ClientHealth>,
    config: ClientConfig,
    cluster: Arc<OnceLock<Arc<str>>>,
}

/// The timeout of a metadata request.
const METADATA_TIMEOUT: Duration = Duration::from_millis(1_500);
/// The timeout of an administrative request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

impl TopicAdmin {
    /// Delivers the log lines and errors of the client, which reads no records. Blocks for 20 ms.
    pub(crate) fn deliver_events(&self) {
        drop(self.observer.poll(Duration::from_millis(20)));
        deliver_events(&self.observer);
    }

    /// Describes a topic, without its settings; `None` if it is missing. Blocks.
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

    /// Runs an administrative request. Blocks.
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
        // Closing the client blocks: not on the caller's thread.
        close_in_background(move || drop(admin));
        response
    }
}

/// Keeps the state of topics current until it is dropped.
pub(crate) struct TopicMonitor {
    pub(crate) admin: TopicAdmin,
    /// Dropped last: the thread then ends, and closes the client, which blocks.
    added: Sender<Arc<Topic>>,
}

/// The timeout of a check. The request before it has ended by then, and the cause of its failure is known.
const CHECK_TIMEOUT: Duration = Duration::from_millis(1_800);

impl TopicMonitor {
    pub(crate) fn start(options: &KafkaLogOptions, health: &Arc<ClientHealth>) -> Result<Self> {
        let config = config::observer(options);
        let mut observing = config.clone();
        // The ends of partitions are behind the transactions that are open.
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

    /// Starts to monitor `topic`.
    pub(crate) fn add(&self, topic: Arc<Topic>) {
        // The thread ends when this sender is dropped.
        let _received = self.added.send(topic);
    }

    /// Returns the cluster's id, which is known at the latest when the first topic is ready.
    pub(crate) fn cluster(&self) -> Result<Arc<str>> {
        let message = "the cluster reports no id, and record ids are derived from it";
        self.admin
            .cluster
            .get()
            .cloned()
            .ok_or_else(|| kafka_error(ErrorKind::Unavailable, message))
    }

    /// Checks that Kafka is available and serves `topic`.
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

/// Checks the topics that are `added` until the sender is dropped.
fn monitor(admin: &TopicAdmin, added: &Receiver<Arc<Topic>>) {
    let mut topics: Vec<(Arc<Topic>, Instant)> = Vec::new();
    authenticate(&admin.observer);
    loop {
        // A record that was not acknowledged may be due to a setting or a leader that has changed.
        let has_failed = admin.health.has_failed.swap(false, Ordering::AcqRel);
        for (topic, due) in &mut topics {
            if *due > Instant::now() && !has_failed {
                continue;
            }
            topic.refresh(admin);
            *due = Instant::now() + interval(admin, topic);
        }
        admin.deliver_events();
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

/// The time until the next check of `topic`.
fn interval(admin: &TopicAdmin, topic: &Topic) -> Duration {
    let is_cluster_known = admin.cluster.get().is_some();
    match topic.state() {
        Some(Ok(found)) if is_cluster_known && found.is_complete() => READY_INTERVAL,
        Some(Ok(_)) if is_cluster_known => LEADERLESS_INTERVAL,
        Some(Err(error)) if !error.is_retryable() => LEADERLESS_INTERVAL,
        _ => MISSING_INTERVAL,
    }
}
