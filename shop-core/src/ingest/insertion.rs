//! The insertion of one batch: applies its records to the store until every outcome is known.
//!
//! A batch begins as one call to the store. A call that keeps failing although the store is healthy
//! is split, so that a record that the store fails over, or a batch that is too large for the
//! store's timeout, does not block the other records. A record that fails alone is *stuck*: it is
//! reported, retried for ever, and skipped once an operator has parked it as a dead letter.

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
    /// The number of records that the store had taken before the last call with several records, or
    /// after the first call if that contained a single record.
    ///
    /// If the store has taken more records since, it accepts records other than the one that fails
    /// alone.
    taken_before: u64,
}

impl<R: Record> SubBatch<R> {
    /// Returns a part with only the records at `positions` of this part, and with its numbers of
    /// attempts.
    fn only(&self, positions: &[usize]) -> Self {
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
    fn halves(&self) -> [Self; 2] {
        let positions: Vec<usize> = (0..self.len()).collect();
        let (first, second) = positions.split_at(positions.len() / 2);
        [self.only(first), self.only(second)]
    }

    /// Splits this part into one record, which is tried alone, and the other records.
    ///
    /// Each attempt selects another record, so that all records of the part get their turn. The
    /// last record comes first: after a restart a stuck record is the first one of its batch,
    /// because the position stays before it, so the last record is the more likely one to be
    /// accepted.
    fn split_one_off(&self) -> [Self; 2] {
        let tried = self.attempts.saturating_sub(SPLIT_AFTER_ATTEMPTS) as usize;
        // A part is split for the first time after `SPLIT_AFTER_ATTEMPTS` attempts: then `tried` is
        // zero and the last record is selected.
        let one = self.len() - 1 - (tried * PROBE_STRIDE) % self.len();
        let others: Vec<usize> = (0..self.len())
            .filter(|position| *position != one)
            .collect();
        [self.only(&[one]), self.only(&others)]
    }

    /// Returns the number of records.
    fn len(&self) -> usize {
        self.indices.len()
    }
}

/// The number of failed attempts at one call after which the call is split, if the store is
/// healthy.
const SPLIT_AFTER_ATTEMPTS: u32 = 2;
/// The number of failed attempts with a record alone after which the record is stuck.
///
/// The store must have taken another record since. The pauses between the attempts add up to half a
/// second or more.
const STUCK_AFTER_ATTEMPTS: u32 = 5;
/// The maximum number of records in a call that is split in halves without evidence that the store
/// accepts any record.
const MAX_UNPROVEN: usize = 8;
/// The distance between two records that are tried alone, one after the other.
///
/// A large prime shares no divisor with the size of a batch, so all records of a batch get their
/// turn.
const PROBE_STRIDE: usize = 7_919;

/// The state of the insertion of one batch.
struct BatchInsertion<'a, R> {
    job: &'a BatchJob,
    /// The outcomes so far.
    counters: IngestCounters,
    /// The greatest age of an inserted record at its insertion, by the timestamp of the log.
    freshness: Option<Duration>,
    /// The records that can never be stored. The caller dead-letters them.
    rejected: &'a mut Vec<RejectedRecord>,
    /// The calls that are still to be made.
    waiting: VecDeque<SubBatch<R>>,
    /// The number of failed calls that are tolerated without a pause.
    ///
    /// Whenever the store takes a record, this becomes the number of waiting calls, plus one for a
    /// half of the last call.
    tolerated: usize,
}

impl<R: Record> BatchWorker<R> {
    /// Applies the `decoded` records until every outcome is known, and returns the counters and the
    /// freshness.
    ///
    /// Only records with an unknown outcome are retried. Records that can never be stored are added
    /// to `rejected`. The freshness is the age of the oldest inserted record, or `None` if none was
    /// inserted.
    ///
    /// A call that keeps failing although the store is healthy is split in halves. A record that
    /// the store fails over, or a batch that is too large for the store's timeout, then does not
    /// block the other records.
    ///
    /// Splitting requires evidence that the store accepts records: it took one a moment ago.
    /// Without evidence, one record is tried alone. A store that refuses all writes then costs two
    /// calls per retry, however large the batch is. With evidence, there is no pause between calls.
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
        let mut waiting = VecDeque::new();
        if !decoded.records.is_empty() {
            waiting.push_back(SubBatch {
                records: decoded.records.into(),
                indices: decoded.indices,
                attempts: 0,
                attempts_alone: 0,
                taken_before: 0,
            });
        }
        let mut insertion = BatchInsertion {
            job,
            counters: IngestCounters::default(),
            freshness: None,
            rejected,
            waiting,
            tolerated: 0,
        };
        let mut backoff = Backoff::new(&self.options);
        while let Some(sub_batch) = insertion.waiting.pop_front() {
            let count = sub_batch.len();
            let Some((left, error)) = self.attempt(sub_batch, &mut insertion).await? else {
                backoff.retry_now();
                continue;
            };
            // A failing store fails each record. Only a healthy store shows that the record is at
            // fault.
            if left.attempts_alone >= STUCK_AFTER_ATTEMPTS && self.store_answers().await {
                // An operator has decided that this record is skipped, so it counts as
                // dead-lettered.
                if self.is_parked(&left, job).await {
                    insertion.counters.dead_lettered(ReasonKind::Parked);
                    job.report(BatchEvent::Freed(left.indices[0])).await;
                    continue;
                }
                // A store that takes no other record either has another problem, such as a full
                // disk.
                if self.taken.load(Ordering::Relaxed) > left.taken_before {
                    Self::report_stuck(&left, &error, job).await;
                }
            }
            // A call that was applied in part made progress: its rest is retried as it is.
            let is_whole = left.len() == count;
            let accepts = self.retry_later(left, is_whole, &mut insertion).await?;
            // A store that names the time of the next attempt is overloaded, even if it accepts
            // other records.
            if !accepts || error.retry_after().is_some() {
                job.report_and_pause(Component::Store, &error, &mut backoff)
                    .await?;
            }
        }
        job.report_recovery(&mut backoff).await;
        Ok((insertion.counters, insertion.freshness))
    }

    /// Queues the records that were `left` by a failed call, in halves if that helps.
    ///
    /// `is_whole` says that the call applied none of its records. Returns whether the store
    /// currently accepts other records, so that the caller need not pause.
    ///
    /// # Errors
    /// Returns the errors of [`attempt`](Self::attempt), which is called with one record that is
    /// tried alone.
    async fn retry_later(
        &self,
        left: SubBatch<R>,
        is_whole: bool,
        insertion: &mut BatchInsertion<'_, R>,
    ) -> Result<bool, Aborted> {
        let accepts = insertion.tolerated > 0;
        insertion.tolerated = insertion.tolerated.saturating_sub(1);
        let may_be_split = left.attempts >= SPLIT_AFTER_ATTEMPTS && left.len() > 1 && is_whole;
        if !may_be_split || !self.store_answers().await {
            // With no other call waiting, the next attempt would repeat this one at once.
            let are_others_waiting = !insertion.waiting.is_empty();
            insertion.waiting.push_back(left);
            return Ok(accepts && are_others_waiting);
        }
        // A few records are split without evidence: the calls cost little.
        if accepts || left.len() <= MAX_UNPROVEN {
            insertion.waiting.extend(left.halves());
            return Ok(accepts);
        }
        // There is no evidence yet. One record alone either gives the evidence, or shows for the
        // price of one call that the store still refuses.
        let [one, others] = left.split_one_off();
        let is_accepted = self.attempt(one, insertion).await?.is_none();
        if is_accepted {
            insertion.waiting.extend(others.halves());
        } else {
            insertion.waiting.push_back(left);
        }
        Ok(is_accepted)
    }

    /// Checks whether an operator has parked the only record of `sub_batch`, by putting it among
    /// the dead letters.
    ///
    /// Returns `false` if the dead letters cannot be read: the record is then retried, and looked
    /// up again.
    async fn is_parked(&self, sub_batch: &SubBatch<R>, job: &BatchJob) -> bool {
        let record = &job.batch.records[sub_batch.indices[0]];
        let partition = &job.batch.partition;
        let is_parked = self.dead_letters.contains(record, partition).await.unwrap_or_else(|error| {
            tracing::debug!(error = %error.chain(), "failed to look up a stuck record among the dead letters");
            false
        });
        if is_parked {
            tracing::warn!(
                log.topic = %partition.topic,
                log.partition = partition.index,
                log.offset = record.offset,
                "stuck record skipped: it is among the dead letters"
            );
        }
        is_parked
    }

    /// Reports to the pipeline that the only record of `sub_batch` is stuck, with the last `error`
    /// of the store.
    async fn report_stuck(sub_batch: &SubBatch<R>, error: &Error, job: &BatchJob) {
        let partition = &job.batch.partition;
        let index = sub_batch.indices[0];
        let stuck = StuckRecord {
            topic: Arc::clone(&partition.topic),
            partition: partition.index,
            offset: job.batch.records[index].offset,
            id: sub_batch.records[0].id(),
            since: job.read,
            error: error.clone(),
        };
        job.report(BatchEvent::Stuck(index, stuck)).await;
    }

    /// Applies `sub_batch` with one call to the store, and counts the outcomes.
    ///
    /// Returns the records whose outcome is unknown, with the first of their errors, or `None` if
    /// all outcomes are known. Rejected records are added to the `rejected` ones of `insertion`.
    ///
    /// # Errors
    /// [`Aborted::Broken`] if the store did not return one outcome per record.
    async fn attempt(
        &self,
        mut sub_batch: SubBatch<R>,
        insertion: &mut BatchInsertion<'_, R>,
    ) -> Result<Option<(SubBatch<R>, Error)>, Aborted> {
        let count = sub_batch.len();
        // A record that is split off keeps the number of its batch, because the other records that
        // the store takes from the batch are evidence too.
        if count > 1 {
            sub_batch.taken_before = self.taken.load(Ordering::Relaxed);
        }
        sub_batch.attempts += 1;
        sub_batch.attempts_alone += u32::from(count == 1);
        let outcomes = match with_failpoints(
            "apply",
            self.store.apply(Arc::clone(&sub_batch.records)),
        )
        .await
        {
            Ok(outcomes) if outcomes.len() == count => outcomes,
            Ok(outcomes) => return Err(Aborted::Broken(miscounted(count, outcomes.len()))),
            Err(error) => vec![InsertOutcome::Unknown(error); count],
        };
        let BatchInsertion {
            job,
            counters,
            freshness,
            rejected,
            waiting,
            tolerated,
        } = insertion;
        let mut unknown = Vec::new();
        let mut failure = None;
        let mut oldest = None::<Timestamp>;
        for (position, outcome) in outcomes.into_iter().enumerate() {
            let reason = match outcome {
                InsertOutcome::Inserted => {
                    counters.inserted += 1;
                    self.taken.fetch_add(1, Ordering::Relaxed);
                    let time = job.batch.records[sub_batch.indices[position]].known_time();
                    oldest = oldest.into_iter().chain(time).min();
                    continue;
                }
                // A refund whose purchase is not stored. The settler of waiting refunds sleeps
                // until it is notified.
                InsertOutcome::Waiting => {
                    counters.waiting += 1;
                    self.taken.fetch_add(1, Ordering::Relaxed);
                    self.refund_waits.notify_one();
                    continue;
                }
                // The log has delivered the record again.
                InsertOutcome::Duplicate | InsertOutcome::Erased => {
                    counters.duplicates += 1;
                    continue;
                }
                InsertOutcome::Unknown(error) => {
                    unknown.push(position);
                    failure.get_or_insert(error);
                    continue;
                }
                InsertOutcome::Conflict => Reason::conflict(R::TYPE),
                InsertOutcome::Rejected(reason) => reason,
            };
            rejected.push(RejectedRecord {
                index: sub_batch.indices[position],
                reason,
                attempts: sub_batch.attempts,
            });
        }
        *freshness = (*freshness)
            .max(oldest.map(|oldest| self.options.clock.now().saturating_since(oldest)));
        // The store has just answered for a record, so it is worth trying the waiting calls without
        // a pause.
        if unknown.len() < count {
            *tolerated = waiting.len() + 1;
        }
        let Some(error) = failure else {
            // The record may have been reported as stuck. The report is withdrawn.
            if sub_batch.attempts_alone > STUCK_AFTER_ATTEMPTS {
                job.report(BatchEvent::Freed(sub_batch.indices[0])).await;
            }
            return Ok(None);
        };
        // Records that the store took during this call may have been written before it began to
        // fail, so they are no evidence.
        if count == 1 && sub_batch.attempts == 1 {
            sub_batch.taken_before = self.taken.load(Ordering::Relaxed);
        }
        Ok(Some((
            if unknown.len() < count {
                sub_batch.only(&unknown)
            } else {
                sub_batch
            },
            error,
        )))
    }

    /// Checks whether the store is healthy enough to blame a record for a failure.
    ///
    /// A store that reports corruption counts as healthy, because it accepts the records that are
    /// not affected.
    async fn store_answers(&self) -> bool {
        self.store
            .check()
            .await
            .err()
            .is_none_or(|error| error.kind() == ErrorKind::Corrupt)
    }
}

/// Creates the error for a store that returned `answered` outcomes for `sent` records, which is a
/// defect of the store.
fn miscounted(sent: usize, answered: usize) -> Error {
    Error::new(
        ErrorKind::Internal,
        "the store did not return one outcome per record",
    )
    .with_origin("ingest")
    .with_context("records", sent)
    .with_context("outcomes", answered)
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
                taken_before: 0,
            };
            assert_eq!(batch.split_one_off()[0].indices, [count - 1]);
            let mut tried = BTreeSet::new();
            for _ in 0..count {
                let [one, others] = batch.split_one_off();
                assert_eq!((one.len(), others.len()), (1, count - 1));
                tried.insert(one.indices[0]);
                batch.attempts += 1;
            }
            assert_eq!(tried.len(), count, "all of them");
        }
    }
}
