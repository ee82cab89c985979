//! From the log into the store: nothing lost, nothing twice.
//!
//! ```text
//! source ─▶ batches, each a task of its own               ─▶ store
//!   ▲       decode · insert · dead-letter what is rejected ─▶ dead letters
//!   └── commit ◀─ per partition, the unbroken prefix of what is durable
//! ```
//!
//! `pipeline` decides: it is given events and the time, returns what is to be done, and makes no call. `driver` makes
//! the calls of the source, `batch` and `insertion` those of one batch.
//!
//! - A record's position is committed only when the record, and every one before it in its partition, is in
//!   the store or among the dead letters.
//! - An outage is waited for, with growing pauses; only a record that can never be stored is dead-lettered. What a
//!   healthy store fails over is retried alone: the rest of its batch is stored meanwhile, and
//!   [`IngestStatus::stuck`] names it.
//! - A dead letter that can never be kept stops the pipeline, whose error names the record.
//! - What is in flight is bounded in batches and bytes. When it is full the source is not asked, and pauses.
//! - A revocation and a shutdown take the same road: read no more, finish what is in flight as far as the
//!   time allows, commit what is durable, leave. What ends later is ignored; it is redelivered, and its
//!   ids make that harmless.

mod backoff;
mod batch;
mod breaker;
mod driver;
mod event;
mod insertion;
#[cfg(test)]
mod insertion_test;
#[cfg(test)]
mod limit_test;
#[cfg(test)]
mod logged;
#[cfg(test)]
mod misbehaving_source_test;
mod observer;
#[cfg(test)]
mod observer_test;
mod options;
mod pipeline;
#[cfg(test)]
mod shutdown_test;
mod status;
#[cfg(test)]
mod time_limit;
mod worker;

use std::future::Future;
use std::sync::Arc;

pub use observer::{BatchReport, IngestObserver};
pub use options::{DeadLetterLimit, IngestOptions};
pub use status::{Component, IngestCounters, IngestMonitor, IngestStatus, Phase, StuckRecord};

use crate::log::{DeadLetters, LogSource};
use crate::ports::RecordStore;
use crate::record::Record;
use crate::{Purchase, Result};
use breaker::DeadLetterBreaker;
use driver::Driver;
use status::StatusSender;
use worker::BatchWorker;

/// Stores the purchases of a log, as one member of a consumer group; or the events `R` of one service in what another
/// one keeps of them.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::ingest::{Ingest, IngestOptions};
/// use shop_core::memory::{InMemoryLog, InMemoryStore};
/// use shop_core::ports::PurchaseSink;
/// use shop_core::{Clock, NewPurchase, SystemClock};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
/// let new = NewPurchase::new("u1".parse()?, "ada".parse()?, "29.99".parse()?);
/// log.sink().publish(&new.identified(SystemClock.now(), || SystemClock.fresh_id())).await?;
///
/// let ingest = Ingest::new(
///     Arc::new(log.source("purchase-group")),
///     Arc::new(store.clone()),
///     Arc::new(log.dead_letters()),
///     IngestOptions::default(),
/// );
/// let monitor = ingest.monitor();
/// ingest.run(async move { drop(monitor.wait_for(|status| status.tally.inserted == 1).await) }).await?;
/// assert_eq!(store.all().len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Ingest<R: Record = Purchase> {
    source: Arc<dyn LogSource>,
    worker: BatchWorker<R>,
    status: StatusSender,
    observer: Option<Arc<dyn IngestObserver>>,
}

impl<R: Record> Ingest<R> {
    /// A pipeline from `source` into `store` that dead-letters bad records in `dead_letters`. It does nothing until it
    /// is [run](Self::run).
    #[must_use]
    pub fn new(
        source: Arc<dyn LogSource>,
        store: Arc<dyn RecordStore<R>>,
        dead_letters: Arc<dyn DeadLetters>,
        options: IngestOptions,
    ) -> Self {
        let breaker = DeadLetterBreaker::new(options.dead_letter_limit);
        let worker = BatchWorker { store, dead_letters, options, breaker };
        Self { source, worker, status: StatusSender::new(), observer: None }
    }

    /// The same pipeline, which reports every batch to `observer`.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn IngestObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// A view of this pipeline's state that outlives it.
    #[must_use]
    pub fn monitor(&self) -> IngestMonitor {
        self.status.monitor(Arc::downgrade(&self.source))
    }

    /// Runs until `shutdown` completes or the source is closed, then drains, commits, and closes the source.
    ///
    /// # Errors
    /// When it stopped by itself: too many dead letters, or a defect. What was committed before stands.
    ///
    /// # Cancel safety
    /// Dropping the future stops the pipeline without draining; what was begun ends by itself, nothing is lost, and
    /// what was not committed is delivered again.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<IngestCounters> {
        Driver::new(self.source, self.worker, self.status, self.observer).run(shutdown).await
    }
}
