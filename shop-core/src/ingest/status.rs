//! The reported state of the pipeline.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::log::{Lag, LogSource, ReasonKind};
use crate::macros::named_enum;
use crate::ports::WaitingSummary;
use crate::{Error, ErrorKind, Result, Timestamp};

/// A snapshot of the state of an ingest.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct IngestStatus {
    /// The current phase.
    pub phase: Phase,
    /// The outcomes since the start.
    pub counters: IngestCounters,
    /// The number of batches in flight.
    pub in_flight: usize,
    /// The number of records in flight.
    pub in_flight_records: usize,
    /// The bytes of the records in flight.
    pub in_flight_bytes: usize,
    /// The last error of each component that currently fails. Failing calls are retried; no record is lost.
    pub errors: BTreeMap<Component, Error>,
    /// Since when each component fails. With several failing batches, the earliest instant.
    pub failing_since: BTreeMap<Component, Instant>,
    /// The oldest record that the store keeps failing over although it is healthy. Other records are processed; the
    /// position of the record's partition stays before it.
    pub stuck: Option<StuckRecord>,
    /// Per topic and partition, the number of records that the log has lost before they were read. Partitions without a
    /// loss are absent.
    pub lost: BTreeMap<(Arc<str>, u32), u64>,
    /// Per topic, when the oldest uncommitted record was read; `None` if all are committed.
    pub oldest_uncommitted: BTreeMap<Arc<str>, Option<Instant>>,
    /// Per topic, the log's timestamp of the oldest uncommitted record; `None` if all are committed. It stays when the
    /// ingest has ended: its records are unread.
    pub oldest_unread: BTreeMap<Arc<str>, Option<Timestamp>>,
    /// The number of failed calls per component that were retried.
    pub retries: BTreeMap<Component, u64>,
    /// The age of the oldest record that the last batch inserted, at its insertion, by the log's timestamp; `None`
    /// before the first insertion.
    pub freshness: Option<Duration>,
    /// The refunds that wait in the store for their purchase, as they were counted last. Zero for a store without
    /// [waiting refunds](crate::ports::WaitingRefunds).
    pub waiting_refunds: WaitingSummary,
    /// The error that stopped the pipeline, if it stopped by itself.
    pub fatal_error: Option<Error>,
}

impl IngestStatus {
    /// The pipeline has ended: nothing is in flight any more. Its errors stay visible.
    pub(super) fn stop(&mut self, failure: Option<Error>) {
        self.phase = Phase::Stopped;
        self.in_flight = 0;
        self.in_flight_records = 0;
        self.in_flight_bytes = 0;
        self.failing_since.clear();
        self.oldest_uncommitted
            .values_mut()
            .for_each(|oldest| *oldest = None);
        self.stuck = None;
        self.fatal_error = failure;
    }
}

/// Sets `slot` to `value`. Returns whether it had another value.
pub(super) fn replace<T: PartialEq>(slot: &mut T, value: T) -> bool {
    let differs = *slot != value;
    *slot = value;
    differs
}

/// A record that the store fails over although it is healthy. It is retried.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StuckRecord {
    /// The topic of the record.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: u32,
    /// Its offset in the partition.
    pub offset: u64,
    /// The id of its purchase or event, if it has one.
    pub id: Option<String>,
    /// When it was read.
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

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_str().replace('_', " "))
    }
}

/// The number of records by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct IngestCounters {
    /// Inserted.
    pub inserted: u64,
    /// Already stored with the same content: redelivered, or sent again by a client.
    pub duplicates: u64,
    /// Refunds that the store keeps until it has their purchase.
    pub waiting: u64,
    /// Dead-lettered, for any reason.
    pub dead_lettered: u64,
    /// Dead letters that do not decode.
    pub undecodable: u64,
    /// Dead letters whose id is used by another purchase.
    pub conflicts: u64,
    /// Dead letters that the store rejects.
    pub refused: u64,
    /// Records that an operator has parked as dead letters.
    pub parked: u64,
    /// Records that the log has lost before they were read: the sizes of all [gaps](crate::log::Gap). They do not count
    /// as dead-lettered.
    pub lost: u64,
}

impl IngestCounters {
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

    /// Counts one dead letter.
    pub(super) fn dead_lettered(&mut self, reason: ReasonKind) {
        self.dead_lettered += 1;
        match reason {
            ReasonKind::Undecodable => self.undecodable += 1,
            ReasonKind::Conflict => self.conflicts += 1,
            ReasonKind::Refused => self.refused += 1,
            ReasonKind::Parked => self.parked += 1,
            // No record has this reason.
            ReasonKind::Gap => {}
        }
    }
}

/// A handle to the status of an ingest. Cheap to clone.
#[derive(Debug, Clone)]
pub struct IngestMonitor {
    pub(super) status: watch::Receiver<IngestStatus>,
    /// Weak: a monitor does not keep the source alive.
    pub(super) source: Weak<dyn LogSource>,
}

impl IngestMonitor {
    /// The current status.
    #[must_use]
    pub fn status(&self) -> IngestStatus {
        self.status.borrow().clone()
    }

    /// The consumer lag of the group in the partitions of this member.
    ///
    /// # Errors
    /// As [`LogSource::lag`], and [`Closed`](ErrorKind::Closed) when the pipeline has ended.
    pub async fn lag(&self) -> Result<Lag> {
        let gone = || Error::new(ErrorKind::Closed, "the pipeline has ended").with_origin("ingest");
        self.source.upgrade().ok_or_else(gone)?.lag().await
    }

    /// Waits until `condition` holds, and returns the status in which it did, or the last status when the ingest has
    /// ended.
    pub async fn wait_for(
        &self,
        condition: impl FnMut(&IngestStatus) -> bool + Send,
    ) -> IngestStatus {
        let mut watch = self.status.clone();
        let found = watch.wait_for(condition).await.map(|status| status.clone());
        found.unwrap_or_else(|_gone| self.status())
    }
}
