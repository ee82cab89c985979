//! How long a member waits that was thrown out for good, before it joins as a new one.

use std::time::Duration;

/// The pauses of a member between its memberships. Two with the same identity throw each other out for ever, as
/// whoever comes takes the place of who is there: the longer they stay away, the more is read meanwhile.
#[derive(Debug, Default)]
pub(super) struct RejoinBackoff {
    last: Option<Duration>,
}

const FIRST: Duration = Duration::from_secs(3);
const LONGEST: Duration = Duration::from_secs(30);
/// A membership that lasts as long was sound. One that another member ended is shorter: that was away for no longer
/// than the longest pause.
const STABLE_AFTER: Duration = Duration::from_secs(90);

impl RejoinBackoff {
    /// The pause after a membership that has `lasted` as long.
    pub(super) fn pause(&mut self, lasted: Duration) -> Duration {
        let before = self.last.filter(|_| lasted < STABLE_AFTER);
        let pause = before.map_or(FIRST, |before| (before * 2).min(LONGEST));
        self.last = Some(pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_a_membership_was_sound() {
        let mut rejoining = RejoinBackoff::default();
        let pauses: Vec<_> = (0..6).map(|_| rejoining.pause(FIRST).as_secs()).collect();
        assert_eq!(pauses, [3, 6, 12, 24, 30, 30]);
        assert_eq!(rejoining.pause(LONGEST), LONGEST, "the other one was away for as long");
        assert_eq!(rejoining.pause(STABLE_AFTER), FIRST);
        assert_eq!(rejoining.pause(Duration::ZERO), FIRST * 2);
    }
}
