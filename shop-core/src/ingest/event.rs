//! What happens to the pipeline, and what it decides: the words between it, its driver and its batches.

use std::time::{Duration, Instant};

use super::IngestCounters;
use super::observer::BatchReport;
use super::status::{Component, StuckRecord};
use crate::log::{Batch, CommitOffset, CommitOutcome, Partition, RevocationCause};
use crate::{Error, Result};

/// What has happened.
#[derive(Debug)]
pub(super) enum Event {
    /// The pipeline is to end.
    Shutdown,
    /// A deadline may have passed.
    Time,
    /// The source has answered what it was asked for.
    Source { asked: Wants, answer: Result<SourceAnswer> },
    /// A batch, by its number, reports.
    Batch(u64, BatchEvent),
    /// The commit under way has ended.
    Committed(Vec<CommitOffset>, Result<Vec<CommitOutcome>>),
}

/// What a source has answered.
#[derive(Debug)]
pub(super) enum SourceAnswer {
    Batch(Batch),
    /// The caller keeps the revocation under the number `id`.
    Revoked {
        id: u64,
        partitions: Vec<Partition>,
        cause: RevocationCause,
        timeout: Duration,
    },
    Closed,
}

/// What a batch in flight reports.
#[derive(Debug)]
pub(super) enum BatchEvent {
    /// A call has failed and is made again after a pause; it has been failing since then.
    Failed(Component, Instant, Error),
    /// The call works again.
    Recovered,
    /// The store does not take the record at this index, although it is healthy.
    Stuck(usize, StuckRecord),
    /// It took that record after all.
    Freed(usize),
    /// The batch has ended; without an outcome when it was abandoned.
    Finished(Option<BatchOutcome>),
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Action {
    /// Store a batch.
    Start { number: u64, batch: Batch },
    /// Abandon the batches of this partition and epoch that are in flight.
    Abandon(Partition),
    /// Commit these offsets. There is one commit at a time.
    Commit(Vec<CommitOffset>),
    /// Let the rebalance of this revocation continue.
    EndRevocation(u64),
    /// Report a batch to the observer.
    Completed(BatchReport),
    /// Close the source within this time. It is the last action.
    Close(Duration),
}

/// What the source is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    /// Nothing: it is paused, or has ended.
    Nothing,
    /// Only what concerns a reader without room.
    Control,
    /// Anything.
    Next,
}

/// How a batch ended.
#[derive(Debug)]
pub(super) struct BatchOutcome {
    pub(super) counters: IngestCounters,
    /// How far it is durable.
    pub(super) state: BatchState,
    /// Why the pipeline is to stop, if it is.
    pub(super) stop: Option<Error>,
    /// How old its oldest purchase was when it was stored, if any was.
    pub(super) freshness: Option<Duration>,
}

/// What is known of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(super) enum BatchState {
    /// It is in flight.
    InFlight,
    /// All of it is durable: the next offset after it.
    Durable(u64),
    /// It will never be durable beyond this offset: the position stays there.
    StoppedAt(u64),
}
