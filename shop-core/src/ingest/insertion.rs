//! Applies the records of one batch until every outcome is known.

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

/// Records that are applied with one call: initially the whole batch.
struct SubBatch<R> {
    records: Arc<[R]>,
    indices: Vec<usize>,
    attempts: u32,
    /// The number of attempts with its single record alone.
    attempts_alone: u32,
    /// How many records the store had taken before its last attempt as a part of several, or after its first one.
    taken_before: u64,
}

impl<R: Record> SubBatch<R> {
    /// The records at these positions.
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

    fn halves(&self) -> [Self; 2] {
        let positions: Vec<usize> = (0..self.len()).collect();
        let (first, second) = positions.split_at(positions.len() / 2);
        [self.only(first), self.only(second)]
    }

    /// One record and the others. Each attempt selects another one, the last one first: after a restart, a stuck record
    /// is the first one.
    fn split_one_off(&self) -> [Self; 2] {
        let tried = self.attempts.saturating_sub(SPLIT_AFTER_ATTEMPTS) as usize;
        let one = self.len() - 1 - (tried * PROBE_STRIDE) % self.len();
        let others: Vec<usize> = (0..self.len())
            .filter(|position| *position != one)
            .collect();
        [self.only(&[one]), self.only(&others)]
    }

    fn len(&self) -> usize {
        self.indices.len()
    }
}

/// The number of failed attempts at one call after which it is split, if the store is healthy.
const SPLIT_AFTER_ATTEMPTS: u32 = 2;
/// The number of failed attempts alone after which a record is stuck, if the store has taken another one since. The
/// pauses between them add up to half a second or more.
const STUCK_AFTER_ATTEMPTS: u32 = 5;
/// The maximum number of records that are split without evidence that the store accepts any record.
const MAX_UNPROVEN: usize = 8;
/// The distance between two records that are tried alone: a large prime, so that all records of a batch get their turn.
const PROBE_STRIDE: usize = 7_919;

/// The progress of inserting a batch.
struct BatchInsertion<'a, R> {
    job: &'a BatchJob,
    counters: IngestCounters,
    /// The age of the oldest inserted record, by the log's timestamp.
    freshness: Option<Duration>,
    rejected: &'a mut Vec<RejectedRecord>,
    waiting: VecDeque<SubBatch<R>>,
    /// How many failures are tolerated without a pause: whenever the store accepts a record, as many as calls are waiting,
    /// and one more for a half of the last one.
    tolerated: usize,
}

impl<R: Record> BatchWorker<R> {
    /// Inserts until every outcome is known. Only records with an unknown outcome are retried.
    ///
    /// A call that keeps failing although the store is healthy is split in halves. A record that the store fails over,
    /// or a batch that is too large for the store's timeout, then does not block the other records.
    ///
    /// Splitting requires evidence that the store accepts records. Without it, one record is tried alone: a store that
    /// refuses all writes costs two calls per retry, however large the batch is. With it, there is no pause.
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
            if left.attempts_alone >= STUCK_AFTER_ATTEMPTS && self.store_answers().await {
                if self.is_parked(&left, job).await {
                    insertion.counters.dead_lettered(ReasonKind::Parked);
                    job.report(BatchEvent::Freed(left.indices[0])).await;
                    continue;
                }
                // A store that takes no other record either has another problem, such as a full disk.
                if self.taken.load(Ordering::Relaxed) > left.taken_before {
                    Self::report_stuck(&left, &error, job).await;
                }
            }
            // A call that was applied in part is retried with the rest.
            let is_whole = left.len() == count;
            let accepts = self.retry_later(left, is_whole, &mut insertion).await?;
            if !accepts || error.retry_after().is_some() {
                job.report_and_pause(Component::Store, &error, &mut backoff)
                    .await?;
            }
        }
        job.report_recovery(&mut backoff).await;
        Ok((insertion.counters, insertion.freshness))
    }

    /// Queues the records that were `left` by a failed call, in halves if that helps. Returns whether the store currently
    /// accepts other records.
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
            let are_others_waiting = !insertion.waiting.is_empty();
            insertion.waiting.push_back(left);
            return Ok(accepts && are_others_waiting);
        }
        if accepts || left.len() <= MAX_UNPROVEN {
            insertion.waiting.extend(left.halves());
            return Ok(accepts);
        }
        let [one, others] = left.split_one_off();
        let is_accepted = self.attempt(one, insertion).await?.is_none();
        if is_accepted {
            insertion.waiting.extend(others.halves());
        } else {
            insertion.waiting.push_back(left);
        }
        Ok(is_accepted)
    }

    /// Whether an operator has parked the only record of `sub_batch`. If the dead letters cannot be read, it is retried.
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

    /// Inserts `sub_batch` and sorts the outcomes. Returns the records whose outcome is unknown, with one of the errors.
    async fn attempt(
        &self,
        mut sub_batch: SubBatch<R>,
        insertion: &mut BatchInsertion<'_, R>,
    ) -> Result<Option<(SubBatch<R>, Error)>, Aborted> {
        let count = sub_batch.len();
        // A record that is split off keeps the number: what else the store takes of its batch is evidence too.
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
                InsertOutcome::Waiting => {
                    counters.waiting += 1;
                    self.taken.fetch_add(1, Ordering::Relaxed);
                    self.refund_waits.notify_one();
                    continue;
                }
                // The log has delivered it again.
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
        if unknown.len() < count {
            *tolerated = waiting.len() + 1;
        }
        let Some(error) = failure else {
            if sub_batch.attempts_alone > STUCK_AFTER_ATTEMPTS {
                job.report(BatchEvent::Freed(sub_batch.indices[0])).await;
            }
            return Ok(None);
        };
        // What is taken during the call may have been written before the store began to fail.
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

    /// Whether the store responds. A store that reports corruption does: it accepts records that are not affected.
    async fn store_answers(&self) -> bool {
        self.store
            .check()
            .await
            .err()
            .is_none_or(|error| error.kind() == ErrorKind::Corrupt)
    }
}

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
