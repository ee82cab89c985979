//! A topic that a log requires: its state, which the monitor checks and callers read or await.
//!
//! A log uses two topics: one for its records, and one for its dead letters. The thread of
//! [`topic_monitor`](crate::topic_monitor) checks them, and the ports read or await the result:
//!
//! ```text
//! monitor thread ─▶ Topic::refresh ─▶ TopicState ─▶ state, description, wait_until_ready, exists
//!                    │ describe the topic,             (called by the ports of the log)
//!                    │ create a missing topic,
//!                    │ wait for leaders,
//!                    │ read the settings
//! ```
//!
//! | module | responsibility |
//! |---|---|
//! | `check` | the check of a topic, which blocks: finds or creates the topic, and reads its settings |
//! | `description` | what the brokers tell about a topic, and which of its settings lose records |

mod check;
mod description;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use shop_core::{Error, Outcome, Result};
use tokio::sync::watch;

use crate::KafkaLogOptions;
use crate::client::{blocking, lock};
use crate::config::MAX_RECORD_BYTES;
use crate::error::not_reached;
use crate::topic_monitor::TopicAdmin;
use check::is_missing;
pub(crate) use description::{TopicDescription, check_served};

/// How long the settings of a topic are relied on after they were read. It covers the interval
/// until the next read, and the duration of the read.
const SETTINGS_VALIDITY: Duration = Duration::from_secs(15);
/// How long the result of a ping is reused.
const PING_VALIDITY: Duration = Duration::from_secs(1);
/// The timeout of a ping's metadata request.
const PING_TIMEOUT: Duration = Duration::from_millis(1_500);

/// A topic that the log requires, with the state that the last check found.
///
/// The thread of [`TopicMonitor`](crate::topic_monitor::TopicMonitor) calls
/// [`refresh`](Self::refresh), which updates the state. Callers read the state or wait for it. Only
/// [`ping`](Self::ping) sends a request for a caller.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    /// The number of partitions that the topic gets if it is created here.
    partition_count: u32,
    /// The configuration of a new topic that differs from the cluster's defaults.
    config: Vec<(&'static str, &'static str)>,
    options: KafkaLogOptions,
    state: watch::Sender<TopicState>,
    /// The time and the result of the latest [`ping`](Self::ping).
    last_ping: tokio::sync::Mutex<Option<(Instant, Result<()>)>>,
    /// When the settings were last read.
    settings_read_at: Mutex<Option<Instant>>,
}

/// The state of a topic: `None` before the first check, then the description of the topic, or the
/// reason why it cannot be used.
///
/// A topic that was found once keeps its description while checks fail with a retryable error, see
/// [`Topic::record_failure`]. So an error means that the topic was never available, or that it must
/// not be used.
type TopicState = Option<Result<TopicDescription>>;

impl Topic {
    /// Creates the state of the topic of the log, which has not been checked yet.
    pub(crate) fn for_log(options: &KafkaLogOptions) -> Self {
        let mut config = Vec::new();
        if options.infinite_retention {
            // These values are set explicitly, because the defaults of the brokers may differ.
            config.extend([
                ("cleanup.policy", "delete"),
                ("retention.ms", "-1"),
                ("retention.bytes", "-1"),
            ]);
        }
        Self::new(
            options.topic.as_str().into(),
            options.partitions,
            options,
            config,
        )
    }

    /// Creates the state of the dead-letter topic of the log, which keeps the records that the
    /// store rejected.
    ///
    /// The topic consists of one partition, because dead letters are few, and its retention is
    /// unlimited. Its size limit is above the default, because a dead letter is larger than its
    /// record by some headers.
    pub(crate) fn for_dead_letters(options: &KafkaLogOptions) -> Self {
        let config = vec![
            ("max.message.bytes", MAX_RECORD_BYTES),
            ("retention.ms", "-1"),
        ];
        Self::new(format!("{}.dlq", options.topic).into(), 1, options, config)
    }

    /// Creates the state of the topic `name`, which has not been checked yet.
    ///
    /// If the brokers do not have the topic and it is created here, it gets `config`, and with
    /// three or more replicas also `min.insync.replicas=2`.
    fn new(
        name: Arc<str>,
        partition_count: u32,
        options: &KafkaLogOptions,
        mut config: Vec<(&'static str, &'static str)>,
    ) -> Self {
        // With three or more replicas, two must have a record before it is acknowledged.
        if options.replication_factor.is_some_and(|count| count >= 3) {
            config.push(("min.insync.replicas", "2"));
        }
        Self {
            name,
            partition_count,
            config,
            options: options.clone(),
            state: watch::Sender::new(None),
            last_ping: Default::default(),
            settings_read_at: Mutex::default(),
        }
    }

    /// Returns the state of the topic as of the last check.
    pub(crate) fn state(&self) -> TopicState {
        self.state.borrow().clone()
    }

    /// Returns whether a check has ended since the start.
    ///
    /// # Errors
    /// If the last check failed, the reason why the topic cannot be used.
    pub(crate) fn is_checked(&self) -> Result<bool> {
        match &*self.state.borrow() {
            Some(Ok(_)) => Ok(true),
            Some(Err(error)) => Err(error.clone()),
            None => Ok(false),
        }
    }

    /// Returns the description of the topic, if a check found the topic.
    pub(crate) fn description(&self) -> Option<TopicDescription> {
        self.state()?.ok()
    }

    /// Returns the reason why the topic must not be used, if an operator must change something
    /// first.
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.state()?.err().filter(|error| !error.is_retryable())
    }

    /// Returns the minimum number of brokers that store a record when it is acknowledged.
    ///
    /// Returns `None` if the settings of the topic were not read within [`SETTINGS_VALIDITY`].
    pub(crate) fn guaranteed_replicas(&self) -> Option<u32> {
        let read_at = (*lock(&self.settings_read_at))?;
        if read_at.elapsed() > SETTINGS_VALIDITY {
            return None;
        }

        // Each purchase asks for this number, so the state is not copied.
        let state = self.state.borrow();
        let Some(Ok(description)) = &*state else {
            return None;
        };
        description.guaranteed_replicas()
    }

    /// Waits until the topic exists, at most for the timeout of a publish.
    ///
    /// The wait continues after a check that failed with a retryable error, because the check is
    /// repeated. It ends if the topic is missing or refused, because an operator must act then.
    ///
    /// # Errors
    /// - if the last check failed, the reason why the topic cannot be used
    /// - a retryable error if no check ended in time
    pub(crate) async fn wait_until_ready(&self) -> Result<()> {
        self.wait_for_state(self.options.publish_timeout, |state| match state {
            Some(Ok(_)) => true,
            Some(Err(error)) => !error.is_retryable() || is_missing(error),
            None => false,
        })
        .await
    }

    /// Waits for the result of the first check, at most for `timeout`.
    ///
    /// # Errors
    /// - if the last check failed, the reason why the topic cannot be used
    /// - a retryable error if no check ended in time
    pub(crate) async fn wait_for_check(&self, timeout: Duration) -> Result<()> {
        self.wait_for_state(timeout, Option::is_some).await
    }

    /// Waits for a state that `is_final` accepts, at most for `timeout`, and returns an error
    /// unless the topic exists.
    async fn wait_for_state(
        &self,
        timeout: Duration,
        is_final: impl FnMut(&TopicState) -> bool,
    ) -> Result<()> {
        // After the timeout, the last state decides.
        let _has_timed_out =
            tokio::time::timeout(timeout, self.state.subscribe().wait_for(is_final))
                .await
                .is_err();
        self.state().ok_or_else(not_reached)?.map(drop)
    }

    /// Waits until the topic is found or reported missing, at most for the timeout of a publish,
    /// and returns whether it exists.
    ///
    /// # Errors
    /// The errors of [`wait_until_ready`](Self::wait_until_ready), except for a missing topic.
    pub(crate) async fn exists(&self) -> Result<bool> {
        match self.wait_until_ready().await {
            Ok(()) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Checks with a metadata request that a broker serves the topic now.
    ///
    /// Concurrent callers wait for the same request, and its result is reused for
    /// [`PING_VALIDITY`]. One request runs at a time, so an unresponsive broker does not accumulate
    /// waiting threads.
    pub(crate) async fn ping(&self, admin: &TopicAdmin) -> Result<()> {
        let mut last_ping = self.last_ping.lock().await;
        if let Some((pinged_at, result)) = &*last_ping
            && pinged_at.elapsed() < PING_VALIDITY
        {
            return result.clone();
        }

        let admin = admin.clone();
        let name = Arc::clone(&self.name);
        let result = blocking("metadata request", move || {
            check_served(&admin.metadata_client, &admin.health, &name, PING_TIMEOUT)
        })
        .await;
        *last_ping = Some((Instant::now(), result.clone()));
        result
    }

    /// Sets the state after a check failed with `error`.
    ///
    /// A topic that was found before stays ready after a retryable error: the next use of the topic
    /// then returns an error that is more specific than "unavailable".
    fn record_failure(&self, error: Error) {
        if self.description().is_some() && error.is_retryable() {
            tracing::debug!(kafka.topic = %self.name, %error, "topic check failed");
            return;
        }
        let error = error
            .with_outcome(Outcome::NotApplied)
            .with_context("topic", &self.name);
        self.set_state(Err(error));
    }

    /// Replaces the state, and logs the new one, if it differs from the state of the last check.
    fn set_state(&self, new_state: Result<TopicDescription>) {
        self.state.send_if_modified(|state| {
            let is_changed = match (&*state, &new_state) {
                (Some(Ok(old)), Ok(new)) => old != new,
                (Some(Err(old)), Err(new)) => old.to_string() != new.to_string(),
                // The first check ended, or the topic became available or unavailable.
                _ => true,
            };
            if is_changed {
                self.log_state(&new_state);
                *state = Some(new_state);
            }
            is_changed
        });
    }

    /// Logs a new state of the topic.
    fn log_state(&self, new_state: &Result<TopicDescription>) {
        let topic = &*self.name;
        match new_state {
            Ok(description) => self.log_description(description),
            Err(error) if error.is_retryable() => {
                tracing::warn!(kafka.topic = topic, error = %error.chain(), "topic unavailable");
            }
            Err(error) => {
                tracing::error!(kafka.topic = topic, error = %error.chain(), "topic refused");
            }
        }
    }

    /// Logs the description of a topic that is ready, with a warning for each thing that an operator
    /// should change: settings with which acknowledged records can be lost, too few replicas, and
    /// partitions without a leader.
    fn log_description(&self, description: &TopicDescription) {
        let topic = &*self.name;
        let TopicDescription {
            replicas,
            leaderless,
            settings,
            ..
        } = description;
        let min_in_sync = settings.min_in_sync;
        tracing::info!(kafka.topic = topic, replicas, min_in_sync, "topic ready");

        if min_in_sync.is_some_and(|count| count > *replicas) {
            tracing::warn!(
                kafka.topic = topic,
                "min.insync.replicas is above the replicas"
            );
        }
        if let Some(expected) = self.options.replication_factor
            && *replicas < expected as usize
        {
            tracing::warn!(
                kafka.topic = topic,
                expected,
                replicas,
                "topic has fewer replicas than SHOP_KAFKA_REPLICAS: reassign its partitions with more replicas"
            );
        }
        for weakness in description.weak_settings() {
            tracing::warn!(kafka.topic = topic, "{weakness}");
        }
        if !leaderless.is_empty() {
            tracing::warn!(
                kafka.topic = topic,
                partitions = ?leaderless,
                "partitions without a leader: their records are rejected until one is elected"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use shop_core::log::{LogRecord, LogSource as _, SourceEvent};
    use shop_core::{ErrorKind, Timestamp};

    use super::*;
    use crate::error::kafka_error;
    use crate::fixture::KafkaFixture;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_topic_that_is_rejected_later_is_not_read_until_it_is_accepted() {
        let fixture = KafkaFixture::in_process().await;
        let append = async || {
            fixture
                .log()
                .append(LogRecord::new(0, Timestamp::MIN, None))
                .await
                .unwrap()
        };
        append().await;
        let source = fixture.log().source("group").unwrap();
        let next = async || {
            tokio::time::timeout(Duration::from_secs(60), source.next())
                .await
                .unwrap()
        };
        assert!(matches!(next().await, Ok(SourceEvent::Batch(_))));
        let topic = &fixture.log().shared.topic;
        let accepted = topic.state();
        topic.record_failure(kafka_error(ErrorKind::Denied, "compacted"));
        while !next()
            .await
            .is_err_and(|error| error.kind() == ErrorKind::Denied)
        {}
        topic.set_state(accepted.unwrap());
        append().await;
        while !matches!(next().await, Ok(SourceEvent::Batch(_))) {}
    }

    #[tokio::test]
    async fn a_failed_check_is_repeated_unless_an_operator_has_to_act() {
        let options = KafkaLogOptions::new("127.0.0.1:1").publish_timeout(Duration::ZERO);
        let mut topic = Topic::new("purchases".into(), 1, &options, Vec::new());
        let patience = Duration::from_secs(3_600);
        topic.record_failure(kafka_error(ErrorKind::Unavailable, "no response"));
        assert!(
            topic.wait_for_check(patience).await.is_err()
                && topic.wait_until_ready().await.is_err()
        );
        topic.options.publish_timeout = patience;
        let later = async { topic.set_state(Ok(TopicDescription::default())) };
        tokio::join!(topic.wait_until_ready(), later).0.unwrap();
        for error in [
            topic.missing_error(),
            kafka_error(ErrorKind::Denied, "compacted"),
        ] {
            topic.set_state(Err(error));
            topic.wait_until_ready().await.unwrap_err();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_topic_is_not_created_without_its_settings() {
        let Some(fixture) = KafkaFixture::on_test_server().await else {
            return;
        };
        let log = &fixture.log().shared;
        let name = format!("{}.required", log.topic.name);
        let options = log.options.clone().publish_timeout(Duration::from_secs(30));
        // More replicas than there are brokers, and an unknown setting.
        let replicas = options.clone().replication_factor(Some(99));
        let unknown = vec![("no.such.setting", "1")];
        for (options, config) in [(replicas, Vec::new()), (options, unknown)] {
            let topic = Arc::new(Topic::new(name.as_str().into(), 1, &options, config));
            log.monitor.add_topic(Arc::clone(&topic));
            let error = topic.wait_until_ready().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        }
    }
}
