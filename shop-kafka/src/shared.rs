//! The state that the ports of a log share: its topics, its clients, and its known faults.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};

use shop_core::log::{Gap, GapCause, LogFaults, LogRecord, Partition, RecordPosition};
use shop_core::ports::Durability;
use shop_core::{Clock, Result, SystemClock};

use crate::KafkaLogOptions;
use crate::client::{ClientHealth, lock};
use crate::dead_letters::index::DlqIndex;
use crate::producer::{PendingDelivery, ProducerHandle};
use crate::record::to_headers;
use crate::standalone::IdleConsumers;
use crate::topic::Topic;
use crate::topic_monitor::TopicMonitor;

/// The state that all ports of a log share: its topics, the clients, and the faults that were
/// found.
pub(crate) struct KafkaLogInner {
    pub(crate) options: KafkaLogOptions,
    pub(crate) health: Arc<ClientHealth>,
    pub(crate) monitor: Arc<TopicMonitor>,
    pub(crate) producer: Arc<ProducerHandle>,
    pub(crate) topic: Arc<Topic>,
    dead_letters: OnceLock<Arc<Topic>>,
    pub(crate) dead_letter_index: tokio::sync::Mutex<DlqIndex>,
    pub(crate) idle_consumers: IdleConsumers,
    /// The last epoch that [`next_epoch`](Self::next_epoch) has returned.
    last_epoch: Mutex<u64>,
    /// The ranges of records that the brokers had acknowledged to this process, and that the log
    /// has lost.
    lost: Mutex<Vec<Gap>>,
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
        monitor.add(Arc::clone(&topic));
        Self {
            options,
            health,
            monitor,
            producer,
            topic,
            dead_letters: OnceLock::default(),
            dead_letter_index: tokio::sync::Mutex::default(),
            idle_consumers: IdleConsumers::default(),
            last_epoch: Mutex::default(),
            lost: Mutex::default(),
        }
    }

    /// Adds a record for the topic of the log to the queue of the producer.
    pub(crate) fn enqueue(&self, record: &LogRecord) -> Result<PendingDelivery> {
        self.producer.enqueue(
            &self.topic.name,
            None,
            record,
            to_headers(&record.headers, &[]),
        )
    }

    /// Appends a record to the log, waits until all in-sync replicas have it, and returns its
    /// position.
    pub(crate) async fn append(&self, record: &LogRecord) -> Result<RecordPosition> {
        self.producer.deliver(|| self.enqueue(record)).await
    }

    /// Returns the dead-letter topic, which is monitored from the first call on.
    pub(crate) fn dead_letters(&self) -> Arc<Topic> {
        let create = || {
            let topic = Arc::new(Topic::for_dead_letters(&self.options));
            self.monitor.add(Arc::clone(&topic));
            topic
        };
        Arc::clone(self.dead_letters.get_or_init(create))
    }

    /// Returns a new epoch: a number that is greater than all earlier epochs of this process and,
    /// as far as clocks agree, of earlier processes.
    pub(crate) fn next_epoch(&self) -> u64 {
        let now = u64::try_from(SystemClock.now().as_millis()).unwrap_or_default();
        let mut last = lock(&self.last_epoch);
        *last = now.max(*last + 1);
        *last
    }

    /// Returns the known faults of the log: unavailable partitions, weak settings, and lost
    /// records.
    pub(crate) fn faults(&self) -> LogFaults {
        let topic = &self.topic.name;
        let mut faults = LogFaults::default();
        let failing = self.producer.acknowledgements.failing(topic);
        let mut unavailable = BTreeSet::from_iter(failing);
        if let Some(found) = self.topic.known() {
            unavailable.extend(
                found
                    .leaderless
                    .iter()
                    .filter_map(|id| u32::try_from(*id).ok()),
            );
            faults.weak_settings = found.weak_settings();
        }
        faults.unavailable = unavailable
            .iter()
            .map(|partition| format!("{topic}-{partition}"))
            .collect();
        faults.lost.clone_from(&lock(&self.lost));
        faults
    }

    /// Returns the ranges of acknowledged records that the log has newly lost. Blocks.
    ///
    /// Each range is logged, and kept for [`faults`](Self::faults). The caller puts it among the
    /// dead letters, which operators settle.
    pub(crate) fn find_lost(&self) -> Vec<Gap> {
        let cuts = self.producer.acknowledgements.take_cuts(&self.topic.name);
        if cuts.is_empty() {
            return Vec::new();
        }
        // First asks for the id of the topic. If the topic was created again, its offsets begin
        // again, and nothing is lost.
        let admin = &self.monitor.admin;
        if let Err(error) = admin.describe(&self.topic.name) {
            tracing::debug!(%error, "the topic's id is not known now");
        }
        admin.deliver_events();
        let mut lost = Vec::new();
        for cut in cuts {
            if cut.topic_changes != self.health.topic_changes() {
                continue;
            }
            let Ok(cluster) = self.monitor.cluster() else {
                continue;
            };
            let partition = Partition::new(cluster, Arc::clone(&cut.topic), cut.partition, 0);
            let gap = Gap::new(partition, cut.from, cut.to, GapCause::Truncated);
            tracing::error!(
                log.topic = %cut.topic,
                log.partition = cut.partition,
                from = cut.from,
                to = cut.to,
                "acknowledged records are gone: the log was cut, as by an unclean leader election"
            );
            lost.push(gap);
        }
        lock(&self.lost).extend_from_slice(&lost);
        lost
    }

    /// Returns the guarantee of `acks=all`, which is `min.insync.replicas` and not the current
    /// number of in-sync replicas.
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
