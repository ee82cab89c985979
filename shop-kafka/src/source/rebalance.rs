//! Handles rebalances: assignments of partitions to this member, and revocations.
//!
//! librdkafka calls `pre_rebalance` within a poll, on the reader thread, and continues the
//! rebalance when the callback returns. So a revocation blocks the reader thread until a caller of
//! the source drains the revoked partitions, which means that the caller stores their records and
//! commits their positions:
//!
//! ```text
//! reader thread:  poll > pre_rebalance > revocation queued, blocks ............ > released > poll continues
//! caller:                                 next_control > drains > commits > done
//! ```
//!
//! Rebalances are cooperative: a rebalance assigns or revokes only the partitions that move to
//! another member.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{Consumer as _, ConsumerContext, Rebalance};
use shop_core::log::Partition;

use super::member::{Consumer, Member};
use super::queue::BlockedRebalance;
use crate::client::Context;

/// How often a blocked rebalance checks whether its wait for a drain is pointless.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

impl ConsumerContext for Context<Arc<Member>> {
    /// Takes ownership of assigned partitions, or gives up ownership of revoked partitions once
    /// they are drained.
    ///
    /// librdkafka calls this method within a poll. It applies the assignment or revocation when the
    /// method returns.
    fn pre_rebalance(&self, consumer: &Consumer, rebalance: &Rebalance<'_>) {
        let member = &self.client_state;
        match rebalance {
            Rebalance::Assign(list) => {
                let indices = partition_indices(list);
                tracing::info!(log.group = %member.group, partitions = ?indices, "partitions assigned");
                // A partition that was paused when it was revoked is still paused. librdkafka does
                // not fetch it before this method returns, so it is safe to resume it here.
                if let Err(error) = consumer.resume(list) {
                    tracing::warn!(%error, "failed to resume partitions");
                }
                // Ownership is taken before librdkafka fetches records, because records of other
                // partitions are discarded.
                member.take_ownership(&indices);
            }
            Rebalance::Revoke(list) => member.drain_and_release(consumer, &partition_indices(list)),
            Rebalance::Error(error) => {
                tracing::warn!(log.group = %member.group, %error, "rebalance failed");
                // It is unknown which partitions the group still assigns to this member, so the
                // member gives up all of them.
                member.release_without_drain(&member.owned_partitions());
            }
        }
    }
}

/// Returns the indices of the partitions in a list of librdkafka. The signed numbers there are
/// never negative.
fn partition_indices(list: &TopicPartitionList) -> Vec<u32> {
    list.elements()
        .iter()
        .filter_map(|element| u32::try_from(element.partition()).ok())
        .collect()
}

impl Member {
    /// Queues a revocation of the partitions at `indices`, blocks until a caller drains them, and
    /// gives up ownership.
    ///
    /// Blocks no longer than the revocation timeout. Does not block if a drain is pointless: the
    /// member owns none of the partitions, the source is closed, or the group already took the
    /// partitions away.
    fn drain_and_release(&self, consumer: &Consumer, indices: &[u32]) {
        let mut revoked = self.owned_partitions();
        revoked.retain(|owned| indices.contains(&owned.index));
        // No caller drains a closed source.
        if revoked.is_empty() || self.queue.is_closed() {
            return self.release_ownership(&revoked);
        }
        // The group removed this member, for example after a session timeout. A commit would be
        // rejected, so a drain is pointless.
        if consumer.assignment_lost() {
            tracing::warn!(log.group = %self.group, partitions = ?indices, "partitions lost");
            return self.release_without_drain(&revoked);
        }

        tracing::info!(log.group = %self.group, partitions = ?indices, "partitions revoked");
        let deadline = Instant::now() + self.log.options.revocation_timeout;
        // The caller that receives the revocation drops the sender once the partitions are drained.
        let (drain_sender, drain_receiver) = mpsc::channel();
        let rebalance = BlockedRebalance {
            deadline,
            drain_sender,
        };
        self.queue.revoke(revoked.clone(), Some(rebalance));
        self.wait_for_drain(consumer, &drain_receiver, deadline);
        // If the wait ended early, the revocation may still be queued, and no caller must start to
        // drain the partitions after their release. Without the receiver, the queue reports the
        // partitions as lost.
        drop(drain_receiver);
        self.release_ownership(&revoked);
    }

    /// Blocks until the revoked partitions are drained, which drops the sender of `drain_receiver`.
    ///
    /// Returns earlier if the wait becomes pointless: the deadline passed, the source is closed, or
    /// the group took the partitions away. None of these events wakes the receiver, so they are
    /// checked every [`CHECK_INTERVAL`].
    fn wait_for_drain(
        &self,
        consumer: &Consumer,
        drain_receiver: &Receiver<()>,
        deadline: Instant,
    ) {
        loop {
            let remaining = deadline.saturating_duration_since(Instant::now());
            // A message says that a caller received the revocation, which does not end the wait.
            let message = drain_receiver.recv_timeout(remaining.min(CHECK_INTERVAL));
            let is_drained = message == Err(RecvTimeoutError::Disconnected);
            if is_drained
                || Instant::now() >= deadline
                || self.queue.is_closed()
                || consumer.assignment_lost()
            {
                return;
            }
        }
    }

    /// Gives up ownership of `partitions` at once, and queues a revocation that reports them as
    /// lost.
    pub(super) fn release_without_drain(&self, partitions: &[Partition]) {
        self.release_ownership(partitions);
        if !partitions.is_empty() {
            let no_rebalance = None;
            self.queue.revoke(partitions.to_vec(), no_rebalance);
        }
    }
}
