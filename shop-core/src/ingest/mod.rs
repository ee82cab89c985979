//! The pipeline from the log into the store: no record is lost, none is stored twice.
//!
//! ```text
//! source ─▶ one task per batch                              ─▶ store
//!   ▲       decode · insert · dead-letter rejected records  ─▶ dead letters
//!   └── commit ◀─ per partition, the durable prefix
//! ```
//!
//! | Part | Responsibility |
//! |---|---|
//! | `pipeline` | Makes the decisions: takes events and the time, returns actions |
//! | `driver` | Makes the calls to the source, and starts a task for each batch and commit |
//! | `worker`, `batch`, `insertion` | Make the calls of one batch, in its task |
//! | `backoff` | Determines the pause before a failed call is made again |
//! | `breaker` | Stops the pipeline at the limit of dead letters |
//! | `refunds` | Counts waiting refunds, and dead-letters the contradictory ones |
//! | `status` | Reports what happens to monitors and to the embedder |
//!
//! - A position is committed only when every record before it in its partition is stored or
//!   dead-lettered.
//! - During an outage the pipeline retries with backoff. Only records that can never be stored are
//!   dead-lettered. A record that a healthy store fails over is retried alone while the rest of its
//!   batch is stored; [`IngestStatus::stuck`] reports it.
//! - A refund whose purchase is not stored waits in the store: see
//!   [`WaitingRefunds`](crate::ports::WaitingRefunds). It is dead-lettered if it turns out to
//!   contradict its purchase.
//! - Records that the log lost are kept as one dead letter per [gap](crate::log::Gap) before the
//!   position passes the gap. They do not count towards the limit of dead letters.
//! - A dead letter that can never be stored stops the pipeline. The error names the record.
//! - Batches and bytes in flight are bounded. At the limit the source is paused.
//! - A revocation and a shutdown follow the same steps: stop reading, drain batches in flight
//!   within the timeout, commit durable offsets, leave. Results that arrive later are ignored; the
//!   records are redelivered, and their ids make that harmless.

mod backoff;
mod batch;
mod breaker;
mod driver;
mod event;
#[cfg(test)]
mod fixture;
mod insertion;
#[cfg(test)]
mod insertion_test;
#[cfg(test)]
mod limit_test;
#[cfg(test)]
mod logged_test;
#[cfg(test)]
mod misbehaving_source_test;
#[cfg(test)]
mod observer_test;
mod options;
mod pipeline;
mod refunds;
#[cfg(test)]
mod shutdown_test;
mod status;
mod worker;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::sync::{Notify, watch};

pub use options::{DeadLetterLimit, IngestOptions};
pub use status::{
    BatchReport, Component, IngestCounters, IngestMonitor, IngestObserver, IngestStatus, Phase,
    StuckRecord,
};

use crate::log::{Log, LogSource};
use crate::ports::RecordStore;
use crate::record::{Record, RecordDecoders};
use crate::{Purchase, Result};
use breaker::DeadLetterBreaker;
use driver::Driver;
use worker::BatchWorker;

/// A pipeline that stores the purchases of a log, as one member of a consumer group.
///
/// With another record type `R`, the pipeline applies the events of one service to the projection
/// of another.
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
/// let new = NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?;
/// log.sink().publish(&new.into_purchase(SystemClock.now(), || SystemClock.fresh_id())).await?;
///
/// let ingest = Ingest::new(
///     Arc::new(log.source("purchase-group")),
///     Arc::new(store.clone()),
///     Arc::new(log.clone()),
///     IngestOptions::default(),
/// );
/// let monitor = ingest.monitor();
/// ingest.run(async move { drop(monitor.wait_for(|status| status.counters.inserted == 1).await) }).await?;
/// assert_eq!(store.all().len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Ingest<R: Record = Purchase> {
    source: Arc<dyn LogSource>,
    worker: BatchWorker<R>,
    status: watch::Sender<IngestStatus>,
    observer: Option<Arc<dyn IngestObserver>>,
}

impl<R: Record> Ingest<R> {
    /// Creates a pipeline from `source`, a member of a group of `log`, into `store`. Records that
    /// can never be stored become dead letters of `log`.
    ///
    /// The pipeline does nothing until [`run`](Self::run) is called.
    #[must_use]
    pub fn new(
        source: Arc<dyn LogSource>,
        store: Arc<dyn RecordStore<R>>,
        log: Arc<dyn Log>,
        options: IngestOptions,
    ) -> Self {
        let breaker = DeadLetterBreaker::new(options.dead_letter_limit);
        let worker = BatchWorker {
            store,
            log,
            options,
            decoders: RecordDecoders::default(),
            breaker,
            accepted_count: AtomicU64::new(0),
            refund_waits: Notify::new(),
        };
        Self {
            source,
            worker,
            status: watch::Sender::default(),
            observer: None,
        }
    }

    /// Returns this pipeline with the `decoders` of the records of its log (default: that of `R`
    /// alone).
    #[must_use]
    pub fn with_decoders(mut self, decoders: RecordDecoders<R>) -> Self {
        self.worker.decoders = decoders;
        self
    }

    /// Returns this pipeline with an observer that is called for every batch.
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn IngestObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Returns a handle to the status of this pipeline. The handle does not keep the pipeline
    /// alive.
    #[must_use]
    pub fn monitor(&self) -> IngestMonitor {
        IngestMonitor {
            status: self.status.subscribe(),
            source: Arc::downgrade(&self.source),
        }
    }

    /// Runs until `shutdown` completes or the source is closed, then drains, commits, and closes
    /// the source.
    ///
    /// Returns the number of records by outcome.
    ///
    /// # Errors
    /// Returns the error that made the pipeline stop by itself: too many dead letters, a dead
    /// letter that can never be stored, or a defect. Committed positions stay committed.
    ///
    /// # Cancel safety
    /// Dropping the future stops the pipeline without draining. Inserts in progress complete in the
    /// background. Nothing is lost: uncommitted records are redelivered.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<IngestCounters> {
        Driver::new(self).run(shutdown).await
    }
}
