//! The log: what its ports share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::error::kafka_error;
use async_trait::async_trait;
use shop_core::log::{DeadLetters, Log, LogAdmin, LogRecord, LogSource, LogWriter, RecordPosition};
use shop_core::{Clock, ErrorKind, Result, SystemClock};

use crate::client::Health;
use crate::producer::{OutgoingRecord, PendingDelivery, ProducerHandle};
use crate::record::to_headers;
use crate::topic::Topic;
use crate::topic_monitor::TopicMonitor;
use crate::{KafkaDeadLetters, KafkaLogOptions, KafkaSink, KafkaSource};

/// A topic of a Kafka cluster.
///
/// Clones share the clients.
#[derive(Debug, Clone)]
pub struct KafkaLog {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: KafkaLogOptions,
    pub(crate) health: Arc<Health>,
    pub(crate) monitor: TopicMonitor,
    pub(crate) producing: ProducerHandle,
    pub(crate) topic: Arc<Topic>,
    dead_letters: OnceLock<Arc<Topic>>,
    last_epoch: AtomicU64,
}

impl KafkaLog {
    /// Opens the log. Kafka may be away: its ports say so until it is there.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when the options make no sense,
    /// [`Unsupported`](ErrorKind::Unsupported) when this build cannot do what they ask for.
    #[expect(clippy::unused_async, reason = "as with every log, so that one can take the place of another")]
    pub async fn open(options: KafkaLogOptions) -> Result<Self> {
        options.validate()?;
        let health = Arc::new(Health::default());
        let monitor = TopicMonitor::start(&options, &health)?;
        let producing = ProducerHandle::start(&options, &health)?;
        let topic = Arc::new(Topic::for_log(&options));
        monitor.keep(Arc::clone(&topic));
        Ok(Self {
            shared: Arc::new(Shared {
                options,
                health,
                monitor,
                producing,
                topic,
                dead_letters: OnceLock::new(),
                last_epoch: AtomicU64::new(0),
            }),
        })
    }

    /// Whether the topic is there. One that is missing is created meanwhile, unless the options say otherwise.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) when Kafka cannot be reached or does not serve in time, and why a topic
    /// could not be created.
    pub async fn exists(&self) -> Result<bool> {
        self.shared.topic.exists(self.shared.options.publish_timeout).await
    }

    /// A new writer.
    #[must_use]
    pub fn sink(&self) -> KafkaSink {
        KafkaSink::new(Arc::clone(&self.shared))
    }

    /// A new member of `group`, which takes its share of the partitions from the others.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when the group has no name or librdkafka does not take the options,
    /// [`Unavailable`](ErrorKind::Unavailable) when no thread can be started.
    pub fn source(&self, group: &str) -> Result<KafkaSource> {
        if group.is_empty() {
            return Err(kafka_error(ErrorKind::Invalid, "the consumer group has no name"));
        }
        KafkaSource::start(&self.shared, group)
    }

    /// Where the log keeps its dead letters: the topic `<topic>.dlq`.
    #[must_use]
    pub fn dead_letters(&self) -> KafkaDeadLetters {
        KafkaDeadLetters { log: Arc::clone(&self.shared), topic: self.shared.dead_letters() }
    }

    /// Appends a record as another producer might have written it: its offset and time are set here.
    ///
    /// # Errors
    /// As [`PurchaseSink::publish`](shop_core::ports::PurchaseSink::publish).
    pub async fn append(&self, record: LogRecord) -> Result<RecordPosition> {
        self.deliver(record).await?.ok_or_else(|| {
            kafka_error(ErrorKind::Unavailable, "the broker has not said where the record stands")
        })
    }

    /// Appends a record; answers where it stands, if the broker has said so: of one that it had already, it does not.
    async fn deliver(&self, record: LogRecord) -> Result<Option<RecordPosition>> {
        let shared = &self.shared;
        shared.topic.ready(shared.options.publish_timeout).await?;
        shared.enqueue(&record)?.delivered(&shared.producing).await
    }
}

#[async_trait]
impl LogWriter for KafkaLog {
    async fn append(&self, record: LogRecord) -> Result<()> {
        self.deliver(record).await.map(drop)
    }

    async fn check(&self) -> Result<()> {
        self.shared.monitor.check(&self.shared.topic).await
    }
}

impl Log for KafkaLog {
    fn writer(&self) -> Arc<dyn LogWriter> {
        Arc::new(self.clone())
    }

    fn source(&self, group: &str) -> Result<Arc<dyn LogSource>> {
        Ok(Arc::new(Self::source(self, group)?))
    }

    fn dead_letters(&self) -> Arc<dyn DeadLetters> {
        Arc::new(Self::dead_letters(self))
    }

    fn admin(&self) -> Arc<dyn LogAdmin> {
        Arc::new(self.clone())
    }
}

impl Shared {
    /// Puts a record into the producer's queue.
    pub(crate) fn enqueue(&self, record: &LogRecord) -> Result<PendingDelivery> {
        self.producing.enqueue(OutgoingRecord {
            topic: &self.topic.name,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: to_headers(&record.headers, &[]),
        })
    }

    fn dead_letters(&self) -> Arc<Topic> {
        let first = || {
            let topic = Arc::new(Topic::for_dead_letters(&self.options));
            self.monitor.keep(Arc::clone(&topic));
            topic
        };
        Arc::clone(self.dead_letters.get_or_init(first))
    }

    /// A number greater than any before, in this process and, by the clock, in those before it.
    pub(crate) fn next_epoch(&self) -> u64 {
        let now = u64::try_from(SystemClock.now().as_millis()).unwrap_or_default();
        let next = |last: u64| Some(now.max(last + 1));
        let last = self.last_epoch.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
        // The closure always answers, so there is no error to be told.
        let (Ok(last) | Err(last)) = last;
        now.max(last + 1)
    }
}
