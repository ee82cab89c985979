//! The work on one batch: decodes its records, inserts them until every outcome is known, and
//! dead-letters the rejected ones.
//!
//! The steps run in the task of the batch. `insertion` contains the second step, and `breaker`
//! decides how many dead letters of the third step are allowed. A gap, which contains no records,
//! is kept as one dead letter instead.

use super::IngestCounters;
use super::backoff::Backoff;
use super::event::{BatchOutcome, BatchState};
use super::status::Component;
use super::worker::{Aborted, BatchJob, BatchWorker, RejectedRecord};
use crate::log::{Batch, DeadLetter, Gap};
use crate::record::{Record, RecordDecoders};
use crate::{Error, ErrorKind, with_failpoints};

impl<R: Record> BatchWorker<R> {
    /// Processes the batch of `job` until it is durable, and returns its outcome.
    ///
    /// A batch is durable when each of its records is stored or dead-lettered. A defect becomes an
    /// outcome that stops the pipeline.
    ///
    /// Returns `None` if the pipeline abandoned the batch by cancelling `job.cancellation`. A part
    /// of the batch may be stored then.
    pub(super) async fn process(&self, job: &BatchJob) -> Option<BatchOutcome> {
        let processed = match &job.gap {
            Some(gap) => self.dead_letter_gap(gap, job).await,
            None => self.process_records(job).await,
        };

        match processed {
            Ok(outcome) => Some(outcome),
            Err(Aborted::Abandoned) => None,
            Err(Aborted::Broken(error)) => Some(job.defect_outcome(error)),
        }
    }

    /// Decodes the records of a batch, inserts them, and dead-letters the rejected ones.
    ///
    /// Returns the offset up to which the batch is durable. This is the end of the batch, unless the
    /// limit of dead letters was reached within the batch.
    ///
    /// # Errors
    /// - [`Aborted::Abandoned`] if the batch was abandoned
    /// - [`Aborted::Broken`] if the store or a dead letter shows a defect
    async fn process_records(&self, job: &BatchJob) -> Result<BatchOutcome, Aborted> {
        let (decoded, mut rejected) = decode_all(&job.batch, &self.decoders);
        let (mut counters, freshness) = self.insert_all(decoded, &mut rejected, job).await?;
        // Records are rejected by decoding first and then in the order of the calls to the store.
        // The limit counts them in the order of the log.
        rejected.sort_by_key(|record| record.index);

        // A cancelled batch is of a partition that another consumer may own by now. That consumer
        // dead-letters the rejected records itself.
        if job.cancellation.is_cancelled() {
            return Err(Aborted::Abandoned);
        }
        let (dead_letter_count, stop_error) = self.dead_letter_rejected(job, &rejected).await?;
        for record in &rejected[..dead_letter_count] {
            counters.count_dead_letter(record.reason.kind());
        }

        let records = &job.batch.records;
        let state = match rejected.get(dead_letter_count) {
            // The limit allowed no dead letter for this record, so the position stays before it.
            Some(first_kept_back) => BatchState::StoppedAt(records[first_kept_back.index].offset),
            // A batch without records moves no position: each position is at least 0.
            None => BatchState::Durable(records.last().map_or(0, |last| last.offset + 1)),
        };
        Ok(BatchOutcome {
            counters,
            gap: None,
            state,
            stop: stop_error,
            freshness,
        })
    }

    /// Keeps a gap, a range of offsets that the log lost, as one dead letter.
    ///
    /// The dead letter does not count towards the limit, because lost records do not indicate a bad
    /// deployment.
    ///
    /// # Errors
    /// [`Aborted::Abandoned`] if the batch was abandoned
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
        self.put_dead_letters(job, &[gap.to_dead_letter(self.options.clock.now())])
            .await?;

        Ok(BatchOutcome {
            counters: IngestCounters::default(),
            gap: Some(gap.from..gap.to),
            state: BatchState::Durable(gap.next_offset),
            stop: None,
            freshness: None,
        })
    }

    /// Puts dead letters for the `rejected` records, as many as the limit allows.
    ///
    /// `rejected` is sorted by the index of the record. Returns the number of records that were
    /// dead-lettered, and the error that stops the pipeline if the limit was reached.
    ///
    /// # Errors
    /// [`Aborted::Abandoned`] if the batch was abandoned
    async fn dead_letter_rejected(
        &self,
        job: &BatchJob,
        rejected: &[RejectedRecord],
    ) -> Result<(usize, Option<Error>), Aborted> {
        let batch = &job.batch;
        let dead_letters: Vec<DeadLetter> = rejected
            .iter()
            .map(|record| {
                DeadLetter::new(
                    batch.records[record.index].clone(),
                    batch.partition.clone(),
                    record.reason.clone(),
                    record.attempts,
                )
            })
            .collect();

        // Only a batch with a dead letter that counts towards the limit waits for its turn.
        let is_limited = self.options.dead_letter_limit.max_consecutive().is_some();
        let needs_turn = is_limited && rejected.iter().any(RejectedRecord::counts_towards_limit);
        if !needs_turn {
            self.breaker
                .count_stored(batch.records.len() - rejected.len());
            self.put_dead_letters(job, &dead_letters).await?;
            return Ok((rejected.len(), None));
        }

        // `counts` stays locked to the end of this function. So the next batch is counted only when
        // it is known whether these dead letters were put.
        let turn = job
            .cancellation
            .run_until_cancelled(self.breaker.wait_for_turn(job.number, batch, rejected))
            .await;
        let (mut counts, admission) = turn.ok_or(Aborted::Abandoned)?;

        let admitted_dead_letters = &dead_letters[..admission.admitted];
        if let Err(aborted) = self.put_dead_letters(job, admitted_dead_letters).await {
            // A record counts once its dead letter was put. These dead letters were not put, and
            // their records are redelivered.
            counts.undo_admission(job.number, &admission);
            return Err(aborted);
        }
        Ok((admission.admitted, admission.stop))
    }

    /// Puts `dead_letters`, and retries until all are stored.
    ///
    /// A group that the storage of dead letters rejects is split in halves, until the rejected dead
    /// letter is alone. This one is retried as well, because an operator can raise the limit that
    /// rejects it.
    ///
    /// # Errors
    /// [`Aborted::Abandoned`] if the batch was abandoned
    async fn put_dead_letters(
        &self,
        job: &BatchJob,
        dead_letters: &[DeadLetter],
    ) -> Result<(), Aborted> {
        // Each group carries a backoff that its halves inherit, because the halves have been
        // failing since the group failed.
        let mut groups = vec![(dead_letters, Backoff::new(&self.options))];
        while let Some((group, mut backoff)) = groups.pop() {
            let is_put = group.is_empty() || self.try_put_group(job, group, &mut backoff).await?;
            if is_put {
                continue;
            }

            // The group contains a dead letter that the storage rejects. The halves isolate it, and
            // the others are stored. The first half is pushed last, so it is put next.
            let (first_half, second_half) = group.split_at(group.len() / 2);
            groups.extend([(second_half, backoff.clone()), (first_half, backoff)]);
        }
        Ok(())
    }

    /// Puts the dead letters of `group` with one call, and retries the call until it succeeds.
    ///
    /// Returns `true` once the group is stored, and `false` if the storage rejects one of several
    /// dead letters: the caller splits the group.
    ///
    /// # Errors
    /// [`Aborted::Abandoned`] if the batch was abandoned
    async fn try_put_group(
        &self,
        job: &BatchJob,
        group: &[DeadLetter],
        backoff: &mut Backoff,
    ) -> Result<bool, Aborted> {
        while let Err(mut error) =
            with_failpoints("dead-letters", self.log.put_dead_letters(group)).await
        {
            if is_about_dead_letters(&error) {
                // Of several dead letters, the rejected one is not known.
                let [dead_letter] = group else {
                    return Ok(false);
                };
                error = rejected_dead_letter_error(dead_letter, error);
            }
            job.report_and_pause(Component::DeadLetters, &error, backoff)
                .await?;
        }

        job.report_recovery(backoff).await;
        log_dead_letters(group);
        Ok(true)
    }
}

/// Logs a warning for each record that was dead-lettered.
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

/// Returns whether `error` is about the content of a dead letter, so that other dead letters may be
/// stored.
fn is_about_dead_letters(error: &Error) -> bool {
    let is_about_content = matches!(
        error.kind(),
        ErrorKind::Invalid | ErrorKind::TooLarge | ErrorKind::Unsupported
    );
    is_about_content && !error.is_retryable()
}

/// Creates the error that is reported while `dead_letter` is rejected.
///
/// The new error keeps the kind of `error`, and tells the operator which record is at fault.
fn rejected_dead_letter_error(dead_letter: &DeadLetter, error: Error) -> Error {
    let message = format!(
        "the dead letter of record {} (reason: {}) is rejected, and ingest waits: \
         raise the limit that rejects it",
        dead_letter.position(),
        dead_letter.reason.kind().as_str()
    );
    Error::new(error.kind(), message)
        .with_origin("ingest")
        .with_source(error)
}

/// The records of a batch that decode, with their places in the batch.
pub(super) struct DecodedRecords<R> {
    /// The decoded values, in the order of the batch.
    pub(super) records: Vec<R>,
    /// The index in the batch of each value in `records`.
    pub(super) indices: Vec<usize>,
}

/// Decodes the records of `batch` by `decoders`, and returns the decoded and the rejected records.
///
/// A record that does not decode is rejected, and dead-lettered later. A record that was erased
/// from the log belongs to neither: nothing remains to store.
fn decode_all<R: Record>(
    batch: &Batch,
    decoders: &RecordDecoders<R>,
) -> (DecodedRecords<R>, Vec<RejectedRecord>) {
    let record_count = batch.records.len();
    let mut decoded = DecodedRecords {
        records: Vec::with_capacity(record_count),
        indices: Vec::with_capacity(record_count),
    };
    let mut rejected_records = Vec::new();

    for (index, record) in batch.records.iter().enumerate() {
        if record.is_erased() {
            continue;
        }

        match decoders.decode(record, &batch.partition) {
            Ok(value) => {
                decoded.records.push(value);
                decoded.indices.push(index);
            }
            Err(error) => rejected_records.push(RejectedRecord {
                index,
                reason: error.into(),
                attempts: 1,
            }),
        }
    }
    (decoded, rejected_records)
}
