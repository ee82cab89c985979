//! The observer of completed batches.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tracing::Span;

use super::IngestCounters;
use crate::log::Batch;

/// Called for every batch, from within the pipeline. Must not block.
pub trait IngestObserver: Debug + Send + Sync + 'static {
    /// Called once per batch.
    fn batch_completed(&self, batch: &BatchReport);

    /// Called once per batch when it was read. The spans end with the work on the batch; a batch that is abandoned
    /// records `otel.status_code` in them. By default none.
    #[doc(hidden)]
    fn spans(&self, _batch: &Batch) -> Vec<Span> {
        Vec::new()
    }

    /// Called once per batch when all of its records are stored or dead-lettered, before the batch is reported, from
    /// within the task of the batch. By default does nothing.
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
    /// The time from reading the batch until all of it was durable.
    pub duration: Duration,
    /// The age of its oldest inserted record at insertion, by the log's timestamp; `None` if none was inserted.
    /// Timestamps in the future count as age zero.
    pub freshness: Option<Duration>,
}

/// Calls `observer`. A panic of the observer does not end the pipeline.
pub(super) fn notify<T: Default>(
    observer: &dyn IngestObserver,
    call: impl FnOnce(&dyn IngestObserver) -> T,
) -> T {
    catch_unwind(AssertUnwindSafe(|| call(observer))).unwrap_or_else(|_panic| {
        tracing::error!("ingest observer panicked");
        T::default()
    })
}
