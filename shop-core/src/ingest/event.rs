//! The events and actions between the pipeline, its driver and its batches.
//!
//! ```text
//! batches, commits, source ─▶ PipelineEvent ─▶ pipeline ─▶ PipelineAction ─▶ driver
//! ```

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::IngestCounters;
use super::status::{BatchReport, Component, StuckRecord};
use crate::log::{Batch, CommitOffset, CommitOutcome, Gap, Partition, Revocation, SourceEvent};
use crate::{Error, Result};

/// An input of the pipeline.
#[derive(Debug)]
pub(super) enum PipelineEvent {
    /// Shutdown was requested.
    Shutdown,
    /// A deadline may have passed.
    Time,
    /// The source returned this result to a request for the events of `demand`.
    Source {
        demand: EventDemand,
        result: Result<SourceEvent>,
    },
    /// The batch with this number reports on its work.
    Batch(u64, BatchEvent),
    /// The commit of these offsets ended, with one outcome per offset or an error.
    Committed(Vec<CommitOffset>, Result<Vec<CommitOutcome>>),
}

/// A report of a batch in flight.
#[derive(Debug)]
pub(super) enum BatchEvent {
    /// A call to this component failed with this error, and is retried after a pause. It has been
    /// failing since this instant.
    Failed(Component, Instant, Error),
    /// The call that was failing succeeds again.
    Recovered,
    /// The store fails over the record at this index of the batch, although the store is healthy.
    Stuck(usize, StuckRecord),
    /// The record at this index is not stuck any more: the store gave an outcome, or an operator
    /// parked the record.
    Freed(usize),
    /// The batch ended. `None` means that it was abandoned.
    Finished(Option<BatchOutcome>),
}

/// A decision of the pipeline, which the driver carries out.
#[derive(Debug, Clone)]
pub(super) enum PipelineAction {
    /// Process the batch. With a `gap`, keep the gap as a dead letter: the batch contains no
    /// records.
    Start {
        number: u64,
        batch: Batch,
        gap: Option<Gap>,
    },
    /// Abandon the batches in flight of this partition and epoch.
    Abandon(Partition),
    /// Commit these offsets. There is at most one commit in progress.
    Commit(Vec<CommitOffset>),
    /// Drop this revocation, so that its rebalance continues.
    EndRevocation(Arc<Revocation>),
    /// Report a batch to the observer.
    Completed(BatchReport),
    /// Close the source within this time. This is the last action of a pipeline.
    Close(Duration),
}

/// The events that the pipeline currently accepts from the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EventDemand {
    /// None: the source is paused or closed.
    Nothing,
    /// Control events only: revocations and the end of the source.
    Control,
    /// Batches and control events.
    Next,
}

/// The result of a batch that was not abandoned.
#[derive(Debug)]
pub(super) struct BatchOutcome {
    /// The number of records of the batch by outcome.
    pub(super) counters: IngestCounters,
    /// The offsets that the log lost, if the batch was a gap.
    pub(super) gap: Option<Range<u64>>,
    /// How far the batch is durable.
    pub(super) state: BatchState,
    /// The error that stops the pipeline, if any.
    pub(super) stop: Option<Error>,
    /// The age of the oldest inserted record at its insertion; `None` if none was inserted.
    pub(super) freshness: Option<Duration>,
}

/// The state of one batch: how far it is durable. A durable record is stored or dead-lettered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BatchState {
    /// In flight.
    InFlight,
    /// All records are durable. The offset is the next one after the batch.
    Durable(u64),
    /// The batch ended at this offset, whose record is not durable. The position stays there.
    StoppedAt(u64),
}
