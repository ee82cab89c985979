//! What one batch goes through: decoded, inserted until every outcome is known, its bad records put aside.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use backon::ExponentialBackoff;
use futures_util::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::gauge::{Bad, DeadLetterGauge};
use super::insertion::{Indexed, Stored};
use super::progress::Slot;
use super::status::{Part, StatusBoard};
use super::{IngestOptions, Tally};
use crate::log::{Batch, DeadLetter, DeadLetters, Place, Reason, ReasonKind};
use crate::ports::RecordStore;
use crate::record::Record;
use crate::{Error, ErrorKind, Retry};

/// What all batches share.
#[derive(Debug)]
pub(super) struct Carrier<R> {
    pub(super) store: Arc<dyn RecordStore<R>>,
    pub(super) dead_letters: Arc<dyn DeadLetters>,
    pub(super) options: IngestOptions,
    pub(super) gauge: DeadLetterGauge,
    pub(super) status: StatusBoard,
}

/// A batch on its way.
#[derive(Debug)]
pub(super) struct Load {
    /// Its own for ever; batches that were read later have greater ones.
    pub(super) number: u64,
    pub(super) batch: Batch,
    /// When it was read.
    pub(super) read: Instant,
    /// Says that the batch is to be given up.
    pub(super) stop: CancellationToken,
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
    /// Carries a batch until it is durable, or until its `stop` says that it is to be given up: then the answer is
    /// `None`, and some of it may be stored.
    pub(super) async fn carry(&self, load: Load) -> Option<Carried> {
        let carried = AssertUnwindSafe(self.try_to_carry(&load)).catch_unwind().await;
        self.status.ended(load.number);
        let error = match carried {
            Ok(Ok(carried)) => return Some(carried),
            Ok(Err(Ended::Abandoned)) => return None,
            Ok(Err(Ended::Broken(error))) => error,
            Err(panic) => Error::of_panic(&*panic).with_origin("ingest"),
        };
        let start = load.batch.records.first().map_or(0, |first| first.offset);
        // Whatever was stored of it comes again, and does no harm.
        Some(Carried { tally: Tally::default(), end: Slot::Ends(start), stop: Some(error), freshness: None })
    }

    async fn try_to_carry(&self, load: &Load) -> Result<Carried, Ended> {
        let (good, mut dead) = decode_all(&load.batch);
        let Stored { mut tally, freshness } = match good.records.is_empty() {
            true => Stored::default(),
            false => self.insert_all(good, &mut dead, load).await?,
        };
        dead.sort_by_key(|dead| dead.index);
        if load.stop.is_cancelled() {
            return Err(Ended::Abandoned);
        }
        let (admitted, stop) = self.put_aside(load, &dead).await?;
        let records = &load.batch.records;
        let end = match dead.get(admitted) {
            Some(refused) => Slot::Ends(records[refused.index].offset),
            None => Slot::Durable(records.last().map_or(0, |last| last.offset + 1)),
        };
        dead[..admitted].iter().for_each(|dead| tally.put_aside(dead.reason.kind()));
        Ok(Carried { tally, end, stop, freshness })
    }

    /// Puts dead letters aside, as far as their limit allows. Answers how many these are, and why the pipeline is to
    /// stop, if it is.
    async fn put_aside(&self, load: &Load, dead: &[Dead]) -> Result<(usize, Option<Error>), Ended> {
        let Load { number, batch, stop, .. } = load;
        let bad = |dead: &Dead| Bad {
            index: dead.index,
            offset: batch.records[dead.index].offset,
            // A conflict is made by clients: it says nothing of the deployment.
            counts: dead.reason.kind() != ReasonKind::Conflict,
        };
        let bad: Vec<Bad> = dead.iter().map(bad).collect();
        let is_limited = self.options.dead_letter_limit.row().is_some();
        if !is_limited || !bad.iter().any(|bad| bad.counts) {
            self.gauge.pass(batch.records.len() - bad.len());
            self.put(load, dead).await?;
            return Ok((dead.len(), None));
        }
        let turn = self.gauge.turn(*number, batch.records.len(), &batch.partition, &bad);
        let mut turn = stop.run_until_cancelled(turn).await.ok_or(Ended::Abandoned)?;
        let (admitted, limit) = (turn.admission.admitted, turn.admission.stop.take());
        match self.put(load, &dead[..admitted]).await {
            Ok(()) => Ok((admitted, limit)),
            Err(ended) => {
                turn.take_back();
                Err(ended)
            }
        }
    }

    async fn put(&self, load: &Load, dead: &[Dead]) -> Result<(), Ended> {
        let letter = |Dead { index, reason, attempts }: &Dead| {
            let record = load.batch.records[*index].clone();
            DeadLetter::new(record, load.batch.partition.clone(), reason.clone(), *attempts)
        };
        let letters: Vec<DeadLetter> = dead.iter().map(letter).collect();
        let mut waiting = vec![&letters[..]];
        while let Some(next) = waiting.pop() {
            // One that can never be kept is found among the others.
            if !next.is_empty() && !self.put_together(load, next).await? {
                let (first, second) = next.split_at(next.len() / 2);
                waiting.extend([second, first]);
            }
        }
        Ok(())
    }

    /// Puts `letters` with one call, again and again until it works. The answer is `false` when it never will, and
    /// there is more than one of them.
    async fn put_together(&self, load: &Load, letters: &[DeadLetter]) -> Result<bool, Ended> {
        let mut pauses = self.options.backoff();
        while let Err(error) = self.dead_letters.put(letters).await {
            match letters {
                [letter] if never_works(&error) => return Err(Ended::Broken(never_kept(letter, error))),
                [_, _, ..] if never_works(&error) => return Ok(false),
                _ => self.pause(Part::DeadLetters, &error, &mut pauses, load).await?,
            }
        }
        self.status.works(Part::DeadLetters, Some(load.number));
        for letter in letters {
            tracing::warn!(
                log.topic = %letter.partition.topic,
                log.partition = letter.partition.index,
                log.offset = letter.record.offset,
                reason = %letter.reason,
                "a record was put aside among the dead letters"
            );
        }
        Ok(true)
    }

    /// Waits before the next attempt, unless the batch is given up.
    pub(super) async fn pause(
        &self,
        part: Part,
        error: &Error,
        pauses: &mut ExponentialBackoff,
        load: &Load,
    ) -> Result<(), Ended> {
        self.status.trouble(part, Some(load.number), error);
        let pause = tokio::time::sleep(self.options.pause(pauses, error));
        let stopped = load.stop.run_until_cancelled(pause).await.is_none();
        if stopped { Err(Ended::Abandoned) } else { Ok(()) }
    }
}

/// Whether the same letters would fail the same way. What an operator can mend, such as a missing right, is waited for.
fn never_works(error: &Error) -> bool {
    let about_the_letters =
        matches!(error.kind(), ErrorKind::Invalid | ErrorKind::TooLarge | ErrorKind::Unsupported);
    about_the_letters && error.retry() == Retry::Never
}

fn never_kept(letter: &DeadLetter, error: Error) -> Error {
    let Place { topic, partition, offset } = letter.stood_at();
    let message = format!(
        "the dead letter of the record {topic}-{partition}-{offset} can never be kept, its reason being {}: ingest has stopped; \
         let the dead letters take it, then restart",
        letter.reason.kind().as_str()
    );
    Error::new(error.kind(), message).with_origin("ingest").with_source(error)
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
