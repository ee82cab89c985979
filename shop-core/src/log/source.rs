//! The reading port of a log: a consumer group, its members, and the events that a member receives.
//!
//! Each partition belongs to one member of the group at a time. Every change of ownership starts a
//! new *epoch* of the partition. A former owner cannot commit any more: the log *fences* commits of
//! an ended epoch.
//!
//! ```text
//! LogSource::next ──> Batch ───> process records ──> commit(CommitOffset)
//!                 ├─> Gap ─────> keep a dead letter ──> commit(CommitOffset)
//!                 ├─> PartitionEnd ───────────────────> commit(CommitOffset)
//!                 ├─> Revoked ─> commit the rest, Revocation::done
//!                 └─> Closed
//! ```

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::{Gap, LogRecord};
use crate::Result;

/// A member of a consumer group, which reads records in batches.
///
/// Batch sizes and timeouts are configured when a source is created. Every call completes within a
/// time that the implementation bounds, except `next` and `next_control`, which wait for an event.
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
///             // Offsets without a record, such as the marker that ends a transaction.
///             SourceEvent::PartitionEnd(end) => {
///                 source.commit(&[end]).await?;
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
/// - Every record is delivered, in the order of its partition. A batch contains records of one
///   partition and epoch only, and at most the configured number
///   (`log::published_records_are_delivered`). It ends at the latest with the record that reaches
///   the configured bytes (`log::batches_respect_the_byte_limit`).
/// - The timestamp of a record is the same at each delivery, and a record appended some
///   milliseconds later carries a later timestamp (`log::a_record_keeps_its_timestamp`).
/// - Records of other producers are delivered unchanged
///   (`log_admin::the_ports_share_one_topic`).
/// - Groups are independent of each other, and a new one starts at the earliest record
///   (`log::a_member_starts_at_the_committed_position`).
/// - The next member of a group starts at the committed position: uncommitted records are
///   redelivered, committed ones are not. A commit of a smaller offset moves the position back
///   (`log::a_member_starts_at_the_committed_position`).
/// - Records that the log no longer contains are delivered as a [`Gap`], before the records after
///   them, and again until a position after it is committed
///   (`log::records_deleted_unread_are_a_gap`). Deleting committed records causes no gap, and a new
///   group receives none (`log::deleting_committed_records_is_no_gap`).
/// - `commit` takes the *next* offset and returns one outcome per position, in the order of the
///   call (`log::a_member_starts_at_the_committed_position`).
/// - Dropping the future of `next` loses nothing (`log::a_dropped_next_loses_nothing`).
/// - A partition that moves to another member is revoked first. From the revocation on, nothing of
///   the partition is delivered in that epoch. The rebalance waits until the revocation is done
///   (`log::a_rebalance_waits_for_the_revocation`) or its timeout passes
///   (`log::a_revocation_ends_at_its_timeout`).
/// - `next_control` returns revocations, but no batches (`log::next_control_returns_no_batch`).
/// - A commit of an ended epoch is [`Fenced`](CommitOutcome::Fenced) and moves nothing
///   (`log::a_member_starts_at_the_committed_position`).
/// - `lag` counts uncommitted records in the partitions of this member
///   (`log::lag_counts_uncommitted_records`).
/// - After `close`, `next` returns [`Closed`](SourceEvent::Closed), and another member gets the
///   partitions (`log::a_closed_source_releases_its_partitions`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait LogSource: Debug + Send + Sync + 'static {
    /// Waits for the next event. Revocations come before batches.
    ///
    /// A batch is delivered only by a call of this function. A reader without capacity pauses the
    /// source by not calling it, and stays a member of its group: it calls
    /// [`next_control`](Self::next_control) instead.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) while the log cannot be reached; the call can
    /// be retried.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    async fn next(&self) -> Result<SourceEvent>;

    /// Waits for the next event that is not a batch. A reader without capacity for records calls
    /// this method, so that it still learns of revocations.
    ///
    /// # Errors
    /// See [`next`](Self::next).
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    async fn next_control(&self) -> Result<ControlEvent>;

    /// Moves the group's positions forward or back, durably. Returns one outcome per position, in
    /// the same order.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the log did not respond; retrying is safe.
    async fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>>;

    /// Returns the lag of the group in the partitions that this member owns now.
    ///
    /// The lag is empty while another member is the active consumer. The figures may be some
    /// seconds old.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the lag is not known.
    async fn lag(&self) -> Result<Lag>;

    /// Leaves the group within `timeout`, and commits nothing. The partitions of this member go to
    /// other members.
    ///
    /// # Errors
    /// [`DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded) if the group was not notified in
    /// time.
    async fn close(&self, timeout: Duration) -> Result<()>;
}

/// An event that a [`LogSource`] delivers to its reader.
#[derive(Debug)]
#[non_exhaustive]
pub enum SourceEvent {
    /// Records to process.
    Batch(Batch),
    /// Offsets whose records the log no longer contains.
    Gap(Gap),
    /// The end of a partition, behind offsets that were never assigned to a record that is
    /// delivered. In Kafka these are the markers that end transactions, and the records of aborted
    /// transactions.
    ///
    /// The position can be committed once all batches and gaps that were delivered before it in the
    /// same epoch are durable. Without this commit, such offsets would count as unread, and as lost
    /// once the log deletes them. A log in which each offset has a record never delivers this event.
    PartitionEnd(CommitOffset),
    /// Partitions that this member must give up.
    Revoked(Revocation),
    /// The source was closed. No event follows.
    Closed,
}

/// An event of a [`LogSource`] that needs no capacity for records: see [`LogSource::next_control`].
#[derive(Debug)]
#[non_exhaustive]
pub enum ControlEvent {
    /// Partitions that this member must give up.
    Revoked(Revocation),
    /// The source was closed. No event follows.
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

/// One partition of a topic, in one epoch of its ownership by a member of the group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Partition {
    /// The id of the cluster or file that contains the log.
    pub cluster: Arc<str>,
    /// The name of the topic.
    pub topic: Arc<str>,
    /// The index of the partition in its topic.
    pub index: u32,
    /// The number of the ownership, which increases whenever the partition changes its owner. It is
    /// 0 outside of any group.
    ///
    /// The first batch or revocation of a newer epoch ends the older epoch, with or without a
    /// revocation of the older one. Commits of an ended epoch are [fenced](CommitOutcome::Fenced).
    pub epoch: u64,
}

impl Partition {
    /// Creates the partition `index` of `topic` in `cluster`, owned in `epoch`.
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

/// Consecutive raw records of one partition, read in one epoch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Batch {
    /// The partition of the records.
    pub partition: Partition,
    /// The records in the order of their offsets. An empty batch is ignored.
    pub records: Vec<LogRecord>,
}

impl Batch {
    /// Creates a batch of `records`, which are of `partition` and in the order of their offsets.
    #[must_use]
    pub const fn new(partition: Partition, records: Vec<LogRecord>) -> Self {
        Self { partition, records }
    }

    /// Returns the approximate memory of the records in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.records.iter().map(LogRecord::size).sum()
    }
}

/// A position of a group in one partition, to be committed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct CommitOffset {
    /// The partition, in the epoch in which the records were delivered.
    pub partition: Partition,
    /// The offset of the next record to read: one after the last durable record.
    pub next_offset: u64,
}

impl CommitOffset {
    /// Creates the position before the record at `next_offset` of `partition`.
    #[must_use]
    pub const fn new(partition: Partition, next_offset: u64) -> Self {
        Self {
            partition,
            next_offset,
        }
    }
}

/// The outcome of one position in a [`commit`](LogSource::commit).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitOutcome {
    /// The position is committed durably.
    Committed,
    /// The member no longer owns the partition in this epoch, so the position was not moved.
    ///
    /// No later commit of this epoch will succeed. The reader drops all further records of the
    /// epoch: the new owner reads them again.
    Fenced,
}

/// The number of records between a group's positions and the ends of the partitions.
///
/// Offsets that are never assigned to a record, such as the offsets of transaction markers, do not
/// count.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lag {
    /// The name of the topic.
    pub topic: Arc<str>,
    /// The name of the group.
    pub group: String,
    /// The number of records from the committed position to the end, per partition.
    pub records: BTreeMap<u32, u64>,
    /// The partitions whose last records cannot be read before another producer ends its
    /// transaction, each with the time since which they cannot be read.
    pub open_transactions: BTreeMap<u32, Instant>,
}

impl Lag {
    /// Creates the lag of `group` in `topic`, from the number of records per partition, without
    /// open transactions.
    #[must_use]
    pub const fn new(topic: Arc<str>, group: String, records: BTreeMap<u32, u64>) -> Self {
        Self {
            topic,
            group,
            records,
            open_transactions: BTreeMap::new(),
        }
    }

    /// Returns the earliest time since which records of any partition wait for the end of a
    /// transaction, or `None` if no record waits.
    #[must_use]
    pub fn transaction_since(&self) -> Option<Instant> {
        self.open_transactions.values().min().copied()
    }

    /// Returns the number of records in all partitions together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.records.values().sum()
    }
}

/// The cause of a [`Revocation`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationCause {
    /// The group assigns its partitions again. Commits still succeed until the revocation is done.
    Rebalance,
    /// This member no longer belongs to the group. Its commits are fenced, so there is nothing to
    /// finish.
    Lost,
}

/// A request of the group to give up partitions.
///
/// The reader finishes and commits the records that it read, and then calls [`done`](Self::done).
/// The rebalance of the group waits for this call. It also continues when the revocation is
/// dropped, which abandons the partitions, or when the timeout passes.
#[non_exhaustive]
pub struct Revocation {
    /// The partitions to give up, in their epochs.
    pub partitions: Vec<Partition>,
    /// The cause of the revocation.
    pub cause: RevocationCause,
    /// The maximum time for which the rebalance waits.
    pub timeout: Duration,
    /// The function that lets the rebalance continue, until it is called.
    on_end: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Revocation {
    /// Creates a revocation of `partitions`.
    ///
    /// `on_end` is called once, when the reader calls [`done`](Self::done) or drops the revocation.
    #[must_use]
    pub fn new(
        partitions: Vec<Partition>,
        cause: RevocationCause,
        timeout: Duration,
        on_end: impl FnOnce() + Send + Sync + 'static,
    ) -> Self {
        Self {
            partitions,
            cause,
            timeout,
            on_end: Some(Box::new(on_end)),
        }
    }

    /// Lets the rebalance continue. The reader calls this method after it commits the positions
    /// behind all durable records.
    pub fn done(self) {
        // The implementation of `Drop` calls `on_end`, so that a reader that panics does not delay
        // the rebalance either.
        drop(self);
    }
}

impl Drop for Revocation {
    fn drop(&mut self) {
        if let Some(on_end) = self.on_end.take() {
            on_end();
        }
    }
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocation")
            .field("partitions", &self.partitions)
            .field("cause", &self.cause)
            .field("timeout", &self.timeout)
            // `on_end` is a function, which does not implement `Debug`.
            .finish_non_exhaustive()
    }
}
