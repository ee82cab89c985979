//! [`AcceptedTimes`]: the timestamps that a new purchase may have.

use std::time::Duration;

use crate::{Invalid, Result, Timestamp};

/// The time by which the clock of a client may be ahead. A purchase from the future would be listed
/// as the newest one until its time comes.
const MAX_CLIENT_AHEAD: Duration = Duration::from_secs(5 * 60);

/// The range of timestamps that are accepted for a new purchase.
///
/// The range begins at the retention, because an older purchase would be deleted at once, and ends
/// shortly after the current time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedTimes {
    first: Timestamp,
    last: Timestamp,
}

impl AcceptedTimes {
    /// Returns the timestamps that are accepted at the time `now` by a store that keeps purchases
    /// for `retention`.
    ///
    /// With `None`, the store keeps purchases for ever.
    #[must_use]
    pub fn new(now: Timestamp, retention: Option<Duration>) -> Self {
        Self {
            first: now.saturating_sub(retention.unwrap_or(Duration::MAX)),
            last: now.saturating_add(MAX_CLIENT_AHEAD),
        }
    }

    /// Checks that the timestamp `time` is accepted, and returns it.
    ///
    /// # Errors
    /// [`Invalid`] if `time` is older than the retention, or more than 5 minutes in the future.
    pub fn check(self, time: Timestamp) -> Result<Timestamp, Invalid> {
        let reason = if time > self.last {
            "must not be more than 5 minutes in the future"
        } else if time < self.first {
            "must not be older than the retention of purchases"
        } else {
            return Ok(time);
        };
        Err(Invalid::malformed("the timestamp", reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3_600_000;
    const NOW: i64 = 1_767_225_600_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    #[test]
    fn accepted_times_end_five_minutes_ahead_and_begin_at_the_retention() {
        let ahead = 5 * 60 * 1_000;
        let times = AcceptedTimes::new(at(NOW), Some(Duration::from_secs(24 * 3_600)));

        assert_eq!(times.check(at(NOW + ahead)).unwrap(), at(NOW + ahead));
        let future = times.check(at(NOW + ahead + 1)).unwrap_err();
        assert!(
            future.to_string().contains("5 minutes in the future"),
            "{future}"
        );

        assert_eq!(times.check(at(NOW - DAY)).unwrap(), at(NOW - DAY));
        let expired = times.check(at(NOW - DAY - 1)).unwrap_err();
        assert!(expired.to_string().contains("retention"), "{expired}");
    }
}
