//! The backoff of a member between a failed membership and the next one.

use std::time::Duration;

/// Exponential backoff between memberships. Two members with the same instance id evict each other whenever one
/// joins. Longer pauses leave more time to consume in between.
#[derive(Debug, Default)]
pub(super) struct RejoinBackoff {
    last: Option<Duration>,
}

const INITIAL_PAUSE: Duration = Duration::from_secs(3);
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// A membership of this duration resets the backoff. If another member with the same id evicts this one, it does so
/// earlier: after at most the maximum pause.
const STABLE_AFTER: Duration = Duration::from_secs(90);

impl RejoinBackoff {
    /// Returns the pause after a membership that has `lasted` this long.
    pub(super) fn pause(&mut self, lasted: Duration) -> Duration {
        let before = self.last.filter(|_| lasted < STABLE_AFTER);
        let pause = before.map_or(INITIAL_PAUSE, |before| (before * 2).min(MAX_PAUSE));
        self.last = Some(pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_doubles_until_a_membership_is_stable() {
        let mut backoff = RejoinBackoff::default();
        let pauses: Vec<_> = (0..6).map(|_| backoff.pause(INITIAL_PAUSE).as_secs()).collect();
        assert_eq!(pauses, [3, 6, 12, 24, 30, 30]);
        assert_eq!(backoff.pause(MAX_PAUSE), MAX_PAUSE, "not stable yet");
        assert_eq!(backoff.pause(STABLE_AFTER), INITIAL_PAUSE);
        assert_eq!(backoff.pause(Duration::ZERO), INITIAL_PAUSE * 2);
    }
}
