//! The in-memory log: partitions of records, and the state that its readers and writers share.
//!
//! All parts of a log share one state under one lock, and one [`Notify`] that wakes waiting readers
//! after a change.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::InMemorySource;
use super::group::{ConsumerGroup, Rebalancing};
use crate::backend::Backend;
use crate::lock::lock;
use crate::log::{DeadLetter, LogRecord, Partition, RecordId, RecordPosition, ResolvedDeadLetter};
use crate::ports::{Durability, PurchaseSink, Receipt, SinkInfo};
use crate::record::encode;
use crate::{Clock, Error, ErrorKind, Purchase, Result, SystemClock, options};

/// The name of the cluster of every in-memory log.
const CLUSTER: &str = "memory";

/// A partitioned log in memory, with consumer groups.
///
/// Clones share the log.
#[derive(Debug, Clone)]
pub struct InMemoryLog {
    pub(crate) shared: Arc<InMemoryLogInner>,
}

options! {
    /// Options of an [`InMemoryLog`].
    #[derive(Debug, Clone)]
    pub struct InMemoryLogOptions {
        /// The topic of the records (default `purchases`).
        pub topic: String as impl Into<String> = "purchases".to_owned(),
        /// The number of partitions (default 1); 0 counts as 1.
        pub partitions: u32 = 1,
        /// The maximum number of records in a batch (default 1,000).
        pub batch_records: usize = 1_000,
        /// The size in bytes at which a batch ends (default 1 MiB).
        pub batch_bytes: usize = 1 << 20,
        /// How long a rebalance waits for a revocation (default 3 s).
        pub revocation_timeout: Duration = Duration::from_secs(3),
        /// Which partitions a rebalance revokes (default: only those that move).
        pub rebalancing: Rebalancing = Rebalancing::Cooperative,
        /// The clock for the timestamps of records.
        pub clock: Arc<dyn Clock> = Arc::new(SystemClock),
    }
}

/// The options and the state that clones, readers and writers of a log share.
#[derive(Debug)]
pub(crate) struct InMemoryLogInner {
    pub(super) options: InMemoryLogOptions,
    pub(super) cluster: Arc<str>,
    pub(super) topic: Arc<str>,
    pub(crate) state: Mutex<InMemoryLogState>,
    /// Notified after every change that is relevant to readers.
    pub(super) changed: Notify,
}

/// The state of a log, under its lock.
#[derive(Debug, Default)]
pub(crate) struct InMemoryLogState {
    pub(crate) partitions: BTreeMap<u32, PartitionRecords>,
    pub(super) groups: BTreeMap<String, ConsumerGroup>,
    /// The pending dead letters, in the order in which they were put.
    pub(super) dead_letters: Vec<DeadLetter>,
    pub(super) resolved: BTreeMap<RecordId, ResolvedDeadLetter>,
    /// The number of the last member that joined any group.
    pub(super) last_member: u64,
}

/// The records of one partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct PartitionRecords {
    /// The offset of the first record, or of the next record if the partition is empty.
    pub(super) first_offset: u64,
    pub(super) records: Vec<LogRecord>,
}

impl PartitionRecords {
    /// Returns the offset of the next record to append.
    pub(super) fn end(&self) -> u64 {
        self.first_offset + self.records.len() as u64
    }

    /// Returns the records from `offset` on, or all records if `offset` is before the first one.
    pub(super) fn records_from(&self, offset: u64) -> &[LogRecord] {
        let index = usize::try_from(offset.saturating_sub(self.first_offset)).unwrap_or(usize::MAX);
        // An offset behind the last record yields no records.
        &self.records[index.min(self.records.len())..]
    }

    /// Returns the record at `offset` for a change, if the partition contains the record.
    pub(super) fn get_mut(&mut self, offset: u64) -> Option<&mut LogRecord> {
        self.records
            .get_mut(usize::try_from(offset.checked_sub(self.first_offset)?).ok()?)
    }

    /// Deletes the records before `offset`. The other records keep their offsets.
    fn delete_before(&mut self, offset: u64) {
        let kept_records = self.records_from(offset).to_vec();
        self.first_offset = self.end() - kept_records.len() as u64;
        self.records = kept_records;
    }
}

impl Default for InMemoryLog {
    fn default() -> Self {
        Self::new(InMemoryLogOptions::default())
    }
}

impl InMemoryLog {
    /// Creates an empty log in the cluster `memory`.
    ///
    /// The log has at least one partition, and its batches contain at least one record: 0 counts as
    /// 1 in both options.
    #[must_use]
    pub fn new(mut options: InMemoryLogOptions) -> Self {
        options.partitions = options.partitions.max(1);
        options.batch_records = options.batch_records.max(1);
        let partitions = (0..options.partitions)
            .map(|index| (index, PartitionRecords::default()))
            .collect();
        // Every position of a record contains the topic, so the positions share one text.
        let topic = options.topic.as_str().into();
        Self {
            shared: Arc::new(InMemoryLogInner {
                options,
                cluster: CLUSTER.into(),
                topic,
                state: Mutex::new(InMemoryLogState {
                    partitions,
                    ..InMemoryLogState::default()
                }),
                changed: Notify::new(),
            }),
        }
    }

    /// Returns the parts of this log, whose records the consumer group `group` stores.
    #[must_use]
    pub fn backend(&self, group: &str) -> Backend {
        Backend::of_log(&*self.shared.topic, Arc::new(self.clone())).with_group(group)
    }

    /// Creates a writer of purchases to this log.
    #[must_use]
    pub fn sink(&self) -> InMemorySink {
        InMemorySink {
            log: Arc::clone(&self.shared),
            closed: AtomicBool::new(false),
        }
    }

    /// Creates a reader as a new member of the consumer group `group`. The partitions are
    /// rebalanced.
    #[must_use]
    pub fn source(&self, group: &str) -> InMemorySource {
        InMemorySource::join(Arc::clone(&self.shared), group)
    }

    /// Returns all pending dead letters, ordered by partition and offset.
    #[must_use]
    pub fn all_dead_letters(&self) -> Vec<DeadLetter> {
        let mut dead_letters = lock(&self.shared.state).dead_letters.clone();
        dead_letters.sort_by_key(DeadLetter::position);
        dead_letters
    }

    /// Appends a raw record, as another producer would. The log assigns the offset and the time of
    /// the record.
    #[must_use]
    pub fn append(&self, record: LogRecord) -> RecordPosition {
        self.shared.append(record)
    }

    /// Deletes the records of `partition` before `offset`, as retention does.
    ///
    /// A group that has not read the records receives a [`Gap`](crate::log::Gap).
    pub fn delete_before(&self, partition: u32, offset: u64) {
        let mut state = lock(&self.shared.state);
        state
            .partitions
            .entry(partition)
            .or_default()
            .delete_before(offset);
        drop(state);
        self.shared.changed.notify_waiters();
    }

    /// Returns the committed positions of `group`: the offset of the next record per partition.
    #[must_use]
    pub fn committed(&self, group: &str) -> BTreeMap<u32, u64> {
        let state = lock(&self.shared.state);
        match state.groups.get(group) {
            Some(group) => group.committed.clone(),
            // A group that does not exist has committed nothing.
            None => BTreeMap::new(),
        }
    }
}

/// A writer that appends purchases to an [`InMemoryLog`].
#[derive(Debug)]
pub struct InMemorySink {
    log: Arc<InMemoryLogInner>,
    closed: AtomicBool,
}

#[async_trait]
impl PurchaseSink for InMemorySink {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        self.check().await?;
        let position = self.log.append(encode(purchase)?);
        Ok(Receipt::new(purchase.id, Durability::Memory).with_position(position))
    }

    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        if let Err(error) = self.check().await {
            return vec![Err(error); purchases.len()];
        }
        let mut state = lock(&self.log.state);
        let receipts = purchases
            .iter()
            .map(|purchase| {
                let position = self.log.append_unnotified(&mut state, encode(purchase)?);
                Ok(Receipt::new(purchase.id, Durability::Memory).with_position(position))
            })
            .collect();
        drop(state);
        self.log.changed.notify_waiters();
        receipts
    }

    fn info(&self) -> SinkInfo {
        SinkInfo::new(Durability::Memory)
    }

    async fn check(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(
                Error::new(ErrorKind::Closed, "the sink is closed").with_origin("memory log")
            );
        }
        Ok(())
    }

    async fn close(&self, _timeout: Duration) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}

impl InMemoryLogInner {
    /// Returns the partition `index` of this log, owned in `epoch`.
    pub(super) fn partition(&self, index: u32, epoch: u64) -> Partition {
        Partition::new(
            Arc::clone(&self.cluster),
            Arc::clone(&self.topic),
            index,
            epoch,
        )
    }

    /// Appends a record to its partition, notifies the readers, and returns the position of the
    /// record.
    pub(super) fn append(&self, record: LogRecord) -> RecordPosition {
        let position = self.append_unnotified(&mut lock(&self.state), record);
        self.changed.notify_waiters();
        position
    }

    /// Appends a record to its partition in `state`, and returns the position of the record.
    ///
    /// Does not notify the readers. The caller notifies them once, after it appended its last record
    /// and released the lock of `state`.
    pub(super) fn append_unnotified(
        &self,
        state: &mut InMemoryLogState,
        mut record: LogRecord,
    ) -> RecordPosition {
        let partition_index = self.partition_of(record.key.as_deref());
        let partition = state.partitions.entry(partition_index).or_default();
        record.offset = partition.end();
        record.time = self.options.clock.now();

        let position = RecordPosition::new(Arc::clone(&self.topic), partition_index, record.offset);
        partition.records.push(record);
        position
    }

    /// Applies `update` to the group `name`, notifies the readers, and returns the result of
    /// `update`. A group that does not exist is created first.
    pub(super) fn update_group<T>(
        &self,
        name: &str,
        update: impl FnOnce(&mut ConsumerGroup) -> T,
    ) -> T {
        let options = &self.options;
        let mut state = lock(&self.state);
        let group = state.groups.entry(name.to_owned()).or_insert_with(|| {
            ConsumerGroup::new(
                options.partitions,
                options.rebalancing,
                options.revocation_timeout,
            )
        });
        let result = update(group);
        drop(state);
        self.changed.notify_waiters();
        result
    }

    /// Returns the index of the partition for a record with this key.
    ///
    /// Records with the same key go to the same partition. Records without a key go to the first
    /// partition.
    fn partition_of(&self, key: Option<&[u8]>) -> u32 {
        let Some(key) = key else { return 0 };
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let index = hasher.finish() % u64::from(self.options.partitions);
        // The index is below a `u32`, so the conversion succeeds.
        u32::try_from(index).unwrap_or_default()
    }
}
