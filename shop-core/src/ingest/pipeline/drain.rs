//! The drain of partitions: of some after a revocation, and of all at a shutdown.
//!
//! A drain waits for the batches in flight and for the commit of their position. Each drain has two
//! deadlines: batches in flight are abandoned at the first one, and the drain ends in any case at
//! the second one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::backoff::saturating_instant;
use super::super::event::PipelineAction;
use super::progress::PartitionProgress;
use super::{IngestPipeline, partition_key};
use crate::log::{Partition, Revocation};

/// The two deadlines of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DrainDeadlines {
    /// The instant at which batches that are still in flight are abandoned.
    pub(super) drain_by: Instant,
    /// The instant at which the drain ends, also without the commit.
    pub(super) give_up_by: Instant,
}

impl DrainDeadlines {
    /// Returns the deadlines of a drain that begins at `now` and may take `time`.
    ///
    /// The last quarter of the time is reserved for the commit.
    pub(super) fn within(time: Duration, now: Instant) -> Self {
        Self {
            drain_by: saturating_instant(now, time / 4 * 3),
            give_up_by: saturating_instant(now, time),
        }
    }

    /// Returns the earlier one of each deadline in `self` and `other`.
    pub(super) fn limited_by(self, other: Option<Self>) -> Self {
        let Some(other) = other else { return self };
        Self {
            drain_by: self.drain_by.min(other.drain_by),
            give_up_by: self.give_up_by.min(other.give_up_by),
        }
    }
}

impl IngestPipeline {
    /// Begins to drain the partitions of `revocation`, a request of the log to give up partitions.
    ///
    /// The rebalance waits until the drain is complete or its time is over. During a shutdown, the
    /// deadlines of the shutdown apply if they are earlier.
    pub(super) fn begin_drain(&mut self, revocation: Revocation, now: Instant) {
        let deadlines =
            DrainDeadlines::within(revocation.timeout, now).limited_by(self.shutdown_deadlines);
        for partition in &revocation.partitions {
            // Batches of an older epoch are not drained, because their commits would be fenced.
            if let Some(progress) = self.enter_epoch(partition) {
                progress.begin_drain(deadlines);
            }
        }

        self.draining_revocations.push(Arc::new(revocation));
        // The rebalance waits for the commit, so the commit is tried at once, without backoff.
        self.commit_backoff.retry_now();
    }

    /// Ends the revocations whose drain is complete or out of time, and abandons batches that are
    /// late.
    ///
    /// Called after each event, because each event may complete a drain.
    pub(super) fn finish_drains(&mut self, now: Instant) {
        for progress in self.partitions.values_mut() {
            let is_late = progress
                .drain_deadlines
                .is_some_and(|deadlines| deadlines.drain_by <= now);
            if is_late && !progress.is_abandoned {
                progress.is_abandoned = true;
                self.actions
                    .push(PipelineAction::Abandon(progress.partition.clone()));
            }
        }

        for revocation in std::mem::take(&mut self.draining_revocations) {
            // Nothing is in flight for a partition without progress.
            let is_over = revocation
                .partitions
                .iter()
                .filter_map(|partition| self.partitions.get(&partition_key(partition)))
                .all(|progress| self.is_drain_over(progress, now));
            if is_over {
                // The epoch ends before the revocation does. After the end of the revocation,
                // another member may own the partitions.
                self.leave_partitions(&revocation.partitions);
                self.actions.push(PipelineAction::EndRevocation(revocation));
            } else {
                self.draining_revocations.push(revocation);
            }
        }
    }

    /// Checks whether the drain of a partition is complete or out of time, or whether the partition
    /// is not being drained.
    ///
    /// A drain is complete when no batch is in flight and the durable position is committed.
    fn is_drain_over(&self, progress: &PartitionProgress, now: Instant) -> bool {
        let Some(deadlines) = progress.drain_deadlines else {
            return true;
        };

        let are_batches_done = progress.is_abandoned || progress.is_idle();
        // The commit in progress may contain a position of this partition.
        let is_committed = !self.is_committing && progress.uncommitted_offset().is_none();
        let is_complete = are_batches_done && is_committed;
        let is_out_of_time = deadlines.give_up_by <= now;
        is_complete || is_out_of_time
    }

    /// Checks whether the shutdown with these `deadlines` drained all partitions, so that the
    /// source can be closed.
    ///
    /// A commit in progress delays the close until the second deadline at most.
    pub(super) fn is_shutdown_drained(&self, deadlines: DrainDeadlines, now: Instant) -> bool {
        let is_commit_pending = self.is_committing && deadlines.give_up_by > now;
        if is_commit_pending || !self.draining_revocations.is_empty() {
            return false;
        }
        self.partitions
            .values()
            .all(|progress| self.is_drain_over(progress, now))
    }

    /// Leaves `partitions`: marks their epochs as ended, and abandons their batches.
    ///
    /// Results of these batches that arrive later are ignored, and so are records of an epoch that
    /// was left before its first record arrived.
    pub(super) fn leave_partitions(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            if let Some(progress) = self.enter_epoch(partition) {
                progress.end_epoch();
                self.actions
                    .push(PipelineAction::Abandon(partition.clone()));
            }
        }

        // Without an offset to commit, no further commit is tried that could end a reported failure
        // of commits. So the failure ends here. A commit that is in progress and hangs stays a
        // failure, because no other commit can start.
        let needs_commit = self.is_committing || self.has_uncommitted_offsets();
        if !needs_commit {
            let has_recovered = self.commit_backoff.record_success();
            self.failures_changed |= has_recovered;
        }
    }
}
