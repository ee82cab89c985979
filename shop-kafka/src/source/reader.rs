//! The reader thread: joins the group, polls, builds batches, pauses while the queue is full, and leaves the group.
//!
//! ```text
//! run ── run_membership ── join_group
//!                       ├─ read: until the source is closed, or an error ends the membership
//!                       │    apply_backpressure, check_connectivity, check of assigned partitions,
//!                       │    handle_messages ── handle_message ── deliver_gaps, deliver_batch
//!                       └─ leave_group
//! ```
//!
//! Rebalances are handled within a poll, see [`rebalance`](super::rebalance).

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
use super::membership::OwnedPartition;
use super::pending::{BatchBuilder, BatchLimits, Pending};
use super::positions::{Arrival, Positions};
use crate::client::lock;
use crate::error::{from_code, from_kafka, kafka_error};
use crate::record::from_message;
use crate::topic::check_served;

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

/// The state of the reader thread.
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
    /// The number of times that topics had been created again when the membership began.
    topic_changes: u64,
}

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

    /// Runs one membership after the other until the source is closed. The first membership uses `consumer`.
    pub(super) fn run(mut self, consumer: Arc<Consumer>) {
        let mut consumer = Some(consumer);
        let mut backoff = RejoinBackoff::default();
        while !self.member.queue.is_closed() {
            let started = Instant::now();
            if let Err(error) = self.run_membership(consumer.take()) {
                let pause = backoff.pause(started.elapsed());
                tracing::error!(log.group = %self.member.group, error = %error.chain(), ?pause, "group membership ended, rejoining after a pause");
                self.back_off(&error, pause);
            }
        }
    }

    /// Joins the group, reads until the source is closed, and leaves the group. Creates a consumer if none is given.
    ///
    /// # Errors
    /// The error that ended the membership.
    fn run_membership(&mut self, consumer: Option<Arc<Consumer>>) -> Result<()> {
        let consumer = match consumer {
            Some(consumer) => consumer,
            None => Member::create_consumer(&self.member)?,
        };
        let mut result = self.join_group(&consumer);
        if result.is_ok() {
            result = self.read(&consumer);
        }
        self.leave_group(consumer);
        result
    }

    /// Waits for `pause`, and reports `error` repeatedly: without the reports, the source would look healthy.
    fn back_off(&self, error: &Error, pause: Duration) {
        let queue = &self.member.queue;
        let deadline = Instant::now() + pause;
        while !queue.is_closed() {
            let remaining = deadline.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return queue.clear_error();
            }
            queue.set_error(error.clone());
            queue.wait_for_close(remaining.min(REPORT_INTERVAL));
        }
    }

    /// Ends the membership, without a commit.
    fn leave_group(&mut self, consumer: Arc<Consumer>) {
        self.member.release_lost(&self.member.owned_partitions());
        // Waits for a commit in flight, and prevents further commits with this consumer.
        *lock(&self.member.commit_consumer) = Weak::new();

        let log = &self.member.log;
        let is_topic_recreated = self.member.topic_id() != log.health.topic_id(&log.topic.name);
        self.positions.reset(is_topic_recreated);
        self.pending = Pending::default();
        self.has_room = true;
        self.paused = false;
        // Closes the consumer, which leaves the group.
        drop(consumer);
    }

    /// Joins the group once the topic exists: librdkafka only rarely retries a topic that was missing at first.
    fn join_group(&self, consumer: &Consumer) -> Result<()> {
        let log = &self.member.log;
        let queue = &self.member.queue;
        let mut reported_at: Option<Instant> = None;
        while !queue.is_closed() {
            let topic_state = log.topic.state();
            let readiness = topic_state.map(|state| state.and_then(|_| log.monitor.cluster()));
            match readiness {
                Some(Ok(_)) => return consumer.subscribe(&[&log.topic.name]).map_err(from_kafka),
                Some(Err(error)) if reported_at.is_none_or(|at| at.elapsed() > REPORT_INTERVAL) => {
                    reported_at = Some(Instant::now());
                    queue.set_error(error);
                }
                _ => {}
            }

            queue.wait_for_close(TOPIC_CHECK_INTERVAL);
            // Without a subscription there is no record to return: the poll delivers log lines and errors.
            drop(consumer.poll(Duration::ZERO));
        }
        Ok(())
    }

    /// Reads until the source is closed.
    ///
    /// # Errors
    /// The error that ends the membership.
    fn read(&mut self, consumer: &Consumer) -> Result<()> {
        self.topic_changes = self.member.log.health.topic_changes();
        *lock(&self.member.topic_id) = None;
        while !self.member.queue.is_closed() {
            // `join_group` waits until the topic is accepted.
            if let Some(error) = self.member.log.topic.refusal() {
                return Err(error);
            }
            self.apply_backpressure(consumer);
            self.check_connectivity(consumer);

            let newly_assigned = self
                .member
                .assigned_since_check
                .swap(false, Ordering::AcqRel);
            let gaps = self.positions.check_assigned(consumer, newly_assigned);
            self.deliver_gaps(gaps);
            self.handle_messages(consumer)?;
        }
        Ok(())
    }

    /// Waits for a message, and handles it together with the messages that are ready after it, as far as there is room.
    ///
    /// The clock and the queue are checked once for many messages.
    fn handle_messages(&mut self, consumer: &Consumer) -> Result<()> {
        let linger = self.member.log.options.batch_linger;
        let mut timeout = self.poll_timeout();
        for _ in 0..=MAX_MESSAGES {
            match consumer.poll(timeout) {
                Some(Ok(message)) => self.handle_message(consumer, &message)?,
                Some(Err(error)) => return self.handle_error(consumer, error),
                None => {
                    // No message is available, so a caller that waits gets all batches now.
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

        // The current partition is left out, because its batch fills up soon while it is read without end. It must not
        // hold up the batches of other partitions.
        self.flush_older_than(linger, self.current);
        Ok(())
    }

    /// Pauses the assigned partitions while the queue is full, and resumes them when there is room.
    fn apply_backpressure(&mut self, consumer: &Consumer) {
        if self.paused
            && self
                .member
                .assigned_since_pause
                .swap(false, Ordering::AcqRel)
        {
            // Newly assigned partitions are not paused: resume all, then pause all if the queue is still full.
            self.resume(consumer);
        }
        if self.has_room {
            return;
        }

        let queue = &self.member.queue;
        let timeout = if self.paused {
            Duration::ZERO
        } else {
            PAUSE_AFTER
        };
        self.has_room = queue.wait_for_room(timeout);
        if self.has_room {
            self.resume(consumer);
        } else if !self.paused && !queue.is_closed() {
            self.member
                .assigned_since_pause
                .store(false, Ordering::Release);
            self.paused = true;
            tracing::debug!(log.group = %self.member.group, "queue full, partitions paused");
            log_failure(consumer.assignment().and_then(|list| consumer.pause(&list)));
        }
    }

    /// Resumes the assigned partitions if they are paused.
    fn resume(&mut self, consumer: &Consumer) {
        if !self.paused {
            return;
        }
        self.paused = false;
        tracing::debug!(log.group = %self.member.group, "partitions resumed");
        let assignment = consumer.assignment();
        log_failure(assignment.and_then(|list| consumer.resume(&list)));
    }

    /// Returns the timeout of the next poll: until the oldest batch is due, or zero if a caller waits for a batch.
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
        let linger = self.member.log.options.batch_linger;
        linger.saturating_sub(oldest.elapsed())
    }

    /// Adds a record to the batch of its partition, and delivers the gap before the record.
    ///
    /// # Errors
    /// The error that ends the membership.
    fn handle_message(&mut self, consumer: &Consumer, message: &BorrowedMessage<'_>) -> Result<()> {
        self.check_at = None;
        if self.member.log.health.topic_changes() != self.topic_changes {
            // The next membership compares its positions with the new topic.
            return Err(kafka_error(
                ErrorKind::Unavailable,
                "the topic was deleted and created again",
            ));
        }
        let Ok(index) = u32::try_from(message.partition()) else {
            return Ok(());
        };
        let offset = message.offset();
        let Some(mut partition) = self.member.mark_delivered(index, offset) else {
            // The partition has just been revoked.
            return Ok(());
        };

        match self.positions.advance_past(consumer, partition, offset)? {
            Arrival::InOrder(gap) => self.deliver_gaps(gap),
            Arrival::TooEarly(gap) => {
                self.deliver_gaps(gap);
                return Ok(());
            }
            Arrival::Backwards => {
                partition = self.restart_partition(consumer, partition, offset)?
            }
        }

        self.current = Some(index);
        let full_batch = self.pending.add(
            index,
            partition.epoch,
            |buffer| from_message(message, buffer),
            self.limits,
        );
        if let Some(batch) = full_batch {
            self.deliver_batch(index, batch);
        }
        Ok(())
    }

    /// Restarts a partition whose offsets went back to `offset` in a new epoch, and delivers the gap.
    ///
    /// Offsets increase, unless the log was truncated or recreated: librdkafka then resets its position. The committed
    /// offset may have to go back as well, which needs the new epoch.
    fn restart_partition(
        &mut self,
        consumer: &Consumer,
        partition: OwnedPartition,
        offset: i64,
    ) -> Result<OwnedPartition> {
        let index = partition.index;
        tracing::warn!(log.group = %self.member.group, log.partition = index, log.offset = offset, "offsets went backwards: log truncated or recreated");
        self.member.release_lost(&[partition]);
        let epoch = self.member.take_ownership(&[index]);
        let restarted = OwnedPartition { index, epoch };
        let gap = self.positions.restart(consumer, restarted, offset)?;
        self.deliver_gaps(gap);
        Ok(restarted)
    }

    /// Delivers gaps, each after the records before it.
    fn deliver_gaps(&mut self, gaps: impl IntoIterator<Item = Gap>) {
        for gap in gaps {
            let index = gap.partition.index;
            if let Some(batch) = self.pending.take(index) {
                self.deliver_batch(index, batch);
            }
            if self.member.owns(&gap.partition) {
                self.has_room =
                    self.member
                        .queue
                        .put(gap.partition.clone(), 0, SourceEvent::Gap(gap));
            }
        }
    }

    /// Delivers batches that are at least `linger` old, except the batch of partition `except`, while there is room.
    fn flush_older_than(&mut self, linger: Duration, except: Option<u32>) {
        while self.has_room
            && let Some((index, batch)) = self.pending.pop(linger, except)
        {
            self.deliver_batch(index, batch);
        }
    }

    /// Delivers a batch, or discards it if its epoch has ended.
    fn deliver_batch(&mut self, index: u32, batch: BatchBuilder) {
        let epoch = batch.epoch;
        if let Some(partition) = self.member.partition(OwnedPartition { index, epoch })
            && self.member.owns(&partition)
        {
            let batch = Batch::new(partition.clone(), batch.records);
            self.has_room =
                self.member
                    .queue
                    .put(partition, batch.size(), SourceEvent::Batch(batch));
        }
    }

    /// Handles an error of a poll.
    ///
    /// # Errors
    /// The fatal error of the consumer, which ends the membership. Other errors are reported to the callers.
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
            let error = self.member.log.health.explain(error);
            self.member.queue.set_error(error);
        }
        Ok(())
    }

    /// After a connection error, checks periodically whether Kafka is available, and reports an error if it is not.
    fn check_connectivity(&mut self, consumer: &Consumer) {
        if self.check_at.is_none_or(|at| at > Instant::now()) {
            return;
        }

        let log = &self.member.log;
        let queue = &self.member.queue;
        match check_served(consumer, &log.health, &log.topic.name, CHECK_TIMEOUT) {
            Ok(()) => {
                queue.clear_error();
                self.check_at = None;
            }
            Err(error) => {
                queue.set_error(log.health.explain(error));
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

/// Logs the failure of a pause or resume, which needs no further action.
///
/// A failed pause is harmless, because librdkafka's queue is bounded. A failed resume is retried with the next pause.
fn log_failure(result: Result<(), KafkaError>) {
    if let Err(error) = result {
        tracing::warn!(%error, "failed to pause or resume partitions");
    }
}

/// The exponential backoff between memberships.
///
/// Two members with the same instance id evict each other whenever one joins. Longer pauses leave more time to consume
/// in between.
#[derive(Default)]
struct RejoinBackoff {
    /// The last pause, or zero if there is none to double.
    last_pause: Duration,
}

const INITIAL_PAUSE: Duration = Duration::from_secs(3);
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// The duration of a membership that resets the backoff. Another member with the same id would evict this one earlier:
/// after at most the maximum pause.
const STABLE_AFTER: Duration = Duration::from_secs(90);

impl RejoinBackoff {
    /// Returns the pause after a membership that `lasted` this long.
    fn pause(&mut self, lasted: Duration) -> Duration {
        if lasted >= STABLE_AFTER {
            self.last_pause = Duration::ZERO;
        }
        self.last_pause = (self.last_pause * 2).clamp(INITIAL_PAUSE, MAX_PAUSE);
        self.last_pause
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
