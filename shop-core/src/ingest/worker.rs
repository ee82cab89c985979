//! A batch in flight, and the state that all batches share.

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
use crate::log::{Batch, DeadLetters, Gap, Reason, ReasonKind};
use crate::ports::RecordStore;

/// The state that all batches share.
#[derive(Debug)]
pub(super) struct BatchWorker<R> {
    pub(super) store: Arc<dyn RecordStore<R>>,
    pub(super) dead_letters: Arc<dyn DeadLetters>,
    pub(super) options: IngestOptions,
    pub(super) breaker: DeadLetterBreaker,
    /// How many records the store has taken.
    pub(super) taken: AtomicU64,
    /// Notified when a refund begins to wait for its purchase.
    pub(super) refund_waits: Notify,
}

/// A batch in flight.
#[derive(Debug)]
pub(super) struct BatchJob {
    /// Unique and ascending in the order in which batches are read.
    pub(super) number: u64,
    /// The records; of a gap none.
    pub(super) batch: Batch,
    pub(super) gap: Option<Gap>,
    /// When it was read.
    pub(super) read: Instant,
    /// Cancelled when the batch is abandoned.
    pub(super) stop: CancellationToken,
    /// The channel for reports.
    pub(super) events: mpsc::Sender<PipelineEvent>,
}

/// A record that can never be stored.
pub(super) struct RejectedRecord {
    /// Its index in the batch.
    pub(super) index: usize,
    pub(super) reason: Reason,
    pub(super) attempts: u32,
}

impl RejectedRecord {
    /// Returns whether the record counts towards the limit of dead letters. Conflicts, and refunds that a store without
    /// waiting refunds cannot keep, are caused by clients: they do not indicate a bad deployment, and do not end a row
    /// either.
    pub(super) fn counts_towards_limit(&self) -> bool {
        !matches!(
            self.reason.kind(),
            ReasonKind::Conflict | ReasonKind::Parked
        )
    }
}

/// Why processing a batch ended early.
pub(super) enum Aborted {
    /// The batch was abandoned.
    Abandoned,
    /// A defect.
    Broken(Error),
}

impl BatchJob {
    /// Sends a report to the pipeline, unless that has ended.
    pub(super) async fn report(&self, event: BatchEvent) {
        drop(
            self.events
                .send(PipelineEvent::Batch(self.number, event))
                .await,
        );
    }

    /// Reports a failed call, and waits before the next attempt unless the batch is abandoned.
    pub(super) async fn report_and_pause(
        &self,
        component: Component,
        error: &Error,
        backoff: &mut Backoff,
    ) -> Result<(), Aborted> {
        let now = Instant::now().into_std();
        let until = backoff.record_failure(error, now);
        let since = backoff.failing().map_or(now, |(since, _)| *since);
        self.report(BatchEvent::Failed(component, since, error.clone()))
            .await;
        self.stop
            .run_until_cancelled(sleep_until(until.into()))
            .await
            .ok_or(Aborted::Abandoned)
    }

    /// Reports that a call succeeds again, if it was failing.
    pub(super) async fn report_recovery(&self, backoff: &mut Backoff) {
        if backoff.record_success() {
            self.report(BatchEvent::Recovered).await;
        }
    }

    /// The outcome of a batch that ended with a defect. Records that it stored are redelivered harmlessly.
    pub(super) fn defect_outcome(&self, error: Error) -> BatchOutcome {
        let first = || self.batch.records.first().map_or(0, |first| first.offset);
        let state = BatchState::StoppedAt(self.gap.as_ref().map_or_else(first, |gap| gap.from));
        BatchOutcome {
            counters: IngestCounters::default(),
            gap: None,
            state,
            stop: Some(error),
            freshness: None,
        }
    }
}
