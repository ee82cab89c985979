//! Creates missing topics and monitors their state, in a thread with one shared client.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::Consumer;
use shop_core::{Error, ErrorKind, Outcome, Result};
use tokio_util::sync::CancellationToken;

use crate::client::{Context, Health, authenticate, lock};
use crate::error::{from_code, from_kafka, kafka_error, not_reached};
use crate::topic::{Observer, Partitions, State, Topic, TopicAdmin, topic_error};
use crate::{KafkaLogOptions, config, thread};

/// Monitors topics until it is dropped.
pub(crate) struct TopicMonitor {
    observer: Option<Arc<Observer>>,
    topics: Arc<Topics>,
    health: Arc<Health>,
    cluster: Arc<OnceLock<Arc<str>>>,
    end: CancellationToken,
    last_checks: tokio::sync::Mutex<LastChecks>,
}

/// The monitored topics.
#[derive(Debug, Default)]
struct Topics {
    all: Mutex<Vec<Arc<Topic>>>,
    /// Notified of a new topic and of the end.
    changed: Condvar,
}

/// The results of the latest connection checks.
#[derive(Default)]
struct LastChecks {
    /// The result by topic.
    topics: BTreeMap<Arc<str>, (Instant, Result<()>)>,
    /// Kafka did not respond, which concerns all topics.
    unavailable: Option<(Instant, Error)>,
}

impl LastChecks {
    /// Returns the result for `topic`, if it is recent.
    fn recent(&self, topic: &str) -> Option<Result<()>> {
        let is_recent = |at: &Instant| at.elapsed() < CHECK_VALIDITY;
        if let Some((_, error)) = self.unavailable.as_ref().filter(|(at, _)| is_recent(at)) {
            return Some(Err(error.clone()));
        }
        self.topics.get(topic).filter(|(at, _)| is_recent(at)).map(|(_, result)| result.clone())
    }
}

/// How long the result of a check is reused.
const CHECK_VALIDITY: Duration = Duration::from_secs(1);
/// The timeout of a check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// The timeout of the check's metadata request.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(1_500);

impl TopicMonitor {
    pub(crate) fn start(options: &KafkaLogOptions, health: &Arc<Health>) -> Result<Self> {
        let context = Context::new(Arc::clone(health), None, ());
        let config = config::observer(options);
        let mut observing = config.clone();
        // The ends of partitions are behind the transactions that are open.
        observing.set("isolation.level", "read_uncommitted");
        let observer = Observer::from_config_and_context(&observing, context).map_err(from_kafka)?;
        let observer = Arc::new(observer);
        let (topics, end) = (Arc::new(Topics::default()), CancellationToken::new());
        let cluster = Arc::new(OnceLock::new());
        let monitor = MonitorThread {
            admin: TopicAdmin {
                observer: Arc::clone(&observer),
                config,
                health: Arc::clone(health),
                cluster: Arc::clone(&cluster),
            },
            topics: Arc::clone(&topics),
            end: end.clone(),
        };
        thread::start("shop-kafka-topics", move || monitor.run())?;
        let (last_checks, health) = (tokio::sync::Mutex::default(), Arc::clone(health));
        Ok(Self { observer: Some(observer), topics, health, cluster, end, last_checks })
    }

    /// Starts to monitor `topic`.
    pub(crate) fn add(&self, topic: Arc<Topic>) {
        lock(&self.topics.all).push(topic);
        self.topics.changed.notify_all();
    }

    /// Returns the cluster's id, which is known at the latest when the first topic is ready.
    pub(crate) fn cluster(&self) -> Option<Arc<str>> {
        self.cluster.get().cloned()
    }

    /// Returns the client for metadata requests, to which no transaction is open.
    pub(crate) fn observer(&self) -> Option<&Observer> {
        self.observer.as_deref()
    }

    /// Checks that Kafka is available and serves `topic`.
    pub(crate) async fn check(&self, topic: &Topic) -> Result<()> {
        let checked = async {
            topic.ready(CHECK_TIMEOUT).await?;
            self.ping(&topic.name).await
        };
        let result =
            tokio::time::timeout(CHECK_TIMEOUT, checked).await.unwrap_or_else(|_elapsed| Err(not_reached()));
        // A failed login looks like a broker that does not respond.
        result.map_err(|error| self.health.explain(error).with_outcome(Outcome::NotApplied))
    }

    /// Sends a metadata request. Requests are sequential: an unresponsive broker must not accumulate waiting threads.
    async fn ping(&self, topic: &Arc<str>) -> Result<()> {
        let mut last_checks = self.last_checks.lock().await;
        if let Some(recent) = last_checks.recent(topic) {
            return recent;
        }
        let Some(observer) = self.observer.clone() else { return Ok(()) };
        let name = Arc::clone(topic);
        let requested = tokio::task::spawn_blocking(move || {
            observer
                .fetch_metadata(Some(&name), REQUEST_TIMEOUT)
                .map(|metadata| topic_error(&metadata, &name))
        });
        let error = match requested.await {
            Ok(Ok(code)) => {
                self.health.clear();
                let result =
                    code.map_or(Ok(()), |code| Err(from_code(code).with_outcome(Outcome::NotApplied)));
                last_checks.topics.insert(Arc::clone(topic), (Instant::now(), result.clone()));
                return result;
            }
            Ok(Err(error)) => self.health.explain(from_kafka(error)).with_outcome(Outcome::NotApplied),
            Err(error) => kafka_error(ErrorKind::Internal, "metadata request aborted").with_source(error),
        };
        last_checks.unavailable = Some((Instant::now(), error.clone()));
        Err(error)
    }
}

impl Drop for TopicMonitor {
    fn drop(&mut self) {
        {
            let _locked = lock(&self.topics.all);
            self.end.cancel();
        }
        self.topics.changed.notify_all();
        // Closing a client blocks until its threads have ended: not in an async task.
        if let Some(observer) = self.observer.take() {
            thread::close_in_background(observer, |_| {});
        }
    }
}

impl std::fmt::Debug for TopicMonitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TopicMonitor").field("topics", &self.topics).finish_non_exhaustive()
    }
}

/// The state of the monitor's thread.
struct MonitorThread {
    admin: TopicAdmin,
    topics: Arc<Topics>,
    end: CancellationToken,
}

/// The interval of checks for a ready topic, whose configuration may change.
const READY_INTERVAL: Duration = Duration::from_secs(60);
/// The interval of checks for a topic with leaderless partitions, or with an error that an operator has to fix.
const LEADERLESS_INTERVAL: Duration = Duration::from_secs(5);
/// The interval of checks for a missing topic, or while the cluster's id is unknown.
const MISSING_INTERVAL: Duration = Duration::from_millis(300);
/// The pause between two polls of the client while all topics are ready.
const READY_POLL_PAUSE: Duration = Duration::from_secs(1);

impl MonitorThread {
    fn run(self) {
        let mut due: Vec<Instant> = Vec::new();
        authenticate(&self.admin.observer);
        while !self.end.is_cancelled() {
            let topics = lock(&self.topics.all).clone();
            due.resize(topics.len(), Instant::now());
            for (topic, due) in topics.iter().zip(&mut due) {
                if *due > Instant::now() {
                    continue;
                }
                *due = Instant::now() + self.refresh(topic);
            }
            self.admin.deliver_events();
            let is_ready = |topic: &Arc<Topic>| matches!(topic.state(), State::Ready(_));
            if topics.iter().all(is_ready) && self.admin.cluster.get().is_some() {
                self.pause(topics.len());
            }
        }
    }

    /// Waits until the next poll, for a topic beside the `known` ones, or for the end.
    fn pause(&self, known: usize) {
        let Topics { all, changed } = &*self.topics;
        let unchanged = |topics: &mut Vec<Arc<Topic>>| topics.len() == known && !self.end.is_cancelled();
        drop(changed.wait_timeout_while(lock(all), READY_POLL_PAUSE, unchanged));
    }

    /// Checks `topic`. Returns the time until the next check.
    fn refresh(&self, topic: &Arc<Topic>) -> Duration {
        let was_approved = topic.is_approved();
        topic.ensure(&self.admin);
        let partitions = match topic.state() {
            State::Ready(partitions) => partitions,
            State::Failed(error) if !error.is_retryable() => return LEADERLESS_INTERVAL,
            State::Failed(_) | State::Unknown => return MISSING_INTERVAL,
        };
        if self.admin.cluster.get().is_none() {
            return MISSING_INTERVAL;
        }
        // Each request creates a client, so a known value is not refreshed while a leader is missing.
        let is_due = partitions.has_all_leaders() || topic.guaranteed_replicas().is_none();
        if topic.has_receipts() && was_approved && is_due {
            self.refresh_settings(topic, partitions.clone());
        }
        if partitions.has_all_leaders() { READY_INTERVAL } else { LEADERLESS_INTERVAL }
    }

    /// Reads the topic's settings in a separate thread: a slow response must not delay other topics.
    fn refresh_settings(&self, topic: &Arc<Topic>, partitions: Partitions) {
        let (topic, admin) = (Arc::clone(topic), self.admin.clone());
        let started =
            thread::start("shop-kafka-settings", move || topic.refresh_settings(&admin, &partitions));
        if let Err(error) = started {
            tracing::debug!(%error, "failed to start a thread for the topic's settings");
        }
    }
}
