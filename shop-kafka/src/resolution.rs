//! Resolves dead letters: published again, or discarded. A topic deletes no single record, so a record of our own
//! marks each letter that was resolved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::kafka_error;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use rdkafka::message::OwnedHeaders;
use shop_core::log::{
    DeadLetter, DeadLetterState, Headers, LogRecord, RecordId, RecordType, Resolution, ResolvedDeadLetter,
};
use shop_core::{ErrorKind, Result};

use crate::dead_letters::codec::letter;
use crate::dead_letters::{KafkaDeadLetters, deliver};
use crate::producer::OutgoingRecord;
use crate::record::to_headers;
use crate::scan::{ScanBatch, scan};

/// How a marker says what was resolved, and how: all of it text, in headers, without key and value.
const RESOLUTION: &str = "dead-letter-settled";
/// The position of the record, for people.
const RECORD: &str = "dead-letter-record";
const RECORD_ID: &str = "dead-letter-place";
/// The id that its type gives the record, if it has one.
const ID: &str = "dead-letter-purchase";

impl KafkaDeadLetters {
    /// All letters that the topic has now: first those that are pending, then those that were resolved. What others
    /// have written into the topic is passed over.
    pub(crate) async fn scan(&self) -> Result<BoxStream<'static, Result<DeadLetterState>>> {
        self.topic.ready(self.log.options.publish_timeout).await?;
        let ResolutionMarkers { until, resolved } =
            ResolutionMarkers::read(scan(&self.log, &self.topic.name).await?).await?;
        let mut met = BTreeSet::new();
        let pending =
            scan(&self.log, &self.topic.name).await?.map_ok(move |ScanBatch { partition, records }| {
                let mut letters = Vec::new();
                for record in records {
                    let Some(letter) = letter(&record) else { continue };
                    let id = letter.record_id();
                    let is_resolved = until.get(&(id, partition)).is_some_and(|until| record.offset < *until);
                    if !is_resolved && met.insert(id) {
                        letters.push(Ok(DeadLetterState::Pending(letter)));
                    }
                }
                stream::iter(letters)
            });
        let resolved = resolved.into_values().map(|letter| Ok(DeadLetterState::Resolved(letter)));
        Ok(pending.try_flatten().chain(stream::iter(resolved)).boxed())
    }

    /// Publishes the records of `letters`, then marks these as replayed; returns how many.
    pub(crate) async fn replay(&self, letters: &[DeadLetter], of: RecordType) -> Result<u64> {
        self.log.topic.ready(self.log.options.publish_timeout).await?;
        let records: Vec<LogRecord> = letters.iter().map(|letter| letter.replay_record(of)).collect();
        deliver(&self.log.producing, records.len(), |index| self.log.enqueue(&records[index])).await?;
        self.mark_resolved(letters, of, Resolution::Replayed).await
    }

    /// Writes a marker about each letter behind it, into every partition of the topic: copies of a letter may be in
    /// several, if the topic has more than the one that we create.
    pub(crate) async fn mark_resolved(
        &self,
        letters: &[DeadLetter],
        of: RecordType,
        resolution: Resolution,
    ) -> Result<u64> {
        self.topic.ready(self.log.options.publish_timeout).await?;
        let (log, topic) = (Arc::clone(&self.log), Arc::clone(&self.topic.name));
        let asked = tokio::task::spawn_blocking(move || log.producing.partitions(&topic));
        let partitions = asked.await.map_err(|error| {
            kafka_error(ErrorKind::Internal, "the question for the topic's partitions came to no end")
                .with_source(error)
        })??;
        let producing = &self.log.producing;
        for partition in partitions {
            let enqueue = |index: usize| {
                let headers = marker(&letters[index], of, resolution);
                let outgoing =
                    OutgoingRecord { topic: &self.topic.name, key: None, value: Some(&[]), headers };
                producing.enqueue_to(Some(partition), outgoing)
            };
            deliver(producing, letters.len(), enqueue).await?;
        }
        Ok(letters.len() as u64)
    }
}

fn marker(letter: &DeadLetter, of: RecordType, resolution: Resolution) -> OwnedHeaders {
    let (position, record_id) = (letter.position().to_string(), letter.record_id().to_string());
    let id = letter.id(of);
    let mut own: Vec<(&str, &[u8])> = vec![
        (RESOLUTION, resolution.as_str().as_bytes()),
        (RECORD, position.as_bytes()),
        (RECORD_ID, record_id.as_bytes()),
    ];
    own.extend(id.as_ref().map(|id| (ID, id.as_bytes())));
    to_headers(&Headers::EMPTY, &own)
}

/// What the markers of a topic say.
#[derive(Default)]
struct ResolutionMarkers {
    /// Up to which offset of a partition the letters about a record are resolved.
    until: BTreeMap<(RecordId, u32), u64>,
    resolved: BTreeMap<RecordId, ResolvedDeadLetter>,
}

impl ResolutionMarkers {
    async fn read(topic: impl Stream<Item = Result<ScanBatch>> + Send) -> Result<Self> {
        let mut markers = Self::default();
        let mut topic = std::pin::pin!(topic);
        while let Some(ScanBatch { partition, records }) = topic.try_next().await? {
            for record in records {
                let Some(resolved) = resolved(&record) else { continue };
                markers.until.insert((resolved.record_id, partition), record.offset);
                markers.resolved.insert(resolved.record_id, resolved);
            }
        }
        Ok(markers)
    }
}

/// What `record` marks as resolved, if it is a marker.
fn resolved(record: &LogRecord) -> Option<ResolvedDeadLetter> {
    let is_marker = record.headers.iter().next().is_some_and(|(name, _)| name == RESOLUTION);
    // A letter begins with the headers of its record, which may have been anything.
    if !is_marker || letter(record).is_some() {
        return None;
    }
    let text = |name: &str| std::str::from_utf8(record.headers.get(name)?).ok();
    let (record_id, resolution) = (text(RECORD_ID)?.parse().ok()?, text(RESOLUTION)?.parse().ok()?);
    Some(ResolvedDeadLetter::new(record_id, text(ID).map(str::to_owned), resolution))
}
