//! Dead letters in a separate topic: stored, listed and resolved. A topic cannot delete single records, so a marker record
//! is written for each resolved dead letter.

mod codec;
pub(crate) mod index;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use rdkafka::message::OwnedHeaders;
use shop_core::log::{
    CUT_HEADER, DeadLetter, DeadLetterFilter, DeadLetterState, DeadLetters, Headers, LogRecord,
    Partition, Reason, RecordId, RecordType, Resolution,
};
use shop_core::{ErrorKind, Result, Retry, Timestamp};
use tokio::time::Instant;

use crate::client::blocking;
use crate::error::kafka_error;
use crate::producer::PendingDelivery;
use crate::record::to_headers;
use crate::scan::{ScanRange, scan};
use crate::shared::KafkaLogInner;
use crate::topic::Topic;
use codec::{ID, RECORD, RECORD_ID, RESOLUTION, decode};
use index::{DlqIndex, DlqPosition};

/// The maximum number of bytes that are kept of a key and of a value, if the topic does not accept
/// the whole dead letter.
const MAX_HEAD: usize = 64 << 10;
/// The maximum number of attempts to read dead letters that are no longer where the index has found
/// them. Each further attempt reads the whole topic.
const MAX_READS: usize = 3;

/// Stores the dead letters of a [`KafkaLog`](crate::KafkaLog) in the topic `<topic>.dlq`.
///
/// A dead letter has the key, value and headers of its record, unchanged, followed by these text headers in this
/// order: `dead-letter-cluster`, `dead-letter-topic`, `dead-letter-partition`, `dead-letter-offset`,
/// `dead-letter-time` (milliseconds since 1970), `dead-letter-reason`, `dead-letter-detail`,
/// `dead-letter-attempts`, `dead-letter-version`. A repeated `put` writes a duplicate, which readers recognize by
/// cluster, topic, partition, offset and time. Of one that is larger than the topic accepts, the first 64 KiB of key and
/// value are kept, and the header `dead-letter-cut` has its size: it is not replayed.
///
/// A resolved dead letter stays in the topic and is no longer listed as pending. Its marker is a record without key
/// and with an empty value, with the headers `dead-letter-settled` (`replayed` or `dropped`), `dead-letter-record`
/// (topic, partition and offset, joined by dashes), `dead-letter-place` (the record id) and, if it is known,
/// `dead-letter-purchase` (the id of the purchase or event). A marker resolves all dead letters of its record, also one
/// that is put again after it; of a gap, those before it.
///
/// They are listed and replayed by the log's [`LogAdmin`](shop_core::log::LogAdmin):
///
/// ```no_run
/// use shop_core::log::{Log, LogAdminExt};
/// use shop_kafka::KafkaLog;
///
/// # async fn example(log: KafkaLog) -> shop_core::Result<()> {
/// for letter in log.admin().pending_dead_letters().await? {
///     println!("offset {}: {}", letter.record.offset, letter.reason.detail());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct KafkaDeadLetters {
    pub(crate) log: Arc<KafkaLogInner>,
    pub(crate) topic: Arc<Topic>,
}

#[async_trait]
impl DeadLetters for KafkaDeadLetters {
    async fn put(&self, dead_letters: &[DeadLetter]) -> Result<()> {
        let ready = self.topic.ready().await;
        // The error is about the topic, which an operator can fix, and not about these dead
        // letters. So a retry is safe.
        ready.map_err(|error| error.with_retry(Retry::Safe))?;
        match self.put_all(dead_letters).await {
            Err(error) if error.kind() == ErrorKind::TooLarge => {
                self.put_all(&dead_letters.iter().map(head).collect::<Vec<_>>())
                    .await
            }
            put => put,
        }
    }

    /// Asks an index in memory. The first call reads the whole topic, and later calls read the
    /// records that were added.
    async fn contains(&self, record: &LogRecord, partition: &Partition) -> Result<bool> {
        let id = RecordId::new(record, partition);
        self.indexed(|index| index.contains(id)).await
    }

    async fn check(&self) -> Result<()> {
        self.log.monitor.check(&self.topic).await
    }
}

/// Returns `dead_letter` with at most the first [`MAX_HEAD`] bytes of its key and of its value. A
/// small dead letter stays as it is.
///
/// A record that the log has accepted may be too large for the dead-letter topic, because its
/// producer may have compressed it to a few kilobytes.
fn head(dead_letter: &DeadLetter) -> DeadLetter {
    let mut head = dead_letter.clone();
    let size = dead_letter.record.size();
    if size > MAX_HEAD {
        let part = |bytes: Bytes| bytes.slice(..bytes.len().min(MAX_HEAD));
        let LogRecord {
            key,
            headers,
            value,
            ..
        } = &mut head.record;
        (*key, *value) = (key.take().map(part), value.take().map(part));
        if headers.as_bytes().len() > MAX_HEAD {
            *headers = Headers::EMPTY;
        }
        *headers = headers.with(CUT_HEADER, Some(size.to_string().as_bytes()));
        let detail = format!(
            "{}; of its {size} bytes, the first {MAX_HEAD} of key and value are kept",
            head.reason.detail()
        );
        head.reason = Reason::from_parts(head.reason.kind(), detail);
    }
    head
}

impl KafkaDeadLetters {
    /// Publishes `count` records, and waits until all of them are acknowledged.
    ///
    /// `enqueue` adds the record with the given index to the queue of the producer. A record
    /// without a reported position is published once more.
    ///
    /// # Errors
    /// The error of the first record that was not acknowledged.
    async fn deliver(
        &self,
        count: usize,
        enqueue: impl Fn(usize) -> Result<PendingDelivery> + Send + Sync,
    ) -> Result<()> {
        let deadline = Instant::now() + self.log.options.publish_timeout;
        let producer = &self.log.producer;
        let reported = producer.publish_all(count, deadline, &enqueue).await;
        for (index, reported) in reported.into_iter().enumerate() {
            if reported?.is_none() {
                producer.deliver(|| enqueue(index)).await?;
            }
        }
        Ok(())
    }

    /// Publishes the dead letters to their topic, as they are.
    async fn put_all(&self, dead_letters: &[DeadLetter]) -> Result<()> {
        let enqueue = |index: usize| {
            let record = &dead_letters[index].record;
            let headers = codec::headers(&dead_letters[index]);
            self.log
                .producer
                .enqueue(&self.topic.name, None, record, headers)
        };
        self.deliver(dead_letters.len(), enqueue).await
    }

    /// Returns the dead letters that are in the topic now: first the pending ones, then the
    /// resolved ones.
    ///
    /// Records that are neither a dead letter nor a marker are skipped.
    ///
    /// # Errors
    /// The errors of [`indexed`](Self::indexed) and of the scan.
    pub(crate) async fn scan(&self) -> Result<BoxStream<'static, Result<DeadLetterState>>> {
        // The dead-letter topic of another program's log may be missing until the first service
        // consumes this log.
        if !self.topic.exists().await? {
            self.log.topic.ready().await?;
            return Ok(stream::empty().boxed());
        }
        let (places, resolved) = self
            .indexed(|index| {
                (
                    index.page(&DeadLetterFilter::default(), usize::MAX),
                    index.resolved.clone(),
                )
            })
            .await?;
        let batches = scan(&self.log, &self.topic.name, ScanRange::All).await?.1;
        let pending = batches.map_ok(move |(partition, records)| {
            let pending: Vec<_> = records
                .iter()
                .filter(|record| places.contains(&(partition, record.offset)))
                .filter_map(|record| decode(record).map(DeadLetterState::Pending).map(Ok))
                .collect();
            stream::iter(pending)
        });
        let resolved = resolved
            .into_values()
            .map(|resolved| Ok(DeadLetterState::Resolved(resolved)));
        Ok(pending.try_flatten().chain(stream::iter(resolved)).boxed())
    }

    /// Reads the pending dead letters that `select` chooses from the index, in the order of their
    /// positions.
    ///
    /// # Errors
    /// - [`Unavailable`](ErrorKind::Unavailable) if dead letters were deleted during each of
    ///   [`MAX_READS`] attempts
    /// - the errors of [`indexed`](Self::indexed) and of the scans otherwise
    pub(crate) async fn select(
        &self,
        select: impl Fn(&DlqIndex) -> BTreeSet<DlqPosition> + Send + Sync,
    ) -> Result<Vec<DeadLetter>> {
        for _ in 0..MAX_READS {
            let places = self.indexed(&select).await?;
            if let Some(dead_letters) = index::read(&self.log, &self.topic.name, &places).await? {
                return Ok(dead_letters);
            }
            // The retention of the topic has deleted dead letters, or the topic was created again.
            // The index starts empty.
            *self.log.dead_letter_index.lock().await = DlqIndex::default();
        }
        let message = "dead letters were deleted each time they were read: try again, or raise retention.ms of their topic";
        Err(kafka_error(ErrorKind::Unavailable, message).with_context("topic", &self.topic.name))
    }

    /// Brings the index up to date, and returns the result of `read` on it.
    ///
    /// # Errors
    /// - the error of [`Topic::ready`] if the topic cannot be used
    /// - the errors of [`DlqIndex::catch_up`]
    pub(crate) async fn indexed<T>(&self, read: impl FnOnce(&DlqIndex) -> T + Send) -> Result<T> {
        self.topic.ready().await?;
        let mut index = self.log.dead_letter_index.lock().await;
        index.catch_up(&self.log, &self.topic.name).await?;
        Ok(read(&index))
    }

    /// Resolves dead letters: publishes their records to the log if they are replayed, and then
    /// writes their markers. Returns the number of dead letters.
    ///
    /// Each marker is written to every partition of the dead-letter topic. A topic that was created
    /// with several partitions may contain copies of a dead letter in more than one.
    pub(crate) async fn resolve(
        &self,
        dead_letters: &[DeadLetter],
        of: RecordType,
        resolution: Resolution,
    ) -> Result<u64> {
        // The records are published first. If the process ends before the markers are written, the
        // dead letters stay pending and can be replayed again.
        if resolution == Resolution::Replayed {
            self.log.topic.ready().await?;
            let records: Vec<_> = dead_letters
                .iter()
                .map(|dead_letter| dead_letter.replay_record(of))
                .collect();
            self.deliver(records.len(), |index| self.log.enqueue(&records[index]))
                .await?;
        }
        self.topic.ready().await?;
        let empty = LogRecord::new(0, Timestamp::MIN, Some(Bytes::new()));
        let log = Arc::clone(&self.log);
        let topic = Arc::clone(&self.topic.name);
        for partition in
            blocking("metadata request", move || log.producer.partitions(&topic)).await?
        {
            let enqueue = |index: usize| {
                let headers = marker(&dead_letters[index], of, resolution);
                self.log
                    .producer
                    .enqueue(&self.topic.name, Some(partition), &empty, headers)
            };
            self.deliver(dead_letters.len(), enqueue).await?;
        }
        Ok(dead_letters.len() as u64)
    }
}

/// Returns the headers of the marker that resolves `dead_letter`. The marker has no other content.
fn marker(
    dead_letter: &DeadLetter,
    record_type: RecordType,
    resolution: Resolution,
) -> OwnedHeaders {
    let position = dead_letter.position().to_string();
    let record_id = dead_letter.record_id().to_string();
    let id = dead_letter.id(record_type);
    let mut own: Vec<(&str, &[u8])> = vec![
        (RESOLUTION, resolution.as_str().as_bytes()),
        (RECORD, position.as_bytes()),
        (RECORD_ID, record_id.as_bytes()),
    ];
    own.extend(id.as_ref().map(|id| (ID, id.as_bytes())));
    to_headers(&Headers::EMPTY, &own)
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Headers as _;
    use shop_core::log::{Partition, Reason};
    use shop_core::record::Record as _;
    use shop_core::{Purchase, Timestamp};

    use rdkafka::mocking::MockCluster;

    use super::codec::marker_of;
    use super::*;
    use crate::{KafkaLog, KafkaLogOptions};

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
        let marker = stored(&marker(&other, Purchase::TYPE, Resolution::Replayed));
        assert_eq!(marker_of(&marker).unwrap().record_id, other.record_id());
        let forged = dead_letter(marker.headers);
        assert!(marker_of(&stored(&codec::headers(&forged))).is_none());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn dead_letters_that_are_never_where_they_were_are_an_error() {
        let cluster = MockCluster::new(1).unwrap();
        for topic in ["purchases", "purchases.dlq"] {
            cluster.create_topic(topic, 1, 1).unwrap();
        }
        let log = KafkaLog::open(KafkaLogOptions::new(cluster.bootstrap_servers()))
            .await
            .unwrap();
        let selections = std::sync::atomic::AtomicUsize::new(0);
        let absent = |_: &DlqIndex| {
            selections.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            BTreeSet::from([(0, 99)])
        };
        let error = log.dead_letters().select(absent).await.unwrap_err();
        assert_eq!(
            (error.kind(), selections.into_inner()),
            (ErrorKind::Unavailable, MAX_READS)
        );
        assert!(error.message().contains("try again"), "{error:?}");
    }
}
