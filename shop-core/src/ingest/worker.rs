//! The task of one batch, and the state that the tasks of all batches share.
//!
//! [`BatchWorker`] exists once per pipeline, and [`BatchJob`] once per batch. `batch` and
//! `insertion` contain the work itself.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::breaker::DeadLetterBreaker;
use super::event::{BatchEvent, BatchOutcome, BatchState, PipelineEvent};
use super::status::Component;
use super::{IngestCounters, IngestOptions};
use crate::Error;
use crate::log::{Batch, Gap, Log, Reason, ReasonKind};
use crate::ports::RecordStore;
use crate::record::{Record, RecordDecoders};

/// The state that the tasks of all batches of a pipeline share: the ports, the options and the
/// limit of dead letters.
#[derive(Debug)]
pub(super) struct BatchWorker<R: Record> {
    pub(super) store: Arc<dyn RecordStore<R>>,
    /// The log whose records are ingested. It keeps the dead letters.
    pub(super) log: Arc<dyn Log>,
    pub(super) options: IngestOptions,
    /// Decodes the records of the log.
    pub(super) decoders: RecordDecoders<R>,
    /// Counts dead letters, and stops the pipeline at the limit.
    pub(super) breaker: DeadLetterBreaker,
    /// The number of records that the store accepted so far, in all batches.
    ///
    /// A number that grows while one record fails is evidence that the store is healthy and the
    /// record is at fault.
    pub(super) accepted_count: AtomicU64,
    /// Notified when a refund begins to wait for its purchase, to wake the settler of refunds.
    pub(super) refund_waits: Notify,
}

/// A batch in flight: its records, or a gap, and the channel to the pipeline.
#[derive(Debug)]
pub(super) struct BatchJob {
    /// The number of the batch. Numbers are unique, and ascend in the order in which batches are
    /// read.
    pub(super) number: u64,
    /// The records, with their partition. The batch of a gap contains no records.
    pub(super) batch: Batch,
    /// The offsets that the log lost, if this job keeps a gap as a dead letter.
    pub(super) gap: Option<Gap>,
    /// When the driver started this job, which is right after the batch was read.
    pub(super) read_at: Instant,
    /// The token that is cancelled when the batch is abandoned.
    pub(super) cancellation: CancellationToken,
    /// The event channel of the driver, for reports to the pipeline.
    pub(super) events: mpsc::Sender<PipelineEvent>,
}

/// A record that can never be stored, and is dead-lettered.
pub(super) struct RejectedRecord {
    /// The index of the record in its batch.
    pub(super) index: usize,
    /// The reason that the dead letter states.
    pub(super) reason: Reason,
    /// The number of attempts to store the record; 1 if it does not decode.
    pub(super) attempts: u32,
}

impl RejectedRecord {
    /// Checks whether the record counts towards the limit of dead letters.
    ///
    /// Conflicts, and refunds that a store without waiting refunds cannot keep, are caused by
    /// clients. Such records do not indicate a bad deployment, and do not end a streak of dead
    /// letters either.
    pub(super) fn counts_towards_limit(&self) -> bool {
        !matches!(
            self.reason.kind(),
            ReasonKind::Conflict | ReasonKind::Parked
        )
    }
}

/// The reason why the work on a batch ended early.
pub(super) enum Aborted {
    /// The batch was abandoned, because its partition was lost or the drain took too long.
    ///
    /// Its records are redelivered to the next consumer of the partition.
    Abandoned,
    /// A port broke its contract. The pipeline stops with this error.
    Broken(Error),
}

impl BatchJob {
    /// Sends a report of this batch to the pipeline. Waits while the event channel is full.
    ///
    /// The report is discarded if the pipeline is no longer running.
    pub(super) async fn report(&self, event: BatchEvent) {
        drop(
            self.events
                .send(PipelineEvent::Batch(self.number, event))
                .await,
        );
    }

    /// Reports a failed call of `component` to the pipeline, and waits until the next attempt is
    /// due.
    ///
    /// `backoff` determines the pause, which grows with each failure.
    ///
    /// # Errors
    /// [`Aborted::Abandoned`] if the batch is abandoned before the pause ends.
    pub(super) async fn report_and_pause(
        &self,
        component: Component,
        error: &Error,
        backoff: &mut Backoff,
    ) -> Result<(), Aborted> {
        let now = Instant::now().into_std();
        let retry_at = backoff.record_failure(error, now);
        let failing_since = backoff.failing.as_ref().map_or(now, |(since, _)| *since);
        self.report(BatchEvent::Failed(component, failing_since, error.clone()))
            .await;

        self.cancellation
            .run_until_cancelled(sleep_until(retry_at.into()))
            .await
            .ok_or(Aborted::Abandoned)
    }

    /// Records a success of a call in `backoff`. Reports to the pipeline that the call succeeds
    /// again, if it was failing.
    pub(super) async fn report_recovery(&self, backoff: &mut Backoff) {
        let has_recovered = backoff.record_success();
        if has_recovered {
            self.report(BatchEvent::Recovered).await;
        }
    }

    /// Returns the outcome of a batch that ended with a defect: `error` stops the pipeline.
    ///
    /// The position stays before the first record of the batch. Records of the batch that are
    /// stored already are redelivered, and their ids make that harmless.
    pub(super) fn defect_outcome(&self, error: Error) -> BatchOutcome {
        let first_offset = match &self.gap {
            Some(gap) => gap.from,
            // A batch without records has no position to hold back.
            None => self.batch.records.first().map_or(0, |first| first.offset),
        };
        BatchOutcome {
            counters: IngestCounters::default(),
            gap: None,
            state: BatchState::StoppedAt(first_offset),
            stop: Some(error),
            freshness: None,
        }
    }
}
