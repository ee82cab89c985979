//! The observer of batches, through which an embedder measures and traces ingest.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tracing::Span;

use super::IngestCounters;
use crate::log::Batch;

/// An observer of the batches of an [`Ingest`](super::Ingest).
///
/// The pipeline calls the observer from within its tasks, so an observer must not block. A panic of
/// the observer is logged, and does not end the pipeline.
pub trait IngestObserver: Debug + Send + Sync + 'static {
    /// Receives the report of a finished batch. An abandoned batch is not reported.
    fn batch_completed(&self, batch: &BatchReport);

    /// Returns spans for the work on a batch. Called once per batch when the batch was read.
    ///
    /// The spans end with the work on the batch. If the pipeline stops within the batch,
    /// `otel.status_code` is recorded in them as `error`. The default implementation returns none.
    #[doc(hidden)]
    fn spans(&self, _batch: &Batch) -> Vec<Span> {
        Vec::new()
    }

    /// Receives a batch when all of its records are stored or dead-lettered. Called once per batch.
    ///
    /// The call comes from within the task of the batch, before the batch is reported. The default
    /// implementation does nothing.
    fn records_durable(&self, _batch: &Batch) {}
}

/// A completed batch. Abandoned batches are not reported; they are redelivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchReport {
    /// The number of records.
    pub records: usize,
    /// The bytes of the records.
    pub bytes: usize,
    /// The outcomes. Their sum is below `records` when the pipeline stopped within the batch.
    pub counters: IngestCounters,
    /// The time from reading the batch until all of its records were durable.
    pub duration: Duration,
    /// The age of the oldest inserted record at its insertion, by the timestamp of the log; `None`
    /// if none was inserted. Timestamps in the future count as age zero.
    pub freshness: Option<Duration>,
}

/// Passes `observer` to `call`, which calls one of its methods, and returns the result.
///
/// A panic of the observer must not end the pipeline: it is logged, and the default value is
/// returned instead.
pub(super) fn call_observer<T: Default>(
    observer: &dyn IngestObserver,
    call: impl FnOnce(&dyn IngestObserver) -> T,
) -> T {
    catch_unwind(AssertUnwindSafe(|| call(observer))).unwrap_or_else(|_panic| {
        tracing::error!("ingest observer panicked");
        T::default()
    })
}
