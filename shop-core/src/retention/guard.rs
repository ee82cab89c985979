//! [`DeletionGuard`]: limits how much is deleted while the clock may be wrong.

use std::time::Duration;

use tokio::time::Instant;

use crate::Timestamp;

/// A guard that limits rounds of deletion while the clock may be wrong. A clock that is ahead makes
/// all rows look old.
///
/// A *row* is an entry of the store that a round may delete, such as a purchase. A row is *due* if it
/// is older than the retention. The store keeps the time that the clock showed in the last round.
///
/// | Clock, compared with the stored time | Rows that a round may delete |
/// |---|---|
/// | up to a day ahead, and up to five minutes behind | all due rows: the clock is trusted |
/// | otherwise, during the first six hours of the monotonic clock | none |
/// | otherwise, in each of the next ten rounds | a tenth of the rows that were due |
///
/// After the ten rounds, the time is stored, and the clock is trusted from then on. An operator
/// thus has six hours to notice the warnings and to set the clock.
///
/// If more rows are due than are counted, a round deletes a tenth of the counted rows, and is not
/// one of the ten rounds.
#[derive(Debug, Default)]
pub struct DeletionGuard {
    /// The state of the suspicion, while the clock is not trusted.
    suspect: Option<SuspectClock>,
    /// The number of due rows at which counting ends; `None` if all due rows are counted.
    max_count: Option<u64>,
}

/// The state of a guard whose clock may be wrong.
#[derive(Debug)]
struct SuspectClock {
    /// When the guard began to suspect the clock, by the monotonic clock.
    since: Instant,
    /// The number of rounds, of the ten, that have not yet deleted their part.
    rounds_left: u64,
}

/// The number of rows that one round may delete, and the time that it stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// The maximum number of rows; `u64::MAX` if the clock is trusted.
    pub rows: u64,
    /// The time to store as the time of the last round, after the deletion; `None` if the stored
    /// time remains.
    pub last_seen: Option<Timestamp>,
}

impl Allowance {
    /// The number of rows of an allowance without a limit: the clock is trusted.
    const UNLIMITED: u64 = u64::MAX;

    /// Returns the allowance of a round whose clock is trusted and shows `now`.
    ///
    /// The stored time `last_seen` is replaced once an hour, which saves a write per round.
    fn of_trusted_clock(now: Timestamp, last_seen: Option<Timestamp>) -> Self {
        let is_recent =
            last_seen.is_some_and(|last_seen| now.saturating_since(last_seen) < SEEN_INTERVAL);
        Self {
            rows: Self::UNLIMITED,
            last_seen: (!is_recent).then_some(now),
        }
    }

    /// Returns the allowance of a round in which more rows are due than the `counted` ones, while the
    /// clock is suspect.
    ///
    /// The count does not tell how many rows remain, so the round may delete a tenth of the count, and
    /// is not one of the ten rounds.
    fn of_incomplete_count(counted: u64) -> Self {
        Self {
            rows: counted.div_ceil(SUSPECT_ROUNDS),
            last_seen: None,
        }
    }

    /// Returns the rest of this allowance after `deleted` rows, for a round that deletes in slices.
    ///
    /// Returns `None` for an allowance of a trusted clock. Each slice may then be a round of its own,
    /// which asks the guard again.
    #[must_use]
    pub fn remaining_after(self, deleted: u64) -> Option<Self> {
        if self.rows == Self::UNLIMITED {
            return None;
        }
        Some(Self {
            rows: self.rows.saturating_sub(deleted),
            ..self
        })
    }
}

/// The time by which a trusted clock may be ahead of the stored time, such as after a day without
/// any round.
const MAX_AHEAD: Duration = Duration::from_secs(24 * 3_600);
/// The time by which a trusted clock may be behind the stored time, because the clocks of two
/// processes differ.
const MAX_BEHIND: Duration = Duration::from_secs(5 * 60);
/// The minimum time between two stored times of rounds, while the clock is trusted.
const SEEN_INTERVAL: Duration = Duration::from_secs(3_600);
/// How long nothing is deleted after the clock became suspect.
pub(super) const SUSPECT_HOLD: Duration = Duration::from_secs(6 * 3_600);
/// The number of rounds that delete a part of the due rows each, before a suspect clock is trusted.
pub(super) const SUSPECT_ROUNDS: u64 = 10;

impl DeletionGuard {
    /// Creates a guard for due rows that are counted up to `max_count`.
    #[must_use]
    pub const fn with_max_count(max_count: u64) -> Self {
        Self {
            suspect: None,
            max_count: Some(max_count),
        }
    }

    /// Returns how many of the `due` rows a round at the time `now` may delete.
    ///
    /// `last_seen` is the stored time of the last round. Without a stored time, the clock is
    /// trusted if no row is due.
    ///
    /// Logs a warning when the clock becomes suspect, and for each round that deletes a part of the
    /// rows.
    pub fn next_allowance(
        &mut self,
        now: Timestamp,
        last_seen: Option<Timestamp>,
        due: u64,
    ) -> Allowance {
        if is_trusted(now, last_seen, due) {
            self.suspect = None;
            return Allowance::of_trusted_clock(now, last_seen);
        }

        let last_seen_field = last_seen.map(tracing::field::display);
        let suspect = self.suspect.get_or_insert_with(|| {
            tracing::warn!(%now, last_seen = last_seen_field, due, "the clock may be wrong: old rows are not deleted for six hours");
            SuspectClock { since: Instant::now(), rounds_left: SUSPECT_ROUNDS }
        });
        if suspect.since.elapsed() < SUSPECT_HOLD {
            return Allowance {
                rows: 0,
                last_seen: None,
            };
        }

        let is_count_complete = due == 0 || self.max_count.is_none_or(|max_count| due < max_count);
        let allowance = if is_count_complete {
            suspect.next_round(now, due)
        } else {
            Allowance::of_incomplete_count(due)
        };
        let rows = allowance.rows;
        tracing::warn!(%now, last_seen = last_seen_field, due, rows, "the clock may be wrong: a tenth of the old rows is deleted");
        allowance
    }
}

impl SuspectClock {
    /// Returns the allowance of the next of the ten rounds, which may delete a tenth of the rows that
    /// were due at the first one.
    ///
    /// The last round, and a round in which no row is `due`, stores the time `now` of the suspect
    /// clock, so that the clock is trusted from the next round on.
    fn next_round(&mut self, now: Timestamp, due: u64) -> Allowance {
        // With n rounds left, an n-th of the remaining rows is a tenth of the rows at the beginning.
        let rows = due.div_ceil(self.rounds_left);
        let is_last_round = due == 0 || self.rounds_left == 1;
        self.rounds_left = (self.rounds_left - 1).max(1);
        Allowance {
            rows,
            last_seen: is_last_round.then_some(now),
        }
    }
}

/// Returns whether a clock that shows `now` is near the stored time `last_seen` of the last round.
///
/// Without a stored time, the clock is trusted if no row is `due`: nothing would be deleted.
fn is_trusted(now: Timestamp, last_seen: Option<Timestamp>, due: u64) -> bool {
    let Some(last_seen) = last_seen else {
        return due == 0;
    };
    now.saturating_since(last_seen) <= MAX_AHEAD && last_seen.saturating_since(now) <= MAX_BEHIND
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;
    const NOW: i64 = 1_767_225_600_000;

    const TRUSTED: Allowance = Allowance {
        rows: u64::MAX,
        last_seen: None,
    };
    const HELD: Allowance = Allowance {
        rows: 0,
        last_seen: None,
    };

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_right_again_is_trusted_at_once() {
        let mut guard = DeletionGuard::default();
        let mut round = |now| guard.next_allowance(at(now), Some(at(NOW)), 7);
        assert_eq!(round(NOW + DAY + 1), HELD);
        assert_eq!(
            round(NOW - HOUR / 12),
            TRUSTED,
            "clocks of two processes differ"
        );
        tokio::time::advance(SUSPECT_HOLD).await;
        assert_eq!(round(NOW + DAY + 1), HELD, "six hours from now on");
        let last_seen = Some(at(NOW + DAY));
        let seen = Allowance {
            last_seen,
            ..TRUSTED
        };
        assert_eq!(round(NOW + DAY), seen);
    }

    #[tokio::test(start_paused = true)]
    async fn rows_that_are_not_counted_are_deleted_by_tenths_of_the_count() {
        let (mut guard, mut due) = (DeletionGuard::with_max_count(1_000), 3_000_u64);
        let mut round =
            |due: u64| guard.next_allowance(at(NOW + DAY + 1), Some(at(NOW)), due.min(1_000));
        assert_eq!(round(due).rows, 0);
        tokio::time::advance(SUSPECT_HOLD).await;
        let mut rounds = 0;
        while due > 0 {
            let Allowance { rows, last_seen } = round(due);
            assert!(rows <= 100, "{rows} of {due}");
            due -= rows;
            rounds += 1;
            assert_eq!(last_seen.is_some(), due == 0, "{due} are left");
        }
        assert_eq!(rounds, 31);
    }

    #[test]
    fn without_a_stored_time_the_clock_is_trusted_if_nothing_is_due() {
        let first = |due| DeletionGuard::default().next_allowance(at(NOW), None, due);
        let seen = Allowance {
            last_seen: Some(at(NOW)),
            ..TRUSTED
        };
        assert_eq!(first(0), seen);
        assert_eq!(first(1), HELD);
    }

    #[test]
    fn a_round_of_slices_ends_when_its_allowance_is_used() {
        let allowance = Allowance {
            rows: 1_500,
            last_seen: Some(at(NOW)),
        };
        let rest = allowance.remaining_after(1_000).unwrap();
        assert_eq!(
            rest,
            Allowance {
                rows: 500,
                ..allowance
            }
        );
        assert_eq!(rest.remaining_after(500).unwrap().rows, 0);
        assert_eq!(TRUSTED.remaining_after(1_000), None);
    }
}
