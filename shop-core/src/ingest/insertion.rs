//! The insertion of one batch: applies its records to the store until every outcome is known.
//!
//! A batch begins as one call to the store. An error of this call does not tell whether the store
//! or the batch is at fault, so a failed call is retried by two mechanisms:
//!
//! - *Pauses* (`backoff`) are for a store that is down or overloaded. They bound the load of the
//!   retries until the store recovers.
//! - *Splits* are for a record that the store fails over, and for a batch that is too large for the
//!   store's timeout. No pause helps against these. The call is split in halves, so that the other
//!   records are stored. A split multiplies the calls, which would harm a store that is down, so it
//!   requires a healthy store.
//!
//! A record that still fails alone is *stuck*: it is reported, retried for ever, and skipped once
//! an operator parks it as a dead letter.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::backoff::Backoff;
use super::batch::DecodedRecords;
use super::event::BatchEvent;
use super::status::Component;
use super::worker::{Aborted, BatchJob, BatchWorker, RejectedRecord};
use super::{IngestCounters, StuckRecord};
use crate::log::{Reason, ReasonKind};
use crate::ports::InsertOutcome;
use crate::record::Record;
use crate::{Error, ErrorKind, Timestamp, with_failpoints};

/// The number of failed attempts at one call after which the call is split, if the store is
/// healthy.
const SPLIT_AFTER_ATTEMPTS: u32 = 2;
/// The number of failed attempts with a record alone after which the record is stuck.
///
/// The store must have accepted another record since. The pauses between the attempts add up to
/// half a second or more.
const STUCK_AFTER_ATTEMPTS: u32 = 5;
/// The maximum number of records in a call that is split in halves without evidence that the store
/// accepts any record.
const MAX_SPLIT_WITHOUT_EVIDENCE: usize = 8;
/// The distance between two records that are tried alone, one after the other.
///
/// A large prime shares no divisor with the size of a batch, so all records of a batch get their
/// turn.
const PROBE_STRIDE: usize = 7_919;

impl<R: Record> BatchWorker<R> {
    /// Applies the `decoded` records until every outcome is known.
    ///
    /// Only records with an unknown outcome are retried. Records that can never be stored are added
    /// to `rejected`.
    ///
    /// A call that keeps failing although the store is healthy is split in halves, as
    /// [`requeue`](Self::requeue) describes.
    ///
    /// Returns the number of records by outcome, and the freshness: the age of the oldest inserted
    /// record, or `None` if no record was inserted.
    ///
    /// # Errors
    /// - [`Aborted::Abandoned`] if the batch was abandoned during a pause
    /// - [`Aborted::Broken`] if the store did not return one outcome per record
    pub(super) async fn insert_all(
        &self,
        decoded: DecodedRecords<R>,
        rejected: &mut Vec<RejectedRecord>,
        job: &BatchJob,
    ) -> Result<(IngestCounters, Option<Duration>), Aborted> {
        let mut queue = VecDeque::new();
        if !decoded.records.is_empty() {
            queue.push_back(SubBatch {
                records: decoded.records.into(),
                indices: decoded.indices,
                attempts: 0,
                attempts_alone: 0,
                accepted_before: 0,
            });
        }
        let mut insertion = BatchInsertion {
            job,
            counters: IngestCounters::default(),
            freshness: None,
            rejected,
            queue,
            tolerated_failures: 0,
        };

        let mut backoff = Backoff::new(&self.options);
        while let Some(sub_batch) = insertion.queue.pop_front() {
            let record_count = sub_batch.len();
            let attempt = self.attempt(sub_batch, &mut insertion).await?;
            let Some((undecided, error)) = attempt else {
                // The store works, so the pause after the next failure is short again.
                backoff.retry_now();
                continue;
            };

            let action = self
                .handle_stuck_record(&undecided, &error, &mut insertion)
                .await;
            if action == StuckAction::Skip {
                continue;
            }

            // A call that was applied in part made progress, so its undecided records are retried
            // together.
            let is_partly_applied = undecided.len() < record_count;
            let skips_pause = self
                .requeue(undecided, is_partly_applied, &mut insertion)
                .await?;

            // A store that names the time of the next attempt is overloaded, even if it accepts
            // other records.
            if !skips_pause || error.retry_after().is_some() {
                job.report_and_pause(Component::Store, &error, &mut backoff)
                    .await?;
            }
        }

        job.report_recovery(&mut backoff).await;
        Ok((insertion.counters, insertion.freshness))
    }

    /// Looks after a record that keeps failing alone although the store is healthy: skips the record if
    /// an operator parked it, and else reports it as stuck if the store accepts other records.
    ///
    /// Does nothing for any other call: a store that is down fails every record.
    async fn handle_stuck_record(
        &self,
        undecided: &SubBatch<R>,
        error: &Error,
        insertion: &mut BatchInsertion<'_, R>,
    ) -> StuckAction {
        let may_be_stuck = undecided.attempts_alone >= STUCK_AFTER_ATTEMPTS;
        if !may_be_stuck || !self.is_store_healthy().await {
            return StuckAction::Retry;
        }

        let job = insertion.job;
        if self.is_parked(undecided, job).await {
            insertion.counters.count_dead_letter(ReasonKind::Parked);
            job.report(BatchEvent::Freed(undecided.indices[0])).await;
            return StuckAction::Skip;
        }

        // Only a store that accepted another record since is certainly not at fault. A store with a
        // full disk accepts none.
        let accepted_others =
            self.accepted_count.load(Ordering::Relaxed) > undecided.accepted_before;
        if accepted_others {
            Self::report_stuck(undecided, error, job).await;
        }
        StuckAction::Retry
    }

    /// Attempts to insert the records of `sub_batch` with one call.
    ///
    /// Counts the outcomes in `insertion`, which also tells how many failures go without a pause.
    ///
    /// Returns the records whose outcome is unknown, with the first of their errors. Returns `None`
    /// if all outcomes are known.
    ///
    /// # Errors
    /// [`Aborted::Broken`] if the store did not return one outcome per record.
    async fn attempt(
        &self,
        mut sub_batch: SubBatch<R>,
        insertion: &mut BatchInsertion<'_, R>,
    ) -> Result<Option<(SubBatch<R>, Error)>, Aborted> {
        let record_count = sub_batch.len();
        sub_batch.attempts += 1;
        if record_count == 1 {
            sub_batch.attempts_alone += 1;
        } else {
            // A record that is split off later keeps this number. If the number is higher then, the
            // store has accepted other records since, which shows that the store works.
            sub_batch.accepted_before = self.accepted_count.load(Ordering::Relaxed);
        }

        let outcomes = self.apply(&sub_batch).await?;

        let undecided = self.count_outcomes(outcomes, &sub_batch, insertion);

        // The store just decided on a record, so it works. Each call in the queue gets an attempt
        // without a pause.
        let is_any_decided = undecided.positions.len() < record_count;
        if is_any_decided {
            insertion.tolerated_failures = insertion.queue.len() + 1;
        }

        let Some(error) = undecided.first_error else {
            // If the record was reported as stuck, the report is withdrawn.
            if sub_batch.attempts_alone > STUCK_AFTER_ATTEMPTS {
                insertion
                    .job
                    .report(BatchEvent::Freed(sub_batch.indices[0]))
                    .await;
            }
            return Ok(None);
        };

        // A batch of a single record has no number from an earlier call. The number is read after
        // its first call, because the store may have accepted other records during this call before
        // it began to fail.
        if record_count == 1 && sub_batch.attempts == 1 {
            sub_batch.accepted_before = self.accepted_count.load(Ordering::Relaxed);
        }
        if is_any_decided {
            sub_batch = sub_batch.with_records_at(&undecided.positions);
        }
        Ok(Some((sub_batch, error)))
    }

    /// Counts the outcomes of the records of `sub_batch` in `insertion`, and adds the rejected records to
    /// its `rejected` records. Returns the records whose outcome is unknown.
    fn count_outcomes(
        &self,
        outcomes: Vec<InsertOutcome>,
        sub_batch: &SubBatch<R>,
        insertion: &mut BatchInsertion<'_, R>,
    ) -> UndecidedRecords {
        let mut undecided = UndecidedRecords {
            positions: Vec::new(),
            first_error: None,
        };
        let mut oldest_time: Option<Timestamp> = None;
        for (position, outcome) in outcomes.into_iter().enumerate() {
            let index = sub_batch.indices[position];
            match outcome {
                InsertOutcome::Inserted => {
                    insertion.counters.inserted += 1;
                    self.accepted_count.fetch_add(1, Ordering::Relaxed);
                    if let Some(time) = insertion.job.batch.records[index].known_time() {
                        oldest_time = Some(oldest_time.unwrap_or(time).min(time));
                    }
                }
                // The record is a refund, and its purchase is not stored. The settler of waiting
                // refunds sleeps until it is notified.
                InsertOutcome::Waiting => {
                    insertion.counters.waiting += 1;
                    self.accepted_count.fetch_add(1, Ordering::Relaxed);
                    self.refund_waits.notify_one();
                }
                // The record was delivered or sent before, or its purchase was erased.
                InsertOutcome::Duplicate | InsertOutcome::Erased => {
                    insertion.counters.duplicates += 1;
                }
                InsertOutcome::Unknown(error) => {
                    undecided.positions.push(position);
                    undecided.first_error.get_or_insert(error);
                }
                InsertOutcome::Conflict => {
                    insertion.reject(index, Reason::conflict(R::TYPE), sub_batch.attempts);
                }
                InsertOutcome::Rejected(reason) => {
                    insertion.reject(index, reason, sub_batch.attempts);
                }
            }
        }

        if let Some(oldest_time) = oldest_time {
            let age = self.options.clock.now().saturating_since(oldest_time);
            insertion.freshness = insertion.freshness.max(Some(age));
        }
        undecided
    }

    /// Applies `sub_batch` with one call to the store, and returns one outcome per record.
    ///
    /// If the call fails, the outcome of each record is unknown.
    ///
    /// # Errors
    /// [`Aborted::Broken`] if the store did not return one outcome per record.
    async fn apply(&self, sub_batch: &SubBatch<R>) -> Result<Vec<InsertOutcome>, Aborted> {
        let call = with_failpoints("apply", self.store.apply(Arc::clone(&sub_batch.records)));
        match call.await {
            Ok(outcomes) if outcomes.len() == sub_batch.len() => Ok(outcomes),
            Ok(outcomes) => Err(Aborted::Broken(
                Error::new(
                    ErrorKind::Internal,
                    "the store did not return one outcome per record",
                )
                .with_origin("ingest")
                .with_context("records", sub_batch.len())
                .with_context("outcomes", outcomes.len()),
            )),
            Err(error) => Ok(vec![InsertOutcome::Unknown(error); sub_batch.len()]),
        }
    }

    /// Queues the `undecided` records of a failed call again, whole or in halves.
    ///
    /// | Store | Undecided records | Queued |
    /// |---|---|---|
    /// | any | a single record, or from a call that failed once, or `is_partly_applied` | whole |
    /// | unhealthy | any | whole |
    /// | healthy, and decided on a record a moment ago | any | in halves |
    /// | healthy, without such evidence | up to 8 | in halves |
    /// | healthy, without such evidence | more | one record is tried alone: in halves if the store decides on it, else whole |
    ///
    /// So a store that refuses all writes costs two calls per retry, however large the batch is.
    /// `is_partly_applied` says that the failed call decided on some of its records.
    ///
    /// Returns whether the next attempt needs no pause, because the store decided on another record
    /// a moment ago.
    ///
    /// # Errors
    /// Returns the errors of [`attempt`](Self::attempt) for the record that is tried alone.
    async fn requeue(
        &self,
        undecided: SubBatch<R>,
        is_partly_applied: bool,
        insertion: &mut BatchInsertion<'_, R>,
    ) -> Result<bool, Aborted> {
        let has_evidence = insertion.tolerated_failures > 0;
        insertion.tolerated_failures = insertion.tolerated_failures.saturating_sub(1);

        let may_be_split =
            undecided.attempts >= SPLIT_AFTER_ATTEMPTS && undecided.len() > 1 && !is_partly_applied;
        if !may_be_split || !self.is_store_healthy().await {
            // If the queue contains no other call, the next attempt would repeat this one without
            // a pause.
            let has_other_call = !insertion.queue.is_empty();
            insertion.queue.push_back(undecided);
            return Ok(has_evidence && has_other_call);
        }

        // A few records are split without evidence: the calls cost little.
        if has_evidence || undecided.len() <= MAX_SPLIT_WITHOUT_EVIDENCE {
            insertion.queue.extend(undecided.split_in_halves());
            return Ok(has_evidence);
        }

        // There is no evidence that the store works. One record alone either gives the evidence, or
        // shows with one more call that the store still fails.
        let [probe, others] = undecided.split_off_probe();
        let is_probe_decided = self.attempt(probe, insertion).await?.is_none();
        if is_probe_decided {
            insertion.queue.extend(others.split_in_halves());
        } else {
            insertion.queue.push_back(undecided);
        }
        Ok(is_probe_decided)
    }

    /// Checks whether the store is healthy enough to blame a record for a failure.
    ///
    /// A store that reports corruption counts as healthy, because it accepts the records that are
    /// not affected.
    async fn is_store_healthy(&self) -> bool {
        match self.store.check().await {
            Ok(()) => true,
            Err(error) => error.kind() == ErrorKind::Corrupt,
        }
    }

    /// Checks whether an operator parked the only record of `sub_batch`, by putting it among the
    /// dead letters.
    ///
    /// Returns `false` if the dead letters cannot be read. The record is then retried, and the dead
    /// letters are read again after the next failure.
    async fn is_parked(&self, sub_batch: &SubBatch<R>, job: &BatchJob) -> bool {
        let record = &job.batch.records[sub_batch.indices[0]];
        let partition = &job.batch.partition;

        match self.log.contains_dead_letter(record, partition).await {
            Ok(true) => {
                tracing::warn!(
                    log.topic = %partition.topic,
                    log.partition = partition.index,
                    log.offset = record.offset,
                    "stuck record skipped: it is among the dead letters"
                );
                true
            }
            Ok(false) => false,
            Err(error) => {
                tracing::debug!(
                    error = %error.chain(),
                    "failed to look up a stuck record among the dead letters"
                );
                false
            }
        }
    }

    /// Reports to the pipeline that the only record of `sub_batch` is stuck, with the last `error`
    /// of the store.
    async fn report_stuck(sub_batch: &SubBatch<R>, error: &Error, job: &BatchJob) {
        let partition = &job.batch.partition;
        let index = sub_batch.indices[0];
        let stuck_record = StuckRecord {
            topic: Arc::clone(&partition.topic),
            partition: partition.index,
            offset: job.batch.records[index].offset,
            id: sub_batch.records[0].id(),
            since: job.read_at,
            error: error.clone(),
        };
        job.report(BatchEvent::Stuck(index, stuck_record)).await;
    }
}

/// The state of the insertion of one batch.
struct BatchInsertion<'a, R> {
    job: &'a BatchJob,
    /// The outcomes so far.
    counters: IngestCounters,
    /// The greatest age of an inserted record at its insertion, by the timestamp of the log.
    freshness: Option<Duration>,
    /// The records that can never be stored. The caller dead-letters them.
    rejected: &'a mut Vec<RejectedRecord>,
    /// The calls that are still to be made, the next one first.
    queue: VecDeque<SubBatch<R>>,
    /// The number of further failed calls that are not followed by a pause.
    ///
    /// Whenever the store decides on a record, this becomes the number of calls in `queue`, plus
    /// one because the call at fault may be split in two.
    tolerated_failures: usize,
}

impl<R> BatchInsertion<'_, R> {
    /// Adds the record at `index` of the batch, which can never be stored, to the rejected records.
    fn reject(&mut self, index: usize, reason: Reason, attempts: u32) {
        self.rejected.push(RejectedRecord {
            index,
            reason,
            attempts,
        });
    }
}

/// What follows for a call that failed, by [`BatchWorker::handle_stuck_record`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum StuckAction {
    /// The record is among the dead letters, so it is not tried again.
    Skip,
    /// The records are tried again.
    Retry,
}

/// The records of a call whose outcome is unknown.
struct UndecidedRecords {
    /// The positions of the records in the call.
    positions: Vec<usize>,
    /// The first of their errors. `None` if all outcomes are known.
    first_error: Option<Error>,
}

/// A part of a batch whose records are applied with one call. The first part is the whole batch.
struct SubBatch<R> {
    /// The decoded records.
    records: Arc<[R]>,
    /// The index in the batch of each record.
    indices: Vec<usize>,
    /// The number of calls with these records so far. The parts of a split call keep the number.
    attempts: u32,
    /// The number of calls so far that contained a single record and no other one.
    attempts_alone: u32,
    /// The [`accepted_count`](BatchWorker::accepted_count) before the last call with several
    /// records, or after the first call if that contained a single record.
    ///
    /// A higher count later shows that the store accepts records other than the one that fails
    /// alone.
    accepted_before: u64,
}

impl<R: Record> SubBatch<R> {
    /// Returns the number of records.
    fn len(&self) -> usize {
        self.indices.len()
    }

    /// Returns a copy of this part with only the records at `positions` in it. The copy has the same
    /// numbers of attempts.
    fn with_records_at(&self, positions: &[usize]) -> Self {
        Self {
            records: positions
                .iter()
                .map(|position| self.records[*position].clone())
                .collect(),
            indices: positions
                .iter()
                .map(|position| self.indices[*position])
                .collect(),
            ..*self
        }
    }

    /// Splits this part into its first and its second half.
    fn split_in_halves(&self) -> [Self; 2] {
        let positions: Vec<usize> = (0..self.len()).collect();
        let (first_half, second_half) = positions.split_at(positions.len() / 2);
        [
            self.with_records_at(first_half),
            self.with_records_at(second_half),
        ]
    }

    /// Splits this part into one record, the *probe*, which is tried alone, and the other records.
    ///
    /// The first probe is the last record, and each further attempt selects another one, so that all
    /// records get their turn. The last record is the most likely to be accepted: after a restart,
    /// the position stays before a stuck record, so that record is the first one of its batch.
    fn split_off_probe(&self) -> [Self; 2] {
        // A part is split for the first time after `SPLIT_AFTER_ATTEMPTS` attempts.
        let further_attempts = self.attempts.saturating_sub(SPLIT_AFTER_ATTEMPTS) as usize;
        let probe_position = self.len() - 1 - (further_attempts * PROBE_STRIDE) % self.len();

        let other_positions: Vec<usize> = (0..self.len())
            .filter(|position| *position != probe_position)
            .collect();
        [
            self.with_records_at(&[probe_position]),
            self.with_records_at(&other_positions),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{Clock as _, NewPurchase, SystemClock};

    #[test]
    fn records_are_retried_alone_starting_with_the_last() {
        let new = NewPurchase::for_user("u1")
            .with_user_name("ada")
            .with_price("1")
            .unwrap();
        let purchase = new.into_purchase(SystemClock.now(), || SystemClock.fresh_id());
        for count in 9..50 {
            let records = vec![purchase.clone(); count].into();
            let indices = (0..count).collect();
            let mut batch = SubBatch {
                records,
                indices,
                attempts: SPLIT_AFTER_ATTEMPTS,
                attempts_alone: 0,
                accepted_before: 0,
            };
            assert_eq!(batch.split_off_probe()[0].indices, [count - 1]);
            let mut tried = BTreeSet::new();
            for _ in 0..count {
                let [one, others] = batch.split_off_probe();
                assert_eq!((one.len(), others.len()), (1, count - 1));
                tried.insert(one.indices[0]);
                batch.attempts += 1;
            }
            assert_eq!(tried.len(), count, "all of them");
        }
    }
}
