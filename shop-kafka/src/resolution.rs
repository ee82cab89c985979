//! Resolves dead letters: replays or discards them. A topic cannot delete single records, so a marker record is
//! written for each resolved dead letter.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::kafka_error;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use rdkafka::message::OwnedHeaders;
use shop_core::log::{
    DeadLetter, DeadLetterState, Headers, LogRecord, RecordType, Resolution, ResolvedDeadLetter,
};
use shop_core::{ErrorKind, Result};

use crate::dead_letters::codec::decode;
use crate::dead_letters::index::{self, Index, Place};
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
        let (places, resolved) = self.indexed(|index| (index.places(), index.resolved().clone())).await?;
        let batches = scan(&self.log, &self.topic.name, ScanRange::All).await?;
        let pending = batches.map_ok(move |ScanBatch { partition, records }| {
            let pending = records.iter().filter(|record| places.contains(&(partition, record.offset)));
            let pending = pending.filter_map(|record| decode(record).map(DeadLetterState::Pending).map(Ok));
            stream::iter(pending.collect::<Vec<_>>())
        });
        let resolved = resolved.into_values().map(|resolved| Ok(DeadLetterState::Resolved(resolved)));
        Ok(pending.try_flatten().chain(stream::iter(resolved)).boxed())
    }

    /// The pending dead letters at the places that `select` finds in the index, in the order of their positions.
    pub(crate) async fn select(
        &self,
        select: impl Fn(&Index) -> BTreeSet<Place> + Send + Sync,
    ) -> Result<Vec<DeadLetter>> {
        loop {
            let places = self.indexed(&select).await?;
            if let Some(dead_letters) = index::read(&self.log, &self.topic.name, &places).await? {
                return Ok(dead_letters);
            }
            // Deleted by the retention of the topic, or the topic was created again.
            *self.log.dead_letter_index.lock().await = Index::default();
        }
    }

    /// Returns what `read` finds in the index, which is brought up to date first.
    pub(crate) async fn indexed<T>(&self, read: impl FnOnce(&Index) -> T + Send) -> Result<T> {
        self.topic.ready(self.log.options.publish_timeout).await?;
        let mut index = self.log.dead_letter_index.lock().await;
        index.catch_up(&self.log, &self.topic.name).await?;
        Ok(read(&index))
    }

    /// Publishes the records of `dead_letters`, then marks them as replayed. Returns their number.
    pub(crate) async fn replay(&self, dead_letters: &[DeadLetter], record_type: RecordType) -> Result<u64> {
        self.log.topic.ready(self.log.options.publish_timeout).await?;
        let records: Vec<LogRecord> =
            dead_letters.iter().map(|dead_letter| dead_letter.replay_record(record_type)).collect();
        deliver(&self.log, records.len(), |index| self.log.enqueue(&records[index])).await?;
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
        for partition in partitions {
            let enqueue = |index: usize| {
                let headers = marker(&dead_letters[index], record_type, resolution);
                let outgoing =
                    OutgoingRecord { topic: &self.topic.name, key: None, value: Some(&[]), headers };
                self.log.producer.enqueue_to(Some(partition), outgoing)
            };
            deliver(&self.log, dead_letters.len(), enqueue).await?;
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

/// Decodes a marker; `None` if `record` is not a marker.
pub(crate) fn marker_of(record: &LogRecord) -> Option<ResolvedDeadLetter> {
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
        assert_eq!(marker_of(&marker).unwrap().record_id, other.record_id());
        let forged = dead_letter(marker.headers);
        assert!(marker_of(&stored(&codec::headers(&forged))).is_none());
    }
}
