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
                // librdkafka keeps a partition paused that was paused when it was revoked. The
                // partition is not fetched yet, so it is safe to resume it here.
                if let Err(error) = consumer.resume(list) {
                    tracing::warn!(%error, "failed to resume partitions");
                }
                // Records are delivered only of owned partitions. librdkafka fetches none before
                // this method returns.
                member.take_ownership(&indices);
            }
            Rebalance::Revoke(list) => member.drain_and_release(consumer, &partition_indices(list)),
            Rebalance::Error(error) => {
                tracing::warn!(log.group = %member.group, %error, "rebalance failed");
                // It is unknown which partitions the group still assigns to this member, so it
                // gives up all its partitions.
                member.release_without_drain(&member.owned_partitions());
            }
        }
    }
}

/// Returns the indices of the partitions in a list of librdkafka, which holds them as signed
/// numbers.
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
    /// Blocks no longer than the revocation timeout. Does not block if there is nothing to drain,
    /// because the member owns none of the partitions or the source is closed, nor if the group
    /// already took the partitions away.
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
        // The sender travels with the revocation, and is dropped once the partitions are drained.
        let (done, drain_end) = mpsc::channel();
        self.queue
            .revoke(revoked.clone(), Some(BlockedRebalance { deadline, done }));
        self.wait_for_drain(consumer, &drain_end, deadline);
        // The revocation may still be queued if the wait ended early. Without the receiver, the
        // queue reports the partitions to the caller as lost: it must not start to drain them after
        // their release.
        drop(drain_end);
        self.release_ownership(&revoked);
    }

    /// Blocks until the revoked partitions are drained, which drops the sender of `drain_end`.
    ///
    /// Returns earlier if the wait becomes pointless: the deadline passed, the source is closed, or
    /// the group took the partitions away. None of these events wakes the receiver, so they are
    /// checked every [`CHECK_INTERVAL`].
    fn wait_for_drain(&self, consumer: &Consumer, drain_end: &Receiver<()>, deadline: Instant) {
        loop {
            let remaining = deadline.saturating_duration_since(Instant::now());
            let received = drain_end.recv_timeout(remaining.min(CHECK_INTERVAL));
            // A message only says that a caller received the revocation, and does not end the wait.
            if received == Err(RecvTimeoutError::Disconnected)
                || Instant::now() >= deadline
                || self.queue.is_closed()
                || consumer.assignment_lost()
            {
                return;
            }
        }
    }

    /// Gives up ownership of `lost` partitions at once, and queues a revocation that reports them
    /// as lost.
    pub(super) fn release_without_drain(&self, lost: &[Partition]) {
        self.release_ownership(lost);
        if !lost.is_empty() {
            self.queue.revoke(lost.to_vec(), None);
        }
    }
}
