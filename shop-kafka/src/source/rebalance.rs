//! Handles rebalances.
//!
//! librdkafka calls the callback within a poll, on the reader thread, and continues the rebalance when the callback
//! returns:
//!
//! ```text
//! reader thread:  poll > pre_rebalance > revocation queued, blocks ............ > released > poll continues
//! caller:                                 next_control > drains > commits > done
//! ```

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{Consumer as _, ConsumerContext, Rebalance};
use shop_core::log::Partition;

use super::member::{Consumer, Member};
use super::membership::OwnedPartition;
use super::queue::BlockedRebalance;
use crate::client::Context;

/// How often a blocked rebalance checks whether it is obsolete.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

impl ConsumerContext for Context<Arc<Member>> {
    fn pre_rebalance(&self, consumer: &Consumer, rebalance: &Rebalance<'_>) {
        let member = &self.own;
        match rebalance {
            Rebalance::Assign(list) => {
                let indices = partition_indices(list);
                tracing::info!(log.group = %member.group, partitions = ?indices, "partitions assigned");
                // librdkafka keeps a partition paused that was paused when it was revoked. The partition is not fetched
                // yet, so it is safe to resume it here.
                if let Err(error) = consumer.resume(list) {
                    tracing::warn!(%error, "failed to resume partitions");
                }
                let _epoch = member.take_ownership(&indices);
            }
            Rebalance::Revoke(list) => member.revoke(consumer, &partition_indices(list)),
            Rebalance::Error(error) => {
                tracing::warn!(log.group = %member.group, %error, "rebalance failed");
                member.release_lost(&member.owned_partitions());
            }
        }
    }
}

/// Returns the indices of the partitions in `list`.
fn partition_indices(list: &TopicPartitionList) -> Vec<u32> {
    list.elements()
        .iter()
        .filter_map(|element| u32::try_from(element.partition()).ok())
        .collect()
}

impl Member {
    /// Delivers the revocation of partitions, waits until the caller has drained and committed, and releases them.
    ///
    /// Does not wait longer than the revocation timeout, nor for partitions that are lost already.
    fn revoke(&self, consumer: &Consumer, indices: &[u32]) {
        let mut revoked = self.owned_partitions();
        revoked.retain(|owned| indices.contains(&owned.index));
        let partitions = self.partitions(&revoked);
        if partitions.is_empty() || self.queue.is_closed() {
            return self.release(&revoked);
        }
        if consumer.assignment_lost() {
            tracing::warn!(log.group = %self.group, partitions = ?indices, "partitions lost");
            return self.release_lost(&revoked);
        }

        tracing::info!(log.group = %self.group, partitions = ?indices, "partitions revoked");
        let deadline = Instant::now() + self.log.options.revocation_timeout;
        let (done, drained) = mpsc::channel();
        self.queue
            .revoke(partitions, Some(BlockedRebalance { deadline, done }));
        self.wait_for_drain(consumer, &drained, deadline);
        // Without the receiver, a revocation that is delivered from now on reports the partitions as lost.
        drop(drained);
        self.release(&revoked);
    }

    /// Blocks until the sender of `drained` is dropped, or until the rebalance is obsolete: the deadline has passed, the
    /// source is closed, or the partitions are lost.
    fn wait_for_drain(&self, consumer: &Consumer, drained: &Receiver<()>, deadline: Instant) {
        loop {
            let remaining = deadline.saturating_duration_since(Instant::now());
            let received = drained.recv_timeout(remaining.min(CHECK_INTERVAL));
            if received == Err(RecvTimeoutError::Disconnected)
                || Instant::now() >= deadline
                || self.queue.is_closed()
                || consumer.assignment_lost()
            {
                return;
            }
        }
    }

    /// Releases `lost` partitions at once, without a drain, and delivers their loss.
    pub(super) fn release_lost(&self, lost: &[OwnedPartition]) {
        self.release(lost);
        let partitions = self.partitions(lost);
        if !partitions.is_empty() {
            self.queue.revoke(partitions, None);
        }
    }

    /// Returns the public form of the partitions, or nothing while the id of the cluster is unknown.
    fn partitions(&self, owned: &[OwnedPartition]) -> Vec<Partition> {
        owned
            .iter()
            .filter_map(|owned| self.partition(*owned))
            .collect()
    }
}
