//! Reads a topic from its beginning to where its end is now: in a thread of its own, and in no group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_util::{Stream, stream};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::{Offset, TopicPartitionList};
use shop_core::log::LogRecord;
use shop_core::{ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};

use crate::client::Context;
use crate::error::{from_kafka, kafka_error};
use crate::log::Shared;
use crate::record::from_message;
use crate::topic::Observer;
use crate::{config, thread};

/// Consecutive records of one partition.
#[derive(Debug)]
pub(crate) struct ScanBatch {
    pub(crate) partition: u32,
    pub(crate) records: Vec<LogRecord>,
}

/// How long one question about the topic may take.
const QUESTION: Duration = Duration::from_secs(5);
/// How long a scan waits for one more record before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it looks whether it is over.
const TURN: Duration = Duration::from_millis(100);

/// All records that `topic` holds now.
pub(crate) async fn scan(
    log: &Arc<Shared>,
    topic: &Arc<str>,
) -> Result<impl Stream<Item = Result<ScanBatch>> + Send + use<>> {
    let (begun, beginning) = oneshot::channel();
    // One waits here while the next one is read.
    let (chunks, mut read) = mpsc::channel(1);
    let (log, topic) = (Arc::clone(log), Arc::clone(topic));
    drop(thread::start("shop-kafka-scan", move || match Scan::begin(&log, topic) {
        Err(error) => drop(begun.send(Err(log.health.explain(error)))),
        Ok(scan) => {
            // Whoever asked may have stopped waiting; then nobody takes the chunks either.
            let _nobody_waits = begun.send(Ok(()));
            scan.run(&log, &chunks);
        }
    })?);
    let ended = |error| {
        kafka_error(ErrorKind::Internal, "a scan of a topic has ended before it began").with_source(error)
    };
    beginning.await.map_err(ended)??;
    Ok(stream::poll_fn(move |context| read.poll_recv(context)))
}

struct Scan {
    reader: Observer,
    topic: Arc<str>,
    /// The partitions that are not read to their end, with that.
    ends: BTreeMap<i32, i64>,
    /// What was read and not handed over, and its size in bytes.
    held: BTreeMap<i32, Vec<LogRecord>>,
    bytes: usize,
    /// Where the bytes of records stand.
    buffer: BytesMut,
}

impl Scan {
    fn begin(log: &Shared, topic: Arc<str>) -> Result<Self> {
        let mut config = config::observer(&log.options);
        // librdkafka assigns nothing without a group; this one is never joined, and nothing is committed in it.
        config
            .set("group.id", &*topic)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            // What is deleted while it is read is passed over.
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", (log.options.consumer_queue_bytes / 1024).max(1).to_string())
            .set("fetch.queue.backoff.ms", "5");
        let context = Context::new(Arc::clone(&log.health), None, ());
        let reader = Observer::from_config_and_context(&config, context).map_err(from_kafka)?;
        let ends = ends(&reader, &topic)?;
        let mut assignment = TopicPartitionList::new();
        for partition in ends.keys() {
            assignment.add_partition_offset(&topic, *partition, Offset::Beginning).map_err(from_kafka)?;
        }
        reader.assign(&assignment).map_err(from_kafka)?;
        Ok(Self { reader, topic, ends, held: BTreeMap::new(), bytes: 0, buffer: BytesMut::new() })
    }

    /// Hands over one chunk after the other until all partitions are read, or until nobody takes them.
    fn run(mut self, log: &Shared, chunks: &mpsc::Sender<Result<ScanBatch>>) {
        let (mut last, mut said) = (Instant::now(), None);
        while !self.ends.is_empty() && !chunks.is_closed() {
            match self.reader.poll(TURN) {
                None if last.elapsed() < PATIENCE => continue,
                None => {
                    let message = "the topic could not be read to its end: no record came for half a minute";
                    let silence = || kafka_error(ErrorKind::Unavailable, message);
                    let error = log.health.explain(said.unwrap_or_else(silence));
                    // A receiver that is gone has ended the scan already.
                    let _gone = chunks.blocking_send(Err(error));
                    return;
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.ends.remove(&partition);
                }
                // librdkafka goes on by itself, or the patience is over at last.
                Some(Err(error)) => {
                    said = Some(from_kafka(error));
                    continue;
                }
                Some(Ok(message)) => {
                    let at = (rdkafka::Message::partition(&message), rdkafka::Message::offset(&message));
                    let record = from_message(&message, &mut self.buffer);
                    drop(message);
                    self.keep(at, record);
                }
            }
            let full =
                self.bytes >= log.options.batch_bytes || self.count() >= log.options.batch_records.max(1);
            if (full || self.ends.is_empty()) && !self.hand_over(chunks) {
                return;
            }
            // Only now: whoever takes them may have taken long.
            last = Instant::now();
        }
    }

    fn count(&self) -> usize {
        self.held.values().map(Vec::len).sum()
    }

    fn keep(&mut self, (partition, offset): (i32, i64), record: LogRecord) {
        let Some(end) = self.ends.get(&partition).copied() else { return };
        if offset < end {
            self.bytes += record.size();
            self.held.entry(partition).or_default().push(record);
        }
        if offset + 1 >= end {
            self.ends.remove(&partition);
            self.pause(partition);
        }
    }

    /// What comes later in a partition that is read to its end need not be fetched.
    fn pause(&self, partition: i32) {
        let mut ended = TopicPartitionList::new();
        ended.add_partition(&self.topic, partition);
        if let Err(error) = self.reader.pause(&ended) {
            tracing::debug!(%error, "what is not needed is fetched all the same");
        }
    }

    /// Returns whether the receiver still takes them.
    fn hand_over(&mut self, chunks: &mpsc::Sender<Result<ScanBatch>>) -> bool {
        self.bytes = 0;
        std::mem::take(&mut self.held).into_iter().all(|(partition, records)| {
            // Numbers of partitions are never negative.
            let partition = u32::try_from(partition).unwrap_or_default();
            chunks.blocking_send(Ok(ScanBatch { partition, records })).is_ok()
        })
    }
}

/// Where the partitions end that hold anything.
fn ends(reader: &Observer, topic: &str) -> Result<BTreeMap<i32, i64>> {
    let metadata = reader.fetch_metadata(Some(topic), QUESTION).map_err(from_kafka)?;
    let found = metadata.topics().iter().flat_map(MetadataTopic::partitions);
    let mut ends = BTreeMap::new();
    for partition in found.map(MetadataPartition::id) {
        let (low, high) = reader.fetch_watermarks(topic, partition, QUESTION).map_err(from_kafka)?;
        if low < high {
            ends.insert(partition, high);
        }
    }
    Ok(ends)
}
