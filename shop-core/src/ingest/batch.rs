//! What one batch goes through: decoded, inserted until every outcome is known, its bad records dead-lettered.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::breaker::{Bad, DeadLetterBreaker};
use super::insertion::{Indexed, Stored};
use super::pipeline::{BatchEvent, BatchState, Event};
use super::status::Part;
use super::{IngestOptions, Tally};
use crate::log::{Batch, DeadLetter, DeadLetters, Reason, ReasonKind};
use crate::ports::RecordStore;
use crate::record::Record;
use crate::{Error, ErrorKind, Retry};

/// Processes batches: what all of them share.
#[derive(Debug)]
pub(super) struct BatchWorker<R> {
    pub(super) store: Arc<dyn RecordStore<R>>,
    pub(super) dead_letters: Arc<dyn DeadLetters>,
    pub(super) options: IngestOptions,
    pub(super) breaker: DeadLetterBreaker,
}

/// A batch in flight.
#[derive(Debug)]
pub(super) struct Job {
    /// Unique; batches that were read later have greater ones.
    pub(super) number: u64,
    pub(super) batch: Batch,
    /// When it was read.
    pub(super) read: Instant,
    /// Cancelled when the batch is abandoned.
    pub(super) stop: CancellationToken,
    /// Where it reports to.
    pub(super) events: mpsc::Sender<Event>,
}

/// How a batch ended.
#[derive(Debug)]
pub(super) struct BatchOutcome {
    pub(super) tally: Tally,
    /// How far it is durable.
    pub(super) state: BatchState,
    /// Why the pipeline is to stop, if it is.
    pub(super) stop: Option<Error>,
    /// How old its oldest purchase was when it was stored, if any was.
    pub(super) freshness: Option<Duration>,
}

/// A record that can never be stored.
pub(super) struct RejectedRecord {
    /// Its index in the batch.
    pub(super) index: usize,
    pub(super) reason: Reason,
    pub(super) attempts: u32,
}

/// Why a batch was not processed to its end.
pub(super) enum Aborted {
    /// It is not waited for any more.
    Abandoned,
    /// A defect.
    Broken(Error),
}

impl Job {
    /// Reports to the pipeline, unless that has ended.
    pub(super) async fn report(&self, event: BatchEvent) {
        drop(self.events.send(Event::Batch(self.number, event)).await);
    }

    /// Reports that a call has failed, and waits before the next attempt, unless the batch is abandoned.
    pub(super) async fn pause(
        &self,
        part: Part,
        error: &Error,
        backoff: &mut Backoff,
    ) -> Result<(), Aborted> {
        let now = Instant::now().into_std();
        let until = backoff.failed(error, now);
        let since = backoff.failing().map_or(now, |(since, _)| *since);
        self.report(BatchEvent::Failed(part, since, error.clone())).await;
        let stopped = self.stop.run_until_cancelled(sleep_until(until.into())).await.is_none();
        if stopped { Err(Aborted::Abandoned) } else { Ok(()) }
    }

    /// Reports that a call works, if it was failing.
    pub(super) async fn recovered(&self, backoff: &mut Backoff) {
        if backoff.recovered() {
            self.report(BatchEvent::Recovered).await;
        }
    }

    /// The outcome of a batch that a defect has ended. What was stored of it is redelivered, and does no harm.
    pub(super) fn broken(&self, error: Error) -> BatchOutcome {
        let start = self.batch.records.first().map_or(0, |first| first.offset);
        let state = BatchState::StoppedAt(start);
        BatchOutcome { tally: Tally::default(), state, stop: Some(error), freshness: None }
    }
}

impl<R: Record> BatchWorker<R> {
    /// Processes a batch until it is durable, or until its `stop` says that it is abandoned: then the answer is
    /// `None`, and some of it may be stored.
    pub(super) async fn process(&self, job: &Job) -> Option<BatchOutcome> {
        match self.try_to_process(job).await {
            Ok(outcome) => Some(outcome),
            Err(Aborted::Abandoned) => None,
            Err(Aborted::Broken(error)) => Some(job.broken(error)),
        }
    }

    async fn try_to_process(&self, job: &Job) -> Result<BatchOutcome, Aborted> {
        let (good, mut rejected) = decode_all(&job.batch);
        let Stored { mut tally, freshness } = match good.records.is_empty() {
            true => Stored::default(),
            false => self.insert_all(good, &mut rejected, job).await?,
        };
        rejected.sort_by_key(|record| record.index);
        if job.stop.is_cancelled() {
            return Err(Aborted::Abandoned);
        }
        let (admitted, stop) = self.dead_letter(job, &rejected).await?;
        let records = &job.batch.records;
        let state = match rejected.get(admitted) {
            Some(refused) => BatchState::StoppedAt(records[refused.index].offset),
            None => BatchState::Durable(records.last().map_or(0, |last| last.offset + 1)),
        };
        rejected[..admitted].iter().for_each(|record| tally.dead_lettered(record.reason.kind()));
        Ok(BatchOutcome { tally, state, stop, freshness })
    }

    /// Dead-letters records, as far as the limit allows. Returns how many these are, and why the pipeline is to stop, if
    /// it is.
    async fn dead_letter(
        &self,
        job: &Job,
        rejected: &[RejectedRecord],
    ) -> Result<(usize, Option<Error>), Aborted> {
        let Job { number, batch, stop, .. } = job;
        let bad = |record: &RejectedRecord| Bad {
            index: record.index,
            offset: batch.records[record.index].offset,
            // A conflict is made by clients: it says nothing of the deployment.
            counts: record.reason.kind() != ReasonKind::Conflict,
        };
        let bad: Vec<Bad> = rejected.iter().map(bad).collect();
        let is_limited = self.options.dead_letter_limit.row().is_some();
        if !is_limited || !bad.iter().any(|bad| bad.counts) {
            self.breaker.pass(batch.records.len() - bad.len());
            self.put(job, rejected).await?;
            return Ok((rejected.len(), None));
        }
        let turn = self.breaker.turn(*number, batch.records.len(), &batch.partition, &bad);
        let mut turn = stop.run_until_cancelled(turn).await.ok_or(Aborted::Abandoned)?;
        let (admitted, limit) = (turn.admission.admitted, turn.admission.stop.take());
        match self.put(job, &rejected[..admitted]).await {
            Ok(()) => Ok((admitted, limit)),
            Err(aborted) => {
                turn.take_back();
                Err(aborted)
            }
        }
    }

    async fn put(&self, job: &Job, rejected: &[RejectedRecord]) -> Result<(), Aborted> {
        let letter = |RejectedRecord { index, reason, attempts }: &RejectedRecord| {
            let record = job.batch.records[*index].clone();
            DeadLetter::new(record, job.batch.partition.clone(), reason.clone(), *attempts)
        };
        let letters: Vec<DeadLetter> = rejected.iter().map(letter).collect();
        let mut waiting = vec![&letters[..]];
        while let Some(next) = waiting.pop() {
            // One that can never be kept is found among the others.
            if !next.is_empty() && !self.put_together(job, next).await? {
                let (first, second) = next.split_at(next.len() / 2);
                waiting.extend([second, first]);
            }
        }
        Ok(())
    }

    /// Puts `letters` with one call, again and again until it works. The answer is `false` when it never will, and
    /// there is more than one of them.
    async fn put_together(&self, job: &Job, letters: &[DeadLetter]) -> Result<bool, Aborted> {
        let mut backoff = Backoff::new(&self.options);
        while let Err(error) = self.dead_letters.put(letters).await {
            match letters {
                [letter] if never_works(&error) => return Err(Aborted::Broken(never_kept(letter, error))),
                [_, _, ..] if never_works(&error) => return Ok(false),
                _ => job.pause(Part::DeadLetters, &error, &mut backoff).await?,
            }
        }
        job.recovered(&mut backoff).await;
        for letter in letters {
            tracing::warn!(
                log.topic = %letter.partition.topic,
                log.partition = letter.partition.index,
                log.offset = letter.record.offset,
                reason = %letter.reason,
                "record dead-lettered"
            );
        }
        Ok(true)
    }
}

/// Whether the same letters would fail the same way. What an operator can fix, such as a missing right, is waited for.
fn never_works(error: &Error) -> bool {
    let about_the_letters =
        matches!(error.kind(), ErrorKind::Invalid | ErrorKind::TooLarge | ErrorKind::Unsupported);
    about_the_letters && error.retry() == Retry::Never
}

fn never_kept(letter: &DeadLetter, error: Error) -> Error {
    let message = format!(
        "the dead letter of the record {} can never be kept, its reason being {}: ingest has stopped; \
         let the dead letters take it, then restart",
        letter.position(),
        letter.reason.kind().as_str()
    );
    Error::new(error.kind(), message).with_origin("ingest").with_source(error)
}

fn decode_all<R: Record>(batch: &Batch) -> (Indexed<R>, Vec<RejectedRecord>) {
    let count = batch.records.len();
    let mut good = Indexed { records: Vec::with_capacity(count), indices: Vec::with_capacity(count) };
    let mut rejected = Vec::new();
    for (index, record) in batch.records.iter().enumerate() {
        match R::decode(record, &batch.partition) {
            Ok(decoded) => {
                good.records.push(decoded);
                good.indices.push(index);
            }
            Err(error) => rejected.push(RejectedRecord { index, reason: error.into(), attempts: 1 }),
        }
    }
    (good, rejected)
}
