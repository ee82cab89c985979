//! The dead letters of a log, which are records of a separate topic.
//!
//! [`KafkaDeadLetters`] stores, lists and resolves them. A topic cannot delete single records, so a
//! resolved dead letter stays in the topic, and a marker record is written for it.
//!
//! - [`codec`] encodes dead letters as records, and decodes dead letters and markers.
//! - [`index`] finds the pending dead letters without a scan of the whole topic.

mod codec;
pub(crate) mod index;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use rdkafka::message::OwnedHeaders;
use shop_core::log::{
    CUT_HEADER, DeadLetter, DeadLetterFilter, DeadLetterState, Headers, LogRecord, Partition,
    Reason, RecordId, RecordType, Resolution,
};
use shop_core::{ErrorKind, Result, Retry};
use tokio::time::Instant;

use crate::client::blocking;
use crate::error::kafka_error;
use crate::producer::{PendingDelivery, RecordParts};
use crate::record::to_headers;
use crate::scan::{ScanRange, scan};
use crate::shared::KafkaLogInner;
use crate::topic::Topic;
use codec::{ID, RECORD, RECORD_ID, RESOLUTION, decode, encode_headers};
use index::{DlqIndex, DlqPosition, read_dead_letters};

/// The maximum number of bytes that are kept of a key and of a value, if the topic does not accept
/// the whole dead letter.
const MAX_KEPT_BYTES: usize = 64 << 10;
/// The maximum number of attempts to read dead letters that were deleted after the index found
/// them. Each further attempt reads the whole topic.
const MAX_READS: usize = 3;

/// The dead letters of a log. [`KafkaLog`](crate::KafkaLog) documents the form of their records.
#[derive(Debug, Clone)]
pub(crate) struct KafkaDeadLetters {
    pub(crate) log: Arc<KafkaLogInner>,
    pub(crate) dead_letter_topic: Arc<Topic>,
}

/// Returns `dead_letter` with at most the first [`MAX_KEPT_BYTES`] bytes of its key and of its value.
/// A small dead letter stays as it is.
///
/// A record that the log accepted may be too large for the dead-letter topic, because its producer
/// may have compressed it to a few kilobytes.
fn truncate(dead_letter: &DeadLetter) -> DeadLetter {
    let mut truncated = dead_letter.clone();
    let size = dead_letter.record.size();
    if size <= MAX_KEPT_BYTES {
        return truncated;
    }

    let record = &mut truncated.record;
    for bytes in [&mut record.key, &mut record.value].into_iter().flatten() {
        bytes.truncate(MAX_KEPT_BYTES);
    }
    if record.headers.as_bytes().len() > MAX_KEPT_BYTES {
        record.headers = Headers::EMPTY;
    }
    record.headers = record
        .headers
        .with(CUT_HEADER, Some(size.to_string().as_bytes()));

    let detail = format!(
        "{}; of its {size} bytes, the first {MAX_KEPT_BYTES} of key and value are kept",
        truncated.reason.detail()
    );
    truncated.reason = Reason::from_parts(truncated.reason.kind(), detail);
    truncated
}

impl KafkaDeadLetters {
    /// Stores `dead_letters` in the topic: see [`Log::put_dead_letters`].
    ///
    /// [`Log::put_dead_letters`]: shop_core::log::Log::put_dead_letters
    pub(crate) async fn put(&self, dead_letters: &[DeadLetter]) -> Result<()> {
        // An error here is about the topic, and no dead letter was published yet. An operator can
        // fix the topic, so a retry is safe and may succeed.
        self.dead_letter_topic
            .wait_until_ready()
            .await
            .map_err(|error| error.with_retry(Retry::Safe))?;

        match self.put_unchanged(dead_letters).await {
            Err(error) if error.kind() == ErrorKind::TooLarge => {
                // The dead letters that were not too large are written twice. Readers recognize
                // such duplicates.
                let truncated: Vec<_> = dead_letters.iter().map(truncate).collect();
                self.put_unchanged(&truncated).await
            }
            result => result,
        }
    }

    /// Returns whether there is a dead letter about `record` of `partition`.
    ///
    /// Looks the record up in an index in memory. The first call reads the whole topic, and later
    /// calls read the records that were added since.
    pub(crate) async fn contains(&self, record: &LogRecord, partition: &Partition) -> Result<bool> {
        let id = RecordId::new(record, partition);
        self.with_index(|index| index.contains(id)).await
    }

    /// Publishes `count` records, and waits until all are acknowledged.
    ///
    /// `enqueue` adds the record with the given index to the queue of the producer. A record
    /// without a reported position is published once more.
    ///
    /// # Errors
    /// The error of the first record that was not acknowledged.
    async fn publish_and_wait(
        &self,
        count: usize,
        enqueue: impl Fn(usize) -> Result<PendingDelivery> + Send + Sync,
    ) -> Result<()> {
        let deadline = Instant::now() + self.log.options.publish_timeout;
        let producer = &self.log.producer;
        let positions = producer.publish_all(count, deadline, &enqueue).await;
        for (index, position) in positions.into_iter().enumerate() {
            if position?.is_none() {
                producer.deliver(|| enqueue(index)).await?;
            }
        }
        Ok(())
    }

    /// Publishes `dead_letters` to the dead-letter topic without truncating them, and waits until
    /// all are acknowledged.
    async fn put_unchanged(&self, dead_letters: &[DeadLetter]) -> Result<()> {
        self.publish_and_wait(dead_letters.len(), |index| {
            let record = &dead_letters[index].record;
            let parts = RecordParts::new(record, encode_headers(&dead_letters[index]));
            let partition_of_key = None;
            self.log
                .producer
                .enqueue(&self.dead_letter_topic.name, partition_of_key, parts)
        })
        .await
    }

    /// Returns a stream of the dead letters that are in the topic now: first the pending dead
    /// letters, then the resolved ones.
    ///
    /// Records that are neither a dead letter nor a marker are skipped.
    ///
    /// # Errors
    /// The errors of [`with_index`](Self::with_index) and of the scan.
    pub(crate) async fn scan(&self) -> Result<BoxStream<'static, Result<DeadLetterState>>> {
        // The first service that consumes a log creates its dead-letter topic. Before that, there
        // are no dead letters.
        if !self.dead_letter_topic.exists().await? {
            // A log that cannot be used is an error, also without a dead-letter topic.
            self.log.topic.wait_until_ready().await?;
            return Ok(stream::empty().boxed());
        }

        let (pending_positions, markers) = self
            .with_index(|index| {
                let no_filter = DeadLetterFilter::default();
                let no_limit = usize::MAX;
                (
                    index.select_page(&no_filter, no_limit),
                    index.resolved.clone(),
                )
            })
            .await?;

        let batches = scan(&self.log, &self.dead_letter_topic.name, ScanRange::All)
            .await?
            .batches;
        let pending = batches.map_ok(move |(partition, records)| {
            let mut dead_letters = Vec::new();
            for record in records {
                if pending_positions.contains(&(partition, record.offset))
                    && let Some(dead_letter) = decode(&record)
                {
                    dead_letters.push(Ok(DeadLetterState::Pending(dead_letter)));
                }
            }
            stream::iter(dead_letters)
        });
        let resolved = markers.into_values().map(DeadLetterState::Resolved).map(Ok);
        Ok(pending.try_flatten().chain(stream::iter(resolved)).boxed())
    }

    /// Reads the pending dead letters that `select_positions` chooses from the index, in the order
    /// of their positions in the log.
    ///
    /// # Errors
    /// - [`Unavailable`](ErrorKind::Unavailable) if dead letters were deleted during each of
    ///   [`MAX_READS`] attempts
    /// - otherwise, the errors of [`with_index`](Self::with_index) and of the scans
    pub(crate) async fn select(
        &self,
        select_positions: impl Fn(&DlqIndex) -> BTreeSet<DlqPosition> + Send + Sync,
    ) -> Result<Vec<DeadLetter>> {
        for _ in 0..MAX_READS {
            let positions = self.with_index(&select_positions).await?;
            if let Some(dead_letters) =
                read_dead_letters(&self.log, &self.dead_letter_topic.name, &positions).await?
            {
                return Ok(dead_letters);
            }
            // The retention of the topic deleted dead letters, or the topic was created again. The
            // index is emptied, so that the next attempt reads the whole topic.
            *self.log.dead_letter_index.lock().await = DlqIndex::default();
        }
        let message = "dead letters were deleted each time they were read: try again, or raise retention.ms of their topic";
        Err(kafka_error(ErrorKind::Unavailable, message)
            .with_context("topic", &self.dead_letter_topic.name))
    }

    /// Brings the index up to date, and returns the result of `read` on it.
    ///
    /// # Errors
    /// - the error of [`Topic::wait_until_ready`] if the topic cannot be used
    /// - the errors of [`DlqIndex::catch_up`]
    async fn with_index<T>(&self, read: impl FnOnce(&DlqIndex) -> T + Send) -> Result<T> {
        self.dead_letter_topic.wait_until_ready().await?;
        let mut index = self.log.dead_letter_index.lock().await;
        index
            .catch_up(&self.log, &self.dead_letter_topic.name)
            .await?;
        Ok(read(&index))
    }

    /// Resolves dead letters: publishes their records to the log if `resolution` is `Replayed`, and
    /// then writes a marker for each dead letter. Returns the number of dead letters.
    ///
    /// Each marker is written to every partition of the dead-letter topic, because any partition
    /// may contain a copy of the dead letter. The topic has one partition, unless an operator
    /// created it with more.
    ///
    /// # Errors
    /// - the reason why one of the two topics cannot be used
    /// - the error of the metadata request for the partitions
    /// - the error of the first record or marker that was not acknowledged
    pub(crate) async fn resolve(
        &self,
        dead_letters: &[DeadLetter],
        record_type: RecordType,
        resolution: Resolution,
    ) -> Result<u64> {
        // The records are published first. If the process ends before the markers are written, the
        // dead letters stay pending and can be replayed again.
        if resolution == Resolution::Replayed {
            self.log.topic.wait_until_ready().await?;
            let records: Vec<_> = dead_letters
                .iter()
                .map(|dead_letter| dead_letter.replay_record(record_type))
                .collect();
            self.publish_and_wait(records.len(), |index| self.log.enqueue(&records[index]))
                .await?;
        }

        self.dead_letter_topic.wait_until_ready().await?;
        let producer = Arc::clone(&self.log.producer);
        let topic_name = Arc::clone(&self.dead_letter_topic.name);
        let partitions = blocking("metadata request", move || {
            producer.fetch_partitions(&topic_name)
        })
        .await?;

        for partition in partitions {
            self.publish_and_wait(dead_letters.len(), |index| {
                // All facts about a marker are in its headers. The empty value tells the marker
                // from a record without a value.
                let marker = RecordParts {
                    key: None,
                    value: Some(&[]),
                    headers: marker_headers(&dead_letters[index], record_type, resolution),
                };
                let producer = &self.log.producer;
                producer.enqueue(&self.dead_letter_topic.name, Some(partition), marker)
            })
            .await?;
        }
        Ok(dead_letters.len() as u64)
    }
}

/// Returns the headers of the marker that resolves `dead_letter`.
fn marker_headers(
    dead_letter: &DeadLetter,
    record_type: RecordType,
    resolution: Resolution,
) -> OwnedHeaders {
    let position = dead_letter.position().to_string();
    let record_id = dead_letter.record_id().to_string();
    // The id of the purchase or event, unless the record is unreadable.
    let id = dead_letter.id(record_type);
    let mut headers: Vec<(&str, &[u8])> = vec![
        (RESOLUTION, resolution.as_str().as_bytes()),
        (RECORD, position.as_bytes()),
        (RECORD_ID, record_id.as_bytes()),
    ];
    if let Some(id) = &id {
        headers.push((ID, id.as_bytes()));
    }
    to_headers(&Headers::EMPTY, &headers)
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers as _;
    use shop_core::log::{Partition, Reason};
    use shop_core::record::Record as _;
    use shop_core::{Purchase, Timestamp};

    use super::codec::decode_marker;
    use super::*;
    use crate::KafkaLog;
    use crate::fixture::one_broker;

    /// The record of the dead-letter topic with `headers`.
    fn stored(headers: &OwnedHeaders) -> LogRecord {
        let all = headers.iter().fold(Headers::builder(), |all, header| {
            all.with(header.key, header.value)
        });
        LogRecord::new(9, Timestamp::MIN, None).with_headers(all.build())
    }

    #[test]
    fn a_dead_letter_with_the_headers_of_a_marker_is_not_a_marker() {
        let partition = Partition::new("cluster".into(), "topic".into(), 0, 1);
        let dead_letter = |headers: Headers| {
            let record = LogRecord::new(7, Timestamp::MIN, None).with_headers(headers);
            DeadLetter::new(
                record,
                partition.clone(),
                Reason::conflict(Purchase::TYPE),
                1,
            )
        };
        let other = dead_letter(Headers::EMPTY);
        let marker = stored(&marker_headers(
            &other,
            Purchase::TYPE,
            Resolution::Replayed,
        ));
        assert_eq!(decode_marker(&marker).unwrap().record_id, other.record_id());
        let forged = dead_letter(marker.headers);
        assert!(decode_marker(&stored(&encode_headers(&forged))).is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn dead_letters_that_are_never_where_they_were_are_an_error() {
        let (_cluster, options) = one_broker();
        let log = KafkaLog::open(options).await.unwrap();
        let selections = std::sync::atomic::AtomicUsize::new(0);
        let absent = |_: &DlqIndex| {
            selections.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            BTreeSet::from([(0, 99)])
        };
        let error = log.kafka_dead_letters().select(absent).await.unwrap_err();
        assert_eq!(
            (error.kind(), selections.into_inner()),
            (ErrorKind::Unavailable, MAX_READS)
        );
        assert!(error.message().contains("try again"), "{error:?}");
    }
}
