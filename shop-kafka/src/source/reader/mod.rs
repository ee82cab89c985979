//! The reader thread: joins the group, reads until the membership ends, and leaves the group.
//!
//! A membership lasts from a join to a leave. An error ends it, and the thread starts the next one
//! after a pause, until the source is closed.
//!
//! ```text
//! run ── run_membership ── join_group
//!                       ├─ read: until the source is closed, or an error ends the membership
//!                       │    apply_backpressure (of Delivery), check_connectivity,
//!                       │    initialize_assigned (of Positions), deliver_gaps (of Delivery),
//!                       │    handle_messages ── handle_message
//!                       │    deliver_ends
//!                       └─ leave_group
//! ```
//!
//! | module | responsibility |
//! |---|---|
//! | `messages` | what a poll returns: records, ends of partitions, errors |
//! | `delivery` | the batches, gaps and ends that are queued for the callers, and pauses while the queue is full |
//!
//! Rebalances are handled within a poll, see [`rebalance`](super::rebalance).

mod delivery;
mod messages;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use shop_core::{Error, ErrorKind, Result};

use super::member::{Consumer, Member};
use super::positions::Positions;
use crate::client::lock;
use crate::error::{from_kafka, kafka_error};
use delivery::Delivery;

/// How often a lasting error is reported to the callers of the source.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// How often the thread checks whether the topic exists before it joins the group.
const TOPIC_CHECK_INTERVAL: Duration = Duration::from_millis(10);

/// The state of the reader thread.
pub(super) struct Reader {
    member: Arc<Member>,
    delivery: Delivery,
    /// The position in each owned partition.
    positions: Positions,
    /// The indices of the partitions whose end was reached, and is not compared with the position
    /// yet.
    reached_ends: BTreeSet<u32>,
    /// The time of the next comparison of reached ends, if a request of the last one failed.
    end_retry_at: Option<Instant>,
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
            delivery: Delivery::new(Arc::clone(&member)),
            member,
            positions: Positions::default(),
            reached_ends: BTreeSet::new(),
            end_retry_at: None,
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
        self.delivery = Delivery::new(Arc::clone(&self.member));
        self.reached_ends.clear();
        self.end_retry_at = None;
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
            self.delivery.apply_backpressure(consumer);
            self.check_connectivity(consumer);

            let has_new_assignment = self
                .member
                .assigned_since_check
                .swap(false, Ordering::AcqRel);
            let gaps = self
                .positions
                .initialize_assigned(consumer, has_new_assignment);
            self.delivery.deliver_gaps(gaps);
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
}

/// Closes the queue at the end of the reader thread, even if it panics: callers would wait for
/// events forever.
impl Drop for Reader {
    fn drop(&mut self) {
        self.member.queue.close();
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
