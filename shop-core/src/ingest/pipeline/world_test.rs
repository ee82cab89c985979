//! A model around the pipeline: a log of two partitions, the possible events, and the invariants.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::super::event::BatchState;
use super::pipeline_test::unavailable;
use super::*;
use crate::Timestamp;
use crate::log::{CommitOffset, CommitOutcome};

const PARTITIONS: usize = 2;
/// Batches in each partition, of one record each.
pub(super) const BATCHES: u64 = 2;
const REVOCATION_TIMEOUT: Duration = Duration::from_secs(4);
pub(super) const DRAIN: Duration = Duration::from_secs(8);

/// An event of the caller of the pipeline or of the log; any order is possible.
#[derive(Debug, Clone, Copy)]
pub(super) enum Move {
    Deliver(usize),
    /// The source delivers a batch of an epoch whose end the pipeline knows.
    DeliverOld(usize),
    /// The batch in flight with this index.
    Batch(usize, Fate),
    Commit(CommitFate),
    Revoke(usize),
    Lose(usize),
    Assign(usize),
    ReadFails,
    /// The source reports that it is closed.
    SourceClosed,
    /// Time passes until something is due.
    Time,
    Shutdown,
    /// The process ends, and another one replaces it.
    Restart,
}

/// The outcome of a call for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Stored,
    /// The store rejects the record, which is dead-lettered.
    DeadLettered,
    /// The record is stored, but the response is lost: its outcome is unknown.
    Unknown,
    /// The store is unavailable.
    Outage,
    /// The store rejects the record, and the dead letters are unavailable.
    LetterFails,
    /// The dead letters reject the record.
    LetterRefused,
    Abandoned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommitFate {
    Answered,
    Fails,
    /// The commit takes effect, but the response is lost.
    AnswerLost,
    /// The log assigns the first partition to another member without a revocation, and fences its
    /// offset.
    Fenced,
}

impl Move {
    /// The cost in moves: faults are explored less deeply.
    pub(super) const fn cost(self) -> usize {
        let is_fault = match self {
            Self::Batch(_, fate) => {
                !matches!(fate, Fate::Stored | Fate::DeadLettered | Fate::Abandoned)
            }
            Self::Commit(fate) => !matches!(fate, CommitFate::Answered),
            Self::DeliverOld(_)
            | Self::Lose(_)
            | Self::ReadFails
            | Self::SourceClosed
            | Self::Restart => true,
            _ => false,
        };
        if is_fault { 2 } else { 1 }
    }
}

/// A partition of the log, as the log sees it.
#[derive(Debug, Clone, Default, Hash)]
pub(super) struct LogPartition {
    epoch: u64,
    is_owned: bool,
    /// The next offset to deliver.
    next: u64,
    pub(super) committed: u64,
    /// Which records are in the store or among the dead letters.
    pub(super) durable: BTreeSet<u64>,
    /// The last epoch whose revocation was answered, or that was fenced.
    given_up: u64,
}

#[derive(Debug, Clone, Hash)]
pub(super) struct Flight {
    number: u64,
    partition: Partition,
    offset: u64,
    is_abandoned: bool,
}

#[derive(Clone, Hash)]
pub(super) struct World {
    pipeline: IngestPipeline,
    now: Instant,
    pub(super) log: [LogPartition; PARTITIONS],
    flights: Vec<Flight>,
    commit: Option<Vec<CommitOffset>>,
    /// The deadlines of the pending revocations, by the partition, and whether it is lost.
    pub(super) revocations: BTreeMap<(Partition, bool), Instant>,
    stopping: Option<Instant>,
    is_closed: bool,
    /// The last epoch of each partition whose end the pipeline knows.
    ended: [Option<u64>; PARTITIONS],
}

impl Hash for IngestPipeline {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self {
            next_number,
            partitions,
            draining_revocations,
            shutdown_deadlines,
            source_ended,
            control_not_before,
            ..
        } = self;
        (
            next_number,
            partitions,
            shutdown_deadlines,
            source_ended,
            control_not_before,
        )
            .hash(state);
        draining_revocations
            .iter()
            .for_each(|revocation| revocation.partitions.hash(state));
        (
            &self.commit_backoff,
            self.is_committing,
            self.commit_overdue_at,
        )
            .hash(state);
        (&self.read_backoff, self.failure.is_some()).hash(state);
        for (
            number,
            InFlightBatch {
                partition,
                read_at,
                failing,
                ..
            },
        ) in &self.in_flight
        {
            (number, partition, read_at, failing.is_some()).hash(state);
        }
    }
}

pub(super) fn expect(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

pub(super) fn batch(partition: Partition, offset: u64) -> Batch {
    Batch::new(
        partition,
        vec![LogRecord::new(offset, Timestamp::MIN, Some("{}".into()))],
    )
}

/// The partition of a revocation, and whether it is lost.
fn revoked(revocation: &Revocation) -> (Partition, bool) {
    (
        revocation.partitions[0].clone(),
        revocation.cause == RevocationCause::Lost,
    )
}

impl World {
    pub(super) fn new(options: IngestOptions, now: Instant) -> Self {
        let partition = LogPartition {
            epoch: 1,
            is_owned: true,
            ..LogPartition::default()
        };
        Self {
            pipeline: IngestPipeline::new(options),
            now,
            log: [(); PARTITIONS].map(|()| partition.clone()),
            flights: Vec::new(),
            commit: None,
            revocations: BTreeMap::new(),
            stopping: None,
            is_closed: false,
            ended: [None; PARTITIONS],
        }
    }

    pub(super) fn partition(&self, index: usize) -> Partition {
        let number = u32::try_from(index).unwrap();
        Partition::new(
            "cluster".into(),
            "purchases".into(),
            number,
            self.log[index].epoch,
        )
    }

    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn moves(&self) -> Vec<Move> {
        if self.is_closed {
            return vec![Move::Restart];
        }
        let mut moves = Vec::new();
        let wants = self.pipeline.event_demand(self.now);
        for (index, log) in self.log.iter().enumerate() {
            if wants == EventDemand::Next && self.ended[index].is_some() {
                moves.push(Move::DeliverOld(index));
            }
            if log.is_owned {
                if wants == EventDemand::Next && log.next < BATCHES {
                    moves.push(Move::Deliver(index));
                }
                if wants != EventDemand::Nothing {
                    let is_asked = self
                        .revocations
                        .keys()
                        .any(|(of, _)| *of == self.partition(index));
                    moves.extend((!is_asked).then_some(Move::Revoke(index)));
                    moves.push(Move::Lose(index));
                }
            } else {
                moves.push(Move::Assign(index));
            }
        }
        for (index, flight) in self.flights.iter().enumerate() {
            let fates = [
                Fate::Stored,
                Fate::DeadLettered,
                Fate::Unknown,
                Fate::Outage,
                Fate::LetterFails,
                Fate::LetterRefused,
            ];
            moves.extend(fates.map(|fate| Move::Batch(index, fate)));
            moves.extend(
                flight
                    .is_abandoned
                    .then_some(Move::Batch(index, Fate::Abandoned)),
            );
        }
        if self.commit.is_some() {
            let fates = [
                CommitFate::Answered,
                CommitFate::Fails,
                CommitFate::AnswerLost,
                CommitFate::Fenced,
            ];
            moves.extend(fates.map(Move::Commit));
        }
        if wants != EventDemand::Nothing {
            moves.extend([Move::ReadFails, Move::SourceClosed]);
        }
        if self.pipeline.next_deadline(self.now).is_some() {
            moves.push(Move::Time);
        }
        if self.stopping.is_none() {
            moves.push(Move::Shutdown);
        }
        moves.push(Move::Restart);
        moves
    }

    pub(super) fn make(&mut self, next: Move) -> Result<(), String> {
        match next {
            Move::Deliver(index) => {
                let offset = self.log[index].next;
                self.log[index].next += 1;
                self.source(Ok(SourceEvent::Batch(batch(self.partition(index), offset))))
            }
            Move::DeliverOld(index) => {
                let epoch = self.ended[index].ok_or("no epoch has ended")?;
                let old = Partition {
                    epoch,
                    ..self.partition(index)
                };
                let before = self.flights.len();
                self.source(Ok(SourceEvent::Batch(batch(old, 0))))?;
                expect(self.flights.len() == before, || {
                    "a batch of an old epoch is started".to_owned()
                })
            }
            Move::Batch(index, fate) => self.end_call(index, fate),
            Move::Commit(fate) => self.end_commit(fate),
            Move::Revoke(index) => self.revoke(index, RevocationCause::Rebalance),
            Move::Lose(index) => {
                self.log[index].is_owned = false;
                self.revoke(index, RevocationCause::Lost)
            }
            Move::Assign(index) => {
                self.assign(index);
                Ok(())
            }
            Move::ReadFails => self.source(Err(unavailable())),
            Move::SourceClosed => {
                self.stopping = self.stopping.or(Some(self.now + DRAIN));
                self.source(Ok(SourceEvent::Closed))
            }
            Move::Time => {
                self.now = self
                    .pipeline
                    .next_deadline(self.now)
                    .ok_or("nothing is due")?;
                self.happens(PipelineEvent::Time)
            }
            Move::Shutdown => {
                self.stopping = Some(self.now + DRAIN);
                self.happens(PipelineEvent::Shutdown)
            }
            Move::Restart => {
                let fresh = Self::new(self.pipeline.options.clone(), self.now);
                *self = Self {
                    log: self.log.clone(),
                    ..fresh
                };
                (0..PARTITIONS).for_each(|index| self.assign(index));
                Ok(())
            }
        }
    }

    fn assign(&mut self, index: usize) {
        let log = &mut self.log[index];
        *log = LogPartition {
            epoch: log.epoch + 1,
            is_owned: true,
            next: log.committed,
            ..log.clone()
        };
    }

    /// The log has assigned the partition to another member: nothing of this epoch may be committed
    /// any more.
    fn end_epoch(&mut self, partition: &Partition) {
        let log = &mut self.log[partition.index as usize];
        log.given_up = log.given_up.max(partition.epoch);
        self.ended[partition.index as usize] = Some(log.given_up);
        log.is_owned &= log.epoch > partition.epoch;
    }

    fn source(&mut self, result: Result<SourceEvent>) -> Result<(), String> {
        let demand = self.pipeline.event_demand(self.now);
        self.happens(PipelineEvent::Source { demand, result })
    }

    fn revoke(&mut self, index: usize, cause: RevocationCause) -> Result<(), String> {
        let revocation = Revocation::new(
            vec![self.partition(index)],
            cause,
            REVOCATION_TIMEOUT,
            || {},
        );
        let revoked = revoked(&revocation);
        self.revocations
            .insert(revoked.clone(), self.now + REVOCATION_TIMEOUT);
        self.source(Ok(SourceEvent::Revoked(revocation)))?;
        let is_answered = !self.revocations.contains_key(&revoked);
        expect(cause != RevocationCause::Lost || is_answered, || {
            "a loss is drained".to_owned()
        })
    }

    fn end_call(&mut self, index: usize, fate: Fate) -> Result<(), String> {
        let Flight {
            number,
            partition,
            offset,
            ..
        } = self.flights[index].clone();
        let log = &mut self.log[partition.index as usize];
        if matches!(fate, Fate::Stored | Fate::DeadLettered | Fate::Unknown) {
            log.durable.insert(offset);
        }
        let failed = |part| BatchEvent::Failed(part, self.now, unavailable());
        let finished = |state, stop| {
            let outcome = BatchOutcome {
                counters: IngestCounters::default(),
                gap: None,
                state,
                stop,
                freshness: None,
            };
            BatchEvent::Finished(Some(outcome))
        };
        let event = match fate {
            Fate::Stored | Fate::DeadLettered => finished(BatchState::Durable(offset + 1), None),
            Fate::Unknown | Fate::Outage => failed(Component::Store),
            Fate::LetterFails => failed(Component::DeadLetters),
            Fate::LetterRefused => finished(BatchState::StoppedAt(offset), Some(unavailable())),
            Fate::Abandoned => BatchEvent::Finished(None),
        };
        if matches!(event, BatchEvent::Finished(_)) {
            self.flights.remove(index);
        }
        if fate == Fate::LetterRefused && self.stopping.is_none() {
            self.stopping = Some(self.now + DRAIN);
        }
        self.happens(PipelineEvent::Batch(number, event))
    }

    fn end_commit(&mut self, fate: CommitFate) -> Result<(), String> {
        let offsets = self.commit.take().ok_or("no commit is under way")?;
        if fate == CommitFate::Fails {
            return self.happens(PipelineEvent::Committed(offsets, Err(unavailable())));
        }
        if let (CommitFate::Fenced, [CommitOffset { partition, .. }, ..]) = (fate, &offsets[..]) {
            self.end_epoch(partition);
        }
        let mut outcomes = Vec::new();
        for CommitOffset {
            partition,
            next_offset: next,
        } in &offsets
        {
            let log = &mut self.log[partition.index as usize];
            if log.is_owned && log.epoch == partition.epoch {
                expect(*next >= log.committed, || {
                    format!("{partition:?} goes back to {next}")
                })?;
                log.committed = *next;
                outcomes.push(CommitOutcome::Committed);
            } else {
                outcomes.push(CommitOutcome::Fenced);
            }
        }
        let answer = if fate == CommitFate::AnswerLost {
            Err(unavailable())
        } else {
            Ok(outcomes)
        };
        self.happens(PipelineEvent::Committed(offsets, answer))
    }

    /// Passes an event to the pipeline, performs its actions, and checks the invariants.
    fn happens(&mut self, event: PipelineEvent) -> Result<(), String> {
        let is_abandoned = matches!(event, PipelineEvent::Batch(_, BatchEvent::Finished(None)));
        for action in self.pipeline.handle(event, self.now) {
            expect(
                !(is_abandoned && matches!(action, PipelineAction::Completed(_))),
                || "an abandoned batch was reported".to_owned(),
            )?;
            self.perform(action)?;
        }
        let overdue = self
            .revocations
            .iter()
            .find(|(_, deadline)| **deadline <= self.now);
        expect(overdue.is_none(), || {
            format!("{overdue:?} was not answered in time")
        })?;
        let drain_ends = self.is_closed || self.stopping.is_none_or(|deadline| deadline > self.now);
        expect(drain_ends, || "the drain does not end".to_owned())
    }

    fn perform(&mut self, action: PipelineAction) -> Result<(), String> {
        match action {
            PipelineAction::Start { gap: Some(gap), .. } => return Err(gap.to_string()),
            PipelineAction::Start {
                number,
                batch,
                gap: None,
            } => self.start(number, &batch)?,
            PipelineAction::Abandon(partition) => {
                let of_it = self
                    .flights
                    .iter_mut()
                    .filter(|flight| flight.partition == partition);
                of_it.for_each(|flight| flight.is_abandoned = true);
            }
            PipelineAction::Commit(offsets) => {
                expect(self.commit.is_none(), || {
                    "two concurrent commits".to_owned()
                })?;
                for offset in &offsets {
                    self.check_offset(offset)?;
                }
                self.commit = Some(offsets);
            }
            PipelineAction::EndRevocation(revocation) => {
                let revoked = revoked(&revocation);
                let deadline = self.revocations.remove(&revoked).ok_or("answered twice")?;
                let (partition, _) = revoked;
                let log = &self.log[partition.index as usize];
                let has_time =
                    self.stopping.is_none() && self.now + REVOCATION_TIMEOUT / 4 < deadline;
                let is_left = !log.is_owned || log.epoch > partition.epoch;
                let is_in_flight = self
                    .flights
                    .iter()
                    .any(|flight| flight.partition == partition);
                let is_drained = !is_in_flight && self.commit.is_none();
                expect(is_left || is_drained || !has_time, || {
                    format!("{partition:?} is not drained")
                })?;
                self.end_epoch(&partition);
            }
            PipelineAction::Completed(_) => {}
            PipelineAction::Close(time) => {
                expect(time >= MIN_CLOSE, || format!("{time:?} to close"))?;
                expect(self.revocations.is_empty(), || {
                    "closed before a revocation was answered".to_owned()
                })?;
                self.is_closed = true;
            }
        }
        Ok(())
    }

    fn start(&mut self, number: u64, batch: &Batch) -> Result<(), String> {
        let options = &self.pipeline.options;
        let others = self.flights.len();
        expect(others < options.max_in_flight_batches, || {
            format!("{others} batches and one more")
        })?;
        let bytes = others * batch.size();
        expect(bytes < options.max_in_flight_bytes, || {
            format!("{bytes} bytes and more")
        })?;
        expect(self.stopping.is_none(), || {
            "a batch is started after the shutdown".to_owned()
        })?;
        let partition = batch.partition.clone();
        let offset = batch.records[0].offset;
        self.flights.push(Flight {
            number,
            partition,
            offset,
            is_abandoned: false,
        });
        Ok(())
    }

    fn check_offset(&self, offset: &CommitOffset) -> Result<(), String> {
        let CommitOffset {
            partition,
            next_offset: next,
        } = offset;
        let log = &self.log[partition.index as usize];
        let all = (0..*next).all(|offset| log.durable.contains(&offset));
        expect(all, || {
            format!("{offset:?} is past a record that is not durable")
        })?;
        expect(log.given_up < partition.epoch, || {
            format!("{offset:?} after it was given up")
        })
    }

    pub(super) fn next_good_move(&self) -> Option<Move> {
        if self.is_closed {
            return Some(Move::Restart);
        }
        if let Some(flight) = self.flights.first() {
            return Some(Move::Batch(
                0,
                if flight.is_abandoned {
                    Fate::Abandoned
                } else {
                    Fate::Stored
                },
            ));
        }
        if self.commit.is_some() {
            return Some(Move::Commit(CommitFate::Answered));
        }
        let is_good = |next: &Move| matches!(next, Move::Assign(_) | Move::Deliver(_) | Move::Time);
        self.moves().into_iter().find(is_good)
    }
}
