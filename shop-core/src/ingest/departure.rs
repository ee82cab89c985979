//! Partitions on their way out: what is left to do for them, and until when.

use std::time::Duration;

use tokio::time::Instant;

use crate::log::{Partition, Revocation};

/// Partitions that are to be left: drained, committed, then given up.
pub(super) struct Departure {
    pub(super) partitions: Vec<Partition>,
    pub(super) times: Times,
    /// Tells the source that the rebalance may go on, when it is dropped; none at shutdown.
    revocation: Option<Revocation>,
}

/// Until when a departure takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// When batches that are still on their way are given up.
    pub(super) drained_by: Instant,
    /// When the departure ends whatever was committed.
    pub(super) gone_by: Instant,
}

impl Times {
    /// Those of a departure that may take `time`; its last quarter is kept for the commit.
    pub(super) fn within(time: Duration, now: Instant) -> Self {
        Self { drained_by: after(now, time / 4 * 3), gone_by: after(now, time) }
    }

    /// The same, but not later than `other`.
    pub(super) fn at_most(self, other: Option<Self>) -> Self {
        let Some(other) = other else { return self };
        Self { drained_by: self.drained_by.min(other.drained_by), gone_by: self.gone_by.min(other.gone_by) }
    }
}

impl Departure {
    pub(super) const fn new(
        partitions: Vec<Partition>,
        times: Times,
        revocation: Option<Revocation>,
    ) -> Self {
        Self { partitions, times, revocation }
    }

    /// The partitions are left.
    pub(super) fn end(self) {
        if let Some(revocation) = self.revocation {
            revocation.done();
        }
    }
}

/// The instant `time` after `now`. A time beyond what a clock can say means "as long as it takes".
pub(super) fn after(now: Instant, time: Duration) -> Instant {
    const LONG: Duration = Duration::from_secs(365 * 24 * 3_600);
    now + time.min(LONG)
}
