//! Checks whether a topic exists, and creates it if it does not.

mod settings;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataPartition, MetadataTopic};
use shop_core::{Error, ErrorKind, Outcome, Result};
use tokio::sync::watch;

use crate::client::{Context, Health};
use crate::config::MAX_RECORD_BYTES;
use crate::error::{from_code, from_kafka, kafka_error, not_reached};
use crate::thread::close_in_background;
use crate::{KafkaLogOptions, SaslMechanism};
use settings::Settings;

/// A client for metadata requests.
pub(crate) type Observer = BaseConsumer<Context<()>>;

impl rdkafka::consumer::ConsumerContext for Context<()> {}

/// Describes and creates topics.
#[derive(Clone)]
pub(crate) struct TopicAdmin {
    pub(crate) observer: Arc<Observer>,
    pub(crate) config: ClientConfig,
    pub(crate) health: Arc<Health>,
    pub(crate) cluster: Arc<OnceLock<Arc<str>>>,
}

impl TopicAdmin {
    /// Delivers the log lines and errors of the client, which reads no records. Blocks for 20 ms.
    pub(crate) fn deliver_events(&self) {
        drop(self.observer.poll(Duration::from_millis(20)));
    }

    /// Stores the cluster's id, which is part of every metadata response.
    fn learn_cluster(&self) {
        if self.cluster.get().is_none()
            && let Some(id) = self.observer.client().fetch_cluster_id(REQUEST_TIMEOUT)
        {
            self.cluster.get_or_init(|| id.into());
        }
    }

    /// Runs an administrative request. Blocks.
    fn request<T, F>(&self, request: impl FnOnce(&AdminClient<Context<()>>, AdminOptions) -> F) -> Result<T>
    where
        F: Future<Output = KafkaResult<T>>,
    {
        if self.config.get("sasl.mechanism") == Some(SaslMechanism::OauthBearer.as_str()) {
            // Nothing polls an administrative client, so it never gets a token.
            let message = "administrative requests are not possible with OAUTHBEARER";
            return Err(kafka_error(ErrorKind::Unsupported, message));
        }
        let context = Context::new(Arc::clone(&self.health), None, ());
        let admin = AdminClient::from_config_and_context(&self.config, context).map_err(from_kafka)?;
        let options = AdminOptions::new()
            .request_timeout(Some(REQUEST_TIMEOUT))
            .operation_timeout(Some(REQUEST_TIMEOUT));
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| {
            Error::new(ErrorKind::Unavailable, "failed to start a runtime").with_source(error)
        })?;
        let response = runtime.block_on(request(&admin, options)).map_err(from_kafka);
        // Closing the client blocks: not on the caller's thread.
        close_in_background(admin, |_| {});
        response
    }
}

/// A required topic, and its last known state.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    partitions: i32,
    replication_factor: Option<u32>,
    /// Whether a missing topic is created. With OAUTHBEARER that is not possible.
    create: bool,
    /// The reason why it is not.
    not_created: &'static str,
    /// The configuration of a new topic that differs from the cluster's defaults.
    config: TopicConfig,
    state: watch::Sender<State>,
    settings: Settings,
}

#[derive(Debug, Clone)]
pub(crate) enum State {
    /// Not checked yet.
    Unknown,
    /// The topic existed at the last check. It is not checked before each use.
    Ready(Partitions),
    /// The topic has never been available, or must not be used.
    Failed(Error),
}

impl Topic {
    /// The topic of the log.
    pub(crate) fn for_log(options: &KafkaLogOptions) -> Self {
        // Set explicitly, because the broker's defaults may differ.
        let forever = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")];
        let forever = forever.map(|(name, value)| (name, value.into()));
        let kept = if options.infinite_retention { forever.to_vec() } else { Vec::new() };
        let config = TopicConfig::Required(in_sync(options).into_iter().chain(kept).collect());
        Self::new(options.topic.as_str().into(), options.partitions, options, config)
    }

    /// The dead-letter topic of the log. It has one partition, because dead letters are few, and unlimited retention. A
    /// dead letter is larger than its record by some headers.
    pub(crate) fn for_dead_letters(options: &KafkaLogOptions) -> Self {
        let kept = [("max.message.bytes", MAX_RECORD_BYTES.to_string()), ("retention.ms", "-1".into())];
        let config = TopicConfig::Preferred(in_sync(options).into_iter().chain(kept).collect());
        Self::new(format!("{}.dlq", options.topic).into(), 1, options, config)
    }

    fn new(name: Arc<str>, partitions: u32, options: &KafkaLogOptions, config: TopicConfig) -> Self {
        let replication_factor = options.replication_factor;
        let create = options.create_topics && options.oauth.is_none();
        let not_created = if options.oauth.is_some() { "OAUTHBEARER" } else { "KAFKA_CREATE_TOPICS" };
        let state = watch::Sender::new(State::Unknown);
        Self {
            name,
            partitions: number(partitions),
            replication_factor,
            create,
            not_created,
            settings: Settings::default(),
            config,
            state,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// The reason why the topic must not be used, if an operator has to change something first.
    pub(crate) fn refusal(&self) -> Option<Error> {
        match &*self.state.borrow() {
            State::Failed(error) if !error.is_retryable() => Some(error.clone()),
            _ => None,
        }
    }

    /// Whether receipts are issued for records of this topic.
    pub(crate) const fn has_receipts(&self) -> bool {
        matches!(self.config, TopicConfig::Required(_))
    }

    /// Waits for the first check, at most for `timeout`. Returns an error unless the topic exists.
    pub(crate) async fn ready(&self, timeout: Duration) -> Result<()> {
        let mut state = self.state.subscribe();
        let checked = state.wait_for(|state| !matches!(state, State::Unknown));
        match tokio::time::timeout(timeout, checked).await {
            Ok(Ok(state)) => match &*state {
                State::Failed(error) => Err(error.clone()),
                State::Unknown | State::Ready(_) => Ok(()),
            },
            // The sender is a field of `self`, so the channel cannot be closed.
            Ok(Err(_)) | Err(_) => Err(not_reached()),
        }
    }

    /// Waits for the first check, at most for `timeout`. Returns whether the topic exists.
    pub(crate) async fn exists(&self, timeout: Duration) -> Result<bool> {
        let is_missing = |error: &Error| {
            let source = std::error::Error::source(error);
            source.and_then(|source| source.downcast_ref()) == Some(&MISSING)
        };
        match self.ready(timeout).await {
            Ok(()) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Checks whether the topic exists, and creates it if it does not. Reads its settings before the first record is
    /// acknowledged. Blocks.
    pub(crate) fn ensure(&self, admin: &TopicAdmin) {
        let result = self.describe(admin).and_then(|found| match found {
            Some(partitions) if partitions.some_have_leaders() => Ok(partitions),
            Some(_) => self.wait_for_leaders(admin),
            None if !self.create => Err(self.missing()),
            None => self.create(admin).and_then(|()| self.wait_for_leaders(admin)),
        });
        match result.and_then(|partitions| self.approve(admin, partitions)) {
            Ok(partitions) => {
                admin.health.clear();
                self.set(State::Ready(partitions));
            }
            Err(error) => {
                // Such as a rejected login, which explains why no broker has responded.
                admin.deliver_events();
                self.fail(admin.health.explain(error));
            }
        }
    }

    /// Reads the settings before the first use. A new topic may not be known to every broker yet.
    fn approve(&self, admin: &TopicAdmin, partitions: Partitions) -> Result<Partitions> {
        let deadline = Instant::now() + LEADER_TIMEOUT;
        while self.has_receipts() && !self.is_approved() {
            match self.read_settings(admin, &partitions) {
                Err(error) if error.is_retryable() && Instant::now() < deadline => {
                    drop(admin.observer.poll(LEADER_POLL_INTERVAL));
                }
                read => read?,
            }
        }
        Ok(partitions)
    }

    /// A topic that has existed stays ready if a check fails: the error of its next use is more specific than
    /// "unavailable".
    fn fail(&self, error: Error) {
        let was_ready = matches!(*self.state.borrow(), State::Ready(_));
        if was_ready && error.is_retryable() {
            tracing::debug!(kafka.topic = %self.name, %error, "topic check failed");
            return;
        }
        let error = error.with_outcome(Outcome::NotApplied).with_context("topic", &self.name);
        self.set(State::Failed(error));
    }

    fn set(&self, state: State) {
        self.state.send_if_modified(|known| {
            let is_changed = match (&*known, &state) {
                (State::Ready(old), State::Ready(new)) => {
                    (old.replicas, &old.leaderless) != (new.replicas, &new.leaderless)
                }
                (State::Failed(old), State::Failed(new)) => old.to_string() != new.to_string(),
                _ => true,
            };
            if is_changed {
                self.report(&state);
                *known = state;
            }
            is_changed
        });
    }

    /// Waits for the leaders of a new topic, which are elected shortly after its creation. At the deadline, one leader
    /// is enough.
    fn wait_for_leaders(&self, admin: &TopicAdmin) -> Result<Partitions> {
        let deadline = Instant::now() + LEADER_TIMEOUT;
        loop {
            let found = self.describe(admin)?;
            let is_over = Instant::now() >= deadline;
            match found {
                Some(partitions) if partitions.all_have_leaders() => return Ok(partitions),
                Some(partitions) if is_over && partitions.some_have_leaders() => return Ok(partitions),
                _ if is_over => return Err(from_code(RDKafkaErrorCode::LeaderNotAvailable)),
                _ => drop(admin.observer.poll(LEADER_POLL_INTERVAL)),
            }
        }
    }

    fn report(&self, state: &State) {
        let topic = &*self.name;
        let Partitions { replicas, leaderless, .. } = match state {
            State::Unknown => return,
            State::Ready(partitions) => partitions,
            State::Failed(error) if error.is_retryable() => {
                tracing::warn!(kafka.topic = topic, error = %error.chain(), "topic unavailable");
                return;
            }
            State::Failed(error) => {
                tracing::error!(kafka.topic = topic, error = %error.chain(), "topic refused");
                return;
            }
        };
        tracing::info!(kafka.topic = topic, replicas, "topic ready");
        if let Some(expected) = self.replication_factor.filter(|expected| *replicas < *expected as usize) {
            tracing::warn!(
                kafka.topic = topic,
                expected,
                replicas,
                "topic has fewer replicas than KAFKA_REPLICAS: reassign its partitions with more replicas"
            );
        }
        if !leaderless.is_empty() {
            tracing::warn!(
                kafka.topic = topic,
                partitions = ?leaderless,
                "partitions without a leader: their records are rejected until one is elected"
            );
        }
    }

    fn describe(&self, admin: &TopicAdmin) -> Result<Option<Partitions>> {
        let metadata =
            admin.observer.fetch_metadata(Some(&self.name), REQUEST_TIMEOUT).map_err(from_kafka)?;
        admin.learn_cluster();
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == &*self.name) else {
            return Ok(None);
        };
        match topic.error().map(RDKafkaErrorCode::from) {
            None => Ok(Some(Partitions::from_metadata(topic))),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
            Some(RDKafkaErrorCode::LeaderNotAvailable) => Ok(Some(Partitions::default())),
            Some(code) => Err(from_code(code)),
        }
    }

    fn create(&self, admin: &TopicAdmin) -> Result<()> {
        let (TopicConfig::Required(settings) | TopicConfig::Preferred(settings)) = &self.config;
        let Some(code) = self.request_creation(admin, settings)? else { return Ok(()) };
        let is_config_rejected =
            matches!(code, RDKafkaErrorCode::PolicyViolation | RDKafkaErrorCode::InvalidConfig);
        if !is_config_rejected || matches!(self.config, TopicConfig::Required(_)) {
            return Err(self.creation_error(code));
        }
        tracing::warn!(
            kafka.topic = %self.name,
            %code,
            ?settings,
            "the cluster rejected settings, creating the topic without them"
        );
        self.request_creation(admin, &[])?.map_or(Ok(()), |code| Err(self.creation_error(code)))
    }

    /// Creates the topic. Returns the code with which the cluster rejected it, if it did.
    fn request_creation(
        &self,
        admin: &TopicAdmin,
        settings: &[(&'static str, String)],
    ) -> Result<Option<RDKafkaErrorCode>> {
        // -1 selects the cluster's default.
        let replication = TopicReplication::Fixed(self.replication_factor.map_or(-1, number));
        let topic = NewTopic::new(&self.name, self.partitions, replication);
        let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
        let created = admin.request(|client, options| client.create_topics([&topic], &options))?;
        for topic in created {
            match topic {
                Ok(_) => {
                    tracing::info!(kafka.topic = %self.name, partitions = self.partitions, "topic created");
                }
                // Created concurrently by another client.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Ok(Some(code)),
            }
        }
        Ok(None)
    }

    fn missing(&self) -> Error {
        let message = format!(
            "the topic {} is missing, and is not created here ({}): create it with {} partitions",
            self.name, self.not_created, self.partitions
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
        let kind = if error.kind() == ErrorKind::Invalid { error.kind() } else { ErrorKind::Denied };
        kafka_error(kind, message).with_source(error)
    }
}

fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// With three or more replicas, two must have a record before it is acknowledged.
fn in_sync(options: &KafkaLogOptions) -> Option<(&'static str, String)> {
    (options.replication_factor >= Some(3)).then(|| ("min.insync.replicas", "2".into()))
}

/// The configuration of a new topic.
#[derive(Debug)]
enum TopicConfig {
    /// The topic is not created without these settings.
    Required(Vec<(&'static str, String)>),
    /// The topic is created without these settings if the cluster's policy rejects them.
    Preferred(Vec<(&'static str, String)>),
}

/// The partitions of an existing topic.
#[derive(Debug, Clone, Default)]
pub(crate) struct Partitions {
    count: usize,
    /// Partitions without a leader. They accept no records; the others do.
    leaderless: Vec<i32>,
    /// The smallest number of replicas of a partition.
    replicas: usize,
    /// The leader of a partition.
    leader: Option<i32>,
}

impl Partitions {
    fn from_metadata(topic: &MetadataTopic) -> Self {
        let partitions = topic.partitions();
        let replicas = partitions.iter().map(|partition| partition.replicas().len()).min();
        let (leaderless, led): (Vec<_>, Vec<_>) =
            partitions.iter().partition(|partition| partition.leader() < 0);
        Self {
            count: partitions.len(),
            leaderless: leaderless.into_iter().map(MetadataPartition::id).collect(),
            leader: led.first().map(|partition| partition.leader()),
            replicas: replicas.unwrap_or_default(),
        }
    }

    /// Whether no partition lacks a leader.
    pub(crate) fn has_all_leaders(&self) -> bool {
        self.leaderless.is_empty()
    }

    /// Like [`has_all_leaders`](Self::has_all_leaders), but false for a new topic that is listed without partitions.
    fn all_have_leaders(&self) -> bool {
        self.count > 0 && self.has_all_leaders()
    }

    fn some_have_leaders(&self) -> bool {
        self.leaderless.len() < self.count
    }
}

/// The source of the error for a missing topic that is not created here.
const MISSING: RDKafkaErrorCode = RDKafkaErrorCode::UnknownTopicOrPartition;
/// The maximum time to wait for the leaders of a new topic.
const LEADER_TIMEOUT: Duration = Duration::from_secs(4);
const LEADER_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The timeout of a metadata or administrative request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Returns the error code of `topic` in `metadata`, or the code for a topic without leaders.
pub(crate) fn topic_error(metadata: &Metadata, topic: &str) -> Option<RDKafkaErrorCode> {
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return Some(RDKafkaErrorCode::UnknownTopic);
    };
    let leaderless = || {
        (!Partitions::from_metadata(found).some_have_leaders())
            .then_some(RDKafkaErrorCode::LeaderNotAvailable)
    };
    found.error().map(RDKafkaErrorCode::from).or_else(leaderless)
}

#[cfg(test)]
mod tests {
    use shop_core::Timestamp;
    use shop_core::log::{LogRecord, LogSource as _, SourceEvent};

    use super::*;
    use crate::fixture::KafkaFixture;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_topic_that_is_refused_later_is_not_read_until_it_is_accepted() {
        let fixture = KafkaFixture::in_process().await;
        let append = async || fixture.log().append(LogRecord::new(0, Timestamp::MIN, None)).await.unwrap();
        append().await;
        let source = fixture.log().source("group").unwrap();
        let next = async || tokio::time::timeout(Duration::from_secs(60), source.next()).await.unwrap();
        assert!(matches!(next().await, Ok(SourceEvent::Batch(_))));
        let topic = &fixture.log().shared.topic;
        let accepted = topic.state();
        topic.fail(kafka_error(ErrorKind::Denied, "compacted"));
        while !next().await.is_err_and(|error| error.kind() == ErrorKind::Denied) {}
        topic.set(accepted);
        append().await;
        while !matches!(next().await, Ok(SourceEvent::Batch(_))) {}
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn create_drops_preferred_settings_but_not_required_ones() {
        let Some(fixture) = KafkaFixture::on_test_server().await else { return };
        let log = &fixture.log().shared;
        let unknown = || vec![("no.such.setting", "1".to_owned())];
        let topic = |suffix: &str, config| {
            let topic =
                Arc::new(Topic::new(format!("{}.{suffix}", log.topic.name).into(), 1, &log.options, config));
            log.monitor.add(Arc::clone(&topic));
            topic
        };
        let (preferred, required) = (
            topic("preferred", TopicConfig::Preferred(unknown())),
            topic("required", TopicConfig::Required(unknown())),
        );
        preferred.ready(Duration::from_secs(30)).await.unwrap();
        let error = required.ready(Duration::from_secs(30)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}
