//! What one batch goes through: decoded, inserted until every outcome is known, its bad records put aside.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::ExponentialBackoff;
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::gauge::{Admission, DeadLetterGauge};
use super::progress::Slot;
use super::status::{Part, StatusBoard};
use super::{IngestOptions, Tally};
use crate::ports::{Batch, DeadLetter, DeadLetters, InsertOutcome, PurchaseStore, Reason};
use crate::record::decode;
use crate::{Error, ErrorKind, Purchase, Result, Timestamp};

/// What all batches share.
#[derive(Debug)]
pub(super) struct Carrier {
    pub(super) store: Arc<dyn PurchaseStore>,
    pub(super) dead_letters: Arc<dyn DeadLetters>,
    pub(super) options: IngestOptions,
    pub(super) gauge: Mutex<DeadLetterGauge>,
    pub(super) status: StatusBoard,
}

/// How a batch ended.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) tally: Tally,
    /// How far it is durable.
    pub(super) end: Slot,
    /// Why the pipeline is to stop, if it is.
    pub(super) stop: Option<Error>,
    /// How old its oldest purchase was when it was stored, if any was.
    pub(super) freshness: Option<Duration>,
}

/// A record that can never be stored.
struct Dead {
    /// Its index in the batch.
    index: usize,
    reason: Reason,
    attempts: u32,
}

/// Why a batch came to no end of its own.
enum Ended {
    /// Nobody waits for it any more.
    Abandoned,
    /// A defect.
    Broken(Error),
}

impl Carrier {
    /// Carries `batch`, the one with this `number`, until it is durable, or until `stop` says that nobody waits for it any more: then the
    /// answer is `None`, and some of it may be stored.
    pub(super) async fn carry(&self, number: u64, batch: Batch, stop: CancellationToken) -> Option<Carried> {
        let start = batch.records.first().map_or(0, |first| first.offset);
        let carried = AssertUnwindSafe(self.try_to_carry(number, &batch, &stop)).catch_unwind().await;
        let error = match carried {
            Ok(Ok(carried)) => return Some(carried),
            Ok(Err(Ended::Abandoned)) => return None,
            Ok(Err(Ended::Broken(error))) => error,
            Err(panic) => panicked(&*panic),
        };
        // Whatever was stored of it comes again, and does no harm.
        Some(Carried { tally: Tally::default(), end: Slot::Ends(start), stop: Some(error), freshness: None })
    }

    async fn try_to_carry(
        &self,
        number: u64,
        batch: &Batch,
        stop: &CancellationToken,
    ) -> Result<Carried, Ended> {
        let (purchases, mut dead) = decode_all(batch);
        let Stored { mut tally, freshness } = match purchases.purchases.is_empty() {
            true => Stored::default(),
            false => self.insert_all(purchases, &mut dead, stop).await?,
        };
        dead.sort_by_key(|dead| dead.index);
        if stop.is_cancelled() {
            return Err(Ended::Abandoned);
        }
        let Admission { admitted, stop: limit } = self.admit(number, batch, &dead);
        let end = match dead.get(admitted) {
            Some(refused) => Slot::Ends(batch.records[refused.index].offset),
            None => Slot::Durable(batch.records.last().map_or(0, |last| last.offset + 1)),
        };
        dead.truncate(admitted);
        dead.iter().for_each(|dead| tally.put_aside(dead.reason.kind()));
        self.put_aside(batch, dead, stop).await?;
        Ok(Carried { tally, end, stop: limit, freshness })
    }

    /// Inserts until every outcome is known. Only those that are unknown are inserted again.
    async fn insert_all(
        &self,
        purchases: Indexed,
        dead: &mut Vec<Dead>,
        stop: &CancellationToken,
    ) -> Result<Stored, Ended> {
        let Indexed { purchases, mut indices } = purchases;
        let mut stored = Stored::default();
        let mut batch: Arc<[Purchase]> = purchases.into();
        let (mut pauses, mut attempts) = (self.options.backoff(), 0);
        loop {
            attempts += 1;
            let outcomes = match self.store.insert(Arc::clone(&batch)).await {
                Ok(outcomes) if outcomes.len() == batch.len() => outcomes,
                Ok(outcomes) => return Err(Ended::Broken(miscounted(batch.len(), outcomes.len()))),
                Err(error) => vec![InsertOutcome::Unknown(error); batch.len()],
            };
            let (mut unknown, mut oldest) = (Unknown::default(), None::<Timestamp>);
            for (position, outcome) in outcomes.into_iter().enumerate() {
                let index = indices[position];
                let reason = match outcome {
                    InsertOutcome::Inserted => {
                        stored.tally.inserted += 1;
                        let time = batch[position].timestamp;
                        oldest = Some(oldest.map_or(time, |oldest| oldest.min(time)));
                        continue;
                    }
                    InsertOutcome::Duplicate => {
                        stored.tally.duplicates += 1;
                        continue;
                    }
                    InsertOutcome::Unknown(error) => {
                        unknown.add(position, index, error);
                        continue;
                    }
                    InsertOutcome::Conflict => Reason::conflict(),
                    InsertOutcome::Rejected(reason) => reason,
                };
                dead.push(Dead { index, reason, attempts });
            }
            stored.freshness = stored.freshness.max(oldest.map(|oldest| self.age(oldest)));
            let Some(error) = unknown.error else {
                self.status.works(Part::Store);
                return Ok(stored);
            };
            batch = unknown.positions.iter().map(|position| batch[*position].clone()).collect();
            indices = unknown.indices;
            self.pause(Part::Store, &error, &mut pauses, stop).await?;
        }
    }

    /// How long ago `time` was.
    fn age(&self, time: Timestamp) -> Duration {
        let millis = self.options.clock.now().as_millis().saturating_sub(time.as_millis());
        Duration::from_millis(u64::try_from(millis).unwrap_or_default())
    }

    /// Puts the dead letters aside.
    async fn put_aside(&self, batch: &Batch, dead: Vec<Dead>, stop: &CancellationToken) -> Result<(), Ended> {
        let letter = |Dead { index, reason, attempts }| {
            DeadLetter::new(batch.records[index].clone(), batch.partition.clone(), reason, attempts)
        };
        let letters: Vec<DeadLetter> = dead.into_iter().map(letter).collect();
        if letters.is_empty() { Ok(()) } else { self.put(&letters, stop).await }
    }

    fn admit(&self, number: u64, batch: &Batch, dead: &[Dead]) -> Admission {
        let indices: Vec<usize> = dead.iter().map(|dead| dead.index).collect();
        // A gauge is whole after every count, so another batch's panic does not matter to it.
        let mut gauge = self.gauge.lock().unwrap_or_else(PoisonError::into_inner);
        gauge.admit(number, batch.records.len(), &indices)
    }

    async fn put(&self, letters: &[DeadLetter], stop: &CancellationToken) -> Result<(), Ended> {
        let mut pauses = self.options.backoff();
        while let Err(error) = self.dead_letters.put(letters).await {
            self.pause(Part::DeadLetters, &error, &mut pauses, stop).await?;
        }
        self.status.works(Part::DeadLetters);
        for letter in letters {
            tracing::warn!(
                log.topic = %letter.partition.topic,
                log.partition = letter.partition.index,
                log.offset = letter.record.offset,
                reason = %letter.reason,
                "a record was put aside among the dead letters"
            );
        }
        Ok(())
    }

    /// Waits before the next attempt, unless nobody waits for the batch any more.
    async fn pause(
        &self,
        part: Part,
        error: &Error,
        pauses: &mut ExponentialBackoff,
        stop: &CancellationToken,
    ) -> Result<(), Ended> {
        self.status.trouble(part, error);
        let pause = tokio::time::sleep(self.options.pause(pauses, error));
        let stopped = stop.run_until_cancelled(pause).await.is_none();
        if stopped { Err(Ended::Abandoned) } else { Ok(()) }
    }
}

fn miscounted(sent: usize, answered: usize) -> Error {
    Error::new(ErrorKind::Internal, "the store did not answer with one outcome for each purchase")
        .with_origin("ingest")
        .with_context("purchases", sent)
        .with_context("outcomes", answered)
}

/// The error of a call that has panicked.
pub(super) fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
    Error::new(ErrorKind::Internal, "a port has panicked").with_origin("ingest").with_context("panic", text)
}

/// What has become of the purchases that could be stored.
#[derive(Default)]
struct Stored {
    tally: Tally,
    /// How old the oldest of those that were inserted was by then.
    freshness: Option<Duration>,
}

/// Purchases, each with its record's index in the batch.
struct Indexed {
    purchases: Vec<Purchase>,
    indices: Vec<usize>,
}

fn decode_all(batch: &Batch) -> (Indexed, Vec<Dead>) {
    let count = batch.records.len();
    let mut good = Indexed { purchases: Vec::with_capacity(count), indices: Vec::with_capacity(count) };
    let mut dead = Vec::new();
    for (index, record) in batch.records.iter().enumerate() {
        match decode(record, &batch.partition) {
            Ok(purchase) => {
                good.purchases.push(purchase);
                good.indices.push(index);
            }
            Err(error) => dead.push(Dead { index, reason: error.into(), attempts: 1 }),
        }
    }
    (good, dead)
}

/// Purchases whose fate is unknown after an attempt.
#[derive(Default)]
struct Unknown {
    /// Their positions in the attempt's batch.
    positions: Vec<usize>,
    /// Their records' indices in the batch that was read.
    indices: Vec<usize>,
    /// One of their errors.
    error: Option<Error>,
}

impl Unknown {
    fn add(&mut self, position: usize, index: usize, error: Error) {
        self.positions.push(position);
        self.indices.push(index);
        self.error.get_or_insert(error);
    }
}
