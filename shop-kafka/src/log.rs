//! [`KafkaLog`]: opens the log of a topic, and implements its ports.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use shop_core::log::{
    Batch, DeadLetter, DeadLetterFilter, DeadLetterState, GroupMembers, Log, LogInfo, LogRecord,
    LogScan, LogSource, Offsets, Partition, RecordPosition, RecordType, Resolution, ScanEnd,
};
use shop_core::{Backend, ErrorKind, Result};

use crate::client::ClientHealth;
use crate::dead_letters::KafkaDeadLetters;
use crate::error::kafka_error;
use crate::producer::ProducerHandle;
use crate::scan::{ScanRange, scan};
use crate::shared::KafkaLogInner;
use crate::standalone::{group_members, group_positions};
use crate::topic_monitor::TopicMonitor;
use crate::{KafkaLogOptions, KafkaSink, KafkaSource};

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
///
/// # Dead letters
///
/// The dead letters are the records that can never be stored, in the topic `<topic>.dlq`. A dead
/// letter is a record with the key, value and headers of the original record, unchanged.
/// These text headers follow the original headers, in this order:
///
/// | header | value |
/// |---|---|
/// | `dead-letter-cluster` | the cluster of the original record |
/// | `dead-letter-topic` | the topic of the original record |
/// | `dead-letter-partition` | the partition of the original record |
/// | `dead-letter-offset` | the offset of the original record |
/// | `dead-letter-time` | the timestamp of the original record, in milliseconds since 1970 |
/// | `dead-letter-reason` | the kind of the reason |
/// | `dead-letter-detail` | the text of the reason |
/// | `dead-letter-attempts` | the number of attempts to process the record; 0 if an operator parked it |
/// | `dead-letter-version` | the version of the program that put the dead letter |
///
/// A repeated `put` writes a duplicate, which readers recognize by cluster, topic, partition,
/// offset and time. If a dead letter is larger than the topic accepts, only the first 64 KiB of its
/// key and of its value are stored, and the header `dead-letter-cut` contains the original size.
/// Such a dead letter is not replayed.
///
/// # Markers
///
/// A resolved dead letter stays in the topic and is no longer listed as pending. Its marker is a
/// record without a key and with an empty value. The marker has these text headers:
///
/// | header | value |
/// |---|---|
/// | `dead-letter-settled` | `replayed` or `dropped` |
/// | `dead-letter-record` | topic, partition and offset of the original record, joined by dashes |
/// | `dead-letter-place` | the record id |
/// | `dead-letter-purchase` | the id of the purchase or event, if it is known |
///
/// A marker resolves all dead letters of its record, including a dead letter that is put again
/// after the marker. A marker of a gap resolves only the dead letters before the marker.
#[derive(Debug, Clone)]
pub struct KafkaLog {
    pub(crate) shared: Arc<KafkaLogInner>,
}

/// The epoch of a partition that is read without a membership in a group.
const NO_EPOCH: u64 = 0;

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
    /// - otherwise, the errors of [`open`](Self::open)
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
    /// - otherwise, the reason why the topic could not be created
    pub async fn exists(&self) -> Result<bool> {
        self.shared
            .topic
            .exists()
            .await
            .map_err(|error| self.shared.health.explain(error))
    }

    /// Returns a backend with this log, whose records the consumer group `group` stores. The
    /// backend has no [sink](Self::sink), because a sink starts a producer.
    #[must_use]
    pub fn backend(&self, group: &str) -> Backend {
        let topic = &*self.shared.options.topic;
        Backend::of_log(topic, Arc::new(self.clone())).with_group(group)
    }

    /// Returns a new sink. Creates the producer now, so that the first publish does not wait for a
    /// connection.
    #[must_use]
    pub fn sink(&self) -> KafkaSink {
        self.shared.producer.prepare();
        KafkaSink::new(Arc::clone(&self.shared))
    }

    /// Starts a new member of the consumer group `group`, which causes a rebalance. The returned
    /// source reads the records of the partitions that the group assigns to this member.
    ///
    /// Also starts to create a missing dead-letter topic, unless [`create_topics`] is off, so that
    /// the topic exists before the first record fails. Does not wait for the creation, and does not
    /// report its failure.
    ///
    /// [`create_topics`]: KafkaLogOptions::create_topics
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
        // From this call on, the monitor of the topics creates a missing dead-letter topic. Whether
        // it succeeds is part of the topic's state, which is read with the first dead letter.
        self.shared.ensure_dead_letter_topic();
        KafkaSource::start(&self.shared, group)
    }

    /// Returns the access to the dead letters of the log, which are in the topic `<topic>.dlq`.
    pub(crate) fn kafka_dead_letters(&self) -> KafkaDeadLetters {
        KafkaDeadLetters {
            log: Arc::clone(&self.shared),
            dead_letter_topic: self.shared.ensure_dead_letter_topic(),
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

    /// Waits until the topic is ready, and starts to read the records of `range`.
    ///
    /// The `generation` of the returned scan is the id of the topic. A topic that is deleted and
    /// created again gets another id.
    ///
    /// # Errors
    /// - the reason why the topic cannot be used
    /// - [`Unavailable`](shop_core::ErrorKind::Unavailable) if the id of the cluster is unknown
    /// - the error of the scan
    async fn scan_range(&self, range: ScanRange) -> Result<LogScan> {
        let shared = &self.shared;
        shared.topic.wait_until_ready().await?;
        let cluster = shared.monitor.cluster()?;
        let topic = Arc::clone(&shared.topic.name);
        let started_scan = scan(shared, &topic, range).await?;

        let scan_cluster = Arc::clone(&cluster);
        let scan_topic = Arc::clone(&topic);
        let batches = started_scan.batches.map_ok(move |(index, records)| {
            let partition =
                Partition::new(Arc::clone(&cluster), Arc::clone(&topic), index, NO_EPOCH);
            Batch::new(partition, records)
        });
        let ranges = started_scan.ranges;
        let mut log_scan = LogScan::new(scan_cluster, scan_topic, ranges, batches.boxed());
        log_scan.unstable = started_scan.unstable;
        // Compaction and transactions leave offsets without a record.
        log_scan.is_sparse = true;
        log_scan.generation = shared.health.topic_id(&shared.topic.name);
        Ok(log_scan)
    }
}

/// To resolve a dead letter, a marker is written. The dead letter itself stays in the topic until
/// the retention of the topic deletes it.
///
/// The first listing of dead letters reads the whole dead-letter topic and keeps an index of the
/// topic in memory, because a marker may be anywhere behind its dead letter. Later listings read
/// the records that were added since, and the dead letters of their page.
#[async_trait]
impl Log for KafkaLog {
    async fn append(&self, record: LogRecord) -> Result<()> {
        Self::append(self, record).await.map(drop)
    }

    fn source(&self, group: &str) -> Result<Arc<dyn LogSource>> {
        Ok(Arc::new(Self::source(self, group)?))
    }

    async fn scan(&self, start: &Offsets, end: ScanEnd) -> Result<LogScan> {
        let start = start.clone();
        let range = match end {
            ScanEnd::Current => ScanRange::From(start),
            ScanEnd::Never => ScanRange::Tail(start),
        };
        self.scan_range(range).await
    }

    async fn positions(&self, group: &str) -> Result<Offsets> {
        self.shared.topic.wait_until_ready().await?;
        self.shared.request_for_group(group, group_positions).await
    }

    async fn put_dead_letters(&self, dead_letters: &[DeadLetter]) -> Result<()> {
        self.kafka_dead_letters().put(dead_letters).await
    }

    async fn scan_dead_letters(&self) -> Result<BoxStream<'static, Result<DeadLetterState>>> {
        self.kafka_dead_letters().scan().await
    }

    async fn resolve(
        &self,
        dead_letters: &[DeadLetter],
        record_type: RecordType,
        resolution: Resolution,
    ) -> Result<u64> {
        resolution.check(dead_letters)?;
        self.kafka_dead_letters()
            .resolve(dead_letters, record_type, resolution)
            .await
    }

    async fn check(&self) -> Result<()> {
        self.shared.monitor.check(&self.shared.topic).await
    }

    /// The retention is the setting `retention.ms` of the topic, as it was last read.
    fn info(&self) -> LogInfo<'_> {
        let description = self.shared.topic.description();
        let mut info = LogInfo::default();
        info.retention = description.and_then(|topic| topic.settings.retention);
        info.faults = self.shared.faults();
        info.members = Some(self);
        info
    }

    async fn find(&self, index: u32, offset: u64) -> Result<Option<(Partition, LogRecord)>> {
        let range = ScanRange::At(index, offset);
        let Some(batch) = self.scan_range(range).await?.batches.try_next().await? else {
            return Ok(None);
        };
        let mut records = batch.records.into_iter();
        let record = records.find(|record| record.offset == offset);
        Ok(record.map(|record| (batch.partition, record)))
    }

    async fn contains_dead_letter(
        &self,
        record: &LogRecord,
        partition: &Partition,
    ) -> Result<bool> {
        self.kafka_dead_letters().contains(record, partition).await
    }

    async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<DeadLetter>> {
        self.kafka_dead_letters()
            .select(|index| index.select_page(filter, limit))
            .await
    }
}

#[async_trait]
impl GroupMembers for KafkaLog {
    async fn members(&self, group: &str) -> Result<Vec<String>> {
        self.shared.request_for_group(group, group_members).await
    }
}
