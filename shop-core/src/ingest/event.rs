//! The events and actions between the pipeline, its driver and its batches.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::IngestCounters;
use super::observer::BatchReport;
use super::status::{Component, StuckRecord};
use crate::log::{Batch, CommitOffset, CommitOutcome, Gap, Partition, Revocation, SourceEvent};
use crate::{Error, Result};

/// An input of the pipeline.
#[derive(Debug)]
pub(super) enum PipelineEvent {
    /// Shutdown was requested.
    Shutdown,
    /// A deadline may have passed.
    Time,
    /// The source has returned.
    Source {
        asked: EventDemand,
        answer: Result<SourceEvent>,
    },
    /// A report of the batch with this number.
    Batch(u64, BatchEvent),
    /// The commit in progress has ended.
    Committed(Vec<CommitOffset>, Result<Vec<CommitOutcome>>),
}

/// A report of a batch in flight.
#[derive(Debug)]
pub(super) enum BatchEvent {
    /// A call failed and is retried after a pause; it has been failing since this instant.
    Failed(Component, Instant, Error),
    /// The call succeeds again.
    Recovered,
    /// The store fails over the record at this index, although it is healthy.
    Stuck(usize, StuckRecord),
    /// The store accepted that record after all.
    Freed(usize),
    /// The batch has ended, without an outcome if it was abandoned.
    Finished(Option<BatchOutcome>),
}

/// A decision of the pipeline.
#[derive(Debug)]
pub(super) enum PipelineAction {
    /// Process a batch, or keep a gap as a dead letter: its batch has no records.
    Start {
        number: u64,
        batch: Batch,
        gap: Option<Gap>,
    },
    /// Abandon the batches in flight of this partition and epoch.
    Abandon(Partition),
    /// Commit these offsets. There is at most one commit in progress.
    Commit(Vec<CommitOffset>),
    /// Let the rebalance of this revocation continue, by dropping it.
    EndRevocation(Arc<Revocation>),
    /// Report a batch to the observer.
    Completed(BatchReport),
    /// Close the source within this time. This is the last action.
    Close(Duration),
}

/// Which events the pipeline currently accepts from the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventDemand {
    /// None: the source is paused or closed.
    Nothing,
    /// Control events only.
    Control,
    /// Batches and control events.
    Next,
}

/// The result of a batch.
#[derive(Debug)]
pub(super) struct BatchOutcome {
    pub(super) counters: IngestCounters,
    /// The lost offsets, if it was a gap.
    pub(super) gap: Option<Range<u64>>,
    /// How far the batch is durable.
    pub(super) state: BatchState,
    /// The error that stops the pipeline, if any.
    pub(super) stop: Option<Error>,
    /// The age of its oldest purchase at insertion, if any was inserted.
    pub(super) freshness: Option<Duration>,
}

/// The state of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum BatchState {
    /// In flight.
    InFlight,
    /// Durable: the next offset after it.
    Durable(u64),
    /// Not durable beyond this offset: the position stays there.
    StoppedAt(u64),
}
