//! How long a client may keep a response waiting.

use std::time::Duration;

use tokio::time::Instant;

/// How long a client may keep a response waiting. Each byte that it accepts adds the time that the rate allows for it,
/// up to the maximum.
pub(super) struct Pace {
    max: Duration,
    /// Bytes per second. 0: each byte restores the maximum.
    rate: u32,
    left: Duration,
    /// Since when it accepts nothing.
    blocked: Option<Instant>,
}

impl Pace {
    pub(super) const fn new(max: Duration, rate: u32) -> Self {
        Self {
            max,
            rate,
            left: max,
            blocked: None,
        }
    }

    /// The client accepts nothing for now.
    pub(super) fn block(&mut self) {
        self.blocked.get_or_insert_with(Instant::now);
    }

    /// The client has accepted so many bytes.
    pub(super) fn accept(&mut self, bytes: usize) {
        if let Some(since) = self.blocked.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        if self.left < self.max {
            self.left = self.left.saturating_add(self.earned(bytes)).min(self.max);
        }
    }

    pub(super) const fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    /// When its time is over, while it accepts nothing.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.blocked?.checked_add(self.left)
    }

    /// The time for `bytes`.
    fn earned(&self, bytes: usize) -> Duration {
        let thousandths = u64::try_from(bytes)
            .unwrap_or(u64::MAX)
            .saturating_mul(1_000);
        thousandths
            .checked_div(self.rate.into())
            .map_or(self.max, Duration::from_millis)
    }
}
