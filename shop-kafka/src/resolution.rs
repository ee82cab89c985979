//! Resolves dead letters: replays or discards them. A topic cannot delete single records, so a marker record is
//! written for each resolved dead letter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::kafka_error;
use crate::log::Shared;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use rdkafka::message::OwnedHeaders;
use shop_core::log::{
    DeadLetter, DeadLetterState, Headers, LogRecord, ReasonKind, RecordId, RecordType, Resolution,
    ResolvedDeadLetter,
};
use shop_core::{ErrorKind, Result};

use crate::dead_letters::codec::decode;
use crate::dead_letters::{KafkaDeadLetters, deliver};
use crate::producer::OutgoingRecord;
use crate::record::to_headers;
use crate::scan::{ScanBatch, ScanRange, scan};

/// Header of a marker: `replayed` or `dropped`. All headers of a marker are text.
const RESOLUTION: &str = "dead-letter-settled";
/// Header of a marker: the position of the record, for humans.
const RECORD: &str = "dead-letter-record";
/// Header of a marker: the record id.
const RECORD_ID: &str = "dead-letter-place";
/// Header of a marker: the id of the purchase or event in the record, if it has one.
const ID: &str = "dead-letter-purchase";

impl KafkaDeadLetters {
    /// Returns all dead letters that are in the topic now: first the pending ones, then the resolved ones. Skips
    /// records that are neither a dead letter nor a marker.
    pub(crate) async fn scan(&self) -> Result<BoxStream<'static, Result<DeadLetterState>>> {
        self.topic.ready(self.log.options.publish_timeout).await?;
        let ResolutionMarkers { until, resolved } =
            ResolutionMarkers::read(scan(&self.log, &self.topic.name, ScanRange::All).await?).await?;
        let mut seen = BTreeSet::new();
        let pending = scan(&self.log, &self.topic.name, ScanRange::All).await?.map_ok(
            move |ScanBatch { partition, records }| {
                let mut batch = Vec::new();
                for record in records {
                    let Some(dead_letter) = decode(&record) else { continue };
                    let id = dead_letter.record_id();
                    let is_resolved = match dead_letter.reason.kind() {
                        // The same offsets may be lost again.
                        ReasonKind::Gap => {
                            until.get(&(id, partition)).is_some_and(|until| record.offset < *until)
                        }
                        _ => until.range((id, 0)..=(id, u32::MAX)).next().is_some(),
                    };
                    if !is_resolved && seen.insert(id) {
                        batch.push(Ok(DeadLetterState::Pending(dead_letter)));
                    }
                }
                stream::iter(batch)
            },
        );
        let resolved = resolved.into_values().map(|resolved| Ok(DeadLetterState::Resolved(resolved)));
        Ok(pending.try_flatten().chain(stream::iter(resolved)).boxed())
    }

    /// Publishes the records of `dead_letters`, then marks them as replayed. Returns their number.
    pub(crate) async fn replay(&self, dead_letters: &[DeadLetter], record_type: RecordType) -> Result<u64> {
        self.log.topic.ready(self.log.options.publish_timeout).await?;
        let records: Vec<LogRecord> =
            dead_letters.iter().map(|dead_letter| dead_letter.replay_record(record_type)).collect();
        deliver(&self.log.producer, records.len(), |index| self.log.enqueue(&records[index])).await?;
        self.mark_resolved(dead_letters, record_type, Resolution::Replayed).await
    }

    /// Writes a marker for each dead letter to every partition of the topic. A topic that was created with several
    /// partitions may have copies of a dead letter in more than one.
    pub(crate) async fn mark_resolved(
        &self,
        dead_letters: &[DeadLetter],
        record_type: RecordType,
        resolution: Resolution,
    ) -> Result<u64> {
        self.topic.ready(self.log.options.publish_timeout).await?;
        let (log, topic) = (Arc::clone(&self.log), Arc::clone(&self.topic.name));
        let partitions = tokio::task::spawn_blocking(move || log.producer.partitions(&topic)).await;
        let partitions = partitions.map_err(|error| {
            kafka_error(ErrorKind::Internal, "metadata request aborted").with_source(error)
        })??;
        let producer = &self.log.producer;
        for partition in partitions {
            let enqueue = |index: usize| {
                let headers = marker(&dead_letters[index], record_type, resolution);
                let outgoing =
                    OutgoingRecord { topic: &self.topic.name, key: None, value: Some(&[]), headers };
                producer.enqueue_to(Some(partition), outgoing)
            };
            deliver(producer, dead_letters.len(), enqueue).await?;
        }
        Ok(dead_letters.len() as u64)
    }
}

fn marker(dead_letter: &DeadLetter, record_type: RecordType, resolution: Resolution) -> OwnedHeaders {
    let (position, record_id) = (dead_letter.position().to_string(), dead_letter.record_id().to_string());
    let id = dead_letter.id(record_type);
    let mut own: Vec<(&str, &[u8])> = vec![
        (RESOLUTION, resolution.as_str().as_bytes()),
        (RECORD, position.as_bytes()),
        (RECORD_ID, record_id.as_bytes()),
    ];
    own.extend(id.as_ref().map(|id| (ID, id.as_bytes())));
    to_headers(&Headers::EMPTY, &own)
}

/// The markers of a dead-letter topic.
#[derive(Default)]
struct ResolutionMarkers {
    /// The offset of the last marker, by record and partition. Gaps before it are resolved, records everywhere.
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

/// The ids of all records that are or were among the dead letters, as far as the topic was read.
#[derive(Debug, Default)]
pub(crate) struct KnownRecords {
    ids: BTreeSet<RecordId>,
    /// The next offset to read, by partition.
    next: BTreeMap<u32, u64>,
}

impl KnownRecords {
    /// Reads what was written since the last call, and returns whether `id` is known.
    pub(crate) async fn contains(
        &mut self,
        log: &Arc<Shared>,
        topic: &Arc<str>,
        id: RecordId,
    ) -> Result<bool> {
        let mut batches = std::pin::pin!(scan(log, topic, ScanRange::From(self.next.clone())).await?);
        while let Some(ScanBatch { partition, records }) = batches.try_next().await? {
            for record in records {
                let known = decode(&record).map(|dead_letter| dead_letter.record_id());
                self.ids.extend(known.or_else(|| Some(resolved(&record)?.record_id)));
                self.next.insert(partition, record.offset + 1);
            }
        }
        Ok(self.ids.contains(&id))
    }
}

/// Decodes a marker; `None` if `record` is not a marker.
fn resolved(record: &LogRecord) -> Option<ResolvedDeadLetter> {
    let is_marker = record.headers.iter().next().is_some_and(|(name, _)| name == RESOLUTION);
    // A dead letter starts with the headers of the original record, which may contain any names.
    if !is_marker || decode(record).is_some() {
        return None;
    }
    let text = |name: &str| std::str::from_utf8(record.headers.get(name)?).ok();
    let (record_id, resolution) = (text(RECORD_ID)?.parse().ok()?, text(RESOLUTION)?.parse().ok()?);
    Some(ResolvedDeadLetter::new(record_id, text(ID).map(str::to_owned), resolution))
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers as _;
    use shop_core::log::{Partition, Reason};
    use shop_core::record::Record as _;
    use shop_core::{Purchase, Timestamp};

    use super::*;
    use crate::dead_letters::codec;

    /// The record of the dead-letter topic with `headers`.
    fn stored(headers: &OwnedHeaders) -> LogRecord {
        let all = headers.iter().fold(Headers::builder(), |all, header| all.with(header.key, header.value));
        LogRecord::new(9, Timestamp::MIN, None).with_headers(all.build())
    }

    #[test]
    fn a_dead_letter_with_the_headers_of_a_marker_is_not_a_marker() {
        let partition = Partition::new("cluster".into(), "topic".into(), 0, 1);
        let dead_letter = |headers: Headers| {
            let record = LogRecord::new(7, Timestamp::MIN, None).with_headers(headers);
            DeadLetter::new(record, partition.clone(), Reason::conflict(Purchase::TYPE), 1)
        };
        let other = dead_letter(Headers::EMPTY);
        let marker = stored(&marker(&other, Purchase::TYPE, Resolution::Replayed));
        assert_eq!(resolved(&marker).unwrap().record_id, other.record_id());
        let forged = dead_letter(marker.headers);
        assert!(resolved(&stored(&codec::headers(&forged))).is_none());
    }
}
