//! What the pipeline says of itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
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
    pub tally: Tally,
    /// Batches on their way.
    pub in_flight: usize,
    /// The records in these batches.
    pub in_flight_records: usize,
    /// The bytes of these records.
    pub in_flight_bytes: usize,
    /// What it is waiting to be over: tried again and again, nothing is lost meanwhile.
    pub troubles: BTreeMap<Part, Error>,
    /// Since when it has been waiting for each of them: of several batches that wait, the one that waits longest.
    pub waiting_since: BTreeMap<Part, Instant>,
    /// The oldest record that the store refuses again and again while it is well otherwise. The others go on; the
    /// position of the record's partition stays before it.
    pub stuck: Option<StuckRecord>,
    /// Of each topic that was read from, when the oldest record was read whose position is not committed; `None` when
    /// there is none.
    pub oldest_uncommitted: BTreeMap<Arc<str>, Option<Instant>>,
    /// How many calls of each part have failed and are, or were, tried again.
    pub retries: BTreeMap<Part, u64>,
    /// How old the oldest purchase that the last batch has stored was by then, from the time that the purchase says
    /// it was made at; nothing before the first.
    pub freshness: Option<Duration>,
    /// Why it stopped, if it stopped by itself.
    pub failure: Option<Error>,
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
pub(super) struct StatusBoard {
    status: watch::Sender<IngestStatus>,
    waits: Mutex<Waits>,
}

/// Who has a trouble: a batch, by its number, or the pipeline as a whole.
pub(super) type Holder = Option<u64>;

/// What is waited for. It is bounded by what is in flight.
#[derive(Debug, Default)]
struct Waits {
    /// Since when each holder waits for a part, and why.
    troubles: BTreeMap<(Part, Holder), (Instant, Error)>,
    /// The records that are stuck, by batch and index in it: the oldest one comes first.
    stuck: BTreeMap<(u64, usize), StuckRecord>,
}

impl Waits {
    fn has(&self, part: Part) -> bool {
        self.troubles.keys().any(|(of, _)| *of == part)
    }

    /// Enters into `status`, of each part, the trouble that has lasted longest.
    fn show(&self, status: &mut IngestStatus) {
        status.troubles.clear();
        status.waiting_since.clear();
        for ((part, _), (since, error)) in &self.troubles {
            if status.waiting_since.get(part).is_none_or(|longest| since < longest) {
                status.waiting_since.insert(*part, *since);
                status.troubles.insert(*part, error.clone());
            }
        }
        status.stuck = self.stuck.values().next().cloned();
    }
}

/// The most stuck records that are named in the log at a time: with more it is not about single records.
const NAMED: usize = 10;

impl StatusBoard {
    pub(super) fn new() -> Self {
        Self { status: watch::Sender::new(IngestStatus::default()), waits: Mutex::default() }
    }

    pub(super) fn monitor(&self, source: Weak<dyn LogSource>) -> IngestMonitor {
        IngestMonitor { status: self.status.subscribe(), source }
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut IngestStatus)) {
        self.status.send_modify(change);
    }

    /// The same; `change` says whether it has changed anything.
    pub(super) fn update_if(&self, change: impl FnOnce(&mut IngestStatus) -> bool) {
        self.status.send_if_modified(change);
    }

    fn waits(&self) -> MutexGuard<'_, Waits> {
        // They are whole after every change.
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call of `part` has failed and will be made again.
    pub(super) fn trouble(&self, part: Part, holder: Holder, error: &Error) {
        self.update(|status| *status.retries.entry(part).or_default() += 1);
        self.wait(part, holder, error);
    }

    /// `holder` waits for `part`. Logged when the first one does, not at every attempt.
    pub(super) fn wait(&self, part: Part, holder: Holder, error: &Error) {
        let mut waits = self.waits();
        if self.phase() == Phase::Stopped {
            return;
        }
        if !waits.has(part) {
            tracing::warn!(ingest.part = %part, error = %error.chain(), "ingest waits and tries again");
        }
        let begun = || (Instant::now(), error.clone());
        waits.troubles.entry((part, holder)).or_insert_with(begun).1 = error.clone();
        self.update(|status| waits.show(status));
    }

    /// `part` works for `holder`.
    pub(super) fn works(&self, part: Part, holder: Holder) {
        let mut waits = self.waits();
        if waits.troubles.remove(&(part, holder)).is_none() {
            return;
        }
        if !waits.has(part) {
            tracing::info!(ingest.part = %part, "ingest goes on");
        }
        self.update(|status| waits.show(status));
    }

    /// The store does not take one record, the one at `index` of batch `number`. Logged once.
    pub(super) fn stuck(&self, number: u64, index: usize, record: StuckRecord) {
        let mut waits = self.waits();
        if self.phase() == Phase::Stopped {
            return;
        }
        let StuckRecord { topic, partition, offset, id, error, .. } = &record;
        if waits.stuck.len() < NAMED && !waits.stuck.contains_key(&(number, index)) {
            tracing::warn!(
                log.topic = %topic,
                log.partition = partition,
                log.offset = offset,
                id = id.as_deref().unwrap_or_default(),
                error = %error.chain(),
                "the store does not take this record: it is tried again, the position stays before it, others go on"
            );
        }
        waits.stuck.insert((number, index), record);
        self.update(|status| waits.show(status));
    }

    /// It was taken after all.
    pub(super) fn freed(&self, number: u64, index: usize) {
        let mut waits = self.waits();
        if waits.stuck.remove(&(number, index)).is_some() {
            self.update(|status| waits.show(status));
        }
    }

    /// Batch `number` has come to an end, whichever: nothing of it is waited for any more.
    pub(super) fn ended(&self, number: u64) {
        for part in [Part::Store, Part::DeadLetters] {
            self.works(part, Some(number));
        }
        let mut waits = self.waits();
        let before = waits.stuck.len();
        waits.stuck.retain(|(batch, _), _| *batch != number);
        if waits.stuck.len() != before {
            self.update(|status| waits.show(status));
        }
    }

    /// The pipeline has ended: it waits for nothing any more. What it was waiting for stays to be seen.
    pub(super) fn stop(&self, failure: Option<Error>) {
        let mut waits = self.waits();
        *waits = Waits::default();
        self.update(|status| {
            status.phase = Phase::Stopped;
            (status.in_flight, status.in_flight_records, status.in_flight_bytes) = (0, 0, 0);
            status.waiting_since.clear();
            status.oldest_uncommitted.values_mut().for_each(|oldest| *oldest = None);
            status.stuck = None;
            status.failure = failure;
        });
    }

    pub(super) fn has_trouble(&self, part: Part) -> bool {
        self.waits().has(part)
    }

    pub(super) fn phase(&self) -> Phase {
        self.status.borrow().phase
    }

    pub(super) fn tally(&self) -> Tally {
        self.status.borrow().tally
    }
}
