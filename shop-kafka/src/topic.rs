//! A topic: whether it is there, and how it is made if it is not.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::{Metadata, MetadataPartition, MetadataTopic};
use shop_core::{Error, ErrorKind, Outcome, Result};
use tokio::sync::watch;

use crate::KafkaLogOptions;
use crate::client::{Context, Health};
use crate::config::MAX_RECORD_BYTES;
use crate::error::{from_code, from_kafka, kafka_error, not_reached};
use crate::thread::close_in_background;

/// A client that only asks.
pub(crate) type Observer = BaseConsumer<Context<()>>;

impl rdkafka::consumer::ConsumerContext for Context<()> {}

/// What it takes to ask about topics, and to create them.
#[derive(Clone)]
pub(crate) struct TopicAdmin {
    pub(crate) observer: Arc<Observer>,
    pub(crate) config: ClientConfig,
    pub(crate) health: Arc<Health>,
    pub(crate) cluster: Arc<OnceLock<Arc<str>>>,
}

impl TopicAdmin {
    /// Takes note of the cluster's id, which came along with the answer to another question.
    fn learn_cluster(&self) {
        if self.cluster.get().is_none()
            && let Some(id) = self.observer.client().fetch_cluster_id(REQUEST)
        {
            self.cluster.get_or_init(|| id.into());
        }
    }

    /// The answer to a question to the cluster's administration. Blocks.
    fn administer<T, F>(
        &self,
        question: impl FnOnce(&AdminClient<Context<()>>, &AdminOptions) -> F,
    ) -> Result<T>
    where
        F: Future<Output = KafkaResult<T>>,
    {
        let context = Context::new(Arc::clone(&self.health), None, ());
        let admin = AdminClient::from_config_and_context(&self.config, context).map_err(from_kafka)?;
        let options = AdminOptions::new().request_timeout(Some(REQUEST)).operation_timeout(Some(REQUEST));
        let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| {
            Error::new(ErrorKind::Unavailable, "no runtime could be started").with_source(error)
        })?;
        let answer = runtime.block_on(question(&admin, &options)).map_err(from_kafka);
        // The caller does not wait until the client is closed.
        close_in_background(admin, |_| {});
        answer
    }
}

/// A topic that is needed.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    partitions: i32,
    replicas: Option<u32>,
    /// Whether it is created if it is missing.
    create: bool,
    /// What a new topic is created with, beside the cluster's defaults.
    settings: TopicConfig,
    state: watch::Sender<State>,
    /// Its `min.insync.replicas`; 0 while that is not known.
    min_in_sync: AtomicU32,
}

#[derive(Debug, Clone)]
pub(crate) enum State {
    /// Nobody has been asked yet.
    Unknown,
    /// It was there when last asked; it is not asked before each use.
    Ready(Partitions),
    /// It has not been there so far.
    Failed(Error),
}

impl Topic {
    /// The log itself.
    pub(crate) fn for_log(options: &KafkaLogOptions) -> Self {
        // Whatever the broker's defaults are.
        let forever = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")];
        let forever = forever.map(|(name, value)| (name, value.into()));
        let kept = if options.infinite_retention { forever.to_vec() } else { Vec::new() };
        let settings = TopicConfig::Required(in_sync(options).into_iter().chain(kept).collect());
        Self::new(options.topic.as_str().into(), options.partitions, options, settings)
    }

    /// The dead letters of the log: one partition, as they are few. Each is larger than its record by some
    /// headers, and stays until somebody has looked at it.
    pub(crate) fn for_dead_letters(options: &KafkaLogOptions) -> Self {
        let kept = [("max.message.bytes", MAX_RECORD_BYTES.to_string()), ("retention.ms", "-1".into())];
        let settings = TopicConfig::Preferred(in_sync(options).into_iter().chain(kept).collect());
        Self::new(format!("{}.dlq", options.topic).into(), 1, options, settings)
    }

    fn new(name: Arc<str>, partitions: u32, options: &KafkaLogOptions, settings: TopicConfig) -> Self {
        let (replicas, create) = (options.replication_factor, options.create_topics);
        let state = watch::Sender::new(State::Unknown);
        let min_in_sync = AtomicU32::new(0);
        Self { name, partitions: number(partitions), replicas, create, settings, state, min_in_sync }
    }

    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// How many brokers acknowledge a record at least, if that is known.
    pub(crate) fn min_in_sync(&self) -> Option<u32> {
        Some(self.min_in_sync.load(Ordering::Relaxed)).filter(|known| *known > 0)
    }

    /// Whether receipts are made out for what it takes.
    pub(crate) const fn is_promised(&self) -> bool {
        matches!(self.settings, TopicConfig::Required(_))
    }

    /// Whether the topic is there; waits for the first answer, at most for `time`.
    pub(crate) async fn ready(&self, time: Duration) -> Result<()> {
        let mut state = self.state.subscribe();
        let answered = state.wait_for(|state| !matches!(state, State::Unknown));
        match tokio::time::timeout(time, answered).await {
            Ok(Ok(state)) => match &*state {
                State::Failed(error) => Err(error.clone()),
                State::Unknown | State::Ready(_) => Ok(()),
            },
            // The sender lives as long as `self`, so this is a matter of time only.
            Ok(Err(_)) | Err(_) => Err(not_reached()),
        }
    }

    /// Whether the topic is there, though it may not be created; waits for the answer, at most for `time`.
    pub(crate) async fn exists(&self, time: Duration) -> Result<bool> {
        let is_missing = |error: &Error| {
            let source = std::error::Error::source(error);
            source.and_then(|source| source.downcast_ref()) == Some(&MISSING)
        };
        match self.ready(time).await {
            Ok(()) => Ok(true),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Looks whether the topic is there, and creates it if it is not. Blocks.
    pub(crate) fn ensure(&self, admin: &TopicAdmin) {
        let found = self.describe(admin).and_then(|found| match found {
            Some(partitions) if partitions.some_are_led() => Ok(partitions),
            Some(_) => self.wait_for_leaders(admin),
            None if !self.create => Err(self.missing()),
            None => self.create(admin).and_then(|()| self.wait_for_leaders(admin)),
        });
        match found {
            Ok(partitions) => {
                admin.health.works();
                self.set(State::Ready(partitions));
            }
            Err(error) => self.fail(admin.health.explain(error)),
        }
    }

    /// A topic that was there once and cannot be asked for now is taken to be there still: whoever uses it
    /// learns more than that Kafka is away.
    fn fail(&self, error: Error) {
        let was_ready = matches!(*self.state.borrow(), State::Ready(_));
        if was_ready && error.is_transient() {
            tracing::debug!(kafka.topic = %self.name, %error, "the topic cannot be looked at now");
            return;
        }
        let error = error.with_outcome(Outcome::NotApplied).with_context("topic", &self.name);
        self.set(State::Failed(error));
    }

    fn set(&self, state: State) {
        self.state.send_if_modified(|known| {
            let news = match (&*known, &state) {
                (State::Ready(old), State::Ready(new)) => {
                    (old.copies, &old.leaderless) != (new.copies, &new.leaderless)
                }
                (State::Failed(old), State::Failed(new)) => old.to_string() != new.to_string(),
                _ => true,
            };
            if news {
                self.report(&state);
                *known = state;
            }
            news
        });
    }

    /// A topic that was created just now gets its leaders a moment later. One of them is enough in the end.
    fn wait_for_leaders(&self, admin: &TopicAdmin) -> Result<Partitions> {
        let until = Instant::now() + LEADERS;
        loop {
            let found = self.describe(admin)?;
            let is_over = Instant::now() >= until;
            match found {
                Some(partitions) if partitions.are_all_led() => return Ok(partitions),
                Some(partitions) if is_over && partitions.some_are_led() => return Ok(partitions),
                _ if is_over => return Err(from_code(RDKafkaErrorCode::LeaderNotAvailable)),
                _ => drop(admin.observer.poll(BETWEEN_LOOKS)),
            }
        }
    }

    fn report(&self, state: &State) {
        let topic = &*self.name;
        let Partitions { copies, leaderless, .. } = match state {
            State::Unknown => return,
            State::Ready(partitions) => partitions,
            State::Failed(error) => {
                tracing::warn!(kafka.topic = topic, error = %error.chain(), "the topic cannot be used");
                return;
            }
        };
        tracing::info!(kafka.topic = topic, copies, "the topic is there");
        if let Some(wanted) = self.replicas.filter(|wanted| *copies < *wanted as usize) {
            tracing::warn!(
                kafka.topic = topic,
                wanted,
                found = copies,
                "the topic has fewer copies than KAFKA_REPLICAS: add replicas to its partitions"
            );
        }
        if !leaderless.is_empty() {
            tracing::warn!(
                kafka.topic = topic,
                partitions = ?leaderless,
                "no broker leads these partitions: what belongs there is refused until one does"
            );
        }
    }

    fn describe(&self, admin: &TopicAdmin) -> Result<Option<Partitions>> {
        let metadata = admin.observer.fetch_metadata(Some(&self.name), REQUEST).map_err(from_kafka)?;
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
        let (TopicConfig::Required(settings) | TopicConfig::Preferred(settings)) = &self.settings;
        let Some(code) = self.request_creation(admin, settings)? else { return Ok(()) };
        let is_about_settings =
            matches!(code, RDKafkaErrorCode::PolicyViolation | RDKafkaErrorCode::InvalidConfig);
        if !is_about_settings || matches!(self.settings, TopicConfig::Required(_)) {
            return Err(self.refused(code));
        }
        tracing::warn!(kafka.topic = %self.name, %code, ?settings, "the topic is created without settings, which the cluster refuses");
        self.request_creation(admin, &[])?.map_or(Ok(()), |code| Err(self.refused(code)))
    }

    /// Asks for the topic to be created; answers why the cluster refuses.
    fn request_creation(
        &self,
        admin: &TopicAdmin,
        settings: &[(&'static str, String)],
    ) -> Result<Option<RDKafkaErrorCode>> {
        // -1 stands for the cluster's default.
        let replication = TopicReplication::Fixed(self.replicas.map_or(-1, number));
        let topic = NewTopic::new(&self.name, self.partitions, replication);
        let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
        let created = admin.administer(|client, options| client.create_topics([&topic], options))?;
        for topic in created {
            match topic {
                Ok(_) => {
                    tracing::info!(kafka.topic = %self.name, partitions = self.partitions, "created a topic");
                }
                // Somebody else was faster.
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Ok(Some(code)),
            }
        }
        Ok(None)
    }

    /// Reads `min.insync.replicas`. Without an answer what was known stays; without the right to read the topic's
    /// settings nothing is known. Blocks.
    pub(crate) fn ask_min_in_sync(&self, admin: &TopicAdmin) {
        let topic = ResourceSpecifier::Topic(&self.name);
        let answered = admin.administer(|client, options| client.describe_configs([&topic], options));
        let answered = answered.and_then(|resources| {
            resources.into_iter().next().map(|answer| answer.map_err(from_code)).transpose()
        });
        let found = match answered {
            Ok(settings) => settings.as_ref().and_then(min_in_sync),
            Err(error) => {
                tracing::debug!(kafka.topic = %self.name, %error, "the topic's settings cannot be read");
                if error.is_transient() {
                    return;
                }
                None
            }
        };
        let known = self.min_in_sync.swap(found.unwrap_or_default(), Ordering::Relaxed);
        if found.unwrap_or_default() != known {
            tracing::info!(kafka.topic = %self.name, min_in_sync = found, "the topic's min.insync.replicas");
        }
    }

    fn missing(&self) -> Error {
        let message = format!(
            "the topic {} is missing, and is not created here (KAFKA_CREATE_TOPICS): create it with {} partitions",
            self.name, self.partitions
        );
        kafka_error(ErrorKind::Unavailable, message).with_source(MISSING)
    }

    fn refused(&self, code: RDKafkaErrorCode) -> Error {
        let error = from_code(code);
        if error.is_transient() {
            return error;
        }
        let message = format!(
            "the topic {} is missing and was not created: create it with {} partitions, or grant CREATE on it",
            self.name, self.partitions
        );
        let kind = if error.kind() == ErrorKind::Invalid { error.kind() } else { ErrorKind::Denied };
        kafka_error(kind, message).with_source(error)
    }
}

fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Of three copies two must be there before a record is acknowledged.
fn in_sync(options: &KafkaLogOptions) -> Option<(&'static str, String)> {
    (options.replication_factor >= Some(3)).then(|| ("min.insync.replicas", "2".into()))
}

/// What a new topic is created with.
#[derive(Debug)]
enum TopicConfig {
    /// Without them there is to be no topic.
    Required(Vec<(&'static str, String)>),
    /// Without them it is better than none. The policy of a cluster may leave them to its administrators.
    Preferred(Vec<(&'static str, String)>),
}

/// What is known of a topic that is there.
#[derive(Debug, Clone, Default)]
pub(crate) struct Partitions {
    all: usize,
    /// Partitions that no broker leads now. They take nothing; the others do.
    leaderless: Vec<i32>,
    /// The copies of the partition that has the fewest.
    copies: usize,
}

impl Partitions {
    fn from_metadata(topic: &MetadataTopic) -> Self {
        let partitions = topic.partitions();
        let copies = partitions.iter().map(|partition| partition.replicas().len()).min();
        let leaderless = partitions.iter().filter(|partition| partition.leader() < 0);
        Self {
            all: partitions.len(),
            leaderless: leaderless.map(MetadataPartition::id).collect(),
            copies: copies.unwrap_or_default(),
        }
    }

    /// Whether nothing is about to change.
    pub(crate) fn is_settled(&self) -> bool {
        self.leaderless.is_empty()
    }

    /// Metadata may name a topic that was created just now without its partitions.
    fn are_all_led(&self) -> bool {
        self.all > 0 && self.is_settled()
    }

    fn some_are_led(&self) -> bool {
        self.leaderless.len() < self.all
    }
}

/// Why a topic is refused that is missing and not to be created.
const MISSING: RDKafkaErrorCode = RDKafkaErrorCode::UnknownTopicOrPartition;
/// How long a topic may take to get its leaders.
const LEADERS: Duration = Duration::from_secs(4);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// One request of those that look for a topic, or make it.
const REQUEST: Duration = Duration::from_secs(2);

/// Why the brokers do not serve `topic`.
pub(crate) fn error_of(metadata: &Metadata, topic: &str) -> Option<RDKafkaErrorCode> {
    let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
        return Some(RDKafkaErrorCode::UnknownTopic);
    };
    let leaderless =
        || (!Partitions::from_metadata(found).some_are_led()).then_some(RDKafkaErrorCode::LeaderNotAvailable);
    found.error().map(RDKafkaErrorCode::from).or_else(leaderless)
}

fn min_in_sync(settings: &ConfigResource) -> Option<u32> {
    settings.get("min.insync.replicas")?.value.as_deref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::KafkaFixture;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_topic_is_created_without_what_the_cluster_refuses_unless_it_is_needed() {
        let Some(fixture) = KafkaFixture::on_test_server().await else { return };
        let log = &fixture.log().shared;
        let unknown = || vec![("no.such.setting", "1".to_owned())];
        let topic = |ending: &str, settings| {
            let topic = Arc::new(Topic::new(
                format!("{}.{ending}", log.topic.name).into(),
                1,
                &log.options,
                settings,
            ));
            log.monitor.keep(Arc::clone(&topic));
            topic
        };
        let (wished, needed) = (
            topic("wished", TopicConfig::Preferred(unknown())),
            topic("needed", TopicConfig::Required(unknown())),
        );
        wished.ready(Duration::from_secs(30)).await.unwrap();
        let error = needed.ready(Duration::from_secs(30)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
}
