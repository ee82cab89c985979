//! Partitions being drained after a revocation or at shutdown, with their deadlines.

use std::time::{Duration, Instant};

use super::super::backoff::after;
use super::super::event::Action;
use super::progress::Progress;
use super::{Ownership, Pipeline, key};
use crate::log::Partition;

/// A revocation that is answered when its partitions are drained or its time is over.
#[derive(Debug, Clone)]
#[cfg_attr(test, derive(Hash))]
pub(super) struct Drain {
    pub(super) revocation: u64,
    pub(super) partitions: Vec<Partition>,
}

/// The deadlines of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Hash))]
pub(super) struct DrainDeadlines {
    /// When batches still in flight are abandoned.
    pub(super) drain_by: Instant,
    /// When the drain ends regardless of the commit.
    pub(super) give_up_by: Instant,
}

impl DrainDeadlines {
    /// Deadlines for a drain of `time`. The last quarter is reserved for the commit.
    pub(super) fn within(time: Duration, now: Instant) -> Self {
        Self { drain_by: after(now, time / 4 * 3), give_up_by: after(now, time) }
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

impl Pipeline {
    pub(super) fn begin_drain(
        &mut self,
        drain: Drain,
        timeout: Duration,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let deadlines = DrainDeadlines::within(timeout, now).at_most(self.stopping);
        for partition in &drain.partitions {
            let unread = || Ownership::Reading(Progress::new(partition.clone()));
            let owned = self.partitions.entry(key(partition)).or_insert_with(unread);
            if owned.is_past(partition.epoch) {
                continue;
            }
            // Batches of an older epoch are not drained: their commits would be fenced.
            let before = owned.progress().map(|progress| progress.partition.clone());
            if before.as_ref() != Some(partition) {
                actions.extend(before.map(Action::Abandon));
                *owned = unread();
            }
            owned.drain(deadlines);
        }
        self.drains.push(drain);
        // The rebalance waits for the commit, so it is tried at once, without backoff.
        self.commits.backoff.hurry();
    }

    /// Ends drains that are complete or out of time.
    pub(super) fn finish_drains(&mut self, now: Instant, actions: &mut Vec<Action>) {
        for ownership in self.partitions.values_mut() {
            if let Ownership::Draining(progress, deadlines) = ownership
                && deadlines.drain_by <= now
                && !progress.is_abandoned
            {
                progress.is_abandoned = true;
                actions.push(Action::Abandon(progress.partition.clone()));
            }
        }
        for drain in std::mem::take(&mut self.drains) {
            let is_over =
                |partition| self.partitions.get(&key(partition)).is_none_or(|of| self.is_over(of, now));
            if drain.partitions.iter().all(is_over) {
                self.leave(&drain.partitions, actions);
                actions.push(Action::EndRevocation(drain.revocation));
            } else {
                self.drains.push(drain);
            }
        }
    }

    /// Whether nothing of a partition is in flight or uncommitted any more.
    fn is_over(&self, ownership: &Ownership, now: Instant) -> bool {
        let Ownership::Draining(progress, deadlines) = ownership else { return true };
        let is_drained = progress.is_abandoned || progress.is_idle();
        let is_committed = !self.commits.is_under_way() && progress.to_commit().is_none();
        is_drained && is_committed || deadlines.give_up_by <= now
    }

    pub(super) fn is_drained(&self, deadlines: DrainDeadlines, now: Instant) -> bool {
        let is_over = || self.partitions.values().all(|ownership| self.is_over(ownership, now));
        let is_committed = !self.commits.is_under_way() || deadlines.give_up_by <= now;
        self.drains.is_empty() && is_committed && is_over()
    }

    /// Leaves `partitions`. Their epochs are not entered again.
    pub(super) fn leave(&mut self, partitions: &[Partition], actions: &mut Vec<Action>) {
        for partition in partitions {
            let left = Ownership::Left { epoch: partition.epoch };
            let ownership = self.partitions.entry(key(partition)).or_insert_with(|| left.clone());
            if ownership.is_past(partition.epoch) {
                continue;
            }
            actions.extend(ownership.progress().map(|progress| Action::Abandon(progress.partition.clone())));
            *ownership = left;
        }
        // A commit that does not end stays a failure, because no other one can start.
        if !self.commits.is_under_way() && !self.has_offsets() {
            self.failures_changed |= self.commits.backoff.recovered();
        }
    }
}
