//! What the pipeline says of itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Weak;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::ports::{Lag, PurchaseSource, ReasonKind};
use crate::{Error, ErrorKind, Result};

/// The state of an ingest at one moment.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct IngestStatus {
    /// What it is doing.
    pub phase: Phase,
    /// What it did since it started.
    pub tally: Tally,
    /// Batches on their way.
    pub in_flight: usize,
    /// The records in these batches.
    pub in_flight_records: usize,
    /// The bytes of these records.
    pub in_flight_bytes: usize,
    /// What it is waiting to be over: tried again and again, nothing is lost meanwhile.
    pub troubles: BTreeMap<Part, Error>,
    /// Since when it has been waiting for each of them.
    pub waiting_since: BTreeMap<Part, Instant>,
    /// How many calls of each part have failed and are, or were, tried again.
    pub retries: BTreeMap<Part, u64>,
    /// How old the oldest purchase that the last batch has stored was by then, from the time that the purchase says
    /// it was made at; nothing before the first.
    pub freshness: Option<Duration>,
    /// Why it stopped, if it stopped by itself.
    pub failure: Option<Error>,
}

/// What an ingest is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Phase {
    /// It has not been started.
    #[default]
    Idle,
    /// It carries records, or waits for some, or for its turn.
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
pub enum Part {
    /// Reading from the log.
    Source,
    /// Inserting into the store.
    Store,
    /// Putting records aside.
    DeadLetters,
    /// Moving the group's position.
    Commit,
}

impl Part {
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

impl fmt::Display for Part {
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
pub struct Tally {
    /// Stored.
    pub inserted: u64,
    /// Stored before, with the same content: redelivered, or sent again by their client.
    pub duplicates: u64,
    /// Put aside, for whatever reason.
    pub dead_lettered: u64,
    /// Of those, the ones that are no purchase.
    pub undecodable: u64,
    /// Of those, the ones whose id another purchase has.
    pub conflicts: u64,
    /// Of those, the ones that the store refuses.
    pub refused: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.inserted += other.inserted;
        self.duplicates += other.duplicates;
        self.dead_lettered += other.dead_lettered;
        self.undecodable += other.undecodable;
        self.conflicts += other.conflicts;
        self.refused += other.refused;
    }

    /// One more was put aside.
    pub(super) fn put_aside(&mut self, reason: ReasonKind) {
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
    /// Not kept alive by whoever watches.
    source: Weak<dyn PurchaseSource>,
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
    /// As [`PurchaseSource::lag`], and [`Closed`](ErrorKind::Closed) when the pipeline has ended.
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
pub(super) struct StatusBoard(watch::Sender<IngestStatus>);

impl StatusBoard {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(IngestStatus::default()))
    }

    pub(super) fn monitor(&self, source: Weak<dyn PurchaseSource>) -> IngestMonitor {
        IngestMonitor { status: self.0.subscribe(), source }
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut IngestStatus)) {
        self.0.send_modify(change);
    }

    /// Something is wrong with `part`. Logged when it begins, not at every attempt.
    pub(super) fn trouble(&self, part: Part, error: &Error) {
        if !self.has_trouble(part) {
            tracing::warn!(ingest.part = %part, error = %error.chain(), "ingest waits and tries again");
        }
        self.0.send_modify(|status| {
            status.troubles.insert(part, error.clone());
            status.waiting_since.entry(part).or_insert_with(Instant::now);
            *status.retries.entry(part).or_default() += 1;
        });
    }

    /// `part` works.
    pub(super) fn works(&self, part: Part) {
        if self.has_trouble(part) {
            tracing::info!(ingest.part = %part, "ingest goes on");
            self.0.send_modify(|status| {
                status.troubles.remove(&part);
                status.waiting_since.remove(&part);
            });
        }
    }

    pub(super) fn has_trouble(&self, part: Part) -> bool {
        self.0.borrow().troubles.contains_key(&part)
    }

    pub(super) fn phase(&self) -> Phase {
        self.0.borrow().phase
    }

    pub(super) fn tally(&self) -> Tally {
        self.0.borrow().tally
    }
}
