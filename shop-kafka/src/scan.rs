//! Scans a topic to its current end, or follows it, in a separate thread and without a consumer
//! group.
//!
//! ```text
//! caller                              thread `shop-kafka-scan`
//! scan ─────────── start ───────────▶ TopicScan::start: requests the offsets, assigns partitions
//!   ◀─ oneshot: offsets, or an error ─┤
//! stream ◀─ channel: one batch ────── TopicScan::run: polls the consumer, sends batches
//! ```
//!
//! The channel buffers a single batch, so a slow caller makes the thread wait. If the caller drops
//! the stream, the thread ends within one poll. A complete scan leaves its consumer to the next
//! scan.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BlockingRetryable as _, ConstantBuilder};
use bytes::BytesMut;
use futures_util::{StreamExt as _, stream};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::{Offset, TopicPartitionList};
use shop_core::log::{LogRecord, LogScan, Offsets};
use shop_core::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, oneshot};

use crate::client::{StandaloneConsumer, fetch_partitions, start_thread};
use crate::error::{from_kafka, kafka_error};
use crate::number::{int32, unsigned};
use crate::record::from_message;
use crate::shared::KafkaLogInner;
use crate::standalone::{ConsumerKind, REQUEST_TIMEOUT};

/// The index of a partition, and consecutive records of this partition.
pub(crate) type PartitionBatch = (u32, Vec<LogRecord>);

/// The maximum time without a record before a scan fails.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The timeout of a poll, after which the thread checks whether the scan was dropped.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// The maximum number of pauses of [`POLL_TIMEOUT`] until a partition has a leader: 10 s in total.
const MAX_ELECTION_PAUSES: usize = 100;

/// The records that a scan reads, out of the records that are in the topic when the scan starts.
pub(crate) enum ScanRange {
    All,
    /// The records from these offsets on. If the topic was created again, the scan starts at its
    /// beginning.
    From(Offsets),
    /// The records from an offset to an end, by partition. The caller knows that the topic recently
    /// contained these offsets, so the scan does not request the current ends.
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
    /// Returns the first offset to read in `partition`, and the offset to stop before. If the two
    /// are equal, there is nothing to read.
    ///
    /// `low` is the first offset in the partition, and `high` is its end.
    fn bounds_in(&self, partition: u32, low: u64, high: u64) -> (u64, u64) {
        match self {
            Self::All | Self::Between(_) => (low, high),
            Self::At(index, offset) if *index == partition => {
                ((*offset).max(low), offset.saturating_add(1).min(high))
            }
            // The record is in another partition.
            Self::At(..) => (high, high),
            Self::From(start) | Self::Tail(start) => {
                (LogScan::start_offset(start, partition, low, high), high)
            }
        }
    }

    /// Returns whether the scan also reads records that are appended later, and so has no end.
    const fn is_endless(&self) -> bool {
        matches!(self, Self::Tail(_))
    }
}

/// A scan that was started, with a stream of its records.
pub(crate) struct StartedScan {
    /// For each partition, the offset from which it is read, and its end when the scan starts.
    pub(crate) ranges: OffsetRanges,
    /// The number of unstable offsets of each partition. The map is empty for a scan with an end.
    pub(crate) unstable: UnstableCounts,
    pub(crate) batches: stream::BoxStream<'static, Result<PartitionBatch>>,
}

/// Starts a scan of `topic` in a new thread.
///
/// The thread ends when the records are read or the stream of the scan is dropped.
///
/// # Errors
/// - the error of the start, such as brokers that do not respond
/// - [`Internal`](ErrorKind::Internal) if the thread panicked before it started the scan
///
/// The stream ends with an [`Unavailable`](ErrorKind::Unavailable) error if no record arrives in
/// time, or if the topic is created again during the scan.
pub(crate) async fn scan(
    log: &Arc<KafkaLogInner>,
    topic: &Arc<str>,
    range: ScanRange,
) -> Result<StartedScan> {
    let (offsets_sender, offsets_receiver) = oneshot::channel();
    // One batch is buffered while the next one is read.
    let buffered_batches = 1;
    let (batch_sender, mut batch_receiver) = mpsc::channel(buffered_batches);
    let log = Arc::clone(log);
    let topic = Arc::clone(topic);
    start_thread("shop-kafka-scan", move || {
        match TopicScan::start(&log, topic, &range) {
            Ok((scan, ranges, unstable)) => {
                // If the caller is gone, `run` finds the channel of batches closed, and returns.
                let _result = offsets_sender.send(Ok((ranges, unstable)));
                scan.run(&log, &batch_sender);
            }
            Err(error) => drop(offsets_sender.send(Err(log.health.explain(error)))),
        }
    })?;

    let (ranges, unstable) = offsets_receiver.await.map_err(|error| {
        kafka_error(ErrorKind::Internal, "topic scan aborted").with_source(error)
    })??;
    Ok(StartedScan {
        ranges,
        unstable,
        batches: stream::poll_fn(move |context| batch_receiver.poll_recv(context)).boxed(),
    })
}

/// The state of a scan, which its thread owns.
struct TopicScan {
    consumer: StandaloneConsumer,
    topic: Arc<str>,
    /// The end offsets of the partitions that are not completely read.
    end_offsets: BTreeMap<u32, u64>,
    /// Whether the scan continues behind the ends, see [`ScanRange::is_endless`].
    is_endless: bool,
    consumer_kind: ConsumerKind,
    /// The value of [`ClientHealth::topic_changes`](crate::client::ClientHealth::topic_changes) at
    /// the start. If the value changes, the records may come from another topic of this name.
    topic_changes: u64,
    /// The records that were read and not sent yet, by partition.
    buffered: BTreeMap<u32, Vec<LogRecord>>,
    /// The size of the buffered records, in bytes.
    buffered_bytes: usize,
    /// The memory from which the contents of the records are allocated.
    content_memory: BytesMut,
}

impl TopicScan {
    /// Requests the offsets of `range`, and assigns its partitions to a consumer. Blocks.
    ///
    /// Returns the scan with the offsets that it reads, and with the numbers of unstable offsets of
    /// a range without an end.
    ///
    /// # Errors
    /// The errors of the requests to the brokers.
    fn start(
        log: &KafkaLogInner,
        topic: Arc<str>,
        range: &ScanRange,
    ) -> Result<(Self, OffsetRanges, UnstableCounts)> {
        let consumer_kind = match range {
            ScanRange::Between(_) | ScanRange::At(..) => ConsumerKind::FewRecords,
            ScanRange::All | ScanRange::From(_) | ScanRange::Tail(_) => ConsumerKind::General,
        };
        let topic_changes = log.health.topic_changes();
        let consumer = log.take_consumer(&topic, consumer_kind)?;

        // The monitor's client reads uncommitted records, so it sees the ends behind open
        // transactions. The unstable ends are requested before the stable ones. In this order, a
        // record that is appended between the two requests does not count as unstable.
        let unstable_ends = if range.is_endless() {
            request_ranges(&log.monitor.admin.metadata_client, &topic, &ScanRange::All)?
        } else {
            OffsetRanges::new()
        };
        let ranges = request_ranges(&consumer, &topic, range)?;

        let unstable = count_unstable(&ranges, &unstable_ends);
        assign(&consumer, &topic, &ranges)?;
        let end_offsets = ranges
            .iter()
            .map(|(partition, (_, end))| (*partition, *end))
            .collect();
        let scan = Self {
            consumer,
            topic,
            end_offsets,
            is_endless: range.is_endless(),
            consumer_kind,
            topic_changes,
            buffered: BTreeMap::new(),
            buffered_bytes: 0,
            content_memory: BytesMut::new(),
        };
        Ok((scan, ranges, unstable))
    }

    /// Polls records and sends them as batches until all partitions are read, an error ends the
    /// scan, or the receiver is dropped. Sends the error before it returns.
    fn run(mut self, log: &KafkaLogInner, batches: &mpsc::Sender<Result<PartitionBatch>>) {
        let mut last_read_at = Instant::now();
        let mut last_error = None;
        let idle_timeout = match self.consumer_kind {
            ConsumerKind::FewRecords => REQUEST_TIMEOUT,
            ConsumerKind::General => IDLE_TIMEOUT,
        };
        while !self.is_complete() && !batches.is_closed() {
            // An endless scan sends the buffered records before it waits for more.
            let must_flush = self.is_endless && self.buffered_bytes > 0;
            let timeout = if must_flush {
                Duration::ZERO
            } else {
                POLL_TIMEOUT
            };
            match self.poll(log, timeout) {
                Polled::Progress => {}
                Polled::Nothing if must_flush => {
                    if !self.flush(batches) {
                        return;
                    }
                    continue;
                }
                // No record arrived yet.
                Polled::Nothing if self.is_endless || last_read_at.elapsed() < idle_timeout => {
                    continue;
                }
                Polled::Nothing => {
                    let message = "the topic scan is incomplete: no record was received in time";
                    let error =
                        last_error.unwrap_or_else(|| kafka_error(ErrorKind::Unavailable, message));
                    // The send fails only if the receiver was dropped. The scan ends either way.
                    return drop(batches.blocking_send(Err(log.health.explain(error))));
                }
                Polled::EndSoFar => continue,
                // librdkafka recovers by itself. If it does not, the scan times out with this
                // error.
                Polled::Failure(error) => {
                    last_error = Some(error);
                    continue;
                }
                Polled::OtherTopic => {
                    let message = "a topic was deleted and created again while it was read";
                    let error = kafka_error(ErrorKind::Unavailable, message);
                    return drop(batches.blocking_send(Err(error)));
                }
            }

            let record_count: usize = self.buffered.values().map(Vec::len).sum();
            let is_full = self.buffered_bytes >= log.options.batch_bytes
                || record_count >= log.options.batch_records.max(1);
            if (is_full || self.is_complete()) && !self.flush(batches) {
                return;
            }
            // The time is taken after the flush, so that the time of a slow receiver does not count
            // as idle.
            last_read_at = Instant::now();
        }

        if self.is_complete() {
            // A scan that was read to its end leaves its consumer to the next scan.
            log.return_consumer(self.topic, self.consumer_kind, self.consumer);
        }
    }

    /// Polls once, for at most `timeout`. Buffers a record, and notes the end of a partition.
    fn poll(&mut self, log: &KafkaLogInner, timeout: Duration) -> Polled {
        match self.consumer.poll(timeout) {
            None => Polled::Nothing,
            // More records may be appended.
            Some(Err(KafkaError::PartitionEOF(_))) if self.is_endless => Polled::EndSoFar,
            // The partition may end before the expected end, for example because its last offsets
            // contain no records.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                self.end_offsets.remove(&unsigned::<u32>(partition));
                Polled::Progress
            }
            // A requested offset is not in the log, so the scan ends without its record. Only a
            // consumer for a few records reports this as an error.
            Some(Err(error))
                if self.consumer_kind == ConsumerKind::FewRecords && is_outside_log(&error) =>
            {
                self.end_offsets.clear();
                Polled::Progress
            }
            Some(Err(error)) => Polled::Failure(from_kafka(error)),
            Some(Ok(_)) if log.health.topic_changes() != self.topic_changes => Polled::OtherTopic,
            Some(Ok(message)) => {
                let partition = unsigned(rdkafka::Message::partition(&message));
                let record = from_message(&message, &mut self.content_memory);
                drop(message);
                self.buffer_record(partition, record);
                Polled::Progress
            }
        }
    }

    /// Returns whether all partitions are read to their ends. An endless scan is never complete.
    fn is_complete(&self) -> bool {
        self.end_offsets.is_empty() && !self.is_endless
    }

    /// Adds a record to the buffer, unless the record is behind the end of its partition. Pauses a
    /// partition that is read completely.
    fn buffer_record(&mut self, partition: u32, record: LogRecord) {
        let next_offset = record.offset + 1;
        let end_offset = if self.is_endless {
            u64::MAX
        } else if let Some(end_offset) = self.end_offsets.get(&partition) {
            *end_offset
        } else {
            // The partition is read completely, and the record was appended since the start.
            return;
        };
        if next_offset <= end_offset {
            self.buffered_bytes += record.size();
            self.buffered.entry(partition).or_default().push(record);
        }
        if next_offset >= end_offset {
            self.end_offsets.remove(&partition);
            // The client need not fetch later records of this partition.
            let mut paused_partitions = TopicPartitionList::new();
            paused_partitions.add_partition(&self.topic, int32(partition));
            if let Err(error) = self.consumer.pause(&paused_partitions) {
                tracing::debug!(%error, "failed to pause a completely read partition");
            }
        }
    }

    /// Sends the buffered records as one batch for each partition. Returns whether the receiver
    /// still exists. Blocks while the receiver is slow.
    fn flush(&mut self, batches: &mpsc::Sender<Result<PartitionBatch>>) -> bool {
        self.buffered_bytes = 0;
        for batch in std::mem::take(&mut self.buffered) {
            if batches.blocking_send(Ok(batch)).is_err() {
                return false;
            }
        }
        true
    }
}

/// What one poll of a scan returned.
enum Polled {
    /// A record was buffered, or a partition was read to its end.
    Progress,
    /// No record arrived within the timeout.
    Nothing,
    /// A partition of an endless scan has no further record now.
    EndSoFar,
    /// librdkafka reported an error, and tries again.
    Failure(Error),
    /// The record may come from another topic of the same name.
    OtherTopic,
}

/// Assigns the partitions of `ranges` to `consumer`, each from its first offset.
fn assign(consumer: &StandaloneConsumer, topic: &str, ranges: &OffsetRanges) -> Result<()> {
    let mut assignment = TopicPartitionList::new();
    for (partition, (start, _)) in ranges {
        let offset = Offset::Offset(start.cast_signed());
        assignment
            .add_partition_offset(topic, int32(*partition), offset)
            .map_err(from_kafka)?;
    }
    if ranges.is_empty() {
        return Ok(());
    }
    consumer.assign(&assignment).map_err(from_kafka)?;
    // The consumer may come from an earlier scan, which paused the partitions that it read
    // completely.
    consumer.resume(&assignment).map_err(from_kafka)
}

/// Returns the number of offsets behind the end of each partition in `ranges`, up to its end in
/// `unstable_ends`.
fn count_unstable(ranges: &OffsetRanges, unstable_ends: &OffsetRanges) -> UnstableCounts {
    let mut unstable = UnstableCounts::new();
    for (partition, (_, end)) in ranges {
        if let Some((_, unstable_end)) = unstable_ends.get(partition)
            && unstable_end > end
        {
            unstable.insert(*partition, unstable_end - end);
        }
    }
    unstable
}

/// Requests the first offset and the end of each partition that contains records of `range`.
/// Returns the offsets to read, by partition. Blocks.
fn request_ranges(
    consumer: &StandaloneConsumer,
    topic: &str,
    range: &ScanRange,
) -> Result<OffsetRanges> {
    if let ScanRange::Between(ranges) = range {
        // The current ends are not needed: the consumer also stops at the end of the log.
        return Ok(ranges.clone());
    }

    let mut ranges = OffsetRanges::new();
    for partition in fetch_partitions(consumer.client(), topic, REQUEST_TIMEOUT)? {
        let (low, high) = watermarks(consumer, topic, partition)?;
        let index = unsigned(partition);
        let (start, end) = range.bounds_in(index, unsigned(low), unsigned(high));
        if start < end || range.is_endless() {
            ranges.insert(index, (start, end));
        }
    }
    Ok(ranges)
}

/// Returns whether `error` says that an offset or a partition to read is not in the log.
fn is_outside_log(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(Code::AutoOffsetReset | Code::UnknownPartition)
    )
}

/// Returns the watermarks of a partition: its first offset, and its end. Blocks.
///
/// While the partition has no leader, such as in a new topic, the request is repeated for up to
/// 10 s.
fn watermarks(consumer: &StandaloneConsumer, topic: &str, partition: i32) -> Result<(i64, i64)> {
    let fetch = || consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT);
    let pauses = ConstantBuilder::new()
        .with_delay(POLL_TIMEOUT)
        .with_max_times(MAX_ELECTION_PAUSES);
    fetch
        .retry(pauses)
        .when(has_no_leader)
        .call()
        .map_err(from_kafka)
}

/// Returns whether `error` says that a partition has no leader.
fn has_no_leader(error: &KafkaError) -> bool {
    // librdkafka returns `UnknownPartition` if it knows no leader of the partition.
    matches!(
        error.rdkafka_error_code(),
        Some(Code::NotLeaderForPartition | Code::LeaderNotAvailable | Code::UnknownPartition)
    )
}
