//! [`KafkaLog`]: opens the log of a topic, and creates its ports.

use std::sync::Arc;

use async_trait::async_trait;
use shop_core::log::{DeadLetters, Log, LogAdmin, LogRecord, LogSource, LogWriter, RecordPosition};
use shop_core::{Backend, ErrorKind, Result};

use crate::client::ClientHealth;
use crate::error::kafka_error;
use crate::producer::ProducerHandle;
use crate::shared::KafkaLogInner;
use crate::topic_monitor::TopicMonitor;
use crate::{KafkaDeadLetters, KafkaLogOptions, KafkaSink, KafkaSource};

/// A topic of a Kafka cluster.
///
/// Clones share the clients.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use shop_core::log::Log;
/// use shop_kafka::{KafkaLog, KafkaLogOptions};
///
/// # async fn example() -> shop_core::Result<()> {
/// let log = KafkaLog::open(KafkaLogOptions::new("localhost:9092")).await?;
/// // Optional: the log recovers by itself when Kafka becomes available.
/// log.exists().await?;
/// // Code that is independent of Kafka takes the port.
/// let log: Arc<dyn Log> = Arc::new(log);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct KafkaLog {
    pub(crate) shared: Arc<KafkaLogInner>,
}

impl KafkaLog {
    /// Opens the log, and does not wait for Kafka.
    ///
    /// Until Kafka responds, the ports of the log return [`Unavailable`](ErrorKind::Unavailable).
    ///
    /// # Errors
    /// - [`Invalid`](ErrorKind::Invalid) if an option is invalid
    /// - [`Unsupported`](ErrorKind::Unsupported) if this build lacks a feature that the options
    ///   require
    #[expect(clippy::unused_async, reason = "same signature as the other logs")]
    pub async fn open(options: KafkaLogOptions) -> Result<Self> {
        options.validate()?;
        let health = Arc::new(ClientHealth::new(options.oauth.clone()));
        let monitor = Arc::new(TopicMonitor::start(&options, &health)?);
        let producer = Arc::new(ProducerHandle::new(&options, &health));
        Ok(Self {
            shared: Arc::new(KafkaLogInner::new(options, health, monitor, producer)),
        })
    }

    /// Opens the log of another topic in the same cluster, which shares the clients of this log as
    /// far as possible.
    ///
    /// `options` may differ from the options of this log only in the settings of the topic and of
    /// its consumers.
    ///
    /// # Errors
    /// - [`Invalid`](ErrorKind::Invalid) if the bootstrap servers differ
    /// - the errors of [`open`](Self::open) otherwise
    pub fn open_topic(&self, options: KafkaLogOptions) -> Result<Self> {
        options.validate()?;

        let KafkaLogInner {
            health,
            monitor,
            producer,
            ..
        } = &*self.shared;
        if options.brokers != self.shared.options.brokers {
            return Err(kafka_error(
                ErrorKind::Invalid,
                "the topic is on another cluster",
            ));
        }
        let shared = KafkaLogInner::new(
            options,
            Arc::clone(health),
            Arc::clone(monitor),
            Arc::clone(producer),
        );
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Waits until Kafka responds, at most for
    /// [`publish_timeout`](KafkaLogOptions::publish_timeout), and returns whether the topic exists.
    ///
    /// A missing topic is created if [`create_topics`](KafkaLogOptions::create_topics) is set.
    ///
    /// # Errors
    /// - [`Unavailable`](ErrorKind::Unavailable) if Kafka cannot be reached or does not respond in
    ///   time
    /// - the reason why the topic could not be created otherwise
    pub async fn exists(&self) -> Result<bool> {
        self.shared
            .topic
            .exists()
            .await
            .map_err(|error| self.shared.health.explain(error))
    }

    /// Returns the parts of this log, whose records the consumer group `group` stores. They have no
    /// [sink](Self::sink), which would start a producer.
    #[must_use]
    pub fn backend(&self, group: &str) -> Backend {
        let topic = &*self.shared.options.topic;
        Backend::of_log(topic, Arc::new(self.clone())).with_group(group)
    }

    /// Returns a new sink, whose first publish does not wait for a connection.
    #[must_use]
    pub fn sink(&self) -> KafkaSink {
        self.shared.producer.prepare();
        KafkaSink::new(Arc::clone(&self.shared))
    }

    /// Starts a new member of the consumer group `group`, which causes a rebalance.
    ///
    /// # Errors
    /// - [`Invalid`](ErrorKind::Invalid) if `group` is empty or librdkafka rejects the options
    /// - [`Unavailable`](ErrorKind::Unavailable) if no thread can be started
    pub fn source(&self, group: &str) -> Result<KafkaSource> {
        if group.is_empty() {
            return Err(kafka_error(
                ErrorKind::Invalid,
                "the consumer group's name is empty",
            ));
        }
        KafkaSource::start(&self.shared, group)
    }

    /// Returns the dead letters of the log: the records that a consumer could not store. They are
    /// in the topic `<topic>.dlq`.
    #[must_use]
    pub fn dead_letters(&self) -> KafkaDeadLetters {
        KafkaDeadLetters {
            log: Arc::clone(&self.shared),
            topic: self.shared.dead_letter_topic(),
        }
    }

    /// Appends a record with the key, value and headers of `record`, and returns its position.
    ///
    /// Kafka assigns the offset and the timestamp. Unlike [`KafkaSink`], this function accepts any
    /// value, as other producers may write it.
    ///
    /// # Errors
    /// The errors of [`PurchaseSink::publish`](shop_core::ports::PurchaseSink::publish).
    pub async fn append(&self, record: LogRecord) -> Result<RecordPosition> {
        self.shared.topic.wait_until_ready().await?;
        self.shared.append(&record).await
    }
}

#[async_trait]
impl LogWriter for KafkaLog {
    async fn append(&self, record: LogRecord) -> Result<()> {
        Self::append(self, record).await.map(drop)
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
