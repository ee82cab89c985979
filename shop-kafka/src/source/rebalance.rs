//! Handles rebalances. librdkafka calls the callback within a poll, on the reader thread, and continues the rebalance
//! when the callback returns.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{Consumer as _, ConsumerContext, Rebalance};
use shop_core::log::Partition;

use super::member::{Consumer, Member};
use crate::client::Context;

/// How often a blocked rebalance checks whether it is obsolete.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

impl ConsumerContext for Context<Arc<Member>> {
    fn pre_rebalance(&self, consumer: &Consumer, rebalance: &Rebalance<'_>) {
        let member = &self.own;
        match rebalance {
            Rebalance::Assign(list) => {
                let indices = indices(list);
                tracing::info!(log.group = %member.group, partitions = ?indices, "partitions assigned");
                // librdkafka keeps a partition paused that was paused when it was revoked. It is not fetched yet, so
                // resuming it here is safe.
                if let Err(error) = consumer.resume(list) {
                    tracing::warn!(%error, "failed to resume partitions");
                }
                let _epoch = member.own(indices.into_iter());
            }
            Rebalance::Revoke(list) => member.give_up(consumer, &indices(list)),
            Rebalance::Error(error) => {
                tracing::warn!(log.group = %member.group, %error, "rebalance failed");
                member.lose(&member.owned());
            }
        }
    }
}

fn indices(list: &TopicPartitionList) -> Vec<u32> {
    list.elements()
        .iter()
        .filter_map(|element| u32::try_from(element.partition()).ok())
        .collect()
}

impl Member {
    /// Gives partitions up: delivers the revocation, and waits until the caller has drained and committed, or the
    /// timeout has passed.
    fn give_up(&self, consumer: &Consumer, indices: &[u32]) {
        let mut revoked = self.owned();
        revoked.retain(|(index, _)| indices.contains(index));
        let partitions = self.partitions(&revoked);
        if partitions.is_empty() || self.queue.is_closed() {
            return self.disown(&revoked);
        }
        if consumer.assignment_lost() {
            tracing::warn!(log.group = %self.group, partitions = ?indices, "partitions lost");
            return self.lose(&revoked);
        }
        tracing::info!(log.group = %self.group, partitions = ?indices, "partitions revoked");
        let until = Instant::now() + self.log.options.revocation_timeout;
        let left = || until.saturating_duration_since(Instant::now());
        let (done, waiting) = mpsc::channel();
        self.queue.revoke(partitions, Some((until, done)));
        while waiting.recv_timeout(left().min(CHECK_INTERVAL))
            != Err(RecvTimeoutError::Disconnected)
            && !left().is_zero()
            && !self.queue.is_closed()
            && !consumer.assignment_lost()
        {}
        // What is delivered from now on is lost.
        drop(waiting);
        self.disown(&revoked);
    }

    /// Gives up `lost` at once, without a drain.
    pub(super) fn lose(&self, lost: &[(u32, u64)]) {
        self.disown(lost);
        let partitions = self.partitions(lost);
        if !partitions.is_empty() {
            self.queue.revoke(partitions, None);
        }
    }

    fn partitions(&self, owned: &[(u32, u64)]) -> Vec<Partition> {
        owned
            .iter()
            .filter_map(|(index, epoch)| self.partition(*index, *epoch))
            .collect()
    }
}
