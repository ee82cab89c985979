//! Processes one batch: decodes it, inserts until every outcome is known, and dead-letters rejected records.

use super::IngestCounters;
use super::backoff::Backoff;
use super::event::{BatchOutcome, BatchState};
use super::status::Component;
use super::worker::{Aborted, BatchJob, BatchWorker, RejectedRecord};
use crate::log::{Batch, DeadLetter, Gap};
use crate::record::Record;
use crate::{Error, ErrorKind, with_failpoints};

impl<R: Record> BatchWorker<R> {
    /// Processes a batch until it is durable. Returns `None` when `stop` was cancelled: the batch may then be stored in
    /// part.
    pub(super) async fn process(&self, job: &BatchJob) -> Option<BatchOutcome> {
        let processed = match &job.gap {
            Some(gap) => self.dead_letter_gap(gap, job).await,
            None => self.try_to_process(job).await,
        };
        match processed {
            Ok(outcome) => Some(outcome),
            Err(Aborted::Abandoned) => None,
            Err(Aborted::Broken(error)) => Some(job.defect_outcome(error)),
        }
    }

    async fn try_to_process(&self, job: &BatchJob) -> Result<BatchOutcome, Aborted> {
        let (good, mut rejected) = decode_all(&job.batch);
        let (mut tally, freshness) = self.insert_all(good, &mut rejected, job).await?;
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
        rejected[..admitted]
            .iter()
            .for_each(|record| tally.dead_lettered(record.reason.kind()));
        Ok(BatchOutcome {
            counters: tally,
            gap: None,
            state,
            stop,
            freshness,
        })
    }

    /// Keeps a gap as a dead letter. It does not count towards the limit: it does not indicate a bad deployment.
    async fn dead_letter_gap(&self, gap: &Gap, job: &BatchJob) -> Result<BatchOutcome, Aborted> {
        tracing::error!(
            log.topic = %gap.partition.topic,
            log.partition = gap.partition.index,
            log.from = gap.from,
            log.to = gap.to,
            count = gap.offset_count(),
            cause = gap.cause.as_str(),
            "records lost: the log no longer has them"
        );
        self.put(job, &[gap.to_dead_letter(self.options.clock.now())])
            .await?;
        Ok(BatchOutcome {
            counters: IngestCounters::default(),
            gap: Some(gap.from..gap.to),
            state: BatchState::Durable(gap.next_offset),
            stop: None,
            freshness: None,
        })
    }

    /// Dead-letters rejected records, as far as the limit allows. Returns their number, and the error that stops the
    /// pipeline, if any.
    async fn dead_letter(
        &self,
        job: &BatchJob,
        rejected: &[RejectedRecord],
    ) -> Result<(usize, Option<Error>), Aborted> {
        let BatchJob {
            number,
            batch,
            stop,
            ..
        } = job;
        let dead_letter = |record: &RejectedRecord| {
            DeadLetter::new(
                batch.records[record.index].clone(),
                batch.partition.clone(),
                record.reason.clone(),
                record.attempts,
            )
        };
        let dead_letters: Vec<DeadLetter> = rejected.iter().map(dead_letter).collect();
        let is_limited = self.options.dead_letter_limit.max_consecutive().is_some();
        if !is_limited || !rejected.iter().any(RejectedRecord::counts_towards_limit) {
            self.breaker
                .count_stored(batch.records.len() - rejected.len());
            self.put(job, &dead_letters).await?;
            return Ok((rejected.len(), None));
        }
        let turn = stop
            .run_until_cancelled(self.breaker.wait_for_turn(*number, batch, rejected))
            .await;
        let (mut counts, admission) = turn.ok_or(Aborted::Abandoned)?;
        let admitted = &dead_letters[..admission.admitted];
        if let Err(aborted) = self.put(job, admitted).await {
            counts.undo_admission(*number, &admission);
            return Err(aborted);
        }
        Ok((admission.admitted, admission.stop))
    }

    async fn put(&self, job: &BatchJob, dead_letters: &[DeadLetter]) -> Result<(), Aborted> {
        // Each group has a backoff that its halves inherit: they have been failing since the group failed.
        let mut waiting = vec![(dead_letters, Backoff::new(&self.options))];
        while let Some((next, mut backoff)) = waiting.pop() {
            // Splits the group to find the dead letter that can never be stored.
            if !next.is_empty() && !self.put_together(job, next, &mut backoff).await? {
                let (first, second) = next.split_at(next.len() / 2);
                waiting.extend([(second, backoff.clone()), (first, backoff)]);
            }
        }
        Ok(())
    }

    /// Puts `dead_letters` with one call, and retries until it succeeds. Returns `false` when it never will and there
    /// is more than one of them.
    async fn put_together(
        &self,
        job: &BatchJob,
        dead_letters: &[DeadLetter],
        backoff: &mut Backoff,
    ) -> Result<bool, Aborted> {
        while let Err(error) =
            with_failpoints("dead-letters", self.dead_letters.put(dead_letters)).await
        {
            match dead_letters {
                [dead_letter] if is_permanent(&error) => {
                    return Err(Aborted::Broken(rejected_dead_letter(dead_letter, error)));
                }
                [_, _, ..] if is_permanent(&error) => return Ok(false),
                _ => {
                    job.report_and_pause(Component::DeadLetters, &error, backoff)
                        .await?;
                }
            }
        }
        job.report_recovery(backoff).await;
        log_dead_letters(dead_letters);
        Ok(true)
    }
}

/// Logs records that were dead-lettered.
pub(super) fn log_dead_letters(dead_letters: &[DeadLetter]) {
    for dead_letter in dead_letters {
        tracing::warn!(
            log.topic = %dead_letter.partition.topic,
            log.partition = dead_letter.partition.index,
            log.offset = dead_letter.record.offset,
            reason = %dead_letter.reason,
            "record dead-lettered"
        );
    }
}

/// Whether retrying the same dead letters is pointless. Errors that an operator can fix, such as a missing right, are
/// retried.
fn is_permanent(error: &Error) -> bool {
    let about_the_records = matches!(
        error.kind(),
        ErrorKind::Invalid | ErrorKind::TooLarge | ErrorKind::Unsupported
    );
    about_the_records && !error.is_retryable()
}

fn rejected_dead_letter(dead_letter: &DeadLetter, error: Error) -> Error {
    let message = format!(
        "the dead letter of record {} (reason: {}) was rejected: ingest has stopped; \
         raise the limit that rejects it, then restart",
        dead_letter.position(),
        dead_letter.reason.kind().as_str()
    );
    Error::new(error.kind(), message)
        .with_origin("ingest")
        .with_source(error)
}

/// The records of a batch that decode.
pub(super) struct DecodedRecords<R> {
    pub(super) records: Vec<R>,
    /// The index of each record in the batch.
    pub(super) indices: Vec<usize>,
}

/// Decodes the records of `batch`. Returns those that decode, and those that are rejected because they do not.
fn decode_all<R: Record>(batch: &Batch) -> (DecodedRecords<R>, Vec<RejectedRecord>) {
    let count = batch.records.len();
    let mut decoded = DecodedRecords {
        records: Vec::with_capacity(count),
        indices: Vec::with_capacity(count),
    };
    let mut rejected = Vec::new();
    for (index, record) in batch.records.iter().enumerate() {
        if record.is_erased() {
            continue;
        }
        match R::decode(record, &batch.partition) {
            Ok(value) => {
                decoded.records.push(value);
                decoded.indices.push(index);
            }
            Err(error) => rejected.push(RejectedRecord {
                index,
                reason: error.into(),
                attempts: 1,
            }),
        }
    }
    (decoded, rejected)
}
