//! The reader thread: joins the group, polls, builds batches, pauses while the queue is full, and leaves the group.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use shop_core::log::{Batch, Gap, SourceEvent};
use shop_core::{Error, ErrorKind, Result};

use super::member::{Consumer, Member};
use super::pending::{BatchBuilder, BatchLimits, Pending};
use super::positions::{Arrival, Positions};
use crate::client::lock;
use crate::error::{from_code, from_kafka, kafka_error};
use crate::record::from_message;
use crate::topic::check_served;

pub(super) struct Reader {
    member: Arc<Member>,
    pending: Pending,
    limits: BatchLimits,
    /// The partition of the last record.
    current: Option<u32>,
    positions: Positions,
    /// Whether the queue has room for another batch.
    has_room: bool,
    /// Whether the partitions are paused.
    paused: bool,
    /// When to check the connection to Kafka, after a connection error.
    check_at: Option<Instant>,
    /// How often topics had been created again when the membership began.
    topic_changes: u64,
}

/// The maximum duration of a poll, after which the thread checks whether the source was closed.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// The poll timeout while partitions are paused. These polls only maintain the membership.
const PAUSED_POLL_TIMEOUT: Duration = Duration::from_millis(20);
/// How long the thread waits for room in the queue before it pauses the partitions. A pause discards librdkafka's
/// prefetched records and costs about 250 ms after the resume, so short stalls of the store should not cause one. A
/// rebalance is delayed by up to this time.
const PAUSE_AFTER: Duration = Duration::from_secs(1);
/// How often a lasting error is reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// The timeout of a connection check.
const CHECK_TIMEOUT: Duration = Duration::from_millis(500);
/// The maximum number of messages between two checks of the clock and the queue: a few microseconds of work.
const MAX_MESSAGES: usize = 64;
/// How often the thread checks whether the topic exists.
const TOPIC_CHECK_INTERVAL: Duration = Duration::from_millis(10);

impl Reader {
    pub(super) fn new(member: Arc<Member>) -> Self {
        let options = &member.log.options;
        let limits = BatchLimits {
            max_records: options.batch_records,
            max_bytes: options.batch_bytes,
        };
        Self {
            member,
            pending: Pending::default(),
            limits,
            current: None,
            positions: Positions::default(),
            has_room: true,
            paused: false,
            check_at: None,
            topic_changes: 0,
        }
    }

    /// Reads until the source is closed.
    pub(super) fn run(mut self, consumer: Arc<Consumer>) {
        let mut consumer = Some(consumer);
        let mut backoff = RejoinBackoff::default();
        while !self.member.queue.is_closed() {
            let started = Instant::now();
            let created = consumer
                .take()
                .map_or_else(|| Member::create_consumer(&self.member), Ok);
            let ended = created.and_then(|consumer| {
                let read = self.join(&consumer).and_then(|()| self.read(&consumer));
                self.leave(consumer);
                read
            });
            if let Err(error) = ended {
                let pause = backoff.pause(started.elapsed());
                tracing::error!(log.group = %self.member.group, error = %error.chain(), ?pause, "group membership ended, rejoining after a pause");
                self.back_off(&error, pause);
            }
        }
    }

    /// Waits for `pause`, and reports `error` repeatedly: without it, the source would look healthy.
    fn back_off(&self, error: &Error, pause: Duration) {
        let queue = &self.member.queue;
        let until = Instant::now() + pause;
        while !queue.is_closed() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return queue.clear_error();
            }
            queue.set_error(error.clone());
            queue.wait_for_close(left.min(REPORT_INTERVAL));
        }
    }

    /// Ends the membership. Commits nothing.
    fn leave(&mut self, consumer: Arc<Consumer>) {
        self.member.lose(&self.member.owned());
        // Waits for a commit in flight, and prevents further commits with this consumer.
        *lock(&self.member.committing) = Weak::new();
        let log = &self.member.log;
        let is_created_again = self.member.topic_id() != log.health.topic_id(&log.topic.name);
        (self.pending, self.positions) =
            (Pending::default(), self.positions.ended(is_created_again));
        self.has_room = true;
        self.paused = false;
        drop(consumer);
    }

    /// Joins the group once the topic exists: librdkafka only rarely retries a topic that was missing at first.
    fn join(&self, consumer: &Consumer) -> Result<()> {
        let log = &self.member.log;
        let queue = &self.member.queue;
        let mut reported_at = None::<Instant>;
        while !queue.is_closed() {
            let ready = log
                .topic
                .state()
                .map(|known| known.and_then(|_| log.monitor.cluster()));
            if let Some(Ok(_)) = ready {
                return consumer.subscribe(&[&log.topic.name]).map_err(from_kafka);
            }
            if let Some(Err(error)) = ready
                && reported_at.is_none_or(|at| at.elapsed() > REPORT_INTERVAL)
            {
                reported_at = Some(Instant::now());
                queue.set_error(error);
            }
            queue.wait_for_close(TOPIC_CHECK_INTERVAL);
            // No records yet: the poll delivers log lines and errors.
            drop(consumer.poll(Duration::ZERO));
        }
        Ok(())
    }

    /// Polls until the source is closed. An error ends the membership.
    fn read(&mut self, consumer: &Consumer) -> Result<()> {
        self.topic_changes = self.member.log.health.topic_changes();
        *lock(&self.member.topic_id) = None;
        while !self.member.queue.is_closed() {
            // `join` waits until it is accepted.
            if let Some(error) = self.member.log.topic.refusal() {
                return Err(error);
            }
            self.apply_backpressure(consumer);
            self.check_connectivity(consumer);
            let are_new = self.member.unchecked.swap(false, Ordering::AcqRel);
            let member = &(&*self.member, consumer);
            for gap in self
                .positions
                .check_assigned(member, are_new, || self.member.owned())
            {
                self.put_gap(gap);
            }
            self.take_messages(consumer)?;
        }
        Ok(())
    }

    /// Waits for a message, and takes what lies ready behind it, as far as there is room: many messages for one look at
    /// the clock and at what others want.
    fn take_messages(&mut self, consumer: &Consumer) -> Result<()> {
        let linger = self.member.log.options.batch_linger;
        let mut timeout = self.poll_timeout();
        for _ in 0..=MAX_MESSAGES {
            match consumer.poll(timeout) {
                Some(Ok(message)) => self.add(consumer, &message)?,
                Some(Err(error)) => return self.handle_error(consumer, error),
                None => {
                    // As no message is available, a caller that waits gets all batches.
                    let is_awaited = self.member.queue.is_empty();
                    self.flush_older_than(if is_awaited { Duration::ZERO } else { linger }, None);
                    break;
                }
            }
            if !self.has_room {
                break;
            }
            timeout = Duration::ZERO;
        }
        // A partition that is read without end does not hold up the others; it fills a batch of its own soon.
        self.flush_older_than(linger, self.current);
        Ok(())
    }

    /// Pauses the assigned partitions while the queue is full, and resumes them when it has room.
    fn apply_backpressure(&mut self, consumer: &Consumer) {
        if self.paused && self.member.assigned.swap(false, Ordering::AcqRel) {
            // Newly assigned partitions are not paused: resume all, then pause all if the queue is still full.
            self.resume(consumer);
        }
        if self.has_room {
            return;
        }
        let queue = &self.member.queue;
        self.has_room = queue.wait_for_room(if self.paused {
            Duration::ZERO
        } else {
            PAUSE_AFTER
        });
        if self.has_room {
            self.resume(consumer);
        } else if !self.paused && !queue.is_closed() {
            self.member.assigned.store(false, Ordering::Release);
            self.paused = true;
            tracing::debug!(log.group = %self.member.group, "queue full, partitions paused");
            log_failure(consumer.assignment().and_then(|list| consumer.pause(&list)));
        }
    }

    fn resume(&mut self, consumer: &Consumer) {
        if std::mem::take(&mut self.paused) {
            tracing::debug!(log.group = %self.member.group, "partitions resumed");
            log_failure(
                consumer
                    .assignment()
                    .and_then(|list| consumer.resume(&list)),
            );
        }
    }

    /// Returns the timeout of the next poll.
    fn poll_timeout(&self) -> Duration {
        if self.paused {
            return PAUSED_POLL_TIMEOUT;
        }
        let Some(oldest) = self.pending.oldest() else {
            return POLL_TIMEOUT;
        };
        if self.member.queue.is_empty() {
            return Duration::ZERO;
        }
        self.member
            .log
            .options
            .batch_linger
            .saturating_sub(oldest.elapsed())
    }

    /// Adds a record to its batch, after the gap before it. An error ends the membership.
    fn add(&mut self, consumer: &Consumer, message: &BorrowedMessage<'_>) -> Result<()> {
        self.check_at = None;
        if self.member.log.health.topic_changes() != self.topic_changes {
            // The next membership compares its positions with the topic that there is now.
            return Err(kafka_error(
                ErrorKind::Unavailable,
                "the topic was deleted and created again",
            ));
        }
        let Ok(index) = u32::try_from(message.partition()) else {
            return Ok(());
        };
        // A partition without an epoch has just been revoked.
        let Some(epoch) = self.member.deliver(index, message.offset()) else {
            return Ok(());
        };
        let arrival =
            self.positions
                .arrive(&(&*self.member, consumer), index, epoch, message.offset())?;
        let (epoch, gap) = match arrival {
            Arrival::InOrder(gap) => (epoch, gap),
            Arrival::TooEarly(gap) => {
                gap.into_iter().for_each(|gap| self.put_gap(gap));
                return Ok(());
            }
            Arrival::Backwards => self.restart(consumer, index, epoch, message.offset())?,
        };
        if let Some(gap) = gap {
            self.put_gap(gap);
        }
        self.current = Some(index);
        let full = self.pending.add(
            index,
            epoch,
            |buffer| from_message(message, buffer),
            self.limits,
        );
        if let Some(batch) = full {
            self.put(index, batch);
        }
        Ok(())
    }

    /// Offsets increase, unless the log was truncated or recreated; librdkafka then resets its position. The committed
    /// offset may have to go back as well, so the partition gets a new epoch. Returns it, and the gap.
    fn restart(
        &mut self,
        consumer: &Consumer,
        index: u32,
        epoch: u64,
        offset: i64,
    ) -> Result<(u64, Option<Gap>)> {
        tracing::warn!(log.group = %self.member.group, log.partition = index, log.offset = offset, "offsets went backwards: log truncated or recreated");
        self.member.lose(&[(index, epoch)]);
        let epoch = self.member.own(std::iter::once(index));
        let gap = self
            .positions
            .restart(&(&*self.member, consumer), index, epoch, offset)?;
        Ok((epoch, gap))
    }

    /// Delivers a gap, after the records before it.
    fn put_gap(&mut self, gap: Gap) {
        let index = gap.partition.index;
        if let Some(batch) = self.pending.take(index) {
            self.put(index, batch);
        }
        if self.member.epoch(index) == Some(gap.partition.epoch) {
            self.has_room = self
                .member
                .queue
                .put(gap.partition.clone(), 0, SourceEvent::Gap(gap));
        }
    }

    /// Delivers batches that are at least `linger` old, except that of partition `except`.
    fn flush_older_than(&mut self, linger: Duration, except: Option<u32>) {
        while self.has_room
            && let Some((index, batch)) = self.pending.pop(linger, except)
        {
            self.put(index, batch);
        }
    }

    fn put(&mut self, index: u32, batch: BatchBuilder) {
        if self.member.epoch(index) != Some(batch.epoch) {
            return;
        }
        if let Some(partition) = self.member.partition(index, batch.epoch) {
            let batch = Batch::new(partition.clone(), batch.records);
            self.has_room =
                self.member
                    .queue
                    .put(partition, batch.size(), SourceEvent::Batch(batch));
        }
    }

    /// Handles an error of a poll. Returns an error if it ends the membership.
    fn handle_error(&mut self, consumer: &Consumer, error: KafkaError) -> Result<()> {
        if let KafkaError::PartitionEOF(_) = error {
            return Ok(());
        }
        if let Some((code, reason)) = consumer.client().fatal_error() {
            return Err(from_code(code).with_context("reason", reason));
        }
        let error = from_kafka(error);
        if error.kind() == ErrorKind::Unavailable {
            // The loss of one broker is not an error while others serve.
            self.check_at.get_or_insert_with(Instant::now);
        } else {
            self.member
                .queue
                .set_error(self.member.log.health.explain(error));
        }
        Ok(())
    }

    /// After a connection error, checks periodically whether Kafka is available, and reports if it is not.
    fn check_connectivity(&mut self, consumer: &Consumer) {
        if self.check_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        let log = &self.member.log;
        match check_served(consumer, &log.health, &log.topic.name, CHECK_TIMEOUT) {
            Ok(()) => {
                self.member.queue.clear_error();
                self.check_at = None;
            }
            Err(error) => {
                self.member.queue.set_error(log.health.explain(error));
                self.check_at = Some(Instant::now() + REPORT_INTERVAL);
            }
        }
    }
}

/// Closes the queue even if the reader thread panics.
impl Drop for Reader {
    fn drop(&mut self) {
        self.member.queue.close();
    }
}

/// A failed pause is harmless, because librdkafka's queue is bounded. A failed resume is retried with the next pause.
fn log_failure(result: Result<(), KafkaError>) {
    if let Err(error) = result {
        tracing::warn!(%error, "failed to pause or resume partitions");
    }
}

/// Exponential backoff between memberships. Two members with the same instance id evict each other whenever one
/// joins. Longer pauses leave more time to consume in between.
#[derive(Debug, Default)]
struct RejoinBackoff {
    last: Option<Duration>,
}

const INITIAL_PAUSE: Duration = Duration::from_secs(3);
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// A membership of this duration resets the backoff. If another member with the same id evicts this one, it does so
/// earlier: after at most the maximum pause.
const STABLE_AFTER: Duration = Duration::from_secs(90);

impl RejoinBackoff {
    /// Returns the pause after a membership that has `lasted` this long.
    fn pause(&mut self, lasted: Duration) -> Duration {
        let before = self.last.filter(|_| lasted < STABLE_AFTER);
        let pause = before.map_or(INITIAL_PAUSE, |before| (before * 2).min(MAX_PAUSE));
        self.last = Some(pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_doubles_until_a_membership_is_stable() {
        let mut backoff = RejoinBackoff::default();
        let pauses: Vec<_> = (0..6)
            .map(|_| backoff.pause(INITIAL_PAUSE).as_secs())
            .collect();
        assert_eq!(pauses, [3, 6, 12, 24, 30, 30]);
        assert_eq!(backoff.pause(MAX_PAUSE), MAX_PAUSE, "not stable yet");
        assert_eq!(backoff.pause(STABLE_AFTER), INITIAL_PAUSE);
        assert_eq!(backoff.pause(Duration::ZERO), INITIAL_PAUSE * 2);
    }
}
