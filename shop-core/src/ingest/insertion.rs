//! Applies the records of one batch until every outcome is known.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::backoff::Backoff;
use super::event::BatchEvent;
use super::status::Component;
use super::worker::{Aborted, BatchWorker, Job, RejectedRecord};
use super::{IngestCounters, StuckRecord};
use crate::log::Reason;
use crate::ports::InsertOutcome;
use crate::record::Record;
use crate::{Error, ErrorKind, Timestamp};

/// Decoded records, each with its index in the batch.
pub(super) struct Indexed<R> {
    pub(super) records: Vec<R>,
    pub(super) indices: Vec<usize>,
}

/// The result of inserting the decoded records of a batch.
#[derive(Default)]
pub(super) struct Stored {
    pub(super) counters: IngestCounters,
    /// The age of the oldest inserted record.
    pub(super) freshness: Option<Duration>,
}

/// Records that are applied with one call: initially the whole batch.
struct SubBatch<R> {
    records: Arc<[R]>,
    indices: Vec<usize>,
    attempts: u32,
}

impl<R: Record> SubBatch<R> {
    /// The records at these positions.
    fn only(&self, positions: &[usize]) -> Self {
        Self {
            records: positions.iter().map(|position| self.records[*position].clone()).collect(),
            indices: positions.iter().map(|position| self.indices[*position]).collect(),
            attempts: self.attempts,
        }
    }

    fn halves(&self) -> [Self; 2] {
        let positions: Vec<usize> = (0..self.indices.len()).collect();
        let (first, second) = positions.split_at(positions.len() / 2);
        [self.only(first), self.only(second)]
    }
}

/// The number of failed attempts at one call after which it is split, if the store is healthy.
const SPLIT_AFTER_ATTEMPTS: u32 = 2;
/// The number of failed attempts after which a single record is reported as stuck, if the store is healthy. The pauses
/// before them add up to a second or more.
const NAME_AFTER_ATTEMPTS: u32 = 5;

impl<R: Record> BatchWorker<R> {
    /// Inserts until every outcome is known. Only records with an unknown outcome are retried.
    ///
    /// A call that keeps failing although the store is healthy is split in halves. A record that the store fails over,
    /// or a batch that is too large for the store's timeout, then does not block the other records.
    pub(super) async fn insert_all(
        &self,
        Indexed { records, indices }: Indexed<R>,
        rejected: &mut Vec<RejectedRecord>,
        job: &Job,
    ) -> Result<Stored, Aborted> {
        let mut stored = Stored::default();
        let mut waiting = VecDeque::from([SubBatch { records: records.into(), indices, attempts: 0 }]);
        let mut backoff = Backoff::new(&self.options);
        while let Some(mut sub_batch) = waiting.pop_front() {
            sub_batch.attempts += 1;
            let unknown = self.attempt(&sub_batch, &mut stored, rejected).await?;
            let Some(error) = unknown.error else {
                Self::note_taken(&sub_batch, job).await;
                continue;
            };
            if self.is_to_be_split(&sub_batch, &unknown.positions).await {
                waiting.extend(sub_batch.halves());
            } else {
                let left = sub_batch.only(&unknown.positions);
                self.note_stuck(&left, &error, job).await;
                waiting.push_back(left);
            }
            job.pause(Component::Store, &error, &mut backoff).await?;
        }
        job.recovered(&mut backoff).await;
        Ok(stored)
    }

    /// Reports the record of `sub_batch` as stuck if it is the only one and the store fails over it although it is
    /// healthy.
    async fn note_stuck(&self, sub_batch: &SubBatch<R>, error: &Error, job: &Job) {
        let ([record], [index]) = (&*sub_batch.records, &*sub_batch.indices) else { return };
        if sub_batch.attempts < NAME_AFTER_ATTEMPTS || !self.store_answers().await {
            return;
        }
        let partition = &job.batch.partition;
        let stuck = StuckRecord {
            topic: Arc::clone(&partition.topic),
            partition: partition.index,
            offset: job.batch.records[*index].offset,
            id: record.id(),
            since: job.read,
            error: error.clone(),
        };
        job.report(BatchEvent::Stuck(*index, stuck)).await;
    }

    async fn note_taken(sub_batch: &SubBatch<R>, job: &Job) {
        if let [index] = *sub_batch.indices
            && sub_batch.attempts > NAME_AFTER_ATTEMPTS
        {
            job.report(BatchEvent::Freed(index)).await;
        }
    }

    /// Inserts `sub_batch` and sorts the outcomes. Returns those that are unknown.
    async fn attempt(
        &self,
        sub_batch: &SubBatch<R>,
        stored: &mut Stored,
        rejected: &mut Vec<RejectedRecord>,
    ) -> Result<Unknown, Aborted> {
        let count = sub_batch.records.len();
        let outcomes = match self.store.apply(Arc::clone(&sub_batch.records)).await {
            Ok(outcomes) if outcomes.len() == count => outcomes,
            Ok(outcomes) => return Err(Aborted::Broken(miscounted(count, outcomes.len()))),
            Err(error) => vec![InsertOutcome::Unknown(error); count],
        };
        let (mut unknown, mut oldest) = (Unknown::default(), None::<Timestamp>);
        for (position, outcome) in outcomes.into_iter().enumerate() {
            let reason = match outcome {
                InsertOutcome::Inserted => {
                    stored.counters.inserted += 1;
                    if let Some(time) = sub_batch.records[position].event_time() {
                        oldest = Some(oldest.map_or(time, |oldest| oldest.min(time)));
                    }
                    continue;
                }
                InsertOutcome::Duplicate => {
                    stored.counters.duplicates += 1;
                    continue;
                }
                InsertOutcome::Unknown(error) => {
                    unknown.positions.push(position);
                    unknown.error.get_or_insert(error);
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
        stored.freshness = stored.freshness.max(oldest.map(|oldest| self.age(oldest)));
        Ok(unknown)
    }

    /// Whether to split a call that failed as a whole. If the store is unavailable, splitting does not help.
    async fn is_to_be_split(&self, sub_batch: &SubBatch<R>, unknown: &[usize]) -> bool {
        let count = sub_batch.records.len();
        let may_be = sub_batch.attempts >= SPLIT_AFTER_ATTEMPTS && count > 1 && unknown.len() == count;
        may_be && self.store_answers().await
    }

    /// Whether the store responds. A store that reports corruption does: it accepts records that are not affected.
    async fn store_answers(&self) -> bool {
        self.store.check().await.err().is_none_or(|error| error.kind() == ErrorKind::Corrupt)
    }

    /// The age of `time`.
    fn age(&self, time: Timestamp) -> Duration {
        let millis = self.options.clock.now().as_millis().saturating_sub(time.as_millis());
        Duration::from_millis(u64::try_from(millis).unwrap_or_default())
    }
}

/// The unknown outcomes of an attempt.
#[derive(Default)]
struct Unknown {
    /// The positions in the sub-batch of the attempt.
    positions: Vec<usize>,
    /// One of the errors.
    error: Option<Error>,
}

fn miscounted(sent: usize, answered: usize) -> Error {
    Error::new(ErrorKind::Internal, "the store did not return one outcome per record")
        .with_origin("ingest")
        .with_context("records", sent)
        .with_context("outcomes", answered)
}
