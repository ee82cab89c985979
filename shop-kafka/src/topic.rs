//! A required topic: its state, its settings, and its creation if it is missing.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::admin::{ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::{Metadata, MetadataPartition};
use shop_core::{Error, ErrorKind, Outcome, Result};
use tokio::sync::watch;

use crate::KafkaLogOptions;
use crate::client::{ClientHealth, Context, blocking, lock};
use crate::config::MAX_RECORD_BYTES;
use crate::error::{from_code, from_kafka, kafka_error, not_reached};
use crate::number::int32;
use crate::topic_monitor::TopicAdmin;

/// A required topic, and its last known state.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    partitions: u32,
    /// The configuration of a new topic that differs from the cluster's defaults.
    config: Vec<(&'static str, String)>,
    options: KafkaLogOptions,
    state: watch::Sender<TopicState>,
    /// The time and the result of the latest [`ping`](Self::ping).
    last_ping: tokio::sync::Mutex<Option<(Instant, Result<()>)>>,
    /// When the settings were last read.
    settings_read_at: Mutex<Option<Instant>>,
}

/// `None` before the first check. A topic that existed at the last check is not checked before each use; the error is of
/// one that was never available, or must not be used.
type TopicState = Option<Result<TopicDescription>>;

impl Topic {
    /// The topic of the log.
    pub(crate) fn for_log(options: &KafkaLogOptions) -> Self {
        let mut config = Vec::new();
        if options.infinite_retention {
            // Set explicitly, because the broker's defaults may differ.
            let forever = [
                ("cleanup.policy", "delete"),
                ("retention.ms", "-1"),
                ("retention.bytes", "-1"),
            ];
            config.extend(forever.map(|(name, value)| (name, value.to_owned())));
        }
        Self::new(
            options.topic.as_str().into(),
            options.partitions,
            options,
            config,
        )
    }

    /// The dead-letter topic of the log. It has one partition, because dead letters are few, and unlimited retention. A
    /// dead letter is larger than its record by some headers.
    pub(crate) fn for_dead_letters(options: &KafkaLogOptions) -> Self {
        let config = [
            ("max.message.bytes", MAX_RECORD_BYTES.to_string()),
            ("retention.ms", "-1".into()),
        ];
        Self::new(
            format!("{}.dlq", options.topic).into(),
            1,
            options,
            config.into(),
        )
    }

    fn new(
        name: Arc<str>,
        partitions: u32,
        options: &KafkaLogOptions,
        mut config: Vec<(&'static str, String)>,
    ) -> Self {
        // With three or more replicas, two must have a record before it is acknowledged.
        config.extend(
            (options.replication_factor >= Some(3)).then(|| ("min.insync.replicas", "2".into())),
        );
        let state = watch::Sender::new(None);
        Self {
            name,
            partitions,
            config,
            options: options.clone(),
            state,
            last_ping: Default::default(),
            settings_read_at: Mutex::default(),
        }
    }

    pub(crate) fn state(&self) -> TopicState {
        self.state.borrow().clone()
    }

    /// What is known of the topic, if it exists.
    pub(crate) fn known(&self) -> Option<TopicDescription> {
        self.state()?.ok()
    }

    /// The reason why the topic must not be used, if an operator has to change something first.
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.state()?.err().filter(|error| !error.is_retryable())
    }

    /// Returns how many brokers have a record at least when it is acknowledged, by the settings that were last read; `None`
    /// if they could not be read lately.
    pub(crate) fn guaranteed_replicas(&self) -> Option<u32> {
        let read_at = (*lock(&self.settings_read_at))?;
        if read_at.elapsed() > SETTINGS_VALIDITY {
            return None;
        }
        let found = self.known()?;
        // Brokers take the smaller one.
        u32::try_from(found.settings.min_in_sync?.min(found.replicas)).ok()
    }

    /// Waits until the topic exists, at most for the timeout of a publish. A check that failed is repeated, unless an
    /// operator has to act.
    pub(crate) async fn ready(&self) -> Result<()> {
        let is_final = |state: &TopicState| match state {
            Some(Err(error)) => !error.is_retryable() || is_missing(error),
            state => state.is_some(),
        };
        self.known_by(self.options.publish_timeout, is_final).await
    }

    /// Waits for the first check, at most for `timeout`. Returns an error unless the topic exists.
    pub(crate) async fn checked(&self, timeout: Duration) -> Result<()> {
        self.known_by(timeout, Option::is_some).await
    }

    /// Waits for a state that `is_final`, at most for `timeout`. Returns an error unless the topic exists.
    async fn known_by(
        &self,
        timeout: Duration,
        is_final: impl FnMut(&TopicState) -> bool,
    ) -> Result<()> {
        // After the time, the last state decides.
        let _elapsed = tokio::time::timeout(timeout, self.state.subscribe().wait_for(is_final))
            .await
            .is_err();
        self.state().unwrap_or_else(|| Err(not_reached())).map(drop)
    }

    /// Waits until the topic exists or is missing, at most for the timeout of a publish. Returns whether it exists.
    pub(crate) async fn exists(&self) -> Result<bool> {
        match self.ready().await {
            Err(error) if is_missing(&error) => Ok(false),
            ready => ready.map(|()| true),
        }
    }

    /// Checks that a broker serves the topic now. Requests are sequential: an unresponsive broker must not accumulate
    /// waiting threads.
    pub(crate) async fn ping(&self, admin: &TopicAdmin) -> Result<()> {
        let mut last = self.last_ping.lock().await;
        if let Some((at, result)) = &*last
            && at.elapsed() < PING_VALIDITY
        {
            return result.clone();
        }
        let admin = admin.clone();
        let name = Arc::clone(&self.name);
        let ping = move || check_served(&admin.observer, &admin.health, &name, PING_TIMEOUT);
        let result = blocking("metadata request", ping).await;
        *last = Some((Instant::now(), result.clone()));
        result
    }

    /// Checks whether the topic exists, creates it if it does not, and reads its settings. Blocks.
    pub(crate) fn refresh(&self, admin: &TopicAdmin) {
        match self.check(admin) {
            Ok(found) => {
                admin.health.clear();
                self.set(Ok(found));
            }
            Err(error) => {
                // Such as a rejected login, which explains why no broker has responded.
                admin.deliver_events();
                self.fail(admin.health.explain(error));
            }
        }
    }

    fn check(&self, admin: &TopicAdmin) -> Result<TopicDescription> {
        let existing = admin.describe(&self.name)?;
        let is_new = existing.is_none();
        if is_new {
            self.create(admin)?;
        }
        let mut found = existing.unwrap_or_default();
        let deadline = Instant::now() + LEADER_TIMEOUT;
        loop {
            let is_over = Instant::now() >= deadline;
            // The leaders of a new topic are elected shortly after its creation, and not every broker knows it yet.
            let has_leaders =
                !found.leaders.is_empty() && (found.leaderless.is_empty() || !is_new || is_over);
            let settings = if has_leaders {
                self.read_settings(admin, &found)
            } else {
                Err(from_code(RDKafkaErrorCode::LeaderNotAvailable))
            };
            match settings {
                Err(error) if error.is_retryable() && !is_over => {}
                Err(error) if error.is_retryable() && has_leaders => {
                    // The partitions with a leader serve, whatever their settings are.
                    let topic = &*self.name;
                    let error = error.chain();
                    tracing::warn!(kafka.topic = topic, %error, "the topic's settings cannot be read yet");
                    return Ok(found);
                }
                settings => {
                    return Ok(TopicDescription {
                        settings: settings?,
                        ..found
                    });
                }
            }
            drop(admin.observer.poll(LEADER_POLL_INTERVAL));
            found = admin.describe(&self.name)?.unwrap_or_default();
        }
    }

    /// Reads the settings of the topic. Keeps the known ones if the broker does not respond, and has none if the user
    /// may not read them. Blocks.
    ///
    /// # Errors
    /// [`Denied`](ErrorKind::Denied) if the topic is compacted; a retryable error if the broker does not respond and
    /// no settings are known.
    fn read_settings(&self, admin: &TopicAdmin, found: &TopicDescription) -> Result<TopicSettings> {
        let known = self.known().map(|known| known.settings);
        let config = match self.describe_settings(admin, &found.leaders) {
            Ok(config) => {
                *lock(&self.settings_read_at) = Some(Instant::now());
                config
            }
            Err(error) if error.is_retryable() => return known.ok_or(error),
            Err(error) => {
                if known.is_none() {
                    let topic = &*self.name;
                    let error = error.chain();
                    tracing::warn!(kafka.topic = topic, %error, "make sure that the topic's cleanup.policy, which cannot be read, is delete");
                }
                None
            }
        };
        let value = |name: &str| config.as_ref()?.get(name)?.value.as_deref();
        let policy = value("cleanup.policy").unwrap_or_default();
        if policy.contains("compact") && !self.options.foreign {
            let message = format!(
                "the topic {} has cleanup.policy={policy}, which deletes all but the last record of a user: \
                 set cleanup.policy=delete",
                self.name
            );
            return Err(kafka_error(ErrorKind::Denied, message));
        }
        let max_message_bytes = value("max.message.bytes").and_then(|bytes| bytes.parse().ok());
        if let Some(bytes) = max_message_bytes {
            admin.health.batch_limit.note_topic(&self.name, bytes);
        }
        Ok(TopicSettings {
            are_read: true,
            elects_uncleanly: value("unclean.leader.election.enable") == Some("true"),
            min_in_sync: value("min.insync.replicas").and_then(|least| least.parse().ok()),
            // -1 is no limit.
            retention: value("retention.ms")
                .and_then(|millis| millis.parse().ok())
                .map(Duration::from_millis),
        })
    }

    /// Returns the settings of the topic, by one of its leaders. Each broker has them; by default, librdkafka would wait
    /// for the controller. Blocks.
    fn describe_settings(
        &self,
        admin: &TopicAdmin,
        leaders: &BTreeSet<i32>,
    ) -> Result<Option<ConfigResource>> {
        let topic = ResourceSpecifier::Topic(&self.name);
        let mut last_error = from_code(RDKafkaErrorCode::LeaderNotAvailable);
        for leader in leaders {
            let described = admin.request(|client, options| {
                client.describe_configs([&topic], &options.broker_id(*leader))
            });
            let resource = described.and_then(|resources| {
                let resource = resources.into_iter().next();
                resource.transpose().map_err(from_code)
            });
            match resource {
                Err(error) if error.is_retryable() => last_error = error,
                resource => return resource,
            }
        }
        Err(last_error)
    }

    /// A topic that has existed stays ready if a check fails: the error of its next use is more specific than
    /// "unavailable".
    fn fail(&self, error: Error) {
        if self.known().is_some() && error.is_retryable() {
            tracing::debug!(kafka.topic = %self.name, %error, "topic check failed");
            return;
        }
        let error = error
            .with_outcome(Outcome::NotApplied)
            .with_context("topic", &self.name);
        self.set(Err(error));
    }

    fn set(&self, found: Result<TopicDescription>) {
        self.state.send_if_modified(|known| {
            let is_changed = match (&*known, &found) {
                (Some(Ok(old)), Ok(new)) => old != new,
                (Some(Err(old)), Err(new)) => old.to_string() != new.to_string(),
                _ => true,
            };
            if is_changed {
                self.report(&found);
                *known = Some(found);
            }
            is_changed
        });
    }

    fn report(&self, found: &Result<TopicDescription>) {
        let topic = &*self.name;
        let TopicDescription {
            replicas,
            leaderless,
            settings,
            ..
        } = match found {
            Ok(found) => found,
            Err(error) if error.is_retryable() => {
                return tracing::warn!(kafka.topic = topic, error = %error.chain(), "topic unavailable");
            }
            Err(error) => {
                return tracing::error!(kafka.topic = topic, error = %error.chain(), "topic refused");
            }
        };
        let min_in_sync = settings.min_in_sync;
        tracing::info!(kafka.topic = topic, replicas, min_in_sync, "topic ready");
        if min_in_sync > Some(*replicas) {
            tracing::warn!(
                kafka.topic = topic,
                "min.insync.replicas is above the replicas"
            );
        }
        let expected = self.options.replication_factor;
        if let Some(expected) = expected.filter(|expected| *replicas < *expected as usize) {
            tracing::warn!(
                kafka.topic = topic,
                expected,
                replicas,
                "topic has fewer replicas than SHOP_KAFKA_REPLICAS: reassign its partitions with more replicas"
            );
        }
        for weakness in found.iter().flat_map(TopicDescription::weak_settings) {
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

    fn create(&self, admin: &TopicAdmin) -> Result<()> {
        let is_foreign = self.options.foreign && *self.name == *self.options.topic;
        if !self.options.create_topics || is_foreign || self.options.oauth.is_some() {
            return Err(self.missing());
        }
        // -1 selects the cluster's default.
        let replication =
            TopicReplication::Fixed(self.options.replication_factor.map_or(-1, int32));
        let mut topic = NewTopic::new(&self.name, int32(self.partitions), replication);
        for (name, value) in &self.config {
            topic = topic.set(name, value);
        }
        let created = admin.request(|client, options| client.create_topics([&topic], &options))?;
        for topic in created {
            match topic {
                Ok(_) => {
                    tracing::info!(kafka.topic = %self.name, partitions = self.partitions, "topic created");
                }
                // Created concurrently by another client.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(self.creation_error(code)),
            }
        }
        Ok(())
    }

    fn missing(&self) -> Error {
        let reason = if self.options.oauth.is_some() {
            "OAUTHBEARER"
        } else {
            "SHOP_KAFKA_CREATE_TOPICS"
        };
        let message = format!(
            "the topic {} is missing, and is not created here ({reason}): create it with {} partitions",
            self.name, self.partitions
        );
        kafka_error(ErrorKind::Unavailable, message).with_source(MISSING)
    }

    fn creation_error(&self, code: RDKafkaErrorCode) -> Error {
        let error = from_code(code);
        if error.is_retryable() {
            return error;
        }
        let message = format!(
            "the topic {} is missing and could not be created: create it with {} partitions, or grant CREATE on it",
            self.name, self.partitions
        );
        let kind = if error.kind() == ErrorKind::Invalid {
            error.kind()
        } else {
            ErrorKind::Denied
        };
        kafka_error(kind, message).with_source(error)
    }
}

/// What the brokers say of an existing topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TopicDescription {
    /// Partitions without a leader. They accept no records; the others do.
    pub(crate) leaderless: Vec<i32>,
    /// The smallest number of replicas of a partition.
    replicas: usize,
    /// The leaders of the partitions that have one: a new topic may be listed without partitions.
    leaders: BTreeSet<i32>,
    pub(crate) settings: TopicSettings,
}

/// The settings of a topic, as far as they can be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TopicSettings {
    /// Whether a broker has answered, also with a refusal.
    are_read: bool,
    min_in_sync: Option<usize>,
    /// Whether a replica that lacks acknowledged records may become the leader.
    elects_uncleanly: bool,
    pub(crate) retention: Option<Duration>,
}

impl TopicDescription {
    /// Whether every partition has a leader, and the settings were read.
    pub(crate) fn is_complete(&self) -> bool {
        self.leaderless.is_empty() && self.settings.are_read
    }

    /// Returns the settings with which acknowledged records can be lost, each with what to set instead.
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

    /// The topic of this name without its settings; `None` if it is missing.
    pub(crate) fn find(metadata: &Metadata, name: &str) -> Result<Option<Self>> {
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
        let replicas = partitions
            .iter()
            .map(|partition| partition.replicas().len())
            .min();
        let (leaderless, led): (Vec<_>, Vec<_>) = partitions
            .iter()
            .partition(|partition| partition.leader() < 0);
        Ok(Some(Self {
            leaderless: leaderless.into_iter().map(MetadataPartition::id).collect(),
            leaders: led.iter().map(|partition| partition.leader()).collect(),
            replicas: replicas.unwrap_or_default(),
            settings: TopicSettings::default(),
        }))
    }
}

/// The source of the error for a missing topic that is not created here.
const MISSING: RDKafkaErrorCode = RDKafkaErrorCode::UnknownTopicOrPartition;

fn is_missing(error: &Error) -> bool {
    let source = std::error::Error::source(error);
    source.and_then(|source| source.downcast_ref()) == Some(&MISSING)
}

/// The maximum time to wait for the leaders of a new topic.
const LEADER_TIMEOUT: Duration = Duration::from_secs(4);
const LEADER_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long the settings of a topic count after they were read: until the next read, and the time that it takes.
const SETTINGS_VALIDITY: Duration = Duration::from_secs(15);
/// How long the result of a ping is reused.
const PING_VALIDITY: Duration = Duration::from_secs(1);
/// The timeout of a ping's metadata request.
const PING_TIMEOUT: Duration = Duration::from_millis(1_500);

/// Checks that the brokers respond to `consumer` and that a partition of `topic` has a leader. Blocks.
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
    health.clear();
    match TopicDescription::find(&metadata, topic)? {
        Some(found) if !found.leaders.is_empty() => Ok(()),
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
        topic.fail(kafka_error(ErrorKind::Denied, "compacted"));
        while !next()
            .await
            .is_err_and(|error| error.kind() == ErrorKind::Denied)
        {}
        topic.set(accepted.unwrap());
        append().await;
        while !matches!(next().await, Ok(SourceEvent::Batch(_))) {}
    }

    #[tokio::test]
    async fn a_failed_check_is_repeated_unless_an_operator_has_to_act() {
        let options = KafkaLogOptions::new("127.0.0.1:1").publish_timeout(Duration::ZERO);
        let mut topic = Topic::new("purchases".into(), 1, &options, Vec::new());
        let patience = Duration::from_secs(3_600);
        topic.fail(kafka_error(ErrorKind::Unavailable, "no response"));
        assert!(topic.checked(patience).await.is_err() && topic.ready().await.is_err());
        topic.options.publish_timeout = patience;
        let later = async { topic.set(Ok(TopicDescription::default())) };
        tokio::join!(topic.ready(), later).0.unwrap();
        for error in [topic.missing(), kafka_error(ErrorKind::Denied, "compacted")] {
            topic.set(Err(error));
            topic.ready().await.unwrap_err();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_topic_is_not_created_without_its_settings() {
        let Some(fixture) = KafkaFixture::on_test_server().await else {
            return;
        };
        let log = &fixture.log().shared;
        let (name, unknown) = (
            format!("{}.required", log.topic.name),
            ("no.such.setting", "1".to_owned()),
        );
        let options = log.options.clone().publish_timeout(Duration::from_secs(30));
        let topic = Arc::new(Topic::new(name.into(), 1, &options, vec![unknown]));
        log.monitor.add(Arc::clone(&topic));
        let error = topic.ready().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}
