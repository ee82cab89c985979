//! Reads, hands batches to tasks, keeps count of what is durable, commits, and leaves in order.

mod committing;

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use backon::ExponentialBackoff;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::carry::{Carried, Carrier, Load};
use super::departure::{Departure, Times, after};
use super::observer::{CarriedBatch, IngestObserver, tell};
use super::progress::Progress;
use super::status::{Part, Phase};
use super::{IngestStatus, Tally};
use crate::log::{Batch, ControlEvent, LogSource, Partition, Revocation, RevocationCause, SourceEvent};
use crate::record::Record;
use crate::{Error, ErrorKind, Result};
use committing::Committed;

pub(super) struct Coordinator<R: Record> {
    source: Arc<dyn LogSource>,
    carrier: Arc<Carrier<R>>,
    observer: Option<Arc<dyn IngestObserver>>,
    tasks: JoinSet<Arrived>,
    records: usize,
    bytes: usize,
    /// Batches read so far; each one's number is its own for ever.
    batches: u64,
    partitions: BTreeMap<Partition, Progress>,
    /// The last epoch in which each partition was left: nothing of it counts any more.
    left: BTreeMap<Partition, u64>,
    departures: Vec<Departure>,
    committing: Option<JoinHandle<Committed>>,
    /// When the commit under way counts as one that does not end.
    commit_overdue: Option<Instant>,
    /// No commit before this, unless somebody waits for it.
    next_commit: Instant,
    commit_pauses: ExponentialBackoff,
    /// The source is not asked for a batch before this.
    next_read: Instant,
    /// It is not asked for interruptions either before this.
    next_interruption: Instant,
    read_pauses: ExponentialBackoff,
    /// When a source that had a trouble counts as well, if it has said nothing by then.
    well_at: Option<Instant>,
    /// Until when everything is to be left, once it is stopping.
    stopping: Option<Times>,
    /// The source has nothing more to say.
    source_ended: bool,
    failure: Option<Error>,
}

/// A batch's task has ended.
struct Arrived {
    partition: Partition,
    number: u64,
    records: usize,
    bytes: usize,
    took: Duration,
    carried: Option<Carried>,
}

/// The least time that the source gets to leave its group, however long the drain has taken.
const LEAST_CLOSE: Duration = Duration::from_millis(500);
/// How long a close that does not keep to its deadline is waited for after it.
const CLOSE_MARGIN: Duration = Duration::from_secs(1);
enum Step {
    Stop,
    Arrived(Result<Arrived, JoinError>),
    Committed(Result<Committed, JoinError>),
    Event(Result<SourceEvent>),
    Interrupted(Result<ControlEvent>),
    Time,
}

impl<R: Record> Coordinator<R> {
    pub(super) fn new(
        source: Arc<dyn LogSource>,
        carrier: Arc<Carrier<R>>,
        observer: Option<Arc<dyn IngestObserver>>,
    ) -> Self {
        let now = Instant::now();
        Self {
            source,
            observer,
            tasks: JoinSet::new(),
            records: 0,
            bytes: 0,
            batches: 0,
            partitions: BTreeMap::new(),
            left: BTreeMap::new(),
            departures: Vec::new(),
            committing: None,
            commit_overdue: None,
            next_commit: now,
            commit_pauses: carrier.options.backoff(),
            next_read: now,
            next_interruption: now,
            read_pauses: carrier.options.backoff(),
            well_at: None,
            stopping: None,
            source_ended: false,
            failure: None,
            carrier,
        }
    }

    pub(super) async fn run(mut self, shutdown: impl Future<Output = ()> + Send) -> Result<Tally> {
        self.update(|status| status.phase = Phase::Running);
        tokio::pin!(shutdown);
        // Everything in one turn happens at one moment: what is due then is done, and what is not is waited
        // for. With several looks at the clock a time between two of them would be neither.
        let mut now = Instant::now();
        while !self.has_left() {
            let step = self.step(shutdown.as_mut(), now).await;
            now = Instant::now();
            match step {
                Step::Stop => self.stop(None, now),
                Step::Arrived(Ok(arrived)) => self.settle(arrived, now),
                Step::Arrived(Err(error)) | Step::Committed(Err(error)) => {
                    self.stop(Some(lost_task(error)), now);
                }
                Step::Committed(Ok((positions, outcome))) => self.note_commit(positions, outcome, now),
                Step::Event(Ok(event)) => {
                    self.source_works();
                    self.take(event, now);
                }
                // It says nothing of whether batches can be read.
                Step::Interrupted(Ok(interruption)) => self.take(interruption.into(), now),
                Step::Event(Err(error)) => self.note_read_error(&error, now),
                Step::Interrupted(Err(error)) => {
                    self.note_read_error(&error, now);
                    self.next_interruption = self.next_read;
                }
                Step::Time => {}
            }
            self.note_quiet(now);
            self.note_overdue(now);
            self.depart(now);
            self.start_commit(now);
            self.tell_age();
        }
        self.leave(now).await
    }

    async fn step(&mut self, shutdown: impl Future<Output = ()>, now: Instant) -> Step {
        let timer = self.timer(now);
        let reads = self.has_room() && self.next_read <= now;
        // A revocation does not wait until the reader has room again, or its pause is over.
        let asks = !self.source_ended && (reads || self.next_interruption <= now);
        let Self { source, tasks, committing, stopping, .. } = self;
        let event = async {
            if reads {
                Step::Event(source.next().await)
            } else {
                Step::Interrupted(source.next_control().await)
            }
        };
        tokio::select! {
            biased;
            () = shutdown, if stopping.is_none() => Step::Stop,
            Some(arrived) = tasks.join_next() => Step::Arrived(arrived),
            committed = joined(committing) => Step::Committed(committed),
            () = until(timer) => Step::Time,
            step = event, if asks => step,
        }
    }

    /// Whether a batch may be taken. A source that is not asked for one is paused.
    fn has_room(&self) -> bool {
        let options = &self.carrier.options;
        self.stopping.is_none()
            && self.tasks.len() < options.in_flight.max(1)
            && self.bytes < options.in_flight_bytes.max(1)
    }

    /// When something is due next.
    fn timer(&self, now: Instant) -> Option<Instant> {
        let times = self.departures.iter().map(|departure| departure.times);
        let departures = times.flat_map(|times| [times.drained_by, times.gone_by]);
        let commit = (self.committing.is_none() && self.has_positions()).then_some(self.next_commit);
        let reading = [self.next_read, self.next_interruption];
        let others = commit.into_iter().chain(self.well_at).chain(self.commit_overdue);
        departures.chain(others).chain(reading).filter(|at| *at > now).min()
    }

    fn take(&mut self, event: SourceEvent, now: Instant) {
        match event {
            SourceEvent::Batch(batch) => self.set_out(batch, now),
            SourceEvent::Revoked(revocation) => self.note_revocation(revocation, now),
            SourceEvent::Closed => self.note_end_of_source(now),
        }
    }

    fn set_out(&mut self, batch: Batch, now: Instant) {
        let partition = batch.partition.clone();
        if batch.records.is_empty() {
            return;
        }
        if self.left.get(&of_any_epoch(&partition)).is_some_and(|left| partition.epoch <= *left) {
            // Nobody may know any more how far this epoch has come, so nothing of it may be committed.
            tracing::error!(
                log.partition = partition.index,
                log.epoch = partition.epoch,
                "a batch of an epoch that is over was not taken"
            );
            return;
        }
        let (number, records, bytes) = (self.batches, batch.records.len(), batch.size());
        self.batches += 1;
        self.records += records;
        self.bytes += bytes;
        let progress = self.partitions.entry(partition.clone()).or_default();
        progress.open(number, now);
        let load = Load { number, batch, read: now, stop: progress.stop.clone() };
        let carrier = Arc::clone(&self.carrier);
        self.tasks.spawn(async move {
            let carried = carrier.carry(load).await;
            Arrived { partition, number, records, bytes, took: now.elapsed(), carried }
        });
        self.update(|status| self.tell_load(status));
    }

    /// Says since when the oldest record of each topic waits for its position to be committed.
    fn tell_age(&self) {
        let mut oldest = BTreeMap::<&Arc<str>, Instant>::new();
        for (partition, progress) in &self.partitions {
            let Some(read) = progress.oldest_uncommitted() else { continue };
            oldest.entry(&partition.topic).and_modify(|oldest| *oldest = read.min(*oldest)).or_insert(read);
        }
        self.carrier.status.update_if(|status| {
            let mut changed = false;
            for (topic, known) in &mut status.oldest_uncommitted {
                let now = oldest.remove(topic);
                changed |= std::mem::replace(known, now) != now;
            }
            changed |= !oldest.is_empty();
            let new = oldest.into_iter().map(|(topic, read)| (Arc::clone(topic), Some(read)));
            status.oldest_uncommitted.extend(new);
            changed
        });
    }

    fn tell_load(&self, status: &mut IngestStatus) {
        status.in_flight = self.tasks.len();
        status.in_flight_records = self.records;
        status.in_flight_bytes = self.bytes;
    }

    fn settle(&mut self, arrived: Arrived, now: Instant) {
        self.records -= arrived.records;
        self.bytes -= arrived.bytes;
        let Some(Carried { tally, end, stop, freshness }) = arrived.carried else {
            return self.update(|status| self.tell_load(status));
        };
        if let Some(observer) = &self.observer {
            let Arrived { records, bytes, took, .. } = arrived;
            tell(&**observer, &CarriedBatch { records, bytes, tally, took, freshness });
        }
        self.update(|status| {
            self.tell_load(status);
            status.tally.add(&tally);
            status.freshness = freshness.or(status.freshness);
        });
        if let Some(progress) = self.partitions.get_mut(&arrived.partition) {
            progress.settle(arrived.number, end);
        }
        if stop.is_some() {
            self.stop(stop, now);
        }
    }

    fn note_revocation(&mut self, revocation: Revocation, now: Instant) {
        let partitions = revocation.partitions.clone();
        if revocation.cause == RevocationCause::Lost {
            // There is nothing to drain for: whatever is on its way belongs to an epoch that is over.
            self.forget(&partitions);
            return revocation.done();
        }
        let times = Times::within(revocation.grace, now).at_most(self.stopping);
        self.begin_departure(Departure::new(partitions, times, Some(revocation)), now);
    }

    /// Begins to leave everything.
    fn stop(&mut self, failure: Option<Error>, now: Instant) {
        if let Some(error) = failure
            && self.failure.is_none()
        {
            // Batches that end later say the same again.
            tracing::error!(error = %error.chain(), "ingest stops");
            self.failure = Some(error);
        }
        if self.stopping.is_some() {
            return;
        }
        let times = Times::within(self.carrier.options.drain, now);
        self.stopping = Some(times);
        self.update(|status| status.phase = Phase::Draining);
        for earlier in &mut self.departures {
            earlier.times = earlier.times.at_most(self.stopping);
        }
        let all = self.partitions.keys().cloned().collect();
        self.begin_departure(Departure::new(all, times, None), now);
    }

    fn begin_departure(&mut self, departure: Departure, now: Instant) {
        self.departures.push(departure);
        // Somebody waits for the commit: it is tried at once, whatever was waited for before.
        self.next_commit = now;
        self.commit_pauses = self.carrier.options.backoff();
    }

    /// Ends departures that are ready or out of time.
    fn depart(&mut self, now: Instant) {
        for departure in std::mem::take(&mut self.departures) {
            let of_it = || departure.partitions.iter().filter_map(|partition| self.partitions.get(partition));
            let in_time = departure.times.drained_by > now;
            if !in_time {
                of_it().for_each(|progress| progress.stop.cancel());
            }
            let drained = !in_time || of_it().all(Progress::is_idle);
            let committed =
                self.committing.is_none() && of_it().all(|progress| progress.to_commit().is_none());
            if drained && committed || departure.times.gone_by <= now {
                self.forget(&departure.partitions);
                departure.end();
            } else {
                self.departures.push(departure);
            }
        }
    }

    /// Leaves `partitions`, for good in the epochs that they are named in.
    fn forget(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            let left = self.left.entry(of_any_epoch(partition)).or_default();
            *left = partition.epoch.max(*left);
            if let Some(progress) = self.partitions.remove(partition) {
                progress.stop.cancel();
            }
        }
        // A commit that does not end stays a trouble: none begins before it has ended.
        if self.committing.is_none() && !self.has_positions() {
            self.carrier.status.works(Part::Commit, None);
        }
    }

    fn note_read_error(&mut self, error: &Error, now: Instant) {
        if error.kind() == ErrorKind::Closed {
            return self.note_end_of_source(now);
        }
        self.carrier.status.trouble(Part::Source, None, error);
        self.next_read = after(now, self.carrier.options.pause(&mut self.read_pauses, error));
        self.well_at = Some(after(self.next_read, self.carrier.options.retry_max));
    }

    fn note_end_of_source(&mut self, now: Instant) {
        tracing::info!("the source was closed: ingest ends");
        self.source_ended = true;
        self.stop(None, now);
    }

    /// A source that waits without an error is well, even if it has nothing to hand over.
    fn note_quiet(&mut self, now: Instant) {
        if self.well_at.is_some_and(|at| at <= now) {
            self.source_works();
        }
    }

    fn source_works(&mut self) {
        if self.well_at.take().is_some() {
            self.carrier.status.works(Part::Source, None);
            self.read_pauses = self.carrier.options.backoff();
        }
    }

    fn has_left(&self) -> bool {
        self.stopping.is_some() && self.departures.is_empty()
    }

    async fn leave(mut self, now: Instant) -> Result<Tally> {
        let time_left =
            self.stopping.map_or(Duration::ZERO, |times| times.gone_by.saturating_duration_since(now));
        self.close(time_left.max(LEAST_CLOSE)).await;
        let failure = self.failure.take();
        self.end(failure.clone());
        failure.map_or_else(|| Ok(self.carrier.status.tally()), Err)
    }

    /// Closes the source, and waits for it a little longer than it was given.
    async fn close(&self, deadline: Duration) {
        let source = Arc::clone(&self.source);
        // A task of its own: it is not dropped half-way when it takes too long.
        let close = tokio::spawn(async move { source.close(deadline).await });
        let closed = match tokio::time::timeout(deadline + CLOSE_MARGIN, close).await {
            Ok(Ok(closed)) => closed,
            Ok(Err(error)) => Err(lost_task(error)),
            Err(_elapsed) => Err(overdue("the close of the source", deadline)),
        };
        if let Err(error) = closed {
            tracing::warn!(error = %error.chain(), "the source could not be closed in order");
        }
    }

    /// Says that it has ended, and lets go of what is still on its way.
    fn end(&mut self, failure: Option<Error>) {
        self.partitions.values().for_each(|progress| progress.stop.cancel());
        // They end by themselves: what was begun is never dropped half-way.
        self.tasks.detach_all();
        self.carrier.status.stop(failure);
    }

    fn update(&self, change: impl FnOnce(&mut IngestStatus)) {
        self.carrier.status.update(change);
    }
}

/// Whoever drops or breaks a running pipeline must not leave it saying that it runs.
impl<R: Record> Drop for Coordinator<R> {
    fn drop(&mut self) {
        if self.carrier.status.phase() != Phase::Stopped {
            let broken = Error::new(ErrorKind::Internal, "the pipeline was dropped or has panicked");
            let failure = self.failure.take().unwrap_or_else(|| broken.with_origin("ingest"));
            self.end(Some(failure));
        }
    }
}

fn of_any_epoch(partition: &Partition) -> Partition {
    Partition { epoch: 0, ..partition.clone() }
}

fn lost_task(error: JoinError) -> Error {
    Error::new(ErrorKind::Internal, "a task of the pipeline has ended early")
        .with_origin("ingest")
        .with_source(error)
}

fn overdue(what: &str, time: Duration) -> Error {
    Error::new(ErrorKind::DeadlineExceeded, format!("{what} has not ended within {} s", time.as_secs_f32()))
        .with_origin("ingest")
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}

async fn joined<T>(task: &mut Option<JoinHandle<T>>) -> Result<T, JoinError> {
    let Some(running) = task else { return pending().await };
    let result = running.await;
    *task = None;
    result
}
