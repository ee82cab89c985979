//! What is notified of every batch.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::IngestCounters;

/// Is notified of every batch that has ended, between two steps of the pipeline: it must not wait.
pub trait IngestObserver: Debug + Send + Sync + 'static {
    /// Takes note.
    fn batch_completed(&self, batch: &BatchReport);
}

/// A batch that has come to its end. One that was given up on the way out is none: it comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchReport {
    /// Its records.
    pub records: usize,
    /// Their bytes.
    pub bytes: usize,
    /// What became of them. Less than all, when the pipeline stopped in the middle.
    pub counters: IngestCounters,
    /// How long it took, from when it was read to when all of it was durable.
    pub duration: Duration,
    /// How old its oldest purchase was when it was stored, from the time that the purchase says it was made at;
    /// nothing if it has stored none. A purchase of the future is not old.
    pub freshness: Option<Duration>,
}

/// Reports a batch to `observer`. A panic there must not end the pipeline.
pub(super) fn notify(observer: &dyn IngestObserver, batch: &BatchReport) {
    if catch_unwind(AssertUnwindSafe(|| observer.batch_completed(batch))).is_err() {
        tracing::error!("the observer of ingest has panicked");
    }
}
