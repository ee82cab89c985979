//! The way out of the log.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::LogRecord;
use crate::Result;

/// Where records come from: one member of a consumer group.
///
/// Sizes and times of batches are given to an implementation when it is made. Every call ends by itself in a
/// time that the implementation bounds, but for `next` and `next_control`, which wait for something to happen.
///
/// # Behavior
/// Each line names the function of the conformance kit that holds an implementation to it.
///
/// - Every record is delivered, in the order of its partition, and a batch holds records of one partition and
///   epoch only (`log::published_records_are_delivered`).
/// - A batch holds at most the number of records that the source was made with
///   (`log::batches_keep_to_their_limit`), and ends at the latest with the record that reaches its bytes
///   (`log::batches_keep_to_their_bytes`).
/// - The time of a record is the same at each delivery, and a record that is appended some milliseconds later has a later one
///   (`log::a_record_keeps_its_time`).
/// - Records of other producers are delivered as they stand
///   (`log::foreign_records_are_delivered_as_they_stand`).
/// - A new group starts at the earliest record (`log::a_new_group_starts_at_the_earliest`).
/// - Groups do not disturb each other (`log::groups_are_independent`).
/// - The next member of a group starts at the committed position: what was not committed comes again
///   (`log::uncommitted_records_are_redelivered`), what was committed does not (`log::committed_records_are_not_redelivered`).
/// - A commit with a smaller offset than before moves the position back: the group's next member starts there
///   (`log::a_smaller_offset_moves_the_position_back`).
/// - `commit` takes the *next* offset and answers for each position in the order of the call
///   (`log::commit_answers_each_position`).
/// - Dropping the future of `next` loses nothing (`log::a_dropped_next_loses_nothing`).
/// - A partition that goes to another member is first revoked, and stays until the revocation is done
///   (`log::a_revocation_is_waited_for`), or until the grace that it names is over
///   (`log::a_revocation_ends_with_its_grace`). Meanwhile nothing of it is handed out in that epoch
///   (`log::a_revoked_partition_is_silent`).
/// - A caller that requests control events only gets no batch, and gets a revocation all the same
///   (`log::an_interruption_is_no_batch`).
/// - A commit of an epoch that is over is [`Fenced`](CommitOutcome::Fenced) and moves nothing
///   (`log::an_epoch_that_is_over_is_fenced`).
/// - `lag` counts what is not committed, in the partitions of this member (`log::lag_is_what_is_not_committed`).
/// - After `close`, `next` answers [`Closed`](SourceEvent::Closed), and another member gets the partitions
///   (`log::a_closed_source_hands_over`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait LogSource: Debug + Send + Sync + 'static {
    /// Waits for what happens next. A revocation comes before any batch.
    ///
    /// Without a call no batch is handed over: that is how a reader that is full pauses the source,
    /// which stays a member of its group meanwhile.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) while the log cannot be reached; asking again is right.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    async fn next(&self) -> Result<SourceEvent>;

    /// Waits for what concerns a reader that has no room for a batch now.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    async fn next_control(&self) -> Result<ControlEvent>;

    /// Moves the group's positions, forward or back. The answer has one outcome for each position, in the same order.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the log did not answer; committing again is safe.
    async fn commit(&self, positions: &[CommitOffset]) -> Result<Vec<CommitOutcome>>;

    /// How far the group is behind in the partitions that this member owns now: of no partition while it waits for
    /// its turn. What a log learns only now and then may be some seconds old.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when it is not known.
    async fn lag(&self) -> Result<Lag>;

    /// Whether the log can be reached. A member that waits for its turn is well.
    ///
    /// # Errors
    /// Why not.
    async fn check(&self) -> Result<()>;

    /// Leaves the group, within `deadline`. Commits nothing.
    ///
    /// # Errors
    /// [`DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded) when the group was not notified by then.
    async fn close(&self, deadline: Duration) -> Result<()>;
}

/// What a source has to say.
#[derive(Debug)]
#[non_exhaustive]
pub enum SourceEvent {
    /// Records to be stored.
    Batch(Batch),
    /// Partitions that this member is to give up.
    Revoked(Revocation),
    /// The source was closed: nothing more comes.
    Closed,
}

/// What a source has to say even to a reader that is full.
#[derive(Debug)]
#[non_exhaustive]
pub enum ControlEvent {
    /// Partitions that this member is to give up.
    Revoked(Revocation),
    /// The source was closed: nothing more comes.
    Closed,
}

impl From<ControlEvent> for SourceEvent {
    fn from(interruption: ControlEvent) -> Self {
        match interruption {
            ControlEvent::Revoked(revocation) => Self::Revoked(revocation),
            ControlEvent::Closed => Self::Closed,
        }
    }
}

/// One partition of a topic, during one time of ownership.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Partition {
    /// The id of the cluster, or of the file, that holds the log.
    pub cluster: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The number of the partition.
    pub index: u32,
    /// Grows with every change of ownership. The first batch or revocation of a newer epoch ends the older one, with or
    /// without a revocation of that: what is committed in an epoch that is over no longer counts.
    pub epoch: u64,
}

impl Partition {
    /// Partition `index` of `topic`, owned in `epoch`.
    #[must_use]
    pub const fn new(cluster: Arc<str>, topic: Arc<str>, index: u32, epoch: u64) -> Self {
        Self { cluster, topic, index, epoch }
    }
}

/// Consecutive records of one partition and epoch, as they stand in the log.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Batch {
    /// Where they come from.
    pub partition: Partition,
    /// The records in the order of their offsets. A batch without any says nothing, and is skipped.
    pub records: Vec<LogRecord>,
}

impl Batch {
    /// The batch of `records`.
    #[must_use]
    pub const fn new(partition: Partition, records: Vec<LogRecord>) -> Self {
        Self { partition, records }
    }

    /// The bytes that the batch holds: what a budget counts.
    #[must_use]
    pub fn size(&self) -> usize {
        self.records.iter().map(LogRecord::size).sum()
    }
}

/// A position that a group may move to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct CommitOffset {
    /// The partition, in the epoch that the records were delivered in.
    pub partition: Partition,
    /// The offset of the next record to be read: one after the last that is durable.
    pub next_offset: u64,
}

impl CommitOffset {
    /// The position before offset `next_offset` of `partition`.
    #[must_use]
    pub const fn new(partition: Partition, next_offset: u64) -> Self {
        Self { partition, next_offset }
    }
}

/// What became of one position of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitOutcome {
    /// The group stands there, durably.
    Committed,
    /// The partition is no longer this member's, or not in this epoch. Nothing was moved, and nothing of this
    /// epoch ever will be: a reader drops what it still gets of it.
    Fenced,
}

/// How far a group's positions are behind the ends of their partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lag {
    /// The topic.
    pub topic: Arc<str>,
    /// The group.
    pub group: String,
    /// The records from the committed position to the end, of each partition.
    pub records: BTreeMap<u32, u64>,
}

impl Lag {
    /// That of `group` in `topic`, with the records of each partition.
    #[must_use]
    pub const fn new(topic: Arc<str>, group: String, records: BTreeMap<u32, u64>) -> Self {
        Self { topic, group, records }
    }

    /// The records in all of the partitions.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.records.values().sum()
    }
}

/// Why partitions are taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RevocationCause {
    /// The group reassigns its partitions; commits still count until the revocation is done.
    Rebalance,
    /// The membership is over already: commits are fenced, there is nothing to drain for.
    Lost,
}

/// Partitions that a member is to give up.
///
/// The rebalance goes on when this is [`done`](Self::done), when it is dropped (the member has abandoned
/// them), or when the grace is over.
#[non_exhaustive]
pub struct Revocation {
    /// The partitions.
    pub partitions: Vec<Partition>,
    /// Why.
    pub cause: RevocationCause,
    /// How long the rebalance waits.
    pub timeout: Duration,
    ended: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Revocation {
    /// A revocation. `ended` is called once, when the member has given the partitions up or has dropped the
    /// revocation.
    #[must_use]
    pub fn new(
        partitions: Vec<Partition>,
        cause: RevocationCause,
        timeout: Duration,
        ended: impl FnOnce() + Send + Sync + 'static,
    ) -> Self {
        Self { partitions, cause, timeout, ended: Some(Box::new(ended)) }
    }

    /// Lets the rebalance go on: all that is durable has been committed.
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
        let Self { partitions, cause, timeout: grace, ended: _ } = self;
        f.debug_struct("Revocation")
            .field("partitions", partitions)
            .field("cause", cause)
            .field("grace", grace)
            .finish_non_exhaustive()
    }
}
