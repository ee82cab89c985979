//! What one batch goes through: decoded, inserted until every outcome is known, its bad records put aside.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::ExponentialBackoff;
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;

use super::gauge::{Admission, DeadLetterGauge};
use super::insertion::{Indexed, Stored};
use super::progress::Slot;
use super::status::{Part, StatusBoard};
use super::{IngestOptions, Tally};
use crate::Error;
use crate::ports::{Batch, DeadLetter, DeadLetters, Reason, RecordStore};
use crate::record::Record;

/// What all batches share.
#[derive(Debug)]
pub(super) struct Carrier<R> {
    pub(super) store: Arc<dyn RecordStore<R>>,
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
pub(super) struct Dead {
    /// Its index in the batch.
    pub(super) index: usize,
    pub(super) reason: Reason,
    pub(super) attempts: u32,
}

/// Why a batch came to no end of its own.
pub(super) enum Ended {
    /// Nobody waits for it any more.
    Abandoned,
    /// A defect.
    Broken(Error),
}

impl<R: Record> Carrier<R> {
    /// Carries `batch`, the one with this `number`, until it is durable, or until `stop` says that nobody waits for it any more: then the
    /// answer is `None`, and some of it may be stored.
    pub(super) async fn carry(&self, number: u64, batch: Batch, stop: CancellationToken) -> Option<Carried> {
        let start = batch.records.first().map_or(0, |first| first.offset);
        let carried = AssertUnwindSafe(self.try_to_carry(number, &batch, &stop)).catch_unwind().await;
        let error = match carried {
            Ok(Ok(carried)) => return Some(carried),
            Ok(Err(Ended::Abandoned)) => return None,
            Ok(Err(Ended::Broken(error))) => error,
            Err(panic) => Error::of_panic(&*panic).with_origin("ingest"),
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
        let (good, mut dead) = decode_all(batch);
        let Stored { mut tally, freshness } = match good.records.is_empty() {
            true => Stored::default(),
            false => self.insert_all(good, &mut dead, stop).await?,
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
    pub(super) async fn pause(
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

fn decode_all<R: Record>(batch: &Batch) -> (Indexed<R>, Vec<Dead>) {
    let count = batch.records.len();
    let mut good = Indexed { records: Vec::with_capacity(count), indices: Vec::with_capacity(count) };
    let mut dead = Vec::new();
    for (index, record) in batch.records.iter().enumerate() {
        match R::decode(record, &batch.partition) {
            Ok(said) => {
                good.records.push(said);
                good.indices.push(index);
            }
            Err(error) => dead.push(Dead { index, reason: error.into(), attempts: 1 }),
        }
    }
    (good, dead)
}
