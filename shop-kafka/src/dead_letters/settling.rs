//! What becomes of letters: published again, or dropped. A topic deletes no single record, so a record of our own
//! marks each letter that was settled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use rdkafka::message::OwnedHeaders;
use shop_core::log::{DeadLetter, DeadLetterState, Headers, LogRecord, Resolution, ResolvedDeadLetter};
use shop_core::{Error, ErrorKind, PurchaseId, Result};

use super::letter::letter;
use super::{KafkaDeadLetters, deliver};
use crate::error::ORIGIN;
use crate::producer::Outgoing;
use crate::record::to_headers;
use crate::walking::{Chunk, walk};

/// How a mark says what was settled, and how: all of it text, in headers, without key and value.
const SETTLED: &str = "dead-letter-settled";
/// Where the record stands, for people.
const RECORD: &str = "dead-letter-record";
const PLACE: &str = "dead-letter-place";
const PURCHASE: &str = "dead-letter-purchase";

impl KafkaDeadLetters {
    /// All that the topic holds now: first the letters that are kept, each once and those of a partition in the order
    /// in which they were put, then those that were settled. What is put aside later is left out, so that whoever
    /// replays what this gives does not meet it again; so is what others have written there.
    ///
    /// The topic is read twice: a letter is known to be settled only at its end. The ids of all letters are held in
    /// memory.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) when Kafka cannot be reached or does not serve in time; so may the
    /// stream's items be.
    pub async fn put_aside(&self) -> Result<impl Stream<Item = Result<DeadLetterState>> + Send + use<>> {
        self.topic.ready(self.log.options.publish_deadline).await?;
        let Marks { until, settled } = Marks::of(walk(&self.log, &self.topic.name).await?).await?;
        let mut met = BTreeSet::new();
        let kept = walk(&self.log, &self.topic.name).await?.map_ok(move |Chunk { partition, records }| {
            let mut letters = Vec::new();
            for record in records {
                let Some(letter) = letter(&record) else { continue };
                let place = letter.place();
                let is_settled = until.get(&(place, partition)).is_some_and(|until| record.offset < *until);
                if !is_settled && met.insert(place) {
                    letters.push(Ok(DeadLetterState::Pending(letter)));
                }
            }
            stream::iter(letters)
        });
        let settled = settled.into_values().map(|letter| Ok(DeadLetterState::Resolved(letter)));
        Ok(kept.try_flatten().chain(stream::iter(settled)))
    }

    /// Publishes the records of `letters` again, then marks these as replayed; answers how many. Each keeps its
    /// purchase's id: see [`DeadLetter::to_replay`].
    ///
    /// # Errors
    /// As [`PurchaseSink::publish`](shop_core::ports::PurchaseSink::publish). Some may be published and not yet marked:
    /// replaying all of them again is safe, and doubles no purchase.
    ///
    /// # Cancel safety
    /// What was enqueued by then is published; letters that were not marked are still kept.
    pub async fn replay(&self, letters: &[DeadLetter]) -> Result<u64> {
        self.log.topic.ready(self.log.options.publish_deadline).await?;
        let records: Vec<LogRecord> = letters.iter().map(DeadLetter::to_replay).collect();
        let producing = &self.log.producing;
        let enqueue = |index: usize| {
            let LogRecord { key, value, headers, .. } = &records[index];
            producing.enqueue(Outgoing {
                topic: &self.log.topic.name,
                key: key.as_deref(),
                value: value.as_deref(),
                headers: to_headers(headers, &[]),
            })
        };
        deliver(producing, records.len(), enqueue).await?;
        self.mark(letters, Resolution::Replayed).await
    }

    /// Marks `letters` as dropped; answers how many. They are listed no more, but their bytes stay in the topic as long
    /// as that keeps them, for ever unless somebody has set it otherwise: a topic deletes records only together with
    /// all before them.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) when Kafka does not acknowledge all marks. Dropping again is safe.
    ///
    /// # Cancel safety
    /// Any part of them may be marked.
    pub async fn discard(&self, letters: &[DeadLetter]) -> Result<u64> {
        self.mark(letters, Resolution::Dropped).await
    }

    /// Writes a mark about each letter behind it, into every partition of the topic: copies of a letter may stand in
    /// several, if the topic has more than the one that we create.
    async fn mark(&self, letters: &[DeadLetter], settlement: Resolution) -> Result<u64> {
        self.topic.ready(self.log.options.publish_deadline).await?;
        let (log, topic) = (Arc::clone(&self.log), Arc::clone(&self.topic.name));
        let asked = tokio::task::spawn_blocking(move || log.producing.partitions(&topic));
        let partitions = asked.await.map_err(|error| {
            Error::new(ErrorKind::Internal, "the question for the topic's partitions came to no end")
                .with_origin(ORIGIN)
                .with_source(error)
        })??;
        let producing = &self.log.producing;
        for partition in partitions {
            let enqueue = |index: usize| {
                let headers = mark(&letters[index], settlement);
                let outgoing = Outgoing { topic: &self.topic.name, key: None, value: Some(&[]), headers };
                producing.enqueue_to(Some(partition), outgoing)
            };
            deliver(producing, letters.len(), enqueue).await?;
        }
        Ok(letters.len() as u64)
    }
}

fn mark(letter: &DeadLetter, settlement: Resolution) -> OwnedHeaders {
    let (record, place) = (letter.stood_at().to_string(), letter.place().to_string());
    let purchase = letter.purchase_id().map(|id| id.to_string());
    let mut own: Vec<(&str, &[u8])> = vec![
        (SETTLED, settlement.as_str().as_bytes()),
        (RECORD, record.as_bytes()),
        (PLACE, place.as_bytes()),
    ];
    own.extend(purchase.as_ref().map(|id| (PURCHASE, id.as_bytes())));
    to_headers(&Headers::EMPTY, &own)
}

/// What the marks of a topic say.
#[derive(Default)]
struct Marks {
    /// Up to which offset of a partition the letters about a place are settled.
    until: BTreeMap<(PurchaseId, u32), u64>,
    settled: BTreeMap<PurchaseId, ResolvedDeadLetter>,
}

impl Marks {
    async fn of(topic: impl Stream<Item = Result<Chunk>> + Send) -> Result<Self> {
        let mut marks = Self::default();
        let mut topic = std::pin::pin!(topic);
        while let Some(Chunk { partition, records }) = topic.try_next().await? {
            for record in records {
                let Some(settled) = settled(&record) else { continue };
                marks.until.insert((settled.place, partition), record.offset);
                marks.settled.insert(settled.place, settled);
            }
        }
        Ok(marks)
    }
}

/// What `record` marks as settled, if it is a mark.
fn settled(record: &LogRecord) -> Option<ResolvedDeadLetter> {
    let is_mark = record.headers.iter().next().is_some_and(|(name, _)| name == SETTLED);
    // A letter begins with the headers of its record, which may have been anything.
    if !is_mark || letter(record).is_some() {
        return None;
    }
    let text = |name: &str| std::str::from_utf8(record.headers.get(name)?).ok();
    let purchase = text(PURCHASE).and_then(|id| id.parse().ok());
    Some(ResolvedDeadLetter::new(
        text(PLACE)?.parse().ok()?,
        purchase,
        Resolution::from_word(text(SETTLED)?)?,
    ))
}
