//! What the pipeline reports: its state, and its batches.
//!
//! The driver publishes an [`IngestStatus`] after each change, and an [`IngestMonitor`] reads it,
//! for example for health responses and metrics. An [`IngestObserver`] is called for each batch, so
//! that an embedder can measure and trace it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tracing::Span;

use crate::log::{Batch, Lag, LogSource, ReasonKind};
use crate::macros::{format_as, named_enum};
use crate::ports::WaitingSummary;
use crate::{Error, ErrorKind, Result, Timestamp};

/// A snapshot of the state of an ingest.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct IngestStatus {
    /// The phase in the life of the ingest.
    pub phase: Phase,
    /// The number of records by outcome since the start.
    pub counters: IngestCounters,
    /// The number of batches in flight.
    pub in_flight: usize,
    /// The number of records in flight.
    pub in_flight_records: usize,
    /// The bytes of the records in flight.
    pub in_flight_bytes: usize,
    /// The last error of each component that currently fails. Failing calls are retried; no record
    /// is lost.
    pub errors: BTreeMap<Component, Error>,
    /// Since when each component fails. If several batches fail at one component, the earliest
    /// instant.
    pub failing_since: BTreeMap<Component, Instant>,
    /// The oldest record that the store keeps failing over although it is healthy. Other records
    /// are processed; the position of the record's partition stays before it.
    pub stuck: Option<StuckRecord>,
    /// Per topic and partition, the number of records that the log lost before they were read.
    /// Partitions without a loss are absent.
    pub lost: BTreeMap<(Arc<str>, u32), u64>,
    /// Per topic, when the oldest uncommitted record was read; `None` if all are committed.
    pub oldest_uncommitted: BTreeMap<Arc<str>, Option<Instant>>,
    /// Per topic, the log's timestamp of the oldest uncommitted record; `None` if all are
    /// committed. It stays after the ingest ends: its records are unread.
    pub oldest_unread: BTreeMap<Arc<str>, Option<Timestamp>>,
    /// The number of failed calls per component that were retried.
    pub retries: BTreeMap<Component, u64>,
    /// The age of the oldest record that the last batch inserted, at its insertion, by the log's
    /// timestamp; `None` before the first insertion.
    pub freshness: Option<Duration>,
    /// The refunds that wait in the store for their purchase, as they were counted last. Zero for a
    /// store without [waiting refunds](crate::ports::WaitingRefunds).
    pub waiting_refunds: WaitingSummary,
    /// The error that stopped the pipeline, if it stopped by itself.
    pub fatal_error: Option<Error>,
}

impl IngestStatus {
    /// Sets the state of a stopped pipeline: nothing is in flight any more.
    ///
    /// `failure` is the error that stopped the pipeline. The last errors of the components stay
    /// visible.
    pub(super) fn mark_stopped(&mut self, failure: Option<Error>) {
        self.phase = Phase::Stopped;
        self.in_flight = 0;
        self.in_flight_records = 0;
        self.in_flight_bytes = 0;
        self.failing_since.clear();
        for oldest_read_at in self.oldest_uncommitted.values_mut() {
            *oldest_read_at = None;
        }
        self.stuck = None;
        self.fatal_error = failure;
    }
}

/// Sets `slot` to `value`, and returns whether `slot` had another value.
pub(super) fn replace_and_compare<T: PartialEq>(slot: &mut T, value: T) -> bool {
    let differs = *slot != value;
    *slot = value;
    differs
}

/// A record that the store keeps failing over although the store is healthy.
///
/// The record is retried until the store takes it or an operator parks it as a dead letter.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StuckRecord {
    /// The topic of the record.
    pub topic: Arc<str>,
    /// The partition of the record.
    pub partition: u32,
    /// The offset of the record in its partition.
    pub offset: u64,
    /// The id of the purchase or event in the record, if the record contains one.
    pub id: Option<String>,
    /// When the record was read.
    pub since: Instant,
    /// The last error of the store.
    pub error: Error,
}

named_enum! {
    /// The phase of an ingest. The names are those in health responses and metrics.
    #[derive(Default)]
    pub enum Phase {
        /// Not started.
        #[default]
        Idle = "idle",
        /// Processing or waiting for records, or waiting to become the active consumer.
        Running = "running",
        /// Not reading any more; draining batches in flight.
        Draining = "draining",
        /// Ended.
        Stopped = "stopped",
    }
}

named_enum! {
    /// A component of the pipeline that can fail. The names are those in metrics.
    pub enum Component {
        /// Reading from the log.
        Source = "source",
        /// Inserting into the store.
        Store = "store",
        /// Putting dead letters.
        DeadLetters = "dead_letters",
        /// Committing positions.
        Commit = "commit",
    }
}

format_as!(Component: |this| Display = Display(this.as_str().replace('_', " ")));

/// The number of records by outcome. A redelivered record counts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct IngestCounters {
    /// Records that were inserted.
    pub inserted: u64,
    /// Records that were stored already with the same content: redelivered, or sent again by a
    /// client.
    pub duplicates: u64,
    /// Refunds that the store keeps until their purchase is stored.
    pub waiting: u64,
    /// Records that were dead-lettered, for any reason.
    pub dead_lettered: u64,
    /// Dead letters of records that do not decode.
    pub undecodable: u64,
    /// Dead letters of records whose id another purchase uses.
    pub conflicts: u64,
    /// Dead letters of records that the store rejects.
    pub refused: u64,
    /// Records that an operator parked as dead letters.
    pub parked: u64,
    /// Records that the log lost before they were read: the sizes of all [gaps](crate::log::Gap).
    /// They do not count as dead-lettered.
    pub lost: u64,
}

impl IngestCounters {
    /// Adds the numbers of `other` to these numbers.
    pub(super) fn add(&mut self, other: &Self) {
        self.inserted += other.inserted;
        self.duplicates += other.duplicates;
        self.waiting += other.waiting;
        self.dead_lettered += other.dead_lettered;
        self.undecodable += other.undecodable;
        self.conflicts += other.conflicts;
        self.refused += other.refused;
        self.parked += other.parked;
        self.lost += other.lost;
    }

    /// Counts one dead letter, in total and for its `reason`.
    pub(super) fn count_dead_letter(&mut self, reason: ReasonKind) {
        self.dead_lettered += 1;
        match reason {
            ReasonKind::Undecodable => self.undecodable += 1,
            ReasonKind::Conflict => self.conflicts += 1,
            ReasonKind::Refused => self.refused += 1,
            ReasonKind::Parked => self.parked += 1,
            // A gap is not a record. Its offsets are counted in `lost`.
            ReasonKind::Gap => {}
        }
    }
}

/// A handle to the status of an ingest. Cheap to clone.
#[derive(Debug, Clone)]
pub struct IngestMonitor {
    pub(super) status: watch::Receiver<IngestStatus>,
    /// The source, for the lag. The reference is weak, so that a monitor does not keep the source
    /// alive.
    pub(super) source: Weak<dyn LogSource>,
}

impl IngestMonitor {
    /// Returns the current status.
    #[must_use]
    pub fn status(&self) -> IngestStatus {
        self.status.borrow().clone()
    }

    /// Returns the consumer lag of the group in the partitions of this member: the records that are
    /// not committed.
    ///
    /// # Errors
    /// Returns the errors of [`LogSource::lag`], and [`Closed`](ErrorKind::Closed) after the
    /// pipeline ends.
    pub async fn lag(&self) -> Result<Lag> {
        let Some(source) = self.source.upgrade() else {
            return Err(
                Error::new(ErrorKind::Closed, "the pipeline has ended").with_origin("ingest")
            );
        };
        source.lag().await
    }

    /// Returns a future that completes when the ingest has handled a batch after this call. It never
    /// completes after the ingest ended.
    pub fn next_batch(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut status_receiver = self.status.clone();
        let counters_at_call = status_receiver.borrow_and_update().counters;
        async move {
            // Each batch changes the counters. An error means that the ingest ended.
            let has_ended = status_receiver
                .wait_for(|status| status.counters != counters_at_call)
                .await
                .is_err();
            if has_ended {
                pending::<()>().await;
            }
        }
    }

    /// Waits until `condition` holds, and returns the status in which it held.
    ///
    /// Returns the last status if the ingest ends before.
    pub async fn wait_for(
        &self,
        condition: impl FnMut(&IngestStatus) -> bool + Send,
    ) -> IngestStatus {
        let mut status_receiver = self.status.clone();
        let matching_status = status_receiver
            .wait_for(condition)
            .await
            .map(|status| status.clone());
        matching_status.unwrap_or_else(|_ended| self.status())
    }
}

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
