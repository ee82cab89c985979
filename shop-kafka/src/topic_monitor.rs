//! The thread that sees to it that the topics are there, and the client that it asks with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::Consumer;
use shop_core::{Error, ErrorKind, Outcome, Result};
use tokio_util::sync::CancellationToken;

use crate::client::{Context, Health, lock};
use crate::error::{from_code, from_kafka, kafka_error, not_reached};
use crate::topic::{Observer, State, Topic, TopicAdmin, error_of};
use crate::{KafkaLogOptions, config, thread};

/// Sees to the topics as long as it lives.
pub(crate) struct TopicMonitor {
    observer: Option<Arc<Observer>>,
    topics: Arc<Mutex<Vec<Arc<Topic>>>>,
    health: Arc<Health>,
    cluster: Arc<OnceLock<Arc<str>>>,
    end: CancellationToken,
    answers: tokio::sync::Mutex<Replies>,
}

/// The last answers to the question whether Kafka is there.
#[derive(Default)]
struct Replies {
    /// Of each topic that it was asked with: whether Kafka serves it.
    topics: BTreeMap<Arc<str>, (Instant, Result<()>)>,
    /// Kafka did not answer, which is no matter of the topic.
    away: Option<(Instant, Error)>,
}

impl Replies {
    /// The answer for `topic`, if it is fresh.
    fn known(&self, topic: &str) -> Option<Result<()>> {
        let is_fresh = |at: &Instant| at.elapsed() < FRESH;
        if let Some((_, error)) = self.away.as_ref().filter(|(at, _)| is_fresh(at)) {
            return Some(Err(error.clone()));
        }
        self.topics.get(topic).filter(|(at, _)| is_fresh(at)).map(|(_, answer)| answer.clone())
    }
}

/// How long one answer to the question whether Kafka is there counts.
const FRESH: Duration = Duration::from_secs(1);
/// How long that question may take in all.
const CHECK: Duration = Duration::from_secs(2);
/// How long Kafka has to answer it.
const PING: Duration = Duration::from_millis(1_500);

impl TopicMonitor {
    pub(crate) fn start(options: &KafkaLogOptions, health: &Arc<Health>) -> Result<Self> {
        let context = Context::new(Arc::clone(health), None, ());
        let config = config::observer(options);
        let observer = Arc::new(Observer::from_config_and_context(&config, context).map_err(from_kafka)?);
        let (topics, end) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
        let cluster = Arc::new(OnceLock::new());
        let watch = MonitorThread {
            admin: TopicAdmin {
                observer: Arc::clone(&observer),
                config,
                health: Arc::clone(health),
                cluster: Arc::clone(&cluster),
            },
            topics: Arc::clone(&topics),
            end: end.clone(),
        };
        thread::start("shop-kafka-topics", move || watch.run())?;
        let (answers, health) = (tokio::sync::Mutex::default(), Arc::clone(health));
        Ok(Self { observer: Some(observer), topics, health, cluster, end, answers })
    }

    /// Sees to `topic` from now on.
    pub(crate) fn keep(&self, topic: Arc<Topic>) {
        lock(&self.topics).push(topic);
    }

    /// The cluster's id, once it is known: no later than the first topic is.
    pub(crate) fn cluster(&self) -> Option<Arc<str>> {
        self.cluster.get().cloned()
    }

    /// Whether `topic` is there, and Kafka too.
    pub(crate) async fn check(&self, topic: &Topic) -> Result<()> {
        let checked = async {
            topic.ready(CHECK).await?;
            self.ping(&topic.name).await
        };
        // A wrong login looks like a broker that does not answer.
        let answer = tokio::time::timeout(CHECK, checked).await.unwrap_or_else(|_elapsed| Err(not_reached()));
        answer.map_err(|error| self.health.explain(error).with_outcome(Outcome::NotApplied))
    }

    /// Asks Kafka, one question at a time: one that does not answer must not collect threads that wait.
    async fn ping(&self, topic: &Arc<str>) -> Result<()> {
        let mut answers = self.answers.lock().await;
        if let Some(known) = answers.known(topic) {
            return known;
        }
        let Some(observer) = self.observer.clone() else { return Ok(()) };
        let name = Arc::clone(topic);
        let asked = tokio::task::spawn_blocking(move || {
            observer.fetch_metadata(Some(&name), PING).map(|metadata| error_of(&metadata, &name))
        });
        let error = match asked.await {
            Ok(Ok(code)) => {
                self.health.works();
                let answer =
                    code.map_or(Ok(()), |code| Err(from_code(code).with_outcome(Outcome::NotApplied)));
                answers.topics.insert(Arc::clone(topic), (Instant::now(), answer.clone()));
                return answer;
            }
            Ok(Err(error)) => self.health.explain(from_kafka(error)).with_outcome(Outcome::NotApplied),
            Err(error) => {
                kafka_error(ErrorKind::Internal, "the question to kafka came to no end").with_source(error)
            }
        };
        answers.away = Some((Instant::now(), error.clone()));
        Err(error)
    }
}

impl Drop for TopicMonitor {
    fn drop(&mut self) {
        self.end.cancel();
        // Ending a client waits for its threads: not where a task may stand.
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

/// The thread's own part.
struct MonitorThread {
    admin: TopicAdmin,
    topics: Arc<Mutex<Vec<Arc<Topic>>>>,
    end: CancellationToken,
}

/// How often a topic is looked at that is there, in a cluster whose id is known: its settings may change.
const REFRESH: Duration = Duration::from_secs(60);
/// How often one is looked at that lacks leaders.
const LEADERLESS: Duration = Duration::from_secs(5);
/// How often one is looked for otherwise.
const RETRY: Duration = Duration::from_millis(300);
/// How often the thread looks whether there is something new to do.
const TURN: Duration = Duration::from_millis(20);

impl MonitorThread {
    fn run(self) {
        let mut due: Vec<Instant> = Vec::new();
        while !self.end.is_cancelled() {
            let topics = lock(&self.topics).clone();
            due.resize(topics.len(), Instant::now());
            for (topic, due) in topics.iter().zip(&mut due) {
                if *due > Instant::now() {
                    continue;
                }
                *due = Instant::now() + self.refresh(topic);
            }
            // Nothing is read by it: this hands out its log lines and errors.
            drop(self.admin.observer.poll(TURN));
        }
    }

    /// Looks at `topic`; answers after how long to look again.
    fn refresh(&self, topic: &Arc<Topic>) -> Duration {
        topic.ensure(&self.admin);
        let State::Ready(present) = topic.state() else { return RETRY };
        if self.admin.cluster.get().is_none() {
            return RETRY;
        }
        // A client of its own each time: not while a broker is missed, once the answer is known.
        if topic.is_promised() && (present.is_settled() || topic.min_in_sync().is_none()) {
            self.ask_settings(topic);
        }
        if present.is_settled() { REFRESH } else { LEADERLESS }
    }

    /// Not here: a cluster that leaves the question open must not hold up other topics.
    fn ask_settings(&self, topic: &Arc<Topic>) {
        let (topic, admin) = (Arc::clone(topic), self.admin.clone());
        let started = thread::start("shop-kafka-settings", move || topic.ask_min_in_sync(&admin));
        if let Err(error) = started {
            tracing::debug!(%error, "the topic's settings are not asked for now");
        }
    }
}
