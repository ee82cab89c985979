//! What the pipeline says of itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::log::{Lag, LogSource, ReasonKind};
use crate::{Error, ErrorKind, Result};

/// The state of an ingest at one moment.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct IngestStatus {
    /// What it is doing.
    pub phase: Phase,
    /// What it did since it started.
    pub counters: IngestCounters,
    /// Batches on their way.
    pub in_flight: usize,
    /// The records in these batches.
    pub in_flight_records: usize,
    /// The bytes of these records.
    pub in_flight_bytes: usize,
    /// What it is waiting to be over: tried again and again, nothing is lost meanwhile.
    pub errors: BTreeMap<Component, Error>,
    /// Since when it has been waiting for each of them: of several batches that wait, the one that waits longest.
    pub failing_since: BTreeMap<Component, Instant>,
    /// The oldest record that the store refuses again and again while it is well otherwise. The others go on; the
    /// position of the record's partition stays before it.
    pub stuck: Option<StuckRecord>,
    /// Of each topic that was read from, when the oldest record was read whose position is not committed; `None` when
    /// there is none.
    pub oldest_uncommitted: BTreeMap<Arc<str>, Option<Instant>>,
    /// How many calls of each part have failed and are, or were, tried again.
    pub retries: BTreeMap<Component, u64>,
    /// How old the oldest purchase that the last batch has stored was by then, from the time that the purchase says
    /// it was made at; nothing before the first.
    pub freshness: Option<Duration>,
    /// Why it stopped, if it stopped by itself.
    pub fatal_error: Option<Error>,
}

/// A record that the store does not take, although it is well otherwise. It is tried again and again.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StuckRecord {
    /// The topic that it is in.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: u32,
    /// Its offset in the partition.
    pub offset: u64,
    /// The id of what it says, such as that of its purchase, if it has one.
    pub id: Option<String>,
    /// When it was read.
    pub since: Instant,
    /// Why the store does not take it.
    pub error: Error,
}

/// What an ingest is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Phase {
    /// It has not been started.
    #[default]
    Idle,
    /// It stores records, or waits for some, or to become the active consumer.
    Running,
    /// It reads no more, and finishes what is on its way.
    Draining,
    /// It has ended.
    Stopped,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Idle, Self::Running, Self::Draining, Self::Stopped];

    /// The word for it in health answers and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Running => "running",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
        }
    }
}

/// The part of the pipeline that has a trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Component {
    /// Reading from the log.
    Source,
    /// Inserting into the store.
    Store,
    /// Putting dead letters.
    DeadLetters,
    /// Moving the group's position.
    Commit,
}

impl Component {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Source, Self::Store, Self::DeadLetters, Self::Commit];

    /// The word for it in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Store => "store",
            Self::DeadLetters => "dead_letters",
            Self::Commit => "commit",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Store => "store",
            Self::DeadLetters => "dead letters",
            Self::Commit => "commit",
        })
    }
}

/// How many records came to which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct IngestCounters {
    /// Stored.
    pub inserted: u64,
    /// Stored before, with the same content: redelivered, or sent again by their client.
    pub duplicates: u64,
    /// Dead-lettered, for any reason.
    pub dead_lettered: u64,
    /// Of those, the ones that are no purchase.
    pub undecodable: u64,
    /// Of those, the ones whose id another purchase has.
    pub conflicts: u64,
    /// Of those, the ones that the store refuses.
    pub refused: u64,
}

impl IngestCounters {
    pub(super) fn add(&mut self, other: &Self) {
        self.inserted += other.inserted;
        self.duplicates += other.duplicates;
        self.dead_lettered += other.dead_lettered;
        self.undecodable += other.undecodable;
        self.conflicts += other.conflicts;
        self.refused += other.refused;
    }

    /// One more was dead-lettered.
    pub(super) fn dead_lettered(&mut self, reason: ReasonKind) {
        self.dead_lettered += 1;
        match reason {
            ReasonKind::Undecodable => self.undecodable += 1,
            ReasonKind::Conflict => self.conflicts += 1,
            ReasonKind::Refused => self.refused += 1,
        }
    }
}

/// Watches an ingest from elsewhere. Cheap to clone.
#[derive(Debug, Clone)]
pub struct IngestMonitor {
    status: watch::Receiver<IngestStatus>,
    /// A monitor does not keep it alive.
    source: Weak<dyn LogSource>,
}

impl IngestMonitor {
    /// The state now.
    #[must_use]
    pub fn status(&self) -> IngestStatus {
        self.status.borrow().clone()
    }

    /// How far the group is behind in what this pipeline reads.
    ///
    /// # Errors
    /// As [`LogSource::lag`], and [`Closed`](ErrorKind::Closed) when the pipeline has ended.
    pub async fn lag(&self) -> Result<Lag> {
        let gone = || Error::new(ErrorKind::Closed, "the pipeline has ended").with_origin("ingest");
        self.source.upgrade().ok_or_else(gone)?.lag().await
    }

    /// Waits until `condition` holds; answers the state in which it did, or the last one when the ingest is
    /// gone.
    pub async fn wait_for(&self, condition: impl FnMut(&IngestStatus) -> bool + Send) -> IngestStatus {
        let mut watch = self.status.clone();
        let found = watch.wait_for(condition).await.map(|status| status.clone());
        found.unwrap_or_else(|_gone| self.status())
    }
}

/// The writing end of the status.
#[derive(Debug)]
pub(super) struct StatusSender {
    status: watch::Sender<IngestStatus>,
}

impl StatusSender {
    pub(super) fn new() -> Self {
        Self { status: watch::Sender::new(IngestStatus::default()) }
    }

    pub(super) fn monitor(&self, source: Weak<dyn LogSource>) -> IngestMonitor {
        IngestMonitor { status: self.status.subscribe(), source }
    }

    /// Changes the status; `change` returns whether it has changed anything.
    pub(super) fn update(&self, change: impl FnOnce(&mut IngestStatus) -> bool) {
        self.status.send_if_modified(change);
    }

    /// The pipeline has ended: it waits for nothing any more. What it was waiting for stays to be seen.
    pub(super) fn stop(&self, failure: Option<Error>) {
        self.status.send_modify(|status| {
            status.phase = Phase::Stopped;
            (status.in_flight, status.in_flight_records, status.in_flight_bytes) = (0, 0, 0);
            status.failing_since.clear();
            status.oldest_uncommitted.values_mut().for_each(|oldest| *oldest = None);
            status.stuck = None;
            status.fatal_error = failure;
        });
    }

    pub(super) fn phase(&self) -> Phase {
        self.status.borrow().phase
    }

    pub(super) fn counters(&self) -> IngestCounters {
        self.status.borrow().counters
    }
}
