//! Partitions being drained after a revocation or at shutdown, with their deadlines.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::backoff::saturating_instant;
use super::super::event::PipelineAction;
use super::progress::PartitionProgress;
use super::{IngestPipeline, key};
use crate::log::{Partition, Revocation};

/// The deadlines of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct DrainDeadlines {
    /// When batches still in flight are abandoned.
    pub(super) drain_by: Instant,
    /// When the drain ends regardless of the commit.
    pub(super) give_up_by: Instant,
}

impl DrainDeadlines {
    /// Deadlines for a drain of `time`. The last quarter is reserved for the commit.
    pub(super) fn within(time: Duration, now: Instant) -> Self {
        Self {
            drain_by: saturating_instant(now, time / 4 * 3),
            give_up_by: saturating_instant(now, time),
        }
    }

    /// The same deadlines, limited by those of `other`.
    pub(super) fn at_most(self, other: Option<Self>) -> Self {
        let Some(other) = other else { return self };
        Self {
            drain_by: self.drain_by.min(other.drain_by),
            give_up_by: self.give_up_by.min(other.give_up_by),
        }
    }
}

impl IngestPipeline {
    /// Drains the partitions of `revocation`, which ends when that is done or its time is over.
    pub(super) fn begin_drain(
        &mut self,
        revocation: Revocation,
        now: Instant,
        actions: &mut Vec<PipelineAction>,
    ) {
        let deadlines = DrainDeadlines::within(revocation.timeout, now).at_most(self.stopping);
        for partition in &revocation.partitions {
            // Batches of an older epoch are not drained: their commits would be fenced.
            if let Some(progress) = self.enter(partition, actions) {
                progress.drain(deadlines);
            }
        }
        self.drains.push(Arc::new(revocation));
        // The rebalance waits for the commit, so it is tried at once, without backoff.
        self.commits.backoff.retry_now();
    }

    /// Ends drains that are complete or out of time.
    pub(super) fn finish_drains(&mut self, now: Instant, actions: &mut Vec<PipelineAction>) {
        for progress in self.partitions.values_mut() {
            let is_late = progress
                .draining
                .is_some_and(|deadlines| deadlines.drain_by <= now);
            if is_late && !progress.is_abandoned {
                progress.is_abandoned = true;
                actions.push(PipelineAction::Abandon(progress.partition.clone()));
            }
        }
        for drain in std::mem::take(&mut self.drains) {
            let is_over = |partition| {
                self.partitions
                    .get(&key(partition))
                    .is_none_or(|of| self.is_over(of, now))
            };
            if drain.partitions.iter().all(is_over) {
                self.leave(&drain.partitions, actions);
                actions.push(PipelineAction::EndRevocation(drain));
            } else {
                self.drains.push(drain);
            }
        }
    }

    /// Whether nothing of a partition is in flight or uncommitted any more.
    fn is_over(&self, progress: &PartitionProgress, now: Instant) -> bool {
        let Some(deadlines) = progress.draining else {
            return true;
        };
        let is_drained = progress.is_abandoned || progress.is_idle();
        let is_committed = !self.commits.is_under_way && progress.to_commit().is_none();
        is_drained && is_committed || deadlines.give_up_by <= now
    }

    pub(super) fn is_drained(&self, deadlines: DrainDeadlines, now: Instant) -> bool {
        let is_committed = !self.commits.is_under_way || deadlines.give_up_by <= now;
        self.drains.is_empty()
            && is_committed
            && self
                .partitions
                .values()
                .all(|progress| self.is_over(progress, now))
    }

    /// Leaves `partitions`. Their epochs are not entered again.
    pub(super) fn leave(&mut self, partitions: &[Partition], actions: &mut Vec<PipelineAction>) {
        for partition in partitions {
            if let Some(progress) = self.enter(partition, actions) {
                progress.leave();
                actions.push(PipelineAction::Abandon(partition.clone()));
            }
        }
        // A commit that does not end stays a failure, because no other one can start.
        if !self.commits.is_under_way && !self.has_offsets() {
            self.failures_changed |= self.commits.backoff.record_success();
        }
    }
}
