//! A topic that a log requires: its state, its settings, and its creation if it is missing.
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

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::admin::{ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use shop_core::{Error, ErrorKind, Outcome, Result};
use tokio::sync::watch;

use crate::KafkaLogOptions;
use crate::client::{ClientHealth, Context, blocking, lock};
use crate::config::MAX_RECORD_BYTES;
use crate::error::{from_code, from_kafka, kafka_error, not_reached};
use crate::number::{int32, unsigned};
use crate::topic_monitor::TopicAdmin;

/// The maximum time to wait for the leaders of a new topic.
const LEADER_TIMEOUT: Duration = Duration::from_secs(4);
/// The pause between two attempts to find the leaders of a topic or to read its settings.
const LEADER_POLL_INTERVAL: Duration = Duration::from_millis(20);
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
        let min_in_sync = description.settings.min_in_sync?;
        // `min.insync.replicas` may be above the number of replicas. Brokers then apply the smaller
        // number.
        u32::try_from(min_in_sync.min(description.replicas)).ok()
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

    /// Checks whether the topic exists, creates a missing topic if that is permitted, reads its
    /// settings, and updates the state. Blocks.
    pub(crate) fn refresh(&self, admin: &TopicAdmin) {
        match self.check(admin) {
            Ok(description) => {
                admin.health.clear_denied();
                self.set_state(Ok(description));
            }
            Err(error) => {
                // An event such as a rejected login explains why no broker responded.
                admin.deliver_events();
                self.record_failure(admin.health.explain(error));
            }
        }
    }

    /// Finds or creates the topic, and waits for up to [`LEADER_TIMEOUT`] until its settings can be
    /// read. Blocks.
    ///
    /// After the timeout, a topic with at least one leader is returned without its settings,
    /// because the partitions with a leader are served.
    ///
    /// # Errors
    /// - the error of [`create`](Self::create) if the topic is missing
    /// - [`Denied`](ErrorKind::Denied) if the topic is compacted
    /// - a retryable error if no partition has a leader in time, or if the brokers do not respond
    fn check(&self, admin: &TopicAdmin) -> Result<TopicDescription> {
        let existing = admin.describe(&self.name)?;
        let is_new = existing.is_none();
        if is_new {
            self.create(admin)?;
        }

        let mut description = existing.unwrap_or_default();
        let deadline = Instant::now() + LEADER_TIMEOUT;
        loop {
            let has_timed_out = Instant::now() >= deadline;
            // The leaders of a new topic are elected shortly after its creation, and not every
            // broker knows the topic yet. So a new topic is awaited until all its partitions have
            // leaders.
            let has_leaders = !description.leaders.is_empty()
                && (description.leaderless.is_empty() || !is_new || has_timed_out);
            let settings = if has_leaders {
                self.read_settings(admin, &description)
            } else {
                Err(from_code(RDKafkaErrorCode::LeaderNotAvailable))
            };

            match settings {
                Ok(settings) => {
                    description.settings = settings;
                    return Ok(description);
                }
                Err(error) if error.is_retryable() && !has_timed_out => {}
                Err(error) if error.is_retryable() && has_leaders => {
                    // The partitions with a leader serve, whatever their settings are.
                    tracing::warn!(kafka.topic = &*self.name, error = %error.chain(), "the topic's settings cannot be read yet");
                    return Ok(description);
                }
                Err(error) => return Err(error),
            }

            // The poll is the pause between two attempts. Without an assignment, it returns no
            // record.
            drop(admin.metadata_client.poll(LEADER_POLL_INTERVAL));
            description = admin.describe(&self.name)?.unwrap_or_default();
        }
    }

    /// Reads the settings of the topic. Blocks.
    ///
    /// Returns the settings of the last check if the brokers do not respond. Returns empty settings
    /// if the user may not read them.
    ///
    /// # Errors
    /// - [`Denied`](ErrorKind::Denied) if the topic is compacted, which would delete purchases
    /// - a retryable error if the brokers do not respond and no settings are known
    fn read_settings(
        &self,
        admin: &TopicAdmin,
        description: &TopicDescription,
    ) -> Result<TopicSettings> {
        let last_settings = self.description().map(|last| last.settings);
        let config = match self.describe_settings(admin, &description.leaders) {
            Ok(config) => {
                *lock(&self.settings_read_at) = Some(Instant::now());
                config
            }
            Err(error) if error.is_retryable() => return last_settings.ok_or(error),
            Err(error) => {
                if last_settings.is_none() {
                    tracing::warn!(kafka.topic = &*self.name, error = %error.chain(), "make sure that the topic's cleanup.policy, which cannot be read, is delete");
                }
                None
            }
        };

        let setting = |name: &str| config.as_ref()?.get(name)?.value.as_deref();
        // An unreadable policy is accepted, with the warning above. A foreign log belongs to
        // another program, which decides how its topic is cleaned up.
        let policy = setting("cleanup.policy").unwrap_or_default();
        if policy.contains("compact") && !self.options.foreign {
            let message = format!(
                "the topic {} has cleanup.policy={policy}, which deletes all but the last record of a user: \
                 set cleanup.policy=delete",
                self.name
            );
            return Err(kafka_error(ErrorKind::Denied, message));
        }

        if let Some(text) = setting("max.message.bytes")
            && let Ok(bytes) = text.parse()
        {
            admin.health.batch_limit.set_topic_limit(&self.name, bytes);
        }
        Ok(TopicSettings {
            are_read: true,
            elects_uncleanly: setting("unclean.leader.election.enable") == Some("true"),
            min_in_sync: setting("min.insync.replicas").and_then(|count| count.parse().ok()),
            // The value -1 means no limit. It is not an unsigned number, so it becomes `None`.
            retention: setting("retention.ms")
                .and_then(|millis| millis.parse().ok())
                .map(Duration::from_millis),
        })
    }

    /// Requests the settings of the topic from its leaders, one after the other until one responds.
    /// Blocks. Returns `None` if the response contains no settings.
    ///
    /// Every broker knows the settings. A request without a broker id would wait for the controller
    /// of the cluster.
    ///
    /// # Errors
    /// The error of the first leader that refuses the request, or else of the last leader.
    fn describe_settings(
        &self,
        admin: &TopicAdmin,
        leaders: &BTreeSet<i32>,
    ) -> Result<Option<ConfigResource>> {
        let topic = ResourceSpecifier::Topic(&self.name);
        let mut last_error = from_code(RDKafkaErrorCode::LeaderNotAvailable);
        for leader in leaders {
            let response = admin.request(|client, options| {
                client.describe_configs([&topic], &options.broker_id(*leader))
            });
            // The response contains one resource, because the request names one topic.
            let config = response
                .and_then(|resources| resources.into_iter().next().transpose().map_err(from_code));
            match config {
                Err(error) if error.is_retryable() => last_error = error,
                config => return config,
            }
        }
        Err(last_error)
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

    /// Logs a new state of the topic, with a warning for each setting with which acknowledged
    /// records can be lost.
    fn log_state(&self, new_state: &Result<TopicDescription>) {
        let topic = &*self.name;
        let description = match new_state {
            Ok(description) => description,
            Err(error) if error.is_retryable() => {
                return tracing::warn!(kafka.topic = topic, error = %error.chain(), "topic unavailable");
            }
            Err(error) => {
                return tracing::error!(kafka.topic = topic, error = %error.chain(), "topic refused");
            }
        };
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

    /// Creates the topic, unless another client creates it at the same time. Blocks.
    ///
    /// # Errors
    /// - the error of [`missing_error`](Self::missing_error) if topics are not created here: by the
    ///   options, for the log of another program, or with OAUTHBEARER
    /// - the error of [`creation_error`](Self::creation_error) if the brokers reject the new topic
    /// - the error of the request if the brokers do not respond
    fn create(&self, admin: &TopicAdmin) -> Result<()> {
        let is_foreign = self.options.foreign && *self.name == *self.options.topic;
        if !self.options.create_topics || is_foreign || self.options.oauth.is_some() {
            return Err(self.missing_error());
        }

        // The value -1 selects the default of the cluster.
        let replication =
            TopicReplication::Fixed(self.options.replication_factor.map_or(-1, int32));
        let mut new_topic = NewTopic::new(&self.name, int32(self.partition_count), replication);
        for (name, value) in &self.config {
            new_topic = new_topic.set(name, value);
        }

        let results =
            admin.request(|client, options| client.create_topics([&new_topic], &options))?;
        for result in results {
            match result {
                Ok(_) => {
                    tracing::info!(kafka.topic = %self.name, partitions = self.partition_count, "topic created");
                }
                // Another client created the topic concurrently.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(self.creation_error(code)),
            }
        }
        Ok(())
    }

    /// Creates the error of a missing topic that an operator must create. [`is_missing`] recognizes
    /// the error.
    fn missing_error(&self) -> Error {
        let reason = if self.options.oauth.is_some() {
            "OAUTHBEARER"
        } else {
            "SHOP_KAFKA_CREATE_TOPICS"
        };
        let message = format!(
            "the topic {} is missing, and is not created here ({reason}): create it with {} partitions",
            self.name, self.partition_count
        );
        kafka_error(ErrorKind::Unavailable, message).with_source(MISSING)
    }

    /// Converts the code with which the brokers rejected the creation of the topic to an error.
    ///
    /// A transient error stays retryable, and any other error becomes [`Denied`](ErrorKind::Denied):
    /// an operator must act, and no caller can.
    fn creation_error(&self, code: RDKafkaErrorCode) -> Error {
        let error = from_code(code);
        if error.is_retryable() {
            return error;
        }
        let message = format!(
            "the topic {} is missing and could not be created: create it with {} partitions, or grant CREATE on it",
            self.name, self.partition_count
        );
        kafka_error(ErrorKind::Denied, message).with_source(error)
    }
}

/// The description of an existing topic by the brokers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TopicDescription {
    /// The partitions without a leader, which accept no records. The other partitions accept
    /// records.
    pub(crate) leaderless: Vec<u32>,
    /// The smallest number of replicas of a partition.
    replicas: usize,
    /// The brokers that lead a partition. The set is empty if a new topic is listed without
    /// partitions.
    leaders: BTreeSet<i32>,
    pub(crate) settings: TopicSettings,
}

/// The settings of a topic, as far as they can be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TopicSettings {
    /// Whether a broker answered the request for the settings, even with a refusal.
    are_read: bool,
    /// The setting `min.insync.replicas`: how many replicas must have a record before it is
    /// acknowledged.
    min_in_sync: Option<usize>,
    /// Whether a replica that lacks acknowledged records may become the leader.
    elects_uncleanly: bool,
    /// The setting `retention.ms`; `None` if it is unlimited or cannot be read.
    pub(crate) retention: Option<Duration>,
}

impl TopicDescription {
    /// Returns whether every partition has a leader and the settings were read.
    pub(crate) fn is_complete(&self) -> bool {
        self.leaderless.is_empty() && self.settings.are_read
    }

    /// Returns a sentence for each setting with which acknowledged records can be lost, with the
    /// value to set instead.
    pub(crate) fn weak_settings(&self) -> Vec<String> {
        let mut weak = Vec::new();
        if self.settings.elects_uncleanly {
            weak.push("unclean.leader.election.enable is true: a replica that lacks acknowledged records may become the leader; set it to false".to_owned());
        }
        if self.replicas == 1 {
            weak.push("the topic has one replica: what is acknowledged is lost with its disk; reassign its partitions with three".to_owned());
        } else if self.settings.min_in_sync == Some(1) {
            let replicas = self.replicas;
            weak.push(format!("min.insync.replicas is 1 beside {replicas} replicas: a record may be acknowledged that one broker has; set it to 2"));
        }
        weak
    }

    /// Finds the topic `name` in `metadata`, and describes it without its settings.
    ///
    /// Returns `None` if the topic is missing. A topic whose leaders are not elected yet is
    /// described without partitions.
    ///
    /// # Errors
    /// The error that the brokers report for the topic.
    pub(crate) fn from_metadata(metadata: &Metadata, name: &str) -> Result<Option<Self>> {
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
            return Ok(None);
        };
        match topic.error().map(RDKafkaErrorCode::from) {
            None => {}
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                return Ok(None);
            }
            Some(RDKafkaErrorCode::LeaderNotAvailable) => return Ok(Some(Self::default())),
            Some(code) => return Err(from_code(code)),
        }

        let partitions = topic.partitions();
        let replica_counts = partitions
            .iter()
            .map(|partition| partition.replicas().len());
        let mut description = Self {
            replicas: replica_counts.min().unwrap_or_default(),
            ..Self::default()
        };
        for partition in partitions {
            // The leader's id is -1 for a leaderless partition.
            if partition.leader() < 0 {
                description.leaderless.push(unsigned(partition.id()));
            } else {
                description.leaders.insert(partition.leader());
            }
        }
        Ok(Some(description))
    }
}

/// The source of the error of a missing topic that is not created here.
const MISSING: RDKafkaErrorCode = RDKafkaErrorCode::UnknownTopicOrPartition;

/// Returns whether `error` is the error of a missing topic, see [`Topic::missing_error`].
fn is_missing(error: &Error) -> bool {
    let source = std::error::Error::source(error);
    source.and_then(|source| source.downcast_ref()) == Some(&MISSING)
}

/// Checks that the brokers respond to `consumer`, and that at least one partition of `topic` has a
/// leader. Blocks.
///
/// # Errors
/// - the error of the metadata request
/// - a retryable error if no partition has a leader
/// - the error of an unknown topic if the topic is missing
pub(crate) fn check_served<C>(
    consumer: &BaseConsumer<Context<C>>,
    health: &ClientHealth,
    topic: &str,
    timeout: Duration,
) -> Result<()>
where
    Context<C>: ConsumerContext,
{
    let metadata = consumer
        .fetch_metadata(Some(topic), timeout)
        .map_err(from_kafka)?;
    health.clear_denied();

    match TopicDescription::from_metadata(&metadata, topic)? {
        Some(description) if !description.leaders.is_empty() => Ok(()),
        Some(_) => Err(from_code(RDKafkaErrorCode::LeaderNotAvailable)),
        None => Err(from_code(RDKafkaErrorCode::UnknownTopic)),
    }
}

#[cfg(test)]
mod tests {
    use shop_core::Timestamp;
    use shop_core::log::{LogRecord, LogSource as _, SourceEvent};

    use super::*;
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
