//! The reader thread: joins the group, polls, builds batches, pauses partitions while the queue is
//! full, and leaves the group.
//!
//! A membership lasts from a join to a leave. An error ends it, and the thread starts the next one
//! after a pause, until the source is closed.
//!
//! ```text
//! run ── run_membership ── join_group
//!                       ├─ read: until the source is closed, or an error ends the membership
//!                       │    apply_backpressure, check_connectivity, initialize_assigned (of Positions),
//!                       │    handle_messages ── handle_message ── deliver_gaps, deliver_batch
//!                       │    deliver_ends
//!                       └─ leave_group
//! ```
//!
//! Rebalances are handled within a poll, see [`rebalance`](super::rebalance).

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use shop_core::log::{Batch, CommitOffset, Gap, Partition, SourceEvent};
use shop_core::{Error, ErrorKind, Result};

use super::member::{Consumer, Member};
use super::pending::{BatchBuilder, Pending};
use super::positions::{Arrival, PassedEnd, Positions};
use crate::client::lock;
use crate::error::{from_code, from_kafka, kafka_error};
use crate::number::unsigned;
use crate::record::from_message;
use crate::topic::check_served;

/// The maximum duration of a poll, after which the thread checks whether the source was closed.
const POLL_TIMEOUT: Duration = Duration::from_millis(100);
/// The poll timeout while partitions are paused. A poll returns no record then, but is needed to
/// stay in the group.
const PAUSED_POLL_TIMEOUT: Duration = Duration::from_millis(20);
/// How long the thread waits for room in the queue before it pauses the partitions. A pause
/// discards librdkafka's prefetched records and costs about 250 ms after the resume, so short
/// stalls of the store should not cause one. A rebalance is delayed by up to this time.
const PAUSE_AFTER: Duration = Duration::from_secs(1);
/// How often a lasting error is reported to the callers of the source.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// The pause before the end of a partition is compared with the position again, after a request
/// failed.
const END_RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// The timeout of the request that checks whether Kafka is available.
const CONNECTIVITY_CHECK_TIMEOUT: Duration = Duration::from_millis(500);
/// The number of messages after which the clock and the queue are checked again: a few microseconds
/// of work.
const MAX_FURTHER_MESSAGES: usize = 64;
/// How often the thread checks whether the topic exists before it joins the group.
const TOPIC_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// The size of an event without records in the queue.
const NO_RECORD_BYTES: usize = 0;

/// The state of the reader thread.
pub(super) struct Reader {
    member: Arc<Member>,
    /// The batches that are not in the queue yet.
    pending: Pending,
    /// The index of the partition that the last record came from.
    current_partition: Option<u32>,
    /// The position in each owned partition.
    positions: Positions,
    /// The indices of the partitions whose end was reached, and is not compared with the position
    /// yet.
    reached_ends: BTreeSet<u32>,
    /// The time of the next comparison of reached ends, if a request of the last one failed.
    end_retry_at: Option<Instant>,
    /// Whether another batch fits in the queue, as of the last time that the thread used the queue.
    has_room: bool,
    /// Whether the partitions are paused because the queue is full.
    is_paused: bool,
    /// The time of the next check whether Kafka is available, or `None` if no connection error is
    /// unresolved.
    connectivity_check_at: Option<Instant>,
    /// The number of times that a topic was deleted and created again before the membership began
    /// to read. A higher number shows that a topic was created again during the membership.
    topic_changes_at_start: u64,
}

impl Reader {
    /// Creates the state of a reader thread that has not joined the group.
    pub(super) fn new(member: Arc<Member>) -> Self {
        Self {
            member,
            pending: Pending::default(),
            current_partition: None,
            positions: Positions::default(),
            reached_ends: BTreeSet::new(),
            end_retry_at: None,
            has_room: true,
            is_paused: false,
            connectivity_check_at: None,
            topic_changes_at_start: 0,
        }
    }

    /// Runs one membership after the other until the source is closed. This is the main function of
    /// the reader thread.
    ///
    /// The first membership uses `consumer`, and each later one creates its own. After an error,
    /// the next membership starts after a pause.
    pub(super) fn run(mut self, consumer: Arc<Consumer>) {
        let mut consumer = Some(consumer);
        let mut pause = Duration::ZERO;
        while !self.member.queue.is_closed() {
            let started = Instant::now();
            if let Err(error) = self.run_membership(consumer.take()) {
                pause = next_pause(pause, started.elapsed());
                tracing::error!(log.group = %self.member.group, error = %error.chain(), ?pause, "group membership ended, rejoining after a pause");
                self.report_error_during(pause, &error);
            }
        }
    }

    /// Joins the group, reads until the source is closed or an error ends the membership, and
    /// leaves the group.
    ///
    /// Creates a consumer if `consumer` is `None`.
    ///
    /// # Errors
    /// The error that ended the membership.
    fn run_membership(&mut self, consumer: Option<Arc<Consumer>>) -> Result<()> {
        let consumer = match consumer {
            Some(consumer) => consumer,
            None => Member::create_consumer(&self.member)?,
        };
        let result = self
            .join_group(&consumer)
            .and_then(|()| self.read(&consumer));
        self.leave_group(consumer);
        result
    }

    /// Blocks for `pause` or until the source is closed. During the pause, reports `error` to the
    /// callers of the source.
    ///
    /// The error is set repeatedly, because it is gone once a caller received it, and the source
    /// would then look healthy. An error that no caller received is removed at the end of the
    /// pause.
    fn report_error_during(&self, pause: Duration, error: &Error) {
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

    /// Gives up all partitions without a commit, leaves the group, and resets the state for the
    /// next membership.
    ///
    /// Notifies the callers of the source that they lost the partitions. The next owner of a
    /// partition, here or in another process, reads the records again that the callers did not
    /// commit.
    fn leave_group(&mut self, consumer: Arc<Consumer>) {
        self.member
            .release_without_drain(&self.member.owned_partitions());
        // Taking the lock waits for a commit in flight. Later commits find no consumer, and fail
        // until the next membership.
        let no_consumer = Weak::new();
        *lock(&self.member.commit_consumer) = no_consumer;

        let log = &self.member.log;
        let is_topic_recreated = self.member.topic_id() != log.health.topic_id(&log.topic.name);
        self.positions.reset(is_topic_recreated);
        self.pending = Pending::default();
        self.reached_ends.clear();
        self.end_retry_at = None;
        self.has_room = true;
        self.is_paused = false;
        // This is the last reference to the consumer. The drop closes the consumer, which leaves
        // the group.
        drop(consumer);
    }

    /// Waits until the topic exists and is accepted and the id of the cluster is known, and then
    /// subscribes to the topic.
    ///
    /// The subscription joins the group during the next polls. A subscription to a topic that does
    /// not exist would be effective late, because librdkafka only rarely looks for the topic again.
    /// Reports what is missing to the callers of the source. Returns without a subscription if the
    /// source is closed.
    ///
    /// # Errors
    /// If librdkafka rejects the subscription.
    fn join_group(&self, consumer: &Consumer) -> Result<()> {
        let log = &self.member.log;
        let queue = &self.member.queue;
        let mut reported_at: Option<Instant> = None;
        while !queue.is_closed() {
            // `None` if the topic was not checked yet.
            let topic_state = log.topic.state();
            let readiness = topic_state.map(|state| state.and_then(|_| log.monitor.cluster()));
            match readiness {
                Some(Ok(_)) => return consumer.subscribe(&[&log.topic.name]).map_err(from_kafka),
                Some(Err(error)) if reported_at.is_none_or(|at| at.elapsed() > REPORT_INTERVAL) => {
                    reported_at = Some(Instant::now());
                    queue.set_error(error);
                }
                // The error was reported a moment ago, or nothing is known about the topic yet.
                Some(Err(_)) | None => {}
            }

            queue.wait_for_close(TOPIC_CHECK_INTERVAL);
            // Without a subscription there is no record to return: the poll delivers log lines and
            // errors.
            drop(consumer.poll(Duration::ZERO));
        }
        Ok(())
    }

    /// Polls and delivers records until the source is closed.
    ///
    /// # Errors
    /// The error that ends the membership: the topic is not accepted any more or was created again,
    /// a request to the brokers about a record failed, or the consumer failed fatally.
    fn read(&mut self, consumer: &Consumer) -> Result<()> {
        // From here on, a topic that is created again ends the membership. Both values are read
        // again, because they belong to the topic that this membership reads.
        self.topic_changes_at_start = self.member.log.health.topic_changes();
        *lock(&self.member.topic_id) = None;
        while !self.member.queue.is_closed() {
            // The next `join_group` waits until the topic is accepted again.
            if let Some(error) = self.member.log.topic.refusal() {
                return Err(error);
            }
            // `handle_message` checks the id with each record. It is checked here as well, because
            // no record may come: a group that was rebalanced while the topic was missing has no
            // partitions, and librdkafka does not rebalance it when the topic is there again.
            self.check_topic_id()?;
            self.apply_backpressure(consumer);
            self.check_connectivity(consumer);

            let has_new_assignment = self
                .member
                .assigned_since_check
                .swap(false, Ordering::AcqRel);
            let gaps = self
                .positions
                .initialize_assigned(consumer, has_new_assignment);
            self.deliver_gaps(gaps);
            self.handle_messages(consumer)?;
            self.deliver_ends(consumer);
        }
        Ok(())
    }

    /// Checks that this membership still reads the topic that it began to read.
    ///
    /// # Errors
    /// If the topic was deleted and created again. The next membership compares its positions with
    /// the new topic.
    fn check_topic_id(&self) -> Result<()> {
        if self.member.log.health.topic_changes() == self.topic_changes_at_start {
            return Ok(());
        }
        Err(kafka_error(
            ErrorKind::Unavailable,
            "the topic was deleted and created again",
        ))
    }

    /// Waits for a message, handles it and the messages that are available right after it, and
    /// delivers the batches that are old enough.
    ///
    /// Stops early when the queue is full. At most [`MAX_FURTHER_MESSAGES`] messages follow the
    /// first one, so that the checks in [`read`](Self::read) are made once for many messages, but
    /// soon enough.
    ///
    /// # Errors
    /// The error that ends the membership.
    fn handle_messages(&mut self, consumer: &Consumer) -> Result<()> {
        let linger = self.member.log.options.batch_linger;
        let mut timeout = self.poll_timeout();
        for _ in 0..=MAX_FURTHER_MESSAGES {
            match consumer.poll(timeout) {
                Some(Ok(message)) => self.handle_message(consumer, &message)?,
                Some(Err(KafkaError::PartitionEOF(index))) => {
                    self.reached_ends.insert(unsigned(index));
                }
                Some(Err(error)) => return self.handle_error(consumer, error),
                None => {
                    // If the queue is empty, a caller may be waiting for a batch. No message is
                    // available that would make a batch larger, so all batches are delivered now.
                    let may_be_awaited = self.member.queue.is_empty();
                    let min_age = if may_be_awaited {
                        Duration::ZERO
                    } else {
                        linger
                    };
                    let no_exception = None;
                    self.flush_older_than(min_age, no_exception);
                    break;
                }
            }
            if !self.has_room {
                break;
            }
            // Only the first poll waits.
            timeout = Duration::ZERO;
        }

        // librdkafka may return the messages of one partition for a long time. During this time,
        // the batches of other partitions do not fill up, so they are delivered when they are old
        // enough. The batch of the current partition fills up soon.
        self.flush_older_than(linger, self.current_partition);
        Ok(())
    }

    /// Pauses the assigned partitions if the queue is full, and resumes them if there is room
    /// again.
    ///
    /// Before a pause, waits for room for up to [`PAUSE_AFTER`]. Does not wait while the partitions
    /// are paused, because the thread must poll to stay in the group.
    fn apply_backpressure(&mut self, consumer: &Consumer) {
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
        // The functions that deliver events set `has_room` to false when they fill the queue.
        if self.has_room {
            return;
        }

        let queue = &self.member.queue;
        let timeout = if self.is_paused {
            Duration::ZERO
        } else {
            PAUSE_AFTER
        };
        self.has_room = queue.wait_for_room(timeout);
        if self.has_room {
            self.resume_partitions(consumer);
        } else if !self.is_paused && !queue.is_closed() {
            // Only partitions that are assigned after this pause need another one.
            self.member
                .assigned_since_pause
                .store(false, Ordering::Release);
            self.is_paused = true;
            tracing::debug!(log.group = %self.member.group, "queue full, partitions paused");
            log_pause_failure(consumer.assignment().and_then(|list| consumer.pause(&list)));
        }
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

    /// Returns how long the next poll waits for a message.
    ///
    /// While a batch is being built, the poll ends when the oldest batch must be delivered. If the
    /// queue is empty, a caller may wait for that batch, so the poll does not wait at all. Without
    /// a batch, or while the partitions are paused, the timeout is fixed.
    fn poll_timeout(&self) -> Duration {
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

    /// Compares a record with the position in its partition, delivers the gap before the record,
    /// and adds the record to the batch of its partition.
    ///
    /// Discards the record if its partition is not owned, or if it was fetched before its partition
    /// was sought.
    ///
    /// # Errors
    /// The error that ends the membership: the topic was created again, or the brokers did not
    /// respond to a request about the record. The record is read again in the next membership.
    fn handle_message(&mut self, consumer: &Consumer, message: &BorrowedMessage<'_>) -> Result<()> {
        // A record shows that Kafka is available, so a planned check is not needed.
        self.connectivity_check_at = None;
        // The record may be one of a new topic.
        self.check_topic_id()?;
        // A polled record has a partition, whose index is not negative.
        let Ok(index) = u32::try_from(message.partition()) else {
            return Ok(());
        };
        let offset = message.offset();
        let Some(mut partition) = self.member.mark_delivered(index, offset) else {
            // The partition has just been revoked.
            return Ok(());
        };

        match self.positions.advance_past(consumer, &partition, offset)? {
            Arrival::InOrder(gap) => self.deliver_gaps(gap),
            Arrival::TooEarly(gap) => {
                self.deliver_gaps(gap);
                return Ok(());
            }
            Arrival::Backwards => self.restart_partition(consumer, &mut partition, offset)?,
        }

        self.current_partition = Some(index);
        let full_batch = self.pending.add(
            &partition,
            |buffer| from_message(message, buffer),
            &self.member.log.options,
        );
        if let Some(batch) = full_batch {
            self.deliver_batch(batch);
        }
        Ok(())
    }

    /// Gives up a partition whose offsets went back to `offset`, and takes it again in a new epoch,
    /// which becomes the epoch of `partition`.
    ///
    /// Offsets only go back if the log was cut or created again. Notifies the callers of the source
    /// that they lost the partition in its earlier epoch. In the new epoch they start over, so that
    /// the committed position can go back as well. Delivers the records that the log lost as a
    /// [`Gap`].
    ///
    /// # Errors
    /// If the brokers do not respond to the request for the watermarks.
    fn restart_partition(
        &mut self,
        consumer: &Consumer,
        partition: &mut Partition,
        offset: i64,
    ) -> Result<()> {
        let index = partition.index;
        tracing::warn!(log.group = %self.member.group, log.partition = index, log.offset = offset, "offsets went backwards: log truncated or recreated");
        self.member
            .release_without_drain(std::slice::from_ref(partition));
        partition.epoch = self.member.take_ownership(&[index]);
        let gap = self.positions.restart(consumer, partition, offset)?;
        self.deliver_gaps(gap);
        Ok(())
    }

    /// Adds gaps to the queue. The incomplete batch of a gap's partition, whose records are before
    /// the gap, is added first.
    ///
    /// A gap of a partition that this member no longer owns is discarded.
    fn deliver_gaps(&mut self, gaps: impl IntoIterator<Item = Gap>) {
        for gap in gaps {
            if let Some(batch) = self.pending.take_batch(gap.partition.index) {
                self.deliver_batch(batch);
            }
            if self.member.owns(&gap.partition) {
                self.has_room = self.member.queue.push(
                    gap.partition.clone(),
                    NO_RECORD_BYTES,
                    SourceEvent::Gap(gap),
                );
            }
        }
    }

    /// Compares the reached ends of partitions with the positions, and delivers each end that
    /// follows offsets without a record. The group's position must pass these offsets, although no
    /// record follows them.
    ///
    /// librdkafka reports the end of a partition once, after all its records. If a request about an
    /// end fails, the end is compared again after [`END_RETRY_INTERVAL`].
    fn deliver_ends(&mut self, consumer: &Consumer) {
        let is_retry_pending = self.end_retry_at.is_some_and(|at| at > Instant::now());
        if self.reached_ends.is_empty() || is_retry_pending {
            return;
        }

        let reached_ends = std::mem::take(&mut self.reached_ends);
        self.end_retry_at = None;
        for partition in self.member.owned_partitions() {
            if !reached_ends.contains(&partition.index) {
                continue;
            }
            match self.positions.pass_end(consumer, &partition) {
                Ok(Some(end)) => self.deliver_end(&partition, end),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(log.partition = partition.index, %error, "failed to compare the end with the position");
                    self.reached_ends.insert(partition.index);
                    self.end_retry_at = Some(Instant::now() + END_RETRY_INTERVAL);
                }
            }
        }
    }

    /// Adds the end of `partition` to the queue, after the batch and the gap before the end.
    /// Discards the end if this member no longer owns the partition.
    fn deliver_end(&mut self, partition: &Partition, end: PassedEnd) {
        if let Some(batch) = self.pending.take_batch(partition.index) {
            self.deliver_batch(batch);
        }
        self.deliver_gaps(end.gap);
        if self.member.owns(partition) {
            let position = CommitOffset::new(partition.clone(), unsigned(end.next_offset));
            self.has_room = self.member.queue.push(
                partition.clone(),
                NO_RECORD_BYTES,
                SourceEvent::PartitionEnd(position),
            );
        }
    }

    /// Adds batches that are at least `min_age` old to the queue, until the queue is full. Leaves
    /// out the batch of partition `except`.
    fn flush_older_than(&mut self, min_age: Duration, except: Option<u32>) {
        while self.has_room
            && let Some(batch) = self.pending.pop_older_than(min_age, except)
        {
            self.deliver_batch(batch);
        }
    }

    /// Adds a batch to the queue, or discards the batch if this member no longer owns the partition
    /// in the epoch of the batch.
    fn deliver_batch(&mut self, batch: BatchBuilder) {
        if self.member.owns(&batch.partition) {
            let batch = Batch::new(batch.partition, batch.records);
            self.has_room = self.member.queue.push(
                batch.partition.clone(),
                batch.size(),
                SourceEvent::Batch(batch),
            );
        }
    }

    /// Handles an error that a poll returned.
    ///
    /// - A connection error is not reported at once, but schedules a check whether Kafka is
    ///   available, see [`check_connectivity`](Self::check_connectivity).
    /// - Any other error that is not fatal is reported to a caller of the source, and the
    ///   membership continues.
    ///
    /// # Errors
    /// The fatal error of the consumer, which ends the membership. A consumer fails fatally if
    /// another member of the group joins with the same instance id, for example.
    fn handle_error(&mut self, consumer: &Consumer, error: KafkaError) -> Result<()> {
        if let Some((code, reason)) = consumer.client().fatal_error() {
            return Err(from_code(code).with_context("reason", reason));
        }

        let error = from_kafka(error);
        if error.kind() == ErrorKind::Unavailable {
            // A lost connection to one broker is harmless while the others serve the topic, so
            // Kafka is checked first. A check that is already scheduled keeps its time.
            self.connectivity_check_at.get_or_insert_with(Instant::now);
        } else {
            let error = self.member.log.health.explain(error);
            self.member.queue.set_error(error);
        }
        Ok(())
    }

    /// Checks whether Kafka is available if a check is due, which
    /// [`handle_error`](Self::handle_error) schedules after a connection error. Blocks for up to
    /// [`CONNECTIVITY_CHECK_TIMEOUT`].
    ///
    /// If Kafka is available, removes an error that no caller received. If not, reports an error to
    /// the callers of the source, and schedules the next check.
    fn check_connectivity(&mut self, consumer: &Consumer) {
        if self
            .connectivity_check_at
            .is_none_or(|at| at > Instant::now())
        {
            return;
        }

        let log = &self.member.log;
        let queue = &self.member.queue;
        match check_served(
            consumer,
            &log.health,
            &log.topic.name,
            CONNECTIVITY_CHECK_TIMEOUT,
        ) {
            Ok(()) => {
                queue.clear_error();
                self.connectivity_check_at = None;
            }
            Err(error) => {
                queue.set_error(log.health.explain(error));
                self.connectivity_check_at = Some(Instant::now() + REPORT_INTERVAL);
            }
        }
    }
}

/// Closes the queue at the end of the reader thread, even if it panics: callers would wait for
/// events forever.
impl Drop for Reader {
    fn drop(&mut self) {
        self.member.queue.close();
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

/// The pause after the first membership that ended soon.
const INITIAL_PAUSE: Duration = Duration::from_secs(3);
/// The maximum pause between two memberships.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// The duration of a membership that resets the backoff. A member with the same instance id would
/// evict this one earlier, because it joins again after at most [`MAX_PAUSE`].
const STABLE_AFTER: Duration = Duration::from_secs(90);

/// Returns the pause after a membership that lasted for `membership_duration`. The pause doubles
/// `last_pause`, unless the membership was stable.
///
/// If two members are configured with the same instance id, each evicts the other whenever it joins
/// the group. Longer pauses leave more time to consume in between.
fn next_pause(last_pause: Duration, membership_duration: Duration) -> Duration {
    if membership_duration >= STABLE_AFTER {
        return INITIAL_PAUSE;
    }
    (last_pause * 2).clamp(INITIAL_PAUSE, MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_doubles_until_a_membership_is_stable() {
        let mut pause = Duration::ZERO;
        let pauses: Vec<_> = (0..6)
            .map(|_| {
                pause = next_pause(pause, INITIAL_PAUSE);
                pause.as_secs()
            })
            .collect();
        assert_eq!(pauses, [3, 6, 12, 24, 30, 30]);
        assert_eq!(next_pause(pause, MAX_PAUSE), MAX_PAUSE, "not stable yet");
        assert_eq!(next_pause(pause, STABLE_AFTER), INITIAL_PAUSE);
        assert_eq!(next_pause(INITIAL_PAUSE, Duration::ZERO), INITIAL_PAUSE * 2);
    }
}
