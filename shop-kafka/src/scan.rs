//! Scans a topic to its current end, or follows it, in a separate thread and without a consumer group.
//!
//! ```text
//! caller                              thread `shop-kafka-scan`
//! scan ─────────── start ───────────▶ TopicScan::start: requests the offsets, assigns partitions
//!   ◀─ oneshot: offsets, or an error ─┤
//! stream ◀─ channel: one batch ────── TopicScan::run: polls the consumer, sends batches
//! ```
//!
//! The channel buffers a single batch, so a slow caller makes the thread wait. If the caller drops
//! the stream, the thread ends within one poll. A complete scan leaves its consumer to the next scan.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BlockingRetryable as _, ConstantBuilder};
use bytes::BytesMut;
use futures_util::{Stream, stream};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Offset, TopicPartitionList};
use shop_core::log::{LogRecord, LogTail, Offsets};
use shop_core::{ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};

use crate::client::{StandaloneConsumer, partitions, start_thread};
use crate::error::{from_kafka, kafka_error};
use crate::number::{int32, unsigned};
use crate::record::from_message;
use crate::shared::KafkaLogInner;
use crate::standalone::REQUEST_TIMEOUT;

/// A partition, and consecutive records of it.
pub(crate) type PartitionBatch = (u32, Vec<LogRecord>);

/// The maximum time without a record before a scan fails.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The timeout of a poll, after which the thread checks whether the scan was dropped.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// The maximum number of pauses, of the same length, until a partition has a leader: 10 s.
const MAX_ELECTION_PAUSES: usize = 100;

/// The records that a scan reads, out of the records that are in the topic when the scan starts.
#[derive(Debug)]
pub(crate) enum ScanRange {
    All,
    /// The records from these offsets on. If the topic was created again, the scan starts at its
    /// beginning.
    From(Offsets),
    /// The records from an offset to an end, by partition. The caller knows that the topic recently
    /// had these offsets, so the scan does not request the current ends.
    Between(OffsetRanges),
    /// The record at an offset of a partition, if the topic contains it.
    At(u32, u64),
    /// All records from these offsets on, and the records that are appended later. Such a scan has
    /// no end.
    Tail(Offsets),
}

/// For each partition, the offset from which it is read, and its end when the scan starts.
pub(crate) type OffsetRanges = BTreeMap<u32, (u64, u64)>;
/// For each partition, the number of offsets behind its stable end, which an open transaction holds
/// back.
pub(crate) type UnstableCounts = BTreeMap<u32, u64>;

impl ScanRange {
    /// Returns the first offset to read in a partition, and the offset to stop before.
    ///
    /// `low` is the first offset in the partition, and `high` is its end. There is nothing to read
    /// if the two returned offsets are equal.
    fn of(&self, partition: u32, low: u64, high: u64) -> (u64, u64) {
        match self {
            Self::All | Self::Between(_) => (low, high),
            Self::At(index, offset) if *index == partition => {
                ((*offset).max(low), offset.saturating_add(1).min(high))
            }
            Self::At(..) => (high, high),
            Self::From(start) | Self::Tail(start) => {
                (LogTail::start_offset(start, partition, low, high), high)
            }
        }
    }

    /// Returns whether the scan also reads records that are appended later, and so has no end.
    const fn follows(&self) -> bool {
        matches!(self, Self::Tail(_))
    }
}

/// Starts a scan of `topic` in a new thread, and returns its ranges and a stream of its records.
///
/// The [`OffsetRanges`] tell which offsets of each partition are read. The [`UnstableCounts`] are
/// filled for a range without an end only. The thread ends when the records are read or the stream
/// is dropped.
///
/// # Errors
/// - the error of the start, such as brokers that do not respond
/// - [`Internal`](ErrorKind::Internal) if the thread panicked before it started the scan
///
/// The stream ends with an [`Unavailable`](ErrorKind::Unavailable) error if no record arrives in
/// time, or if the topic is created again meanwhile.
pub(crate) async fn scan(
    log: &Arc<KafkaLogInner>,
    topic: &Arc<str>,
    range: ScanRange,
) -> Result<(
    (OffsetRanges, UnstableCounts),
    impl Stream<Item = Result<PartitionBatch>> + Send + use<>,
)> {
    let (started, starting) = oneshot::channel();
    // One batch is buffered while the next one is read.
    let (batches, mut received) = mpsc::channel(1);
    let log = Arc::clone(log);
    let topic = Arc::clone(topic);
    drop(start_thread(
        "shop-kafka-scan",
        move || match TopicScan::start(&log, topic, &range) {
            Err(error) => drop(started.send(Err(log.health.explain(error)))),
            Ok((scan, spans)) => {
                // The caller may be gone. `run` then finds the channel of batches closed.
                let _caller_gone = started.send(Ok(spans));
                scan.run(&log, &batches);
            }
        },
    )?);
    let aborted = |error| kafka_error(ErrorKind::Internal, "topic scan aborted").with_source(error);
    let spans = starting.await.map_err(aborted)??;
    Ok((
        spans,
        stream::poll_fn(move |context| received.poll_recv(context)),
    ))
}

/// The state of a scan, which its thread owns.
struct TopicScan {
    consumer: StandaloneConsumer,
    topic: Arc<str>,
    /// The end offsets of the partitions that are not completely read.
    ends: BTreeMap<u32, u64>,
    /// Whether the scan continues behind the ends, see [`ScanRange::follows`].
    follows: bool,
    /// Whether the scan reads only a few records, so that its client prefetches as few as possible.
    few: bool,
    /// The value of [`ClientHealth::topic_changes`](crate::client::ClientHealth::topic_changes) at
    /// the start. If the value changes, the records may come from another topic of this name.
    topic_changes: u64,
    /// Records that were read and not yet sent, and their size in bytes.
    buffered: BTreeMap<u32, Vec<LogRecord>>,
    bytes: usize,
    /// The memory from which the contents of the records are allocated.
    buffer: BytesMut,
}

impl TopicScan {
    /// Requests the offsets of `range`, and assigns its partitions to a consumer. Blocks.
    ///
    /// # Errors
    /// The errors of the requests to the brokers.
    fn start(
        log: &KafkaLogInner,
        topic: Arc<str>,
        range: &ScanRange,
    ) -> Result<(Self, (OffsetRanges, UnstableCounts))> {
        // Of a few records, the client should not fetch many more than these.
        let few = matches!(range, ScanRange::Between(_) | ScanRange::At(..));
        let topic_changes = log.health.topic_changes();
        let consumer = log.consumer(&topic, few)?;
        let mut assignment = TopicPartitionList::new();
        let mut ends = BTreeMap::new();
        let mut unstable = UnstableCounts::new();
        // The monitor's client reads uncommitted records, so it sees the ends behind open
        // transactions. These ends are requested before the stable ends, so a record that is
        // appended in between does not count as unstable.
        let unstable_ends = if range.follows() {
            spans(&log.monitor.admin.observer, &topic, &ScanRange::All)?
        } else {
            OffsetRanges::new()
        };
        let read = spans(&consumer, &topic, range)?;
        for (partition, (start, end)) in &read {
            let offset = Offset::Offset(start.cast_signed());
            assignment
                .add_partition_offset(&topic, int32(*partition), offset)
                .map_err(from_kafka)?;
            ends.insert(*partition, *end);
            if let Some((_, last)) = unstable_ends.get(partition).filter(|(_, last)| last > end) {
                unstable.insert(*partition, last - end);
            }
        }
        if !ends.is_empty() {
            consumer.assign(&assignment).map_err(from_kafka)?;
            // The consumer may come from an earlier scan, which has paused partitions that it had
            // read completely.
            consumer.resume(&assignment).map_err(from_kafka)?;
        }
        let follows = range.follows();
        let buffered = BTreeMap::new();
        let buffer = BytesMut::new();
        let scan = Self {
            consumer,
            topic,
            ends,
            follows,
            few,
            topic_changes,
            buffered,
            bytes: 0,
            buffer,
        };
        Ok((scan, (read, unstable)))
    }

    /// Sends batches until all partitions are read or the receiver is dropped.
    fn run(mut self, log: &KafkaLogInner, batches: &mpsc::Sender<Result<PartitionBatch>>) {
        let mut last_read = Instant::now();
        let mut last_error = None;
        let idle_timeout = if self.few {
            REQUEST_TIMEOUT
        } else {
            IDLE_TIMEOUT
        };
        while (self.follows || !self.ends.is_empty()) && !batches.is_closed() {
            // A follower sends the buffered records before it waits for more.
            let is_current = self.follows && self.bytes > 0;
            match self.consumer.poll(if is_current {
                Duration::ZERO
            } else {
                POLL_TIMEOUT
            }) {
                None if is_current => {
                    if !self.flush(batches) {
                        return;
                    }
                    continue;
                }
                None if self.follows || last_read.elapsed() < idle_timeout => continue,
                None => {
                    let message = "the topic scan is incomplete: no record was received in time";
                    let timed_out = || kafka_error(ErrorKind::Unavailable, message);
                    let error = log.health.explain(last_error.unwrap_or_else(timed_out));
                    // A dropped receiver ends the scan as well, so a failed send has no
                    // consequence.
                    return drop(batches.blocking_send(Err(error)));
                }
                Some(Err(KafkaError::PartitionEOF(_))) if self.follows => continue,
                // The partition may end before the expected end, for example because its last
                // offsets contain no records.
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.ends.remove(&unsigned::<u32>(partition));
                }
                // A wanted offset is not in the log, so the scan ends without its record.
                Some(Err(error)) if self.few && is_outside(&error) => self.ends.clear(),
                // librdkafka recovers by itself, or the scan times out.
                Some(Err(error)) => {
                    last_error = Some(from_kafka(error));
                    continue;
                }
                Some(Ok(_)) if log.health.topic_changes() != self.topic_changes => {
                    let message = "a topic was deleted and created again while it was read";
                    return drop(
                        batches.blocking_send(Err(kafka_error(ErrorKind::Unavailable, message))),
                    );
                }
                Some(Ok(message)) => {
                    let partition = unsigned(rdkafka::Message::partition(&message));
                    let record = from_message(&message, &mut self.buffer);
                    drop(message);
                    self.push(partition, record);
                }
            }
            let count: usize = self.buffered.values().map(Vec::len).sum();
            let full =
                self.bytes >= log.options.batch_bytes || count >= log.options.batch_records.max(1);
            if (full || (self.ends.is_empty() && !self.follows)) && !self.flush(batches) {
                return;
            }
            // The time is taken after the flush, because a slow receiver must not count as an idle
            // topic.
            last_read = Instant::now();
        }
        if self.ends.is_empty() && !self.follows {
            // A scan that was read to its end leaves its consumer to the next scan.
            log.keep(self.topic, self.few, self.consumer);
        }
    }

    /// Adds a record to the buffer, unless it is behind the end of its partition, and pauses a
    /// partition that is read completely.
    fn push(&mut self, partition: u32, record: LogRecord) {
        let next = record.offset + 1;
        let end = match self.ends.get(&partition) {
            _ if self.follows => u64::MAX,
            Some(end) => *end,
            None => return,
        };
        if next <= end {
            self.bytes += record.size();
            self.buffered.entry(partition).or_default().push(record);
        }
        if next >= end {
            self.ends.remove(&partition);
            // The client need not fetch later records of this partition.
            let mut ended = TopicPartitionList::new();
            ended.add_partition(&self.topic, int32(partition));
            if let Err(error) = self.consumer.pause(&ended) {
                tracing::debug!(%error, "failed to pause a completely read partition");
            }
        }
    }

    /// Sends the buffered records as one batch for each partition. Returns `false` if the receiver
    /// was dropped. Blocks while the receiver is slow.
    fn flush(&mut self, batches: &mpsc::Sender<Result<PartitionBatch>>) -> bool {
        self.bytes = 0;
        let buffered = std::mem::take(&mut self.buffered);
        buffered
            .into_iter()
            .all(|batch| batches.blocking_send(Ok(batch)).is_ok())
    }
}

/// Returns the first offset and the end of each partition that contains records of `range`. Blocks.
fn spans(consumer: &StandaloneConsumer, topic: &str, range: &ScanRange) -> Result<OffsetRanges> {
    if let ScanRange::Between(spans) = range {
        // The ends are not requested: the consumer stops where the log does.
        return Ok(spans.clone());
    }
    let mut spans = OffsetRanges::new();
    for partition in partitions(consumer.client(), topic, REQUEST_TIMEOUT)? {
        let (low, high) = watermarks(consumer, topic, partition)?;
        let index = unsigned(partition);
        let (start, end) = range.of(index, unsigned(low), unsigned(high));
        if start < end || range.follows() {
            spans.insert(index, (start, end));
        }
    }
    Ok(spans)
}

/// Returns whether `error` says that an offset or a partition to read is not in the log.
fn is_outside(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(Code::AutoOffsetReset | Code::UnknownPartition)
    )
}

/// Returns the watermarks of a partition: its first offset, and its end. Blocks.
///
/// While the partition has no leader, such as in a new topic, the request is repeated for up to 10
/// s.
fn watermarks(consumer: &StandaloneConsumer, topic: &str, partition: i32) -> Result<(i64, i64)> {
    let fetch = || consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT);
    let pauses = ConstantBuilder::new()
        .with_delay(POLL_TIMEOUT)
        .with_max_times(MAX_ELECTION_PAUSES);
    let has_no_leader = |error: &KafkaError| {
        let code = error.rdkafka_error_code();
        // The last is what librdkafka finds where it finds no leader.
        matches!(
            code,
            Some(Code::NotLeaderForPartition | Code::LeaderNotAvailable | Code::UnknownPartition)
        )
    };
    fetch
        .retry(pauses)
        .when(has_no_leader)
        .call()
        .map_err(from_kafka)
}
