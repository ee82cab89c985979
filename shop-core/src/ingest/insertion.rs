//! Applies the records of one batch until every outcome is known.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::carry::{Carrier, Dead, Ended, Load};
use super::status::Part;
use super::{StuckRecord, Tally};
use crate::log::Reason;
use crate::ports::InsertOutcome;
use crate::record::Record;
use crate::{Error, ErrorKind, Timestamp};

/// What records say, each with the record's index in the batch.
pub(super) struct Indexed<R> {
    pub(super) records: Vec<R>,
    pub(super) indices: Vec<usize>,
}

/// What has become of the records that could be applied.
#[derive(Default)]
pub(super) struct Stored {
    pub(super) tally: Tally,
    /// How old the oldest of those that were inserted was by then.
    pub(super) freshness: Option<Duration>,
}

/// Records that are applied with one call: at first the whole batch.
struct Portion<R> {
    records: Arc<[R]>,
    indices: Vec<usize>,
    attempts: u32,
}

impl<R: Record> Portion<R> {
    /// Those at these positions.
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

/// The attempts at one call after which a store that is well is asked for less at once: a hiccup is over by then.
const TOGETHER: u32 = 2;
/// The attempts after which a record that is alone in its call, and fails although the store is well, is named. The
/// pauses before them take a second or more.
const ALONE: u32 = 5;

impl<R: Record> Carrier<R> {
    /// Inserts until every outcome is known. Only those that are unknown are inserted again.
    ///
    /// What a store does not take again and again, although it is well, is halved: the one that it fails over, or
    /// that there is too much of for its deadline, does not hold up the others for as long as that lasts.
    pub(super) async fn insert_all(
        &self,
        Indexed { records, indices }: Indexed<R>,
        dead: &mut Vec<Dead>,
        load: &Load,
    ) -> Result<Stored, Ended> {
        let mut stored = Stored::default();
        let mut waiting = VecDeque::from([Portion { records: records.into(), indices, attempts: 0 }]);
        let mut pauses = self.options.backoff();
        while let Some(mut portion) = waiting.pop_front() {
            portion.attempts += 1;
            let unknown = self.attempt(&portion, &mut stored, dead).await?;
            let Some(error) = unknown.error else {
                self.note_taken(&portion, load);
                continue;
            };
            if self.is_to_be_halved(&portion, &unknown.positions).await {
                waiting.extend(portion.halves());
            } else {
                let left = portion.only(&unknown.positions);
                self.note_stuck(&left, &error, load).await;
                waiting.push_back(left);
            }
            self.pause(Part::Store, &error, &mut pauses, load).await?;
        }
        self.status.works(Part::Store, Some(load.number));
        Ok(stored)
    }

    /// Names the record of `portion` if it is the only one, and the store fails over it although it is well.
    async fn note_stuck(&self, portion: &Portion<R>, error: &Error, load: &Load) {
        let ([record], [index]) = (&*portion.records, &*portion.indices) else { return };
        if portion.attempts < ALONE || !self.store_answers().await {
            return;
        }
        let partition = &load.batch.partition;
        let stuck = StuckRecord {
            topic: Arc::clone(&partition.topic),
            partition: partition.index,
            offset: load.batch.records[*index].offset,
            id: record.id(),
            since: load.read,
            error: error.clone(),
        };
        self.status.stuck(load.number, *index, stuck);
    }

    fn note_taken(&self, portion: &Portion<R>, load: &Load) {
        if let [index] = *portion.indices
            && portion.attempts > ALONE
        {
            self.status.freed(load.number, index);
        }
    }

    /// Inserts `portion`, and sorts the outcomes; answers what is unknown.
    async fn attempt(
        &self,
        portion: &Portion<R>,
        stored: &mut Stored,
        dead: &mut Vec<Dead>,
    ) -> Result<Unknown, Ended> {
        let count = portion.records.len();
        let outcomes = match self.store.apply(Arc::clone(&portion.records)).await {
            Ok(outcomes) if outcomes.len() == count => outcomes,
            Ok(outcomes) => return Err(Ended::Broken(miscounted(count, outcomes.len()))),
            Err(error) => vec![InsertOutcome::Unknown(error); count],
        };
        let (mut unknown, mut oldest) = (Unknown::default(), None::<Timestamp>);
        for (position, outcome) in outcomes.into_iter().enumerate() {
            let reason = match outcome {
                InsertOutcome::Inserted => {
                    stored.tally.inserted += 1;
                    if let Some(time) = portion.records[position].made_at() {
                        oldest = Some(oldest.map_or(time, |oldest| oldest.min(time)));
                    }
                    continue;
                }
                InsertOutcome::Duplicate => {
                    stored.tally.duplicates += 1;
                    continue;
                }
                InsertOutcome::Unknown(error) => {
                    unknown.positions.push(position);
                    unknown.error.get_or_insert(error);
                    continue;
                }
                InsertOutcome::Conflict => Reason::conflict(),
                InsertOutcome::Rejected(reason) => reason,
            };
            dead.push(Dead { index: portion.indices[position], reason, attempts: portion.attempts });
        }
        stored.freshness = stored.freshness.max(oldest.map(|oldest| self.age(oldest)));
        Ok(unknown)
    }

    /// Whether a call that has failed as a whole is to be made in two. A store that is away takes no half either.
    async fn is_to_be_halved(&self, portion: &Portion<R>, unknown: &[usize]) -> bool {
        let count = portion.records.len();
        let may_be = portion.attempts >= TOGETHER && count > 1 && unknown.len() == count;
        may_be && self.store_answers().await
    }

    /// Whether the store is there. One that reports damage is: it takes what the damage does not touch.
    async fn store_answers(&self) -> bool {
        self.store.check().await.err().is_none_or(|error| error.kind() == ErrorKind::Corrupt)
    }

    /// How long ago `time` was.
    fn age(&self, time: Timestamp) -> Duration {
        let millis = self.options.clock.now().as_millis().saturating_sub(time.as_millis());
        Duration::from_millis(u64::try_from(millis).unwrap_or_default())
    }
}

/// What is unknown after an attempt.
#[derive(Default)]
struct Unknown {
    /// The positions in the attempt's portion.
    positions: Vec<usize>,
    /// One of the errors.
    error: Option<Error>,
}

fn miscounted(sent: usize, answered: usize) -> Error {
    Error::new(ErrorKind::Internal, "the store did not answer with one outcome for each record")
        .with_origin("ingest")
        .with_context("records", sent)
        .with_context("outcomes", answered)
}
