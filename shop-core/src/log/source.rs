//! The reading port of a log.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{Gap, LogRecord};
use crate::Result;

/// A member of a consumer group, which reads records in batches.
///
/// Batch sizes and timeouts are configured when a source is created. Every call completes within a time that the
/// implementation bounds, except `next` and `next_control`, which wait for an event.
///
/// [`Ingest`](crate::ingest::Ingest) is the usual caller. By hand:
///
/// ```
/// use shop_core::log::{CommitOffset, LogSource, SourceEvent};
///
/// /// Reads records until the source is closed.
/// async fn consume(source: &dyn LogSource) -> shop_core::Result<()> {
///     loop {
///         match source.next().await? {
///             SourceEvent::Batch(batch) => {
///                 for record in &batch.records {
///                     println!("{}: {:?}", record.offset, record.value);
///                 }
///                 // Only now: what was not committed is delivered again after a crash.
///                 if let Some(last) = batch.records.last() {
///                     source.commit(&[CommitOffset::new(batch.partition, last.offset + 1)]).await?;
///                 }
///             }
///             // Records that the log has deleted before they were read.
///             SourceEvent::Gap(gap) => {
///                 println!("{gap}");
///                 source.commit(&[CommitOffset::new(gap.partition, gap.next_offset)]).await?;
///             }
///             // Everything read of these partitions is committed already.
///             SourceEvent::Revoked(revocation) => revocation.done(),
///             SourceEvent::Closed => return Ok(()),
///             _ => {}
///         }
///     }
/// }
/// ```
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - Every record is delivered, in the order of its partition. A batch contains records of one partition and epoch only
///   (`log::published_records_are_delivered`).
/// - A batch contains at most the configured number of records (`log::batches_respect_the_record_limit`), and ends at
///   the latest with the record that reaches the configured bytes (`log::batches_respect_the_byte_limit`).
/// - The timestamp of a record is the same at each delivery, and a record appended some milliseconds later has a later
///   one (`log::a_record_keeps_its_timestamp`).
/// - Records of other producers are delivered unchanged (`log::foreign_records_are_delivered_unchanged`).
/// - A new group starts at the earliest record (`log::a_new_group_starts_at_the_earliest`).
/// - Groups are independent of each other (`log::groups_are_independent`).
/// - The next member of a group starts at the committed position: uncommitted records are redelivered
///   (`log::uncommitted_records_are_redelivered`), committed ones are not
///   (`log::committed_records_are_not_redelivered`).
/// - Records that the log no longer has are delivered as a [`Gap`], before the records after them
///   (`log::records_deleted_unread_are_a_gap`), and again until a position after it is committed
///   (`log::an_uncommitted_gap_is_redelivered`). Deleting committed records is no gap, and a new group has none
///   (`log::deleting_committed_records_is_no_gap`).
/// - A commit of a smaller offset moves the position back (`log::a_smaller_offset_moves_the_position_back`).
/// - `commit` takes the *next* offset and returns one outcome per position, in the order of the call
///   (`log::commit_returns_one_outcome_per_position`).
/// - Dropping the future of `next` loses nothing (`log::a_dropped_next_loses_nothing`).
/// - A partition that moves to another member is revoked first. The rebalance waits until the revocation is done
///   (`log::a_rebalance_waits_for_the_revocation`) or its timeout has passed (`log::a_revocation_ends_at_its_timeout`).
///   From the revocation on, nothing of the partition is delivered in that epoch
///   (`log::a_revoked_partition_delivers_nothing`).
/// - `next_control` returns revocations, but no batches (`log::next_control_returns_no_batch`).
/// - A commit of an ended epoch is [`Fenced`](CommitOutcome::Fenced) and moves nothing
///   (`log::a_commit_of_an_ended_epoch_is_fenced`).
/// - `lag` counts uncommitted records in the partitions of this member (`log::lag_counts_uncommitted_records`).
/// - After `close`, `next` returns [`Closed`](SourceEvent::Closed), and another member gets the partitions
///   (`log::a_closed_source_releases_its_partitions`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait LogSource: Debug + Send + Sync + 'static {
    /// Waits for the next event. Revocations come before batches.
    ///
    /// Batches are delivered only to a call. A reader without capacity pauses the source by not calling `next`; it
    /// stays a member of its group.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) while the log cannot be reached; the call can be retried.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    async fn next(&self) -> Result<SourceEvent>;

    /// Waits for the next event that is not a batch, for a reader that has no capacity.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    async fn next_control(&self) -> Result<ControlEvent>;

    /// Moves the group's positions, forward or back. Returns one outcome per position, in the same order.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the log did not respond; retrying is safe.
    async fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>>;

    /// The lag of the group in the partitions that this member owns now; empty while another member is the active
    /// consumer. The figures may be some seconds old.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the lag is not known.
    async fn lag(&self) -> Result<Lag>;

    /// Checks whether the log can be reached. A member that waits to become the active consumer is healthy.
    ///
    /// # Errors
    /// The reason why not.
    async fn check(&self) -> Result<()>;

    /// Leaves the group, within `deadline`. Commits nothing.
    ///
    /// # Errors
    /// [`DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded) when the group was not notified in time.
    async fn close(&self, timeout: Duration) -> Result<()>;
}

/// An event of a source.
#[derive(Debug)]
#[non_exhaustive]
pub enum SourceEvent {
    /// Records to be stored.
    Batch(Batch),
    /// Records that the log no longer has.
    Gap(Gap),
    /// Partitions that this member has to give up.
    Revoked(Revocation),
    /// The source was closed: no more events follow.
    Closed,
}

/// An event of a source that is not a batch.
#[derive(Debug)]
#[non_exhaustive]
pub enum ControlEvent {
    /// Partitions that this member has to give up.
    Revoked(Revocation),
    /// The source was closed: no more events follow.
    Closed,
}

impl From<ControlEvent> for SourceEvent {
    fn from(event: ControlEvent) -> Self {
        match event {
            ControlEvent::Revoked(revocation) => Self::Revoked(revocation),
            ControlEvent::Closed => Self::Closed,
        }
    }
}

/// One partition of a topic, in one epoch of ownership.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Partition {
    /// The id of the cluster or file that contains the log.
    pub cluster: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The index of the partition.
    pub index: u32,
    /// Increases with every change of ownership. The first batch or revocation of a newer epoch ends the older one,
    /// with or without a revocation. Commits of an ended epoch are fenced.
    pub epoch: u64,
}

impl Partition {
    /// Partition `index` of `topic`, owned in `epoch`.
    #[must_use]
    pub const fn new(cluster: Arc<str>, topic: Arc<str>, index: u32, epoch: u64) -> Self {
        Self {
            cluster,
            topic,
            index,
            epoch,
        }
    }
}

/// Consecutive raw records of one partition and epoch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Batch {
    /// The partition of the records.
    pub partition: Partition,
    /// The records in the order of their offsets. An empty batch is ignored.
    pub records: Vec<LogRecord>,
}

impl Batch {
    /// A batch of `records`.
    #[must_use]
    pub const fn new(partition: Partition, records: Vec<LogRecord>) -> Self {
        Self { partition, records }
    }

    /// The memory of the records in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.records.iter().map(LogRecord::size).sum()
    }
}

/// A position to commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct CommitOffset {
    /// The partition, in the epoch in which the records were delivered.
    pub partition: Partition,
    /// The offset of the next record to read: one after the last durable record.
    pub next_offset: u64,
}

impl CommitOffset {
    /// The position `next_offset` of `partition`.
    #[must_use]
    pub const fn new(partition: Partition, next_offset: u64) -> Self {
        Self {
            partition,
            next_offset,
        }
    }
}

/// The outcome of one position of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitOutcome {
    /// The position is committed durably.
    Committed,
    /// The member no longer owns the partition in this epoch. Nothing was moved, and no later commit of this epoch will
    /// succeed; the reader drops further records of it.
    Fenced,
}

/// The number of records between a group's positions and the ends of the partitions. Offsets that no record will ever
/// have, such as those of the markers of transactions, do not count.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lag {
    /// The topic.
    pub topic: Arc<str>,
    /// The group.
    pub group: String,
    /// Per partition, the number of records from the committed position to the end.
    pub records: BTreeMap<u32, u64>,
    /// Per partition whose last records cannot be read before another producer ends its transaction: since when.
    pub open_transactions: BTreeMap<u32, Instant>,
}

impl Lag {
    /// The lag of `group` in `topic`, with the records per partition.
    #[must_use]
    pub const fn new(topic: Arc<str>, group: String, records: BTreeMap<u32, u64>) -> Self {
        Self {
            topic,
            group,
            records,
            open_transactions: BTreeMap::new(),
        }
    }

    /// Since when records wait for the end of a transaction, if they do.
    #[must_use]
    #[doc(hidden)]
    pub fn transaction_since(&self) -> Option<Instant> {
        self.open_transactions.values().min().copied()
    }

    /// The sum over all partitions.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.records.values().sum()
    }
}

/// The cause of a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationCause {
    /// The group reassigns its partitions. Commits succeed until the revocation is done.
    Rebalance,
    /// The membership has ended. Commits are fenced, and there is nothing to drain.
    Lost,
}

/// Partitions that a member has to give up.
///
/// The rebalance continues when [`done`](Self::done) is called, when this is dropped (the partitions are abandoned), or
/// when the timeout has passed.
#[non_exhaustive]
pub struct Revocation {
    /// The partitions.
    pub partitions: Vec<Partition>,
    /// The cause.
    pub cause: RevocationCause,
    /// The maximum time that the rebalance waits.
    pub timeout: Duration,
    ended: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Revocation {
    /// A revocation. `ended` is called once, when the member is done or has dropped the revocation.
    #[must_use]
    pub fn new(
        partitions: Vec<Partition>,
        cause: RevocationCause,
        timeout: Duration,
        ended: impl FnOnce() + Send + Sync + 'static,
    ) -> Self {
        Self {
            partitions,
            cause,
            timeout,
            ended: Some(Box::new(ended)),
        }
    }

    /// Lets the rebalance continue. To be called when all durable records have been committed.
    pub fn done(self) {
        drop(self);
    }
}

impl Drop for Revocation {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            ended();
        }
    }
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            partitions,
            cause,
            timeout,
            ended: _,
        } = self;
        f.debug_struct("Revocation")
            .field("partitions", partitions)
            .field("cause", cause)
            .field("timeout", timeout)
            .finish_non_exhaustive()
    }
}
