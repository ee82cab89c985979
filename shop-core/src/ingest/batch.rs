//! What one batch goes through: decoded, inserted until every outcome is known, its bad records dead-lettered.

use super::backoff::Backoff;
use super::breaker::Bad;
use super::event::{BatchOutcome, BatchState};
use super::insertion::{Indexed, Stored};
use super::status::Component;
use super::worker::{Aborted, BatchWorker, Job, RejectedRecord};
use crate::log::{Batch, DeadLetter, ReasonKind};
use crate::record::Record;
use crate::{Error, ErrorKind, Retry};

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
        let Stored { counters: mut tally, freshness } = match good.records.is_empty() {
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
        Ok(BatchOutcome { counters: tally, state, stop, freshness })
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
        // Each group has a backoff, which its halves inherit: they have been failing for as long as it has.
        let mut waiting = vec![(&letters[..], Backoff::new(&self.options))];
        while let Some((next, mut backoff)) = waiting.pop() {
            // One that can never be kept is found among the others.
            if !next.is_empty() && !self.put_together(job, next, &mut backoff).await? {
                let (first, second) = next.split_at(next.len() / 2);
                waiting.extend([(second, backoff.clone()), (first, backoff)]);
            }
        }
        Ok(())
    }

    /// Puts `letters` with one call, again and again until it works. The answer is `false` when it never will, and
    /// there is more than one of them.
    async fn put_together(
        &self,
        job: &Job,
        letters: &[DeadLetter],
        backoff: &mut Backoff,
    ) -> Result<bool, Aborted> {
        while let Err(error) = self.dead_letters.put(letters).await {
            match letters {
                [letter] if never_works(&error) => return Err(Aborted::Broken(never_kept(letter, error))),
                [_, _, ..] if never_works(&error) => return Ok(false),
                _ => job.pause(Component::DeadLetters, &error, backoff).await?,
            }
        }
        job.recovered(backoff).await;
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
