//! What a member does when the group shares its partitions anew. librdkafka calls from within a poll, on the
//! thread that reads, and goes on with the rebalance when the call returns.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{Consumer as _, ConsumerContext, Rebalance};
use shop_core::log::Partition;

use super::member::{Consumer, Member};
use super::queue::RebalanceBarrier;
use crate::client::Context;

/// How often a rebalance that stands still looks whether it was overtaken.
const LOOK: Duration = Duration::from_millis(50);

impl ConsumerContext for Context<Arc<Member>> {
    fn pre_rebalance(&self, consumer: &Consumer, rebalance: &Rebalance<'_>) {
        let member = &self.own;
        match rebalance {
            Rebalance::Assign(list) => {
                let indices = indices(list);
                tracing::info!(log.group = %member.group, partitions = ?indices, "partitions were assigned");
                // A partition that was paused when it was given up is still paused in librdkafka when it comes
                // back; now that it is not read from yet, ending that does no harm.
                if let Err(error) = consumer.resume(list) {
                    tracing::warn!(%error, "partitions could not be resumed");
                }
                member.own(indices.into_iter());
            }
            Rebalance::Revoke(list) => member.give_up(consumer, &indices(list)),
            Rebalance::Error(error) => {
                tracing::warn!(log.group = %member.group, %error, "a rebalance has failed");
                member.lose_all();
            }
        }
    }
}

fn indices(list: &TopicPartitionList) -> Vec<u32> {
    list.elements().iter().filter_map(|element| u32::try_from(element.partition()).ok()).collect()
}

impl Member {
    /// Gives partitions up: tells the reader, and waits until it has drained and committed, or its grace is
    /// over.
    fn give_up(&self, consumer: &Consumer, indices: &[u32]) {
        let mut revoked = self.owned();
        revoked.retain(|(index, _)| indices.contains(index));
        let partitions = self.partitions(&revoked);
        if partitions.is_empty() || self.inbox.is_closed() {
            return self.disown(&revoked);
        }
        if consumer.assignment_lost() {
            tracing::warn!(log.group = %self.group, partitions = ?indices, "partitions were lost");
            return self.lose(&revoked);
        }
        tracing::info!(log.group = %self.group, partitions = ?indices, "partitions are given up");
        let standstill = Arc::new(RebalanceBarrier::new(self.log.options.revocation_timeout));
        self.inbox.revoke(partitions, Some(Arc::clone(&standstill)));
        while !standstill.wait(LOOK) && !self.inbox.is_closed() && !consumer.assignment_lost() {}
        standstill.end();
        self.disown(&revoked);
    }

    /// Owns `partitions` no more, without anybody's leave.
    pub(super) fn lose(&self, lost: &[(u32, u64)]) {
        self.disown(lost);
        let partitions = self.partitions(lost);
        if !partitions.is_empty() {
            self.inbox.revoke(partitions, None);
        }
    }

    pub(super) fn lose_all(&self) {
        self.lose(&self.owned());
    }

    fn partitions(&self, owned: &[(u32, u64)]) -> Vec<Partition> {
        owned.iter().filter_map(|(index, epoch)| self.partition(*index, *epoch)).collect()
    }
}
