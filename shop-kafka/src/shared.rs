//! The state that the ports of a log share: its topics, its clients, and its known faults.
//!
//! The sink, the source, the dead letters and the administrative port hold a reference to one
//! [`KafkaLogInner`]. Logs of several topics in one cluster share the health, the monitor and the
//! producer, see [`KafkaLog::open_topic`](crate::KafkaLog::open_topic).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use rdkafka::message::{Header, OwnedHeaders};
use shop_core::log::{Gap, GapCause, LogFaults, LogRecord, Partition, RecordPosition};
use shop_core::ports::Durability;
use shop_core::record::{encode_headers, encode_value};
use shop_core::{Clock, Purchase, Result, SystemClock};

use crate::KafkaLogOptions;
use crate::client::{ClientHealth, lock};
use crate::dead_letters::index::DlqIndex;
use crate::producer::{PendingDelivery, ProducerHandle, RecordParts};
use crate::record::to_headers;
use crate::standalone::IdleConsumers;
use crate::topic::Topic;
use crate::topic_monitor::TopicMonitor;

/// The initial capacity in bytes of the buffer for the value of a purchase's record, which usually
/// takes about 120 bytes.
const TYPICAL_VALUE_BYTES: usize = 256;

/// The state of a log: its topics, its clients, and the faults that were found.
pub(crate) struct KafkaLogInner {
    pub(crate) options: KafkaLogOptions,
    pub(crate) health: Arc<ClientHealth>,
    pub(crate) monitor: Arc<TopicMonitor>,
    pub(crate) producer: Arc<ProducerHandle>,
    pub(crate) topic: Arc<Topic>,
    dead_letter_topic: OnceLock<Arc<Topic>>,
    pub(crate) dead_letter_index: tokio::sync::Mutex<DlqIndex>,
    pub(crate) idle_consumers: IdleConsumers,
    /// The last epoch that [`next_epoch`](Self::next_epoch) returned.
    last_epoch: Mutex<u64>,
    /// The gaps that [`convert_lost_ranges`](Self::convert_lost_ranges) returned so far: records
    /// that the brokers acknowledged to this process, and that the log lost.
    acknowledged_gaps: Mutex<Vec<Gap>>,
}

impl KafkaLogInner {
    /// Creates the state of a log on these clients, and starts to monitor its topic.
    pub(crate) fn new(
        options: KafkaLogOptions,
        health: Arc<ClientHealth>,
        monitor: Arc<TopicMonitor>,
        producer: Arc<ProducerHandle>,
    ) -> Self {
        let topic = Arc::new(Topic::for_log(&options));
        monitor.add_topic(Arc::clone(&topic));
        Self {
            options,
            health,
            monitor,
            producer,
            topic,
            dead_letter_topic: OnceLock::default(),
            dead_letter_index: tokio::sync::Mutex::default(),
            idle_consumers: IdleConsumers::default(),
            last_epoch: Mutex::default(),
            acknowledged_gaps: Mutex::default(),
        }
    }

    /// Adds a record for the topic of the log to the queue of the producer.
    pub(crate) fn enqueue(&self, record: &LogRecord) -> Result<PendingDelivery> {
        let no_other_headers = &[];
        let headers = to_headers(&record.headers, no_other_headers);
        let parts = RecordParts::new(record, headers);
        let partition_of_key = None;
        self.producer
            .enqueue(&self.topic.name, partition_of_key, parts)
    }

    /// Adds the record of a purchase to the queue of the producer.
    ///
    /// # Errors
    /// The errors of [`encode_value`] and of [`ProducerHandle::enqueue`].
    pub(crate) fn enqueue_purchase(&self, purchase: &Purchase) -> Result<PendingDelivery> {
        let mut value = Vec::with_capacity(TYPICAL_VALUE_BYTES);
        encode_value(purchase, &mut value)?;
        let headers = encode_headers(purchase, OwnedHeaders::new(), |headers, key, value| {
            headers.insert(Header {
                key,
                value: Some(value),
            })
        });

        let parts = RecordParts {
            key: Some(purchase.user_id.as_str().as_bytes()),
            value: Some(&value),
            headers,
        };
        let partition_of_key = None;
        self.producer
            .enqueue(&self.topic.name, partition_of_key, parts)
    }

    /// Appends a record to the log, waits until all in-sync replicas contain it, and returns its
    /// position.
    pub(crate) async fn append(&self, record: &LogRecord) -> Result<RecordPosition> {
        self.producer.deliver(|| self.enqueue(record)).await
    }

    /// Appends the record of a purchase to the log, waits until all in-sync replicas contain it, and
    /// returns its position.
    pub(crate) async fn append_purchase(&self, purchase: &Purchase) -> Result<RecordPosition> {
        self.producer
            .deliver(|| self.enqueue_purchase(purchase))
            .await
    }

    /// Returns the dead-letter topic. The first call adds the topic to the monitor, which creates a
    /// missing topic.
    pub(crate) fn ensure_dead_letter_topic(&self) -> Arc<Topic> {
        let topic = self.dead_letter_topic.get_or_init(|| {
            let topic = Arc::new(Topic::for_dead_letters(&self.options));
            self.monitor.add_topic(Arc::clone(&topic));
            topic
        });
        Arc::clone(topic)
    }

    /// Returns a new epoch: a number that is greater than all earlier epochs of this process. As
    /// far as clocks agree, the epoch is also greater than the epochs of earlier processes.
    pub(crate) fn next_epoch(&self) -> u64 {
        // With a clock before 1970, the epochs only count on from the last one.
        let now = u64::try_from(SystemClock.now().as_millis()).unwrap_or_default();
        let mut last_epoch = lock(&self.last_epoch);
        *last_epoch = now.max(*last_epoch + 1);
        *last_epoch
    }

    /// Returns the known faults of the log: unavailable partitions, weak settings, and lost
    /// records.
    pub(crate) fn faults(&self) -> LogFaults {
        let topic = &self.topic.name;
        let mut faults = LogFaults::default();
        let mut unavailable_partitions =
            BTreeSet::from_iter(self.producer.acknowledgements.failing_partitions(topic));
        if let Some(description) = self.topic.description() {
            unavailable_partitions.extend(&description.leaderless);
            faults.weak_settings = description.weak_settings();
        }

        faults.unavailable = unavailable_partitions
            .iter()
            .map(|partition| format!("{topic}-{partition}"))
            .collect();
        faults.lost.clone_from(&lock(&self.acknowledged_gaps));
        faults
    }

    /// Takes the ranges of acknowledged records whose loss was detected since the last call, and
    /// returns a gap for each range. Blocks.
    ///
    /// Logs each gap, and keeps it for [`faults`](Self::faults). The caller puts the gaps among the
    /// dead letters, which operators resolve.
    pub(crate) fn convert_lost_ranges(&self) -> Vec<Gap> {
        let topic = &self.topic.name;
        let lost_ranges = self.producer.acknowledgements.take_lost_ranges(topic);
        if lost_ranges.is_empty() {
            return Vec::new();
        }

        // A topic that was created again has new offsets, which prove no loss. The metadata request
        // makes librdkafka report the present id of the topic, and a new id increases
        // `topic_changes`.
        let admin = &self.monitor.admin;
        if let Err(error) = admin.describe(topic) {
            tracing::debug!(%error, "the topic's id is not known now");
        }
        admin.deliver_events();

        let mut gaps = Vec::new();
        for range in lost_ranges {
            if range.topic_changes != self.health.topic_changes() {
                continue;
            }
            // The id of the cluster is known, because the brokers acknowledged records.
            let Ok(cluster) = self.monitor.cluster() else {
                continue;
            };
            tracing::error!(
                log.topic = %range.topic,
                log.partition = range.partition,
                from = range.from,
                to = range.to,
                "acknowledged records are gone: the log was cut, as by an unclean leader election"
            );
            let epoch = 0;
            let partition = Partition::new(cluster, range.topic, range.partition, epoch);
            gaps.push(Gap::new(
                partition,
                range.from,
                range.to,
                GapCause::Truncated,
            ));
        }
        lock(&self.acknowledged_gaps).extend_from_slice(&gaps);
        gaps
    }

    /// Returns the durability that `acks=all` guarantees. It depends on `min.insync.replicas`, and
    /// not on the current number of in-sync replicas.
    pub(crate) fn durability(&self) -> Durability {
        Durability::Broker {
            replicas: self.topic.guaranteed_replicas(),
        }
    }
}

impl fmt::Debug for KafkaLogInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}
