//! The delivery of events to the queue of the source: batches of records, gaps and ends of
//! partitions. While the queue is full, the partitions are paused.
//!
//! The events of a partition are queued in the order of their offsets: a gap or an end follows the
//! records before it, so the incomplete batch of its partition is queued first. Events of a
//! partition that the member no longer owns are discarded.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use shop_core::log::{Batch, CommitOffset, Gap, LogRecord, Partition, SourceEvent};

use crate::number::unsigned;
use crate::source::member::{Consumer, Member};
use crate::source::pending::{BatchBuilder, Pending};
use crate::source::positions::PassedEnd;

/// The maximum duration of a poll, after which the thread checks whether the source was closed.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// The poll timeout while partitions are paused. A poll returns no record then, but is needed to
/// stay in the group.
const PAUSED_POLL_TIMEOUT: Duration = Duration::from_millis(20);
/// How long the thread waits for room in the queue before it pauses the partitions. A pause
/// discards librdkafka's prefetched records and costs about 250 ms after the resume, so short
/// stalls of the store should not cause one. A rebalance is delayed by up to this time.
const PAUSE_AFTER: Duration = Duration::from_secs(1);

/// The size of an event without records in the queue.
const NO_RECORD_BYTES: usize = 0;

/// The delivery of events in one membership.
pub(super) struct Delivery {
    member: Arc<Member>,
    /// The batches that are not in the queue yet.
    pending: Pending,
    /// The index of the partition that the last record came from.
    last_partition: Option<u32>,
    /// Whether another batch fits in the queue, as of the last time that the thread used the queue.
    queue_has_room: bool,
    /// Whether the partitions are paused because the queue is full.
    is_paused: bool,
}

impl Delivery {
    /// Creates the delivery of a membership that has polled no record.
    pub(super) fn new(member: Arc<Member>) -> Self {
        Self {
            member,
            pending: Pending::default(),
            last_partition: None,
            queue_has_room: true,
            is_paused: false,
        }
    }

    /// Returns whether another batch fits in the queue, as of the last time that the thread used the
    /// queue.
    pub(super) fn queue_has_room(&self) -> bool {
        self.queue_has_room
    }

    /// Adds a record, which `copy_record` copies into a buffer, to the batch of its partition.
    /// Queues the batch if the record does not fit.
    pub(super) fn add_record(
        &mut self,
        partition: &Partition,
        copy_record: impl FnOnce(&mut BytesMut) -> LogRecord,
    ) {
        self.last_partition = Some(partition.index);
        let options = &self.member.log.options;
        if let Some(full_batch) = self.pending.add(partition, copy_record, options) {
            self.queue_batch(full_batch);
        }
    }

    /// Queues gaps, each after the records of its partition that are before the gap.
    pub(super) fn deliver_gaps(&mut self, gaps: impl IntoIterator<Item = Gap>) {
        for gap in gaps {
            self.deliver_gap(gap);
        }
    }

    /// Queues a gap, after the records of its partition that are before the gap.
    fn deliver_gap(&mut self, gap: Gap) {
        self.flush_partition(gap.partition.index);
        self.queue_if_owned(
            gap.partition.clone(),
            NO_RECORD_BYTES,
            SourceEvent::Gap(gap),
        );
    }

    /// Queues the end of `partition`, after the records and the gap before the end.
    pub(super) fn deliver_end(&mut self, partition: &Partition, end: PassedEnd) {
        self.flush_partition(partition.index);
        self.deliver_gaps(end.gap);
        let position = CommitOffset::new(partition.clone(), unsigned(end.next_offset));
        self.queue_if_owned(
            partition.clone(),
            NO_RECORD_BYTES,
            SourceEvent::PartitionEnd(position),
        );
    }

    /// Queues batches when no message is available that would make a batch larger.
    ///
    /// If the queue is empty, a caller may be waiting for a batch, so all batches are queued.
    /// Otherwise, those that are old enough are queued.
    pub(super) fn flush_without_message(&mut self) {
        let may_be_awaited = self.member.queue.is_empty();
        let min_age = if may_be_awaited {
            Duration::ZERO
        } else {
            self.member.log.options.batch_linger
        };
        let no_exception = None;
        self.flush_older_than(min_age, no_exception);
    }

    /// Queues the batches that are old enough, except the batch of the partition that the last
    /// record came from.
    ///
    /// librdkafka may return the messages of one partition for a long time. During this time, the
    /// batches of other partitions do not fill up. The batch of the last partition fills up soon.
    pub(super) fn flush_other_partitions(&mut self) {
        let linger = self.member.log.options.batch_linger;
        self.flush_older_than(linger, self.last_partition);
    }

    /// Queues batches that are at least `min_age` old, until the queue is full. Leaves out the batch
    /// of partition `except`.
    fn flush_older_than(&mut self, min_age: Duration, except: Option<u32>) {
        while self.queue_has_room
            && let Some(batch) = self.pending.pop_older_than(min_age, except)
        {
            self.queue_batch(batch);
        }
    }

    /// Queues the incomplete batch of partition `index`, if there is one.
    fn flush_partition(&mut self, index: u32) {
        if let Some(batch) = self.pending.take_batch(index) {
            self.queue_batch(batch);
        }
    }

    /// Queues a batch.
    fn queue_batch(&mut self, batch: BatchBuilder) {
        let batch = Batch::new(batch.partition, batch.records);
        self.queue_if_owned(
            batch.partition.clone(),
            batch.size(),
            SourceEvent::Batch(batch),
        );
    }

    /// Adds an event of `partition` to the queue, or discards the event if this member no longer
    /// owns the partition in this epoch.
    ///
    /// Does not wait for room, but notes whether another batch fits.
    fn queue_if_owned(&mut self, partition: Partition, bytes: usize, event: SourceEvent) {
        if self.member.owns(&partition) {
            self.queue_has_room = self.member.queue.push(partition, bytes, event);
        }
    }

    /// Returns how long the next poll waits for a message.
    ///
    /// While a batch is being built, the poll ends when the oldest batch must be delivered. If the
    /// queue is empty, a caller may wait for that batch, so the poll does not wait at all. Without
    /// a batch, or while the partitions are paused, the timeout is fixed.
    pub(super) fn poll_timeout(&self) -> Duration {
        if self.is_paused {
            return PAUSED_POLL_TIMEOUT;
        }
        let Some(oldest_batch_start) = self.pending.oldest_start() else {
            return POLL_TIMEOUT;
        };
        if self.member.queue.is_empty() {
            return Duration::ZERO;
        }
        let linger = self.member.log.options.batch_linger;
        linger.saturating_sub(oldest_batch_start.elapsed())
    }

    /// Pauses the assigned partitions if the queue is full, and resumes them if there is room
    /// again.
    ///
    /// Before a pause, waits for room for up to [`PAUSE_AFTER`]. Does not wait while the partitions
    /// are paused, because the thread must poll to stay in the group.
    pub(super) fn apply_backpressure(&mut self, consumer: &Consumer) {
        if self.is_paused
            && self
                .member
                .assigned_since_pause
                .swap(false, Ordering::AcqRel)
        {
            // Partitions that were assigned during the pause are not paused. All are resumed here,
            // and all are paused below if the queue is still full.
            self.resume_partitions(consumer);
        }
        if self.queue_has_room {
            return;
        }

        let queue = &self.member.queue;
        let timeout = if self.is_paused {
            Duration::ZERO
        } else {
            PAUSE_AFTER
        };
        self.queue_has_room = queue.wait_for_room(timeout);
        if self.queue_has_room {
            self.resume_partitions(consumer);
        } else if !queue.is_closed() {
            self.pause_partitions(consumer);
        }
    }

    /// Pauses the assigned partitions, unless they are paused. A failure is only logged.
    fn pause_partitions(&mut self, consumer: &Consumer) {
        if self.is_paused {
            return;
        }
        // Only partitions that are assigned after this pause need another one.
        self.member
            .assigned_since_pause
            .store(false, Ordering::Release);
        self.is_paused = true;
        tracing::debug!(log.group = %self.member.group, "queue full, partitions paused");
        let assignment = consumer.assignment();
        log_pause_failure(assignment.and_then(|list| consumer.pause(&list)));
    }

    /// Resumes the assigned partitions if they are paused. A failure is only logged.
    fn resume_partitions(&mut self, consumer: &Consumer) {
        if !self.is_paused {
            return;
        }
        self.is_paused = false;
        tracing::debug!(log.group = %self.member.group, "partitions resumed");
        let assignment = consumer.assignment();
        log_pause_failure(assignment.and_then(|list| consumer.resume(&list)));
    }
}

/// Logs the failure of a pause or resume, which needs no further action.
///
/// A failed pause is harmless, because librdkafka's queue is bounded. After a failed resume, the
/// partitions stay paused until the next resume, which follows the next pause.
fn log_pause_failure(result: Result<(), KafkaError>) {
    if let Err(error) = result {
        tracing::warn!(%error, "failed to pause or resume partitions");
    }
}
