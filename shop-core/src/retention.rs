//! Deletes purchases that are older than a retention, in the background.
//!
//! [`run_retention`] deletes in rounds, one per minute. Each round counts the purchases that are
//! due, asks a [`DeletionGuard`] how many it may delete, and deletes these in small batches
//! with pauses. The guard protects from a wrong clock: a clock that is ahead makes all purchases
//! look old. It compares the clock with the time of the last round, which is stored beside the
//! purchases.
//!
//! [`AcceptedTimes`] applies the same retention to new purchases, so that none is accepted that
//! would be deleted at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::ports::{Deletion, LeftEntries, PurchaseErase};
use crate::{Clock, Invalid, Result, SystemClock, Timestamp, options};

/// Deletes the purchases of `store` that are older than `retention`, until the future is dropped.
///
/// The future never completes. It looks for old purchases once a minute, and deletes them in small
/// batches with pauses, so that ingest continues meanwhile. A program that deletes once and ends
/// calls [`delete_before`](PurchaseErase::delete_before) instead, without the protection from a
/// wrong clock.
///
/// - The age of a purchase follows from its own timestamp. If a log delivers an old purchase again,
///   the purchase is stored again until the next round deletes it.
/// - Several processes may run a retention for the same store.
/// - The clock may be wrong if it is more than a day ahead of the last round, or more than five
///   minutes behind it. Then nothing is deleted for six hours. Each of the next ten rounds deletes a
///   tenth of the old purchases.
///
/// ```
/// use std::time::Duration;
///
/// use shop_core::memory::InMemoryStore;
/// use shop_core::retention::run_retention;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let year = Duration::from_secs(365 * 24 * 3_600);
/// let task = tokio::spawn(run_retention(InMemoryStore::new(), year));
/// // …
/// task.abort();
/// # }
/// ```
///
/// # Errors
/// None. Errors of the store are logged, and the next round tries again.
///
/// # Cancel safety
/// Dropping the future may delete one more batch of purchases.
pub async fn run_retention(store: impl PurchaseErase, retention: Duration) {
    Retention::new(Arc::new(store), RetentionOptions::new(retention))
        .run()
        .await;
}

/// A [`run_retention`] with options and a monitor.
///
/// A [`DeletionGuard`] limits the number of purchases that a round deletes while the clock may be
/// wrong.
#[derive(Debug)]
pub struct Retention {
    store: Arc<dyn PurchaseErase>,
    options: RetentionOptions,
    guard: DeletionGuard,
    monitor: Arc<RetentionMonitor>,
}

/// The number of purchases that a [`Retention`] deleted, and the number that are due next.
#[derive(Debug, Default)]
pub struct RetentionMonitor {
    /// The number of deleted purchases.
    pub deleted: AtomicU64,
    /// The number of purchases that will be older than the retention in the next round, up to
    /// 1,000,000. Each round counts them when it ends.
    pub due: AtomicU64,
    /// The number of old purchases that the last complete round could not delete, because they are
    /// damaged.
    pub left: AtomicU64,
}

options! {
    /// Options of a [`Retention`].
    #[derive(Debug, Clone)]
    pub struct RetentionOptions {
        /// How long purchases are kept, counted from their timestamp.
        pub retention: Duration = retention,
        /// The time between two rounds (default 60 s).
        pub interval: Duration = Duration::from_secs(60),
        /// The maximum number of purchases that are deleted by one call of the store (default
        /// 1,000).
        pub batch_size: usize = 1_000,
        /// The clock that tells which purchases are old (default: the system clock).
        pub clock: Arc<dyn Clock> = Arc::new(SystemClock),
    }

    /// Creates options that keep purchases for `retention`, with defaults for the other options.
    pub fn new(retention: Duration);
}

/// The maximum number of old purchases that a round counts.
const MAX_COUNT: usize = 1_000_000;

/// The pause after a deletion, as a multiple of the duration of the deletion: with 4, deletions
/// take at most 20 % of the time.
const PAUSE_FACTOR: u32 = 4;

impl Retention {
    /// Creates a retention for `store`, which deletes nothing before it [runs](Self::run).
    #[must_use]
    pub fn new(store: Arc<dyn PurchaseErase>, options: RetentionOptions) -> Self {
        Self {
            store,
            options,
            guard: DeletionGuard::with_max_count(MAX_COUNT as u64),
            monitor: Arc::default(),
        }
    }

    /// Returns the counts of the deleted and the due purchases, which change while the retention
    /// runs.
    #[must_use]
    pub fn monitor(&self) -> Arc<RetentionMonitor> {
        Arc::clone(&self.monitor)
    }

    /// Deletes old purchases in rounds until the future is dropped.
    ///
    /// Errors of the store are logged, and the next round tries again.
    ///
    /// # Cancel safety
    /// Dropping the future may delete one more batch of purchases.
    pub async fn run(mut self) {
        let mut has_failed = false;
        loop {
            match self.run_round().await {
                Ok(()) => has_failed = false,
                Err(error) => {
                    // Of failures in a row, only the first one is logged.
                    if !has_failed {
                        tracing::warn!(error = %error.chain(), "deleting old purchases failed, trying again");
                    }
                    has_failed = true;
                }
            }
            sleep(self.options.interval).await;
        }
    }

    /// Sets the number of old entries that cannot be deleted in the monitor. Logs the entries if
    /// their number has changed since the last round.
    fn report_left(&self, left_entries: &LeftEntries) {
        let previous_count = self
            .monitor
            .left
            .swap(left_entries.count, Ordering::Relaxed);
        if left_entries.count != previous_count && !left_entries.is_empty() {
            tracing::error!(
                left = left_entries.count,
                "old purchases cannot be deleted, because they are damaged: `management doctor` names the damage\n{left_entries}"
            );
        }
    }

    /// Counts the entries before `cutoff`, up to [`MAX_COUNT`].
    ///
    /// # Errors
    /// Returns the errors of the store.
    async fn count_due(&self, cutoff: Timestamp) -> Result<u64> {
        let due_entries = self
            .store
            .delete_before(cutoff, MAX_COUNT, Deletion::DryRun)
            .await?;
        Ok(due_entries.count)
    }

    /// Runs one round: deletes as many old purchases as the guard allows, and updates the monitor.
    ///
    /// The purchases are deleted in batches, with a pause after each one, so that ingest continues
    /// meanwhile.
    ///
    /// # Errors
    /// Returns the first error of the store. The time of the round is not stored then.
    pub(crate) async fn run_round(&mut self) -> Result<()> {
        let store = &self.store;
        let now = self.options.clock.now();
        let cutoff = now.saturating_sub(self.options.retention);
        let due_count = self.count_due(cutoff).await?;
        // `None` reads the stored time, and stores no other one.
        let last_seen = store.last_seen(None).await?;
        let allowance = self.guard.next_allowance(now, last_seen, due_count);

        let mut allowed_rows = allowance.rows;
        while allowed_rows > 0 {
            let batch_start = Instant::now();
            let limit = self
                .options
                .batch_size
                .max(1)
                .min(usize::try_from(allowed_rows).unwrap_or(usize::MAX));
            let removed_rows = store.delete_before(cutoff, limit, Deletion::Delete).await?;
            let deleted = removed_rows.count;
            // The last call deletes nothing, and returns all rows that no call could delete.
            if deleted == 0 {
                self.report_left(&removed_rows.left);
                break;
            }

            // Refunds are deleted with their purchases, so more rows than `limit` may be deleted.
            allowed_rows = allowed_rows.saturating_sub(deleted);
            self.monitor.deleted.fetch_add(deleted, Ordering::Relaxed);
            tracing::debug!(deleted, before = %cutoff, "old purchases deleted");

            sleep(batch_start.elapsed() * PAUSE_FACTOR).await;
        }

        // The time is stored after the deletion. If the process ends before that, the guard of the
        // next round compares the clock with the earlier time again.
        if let Some(last_seen) = allowance.last_seen {
            store.last_seen(Some(last_seen)).await?;
        }

        // The monitor reports the purchases that will be due when the next round begins.
        let next_cutoff = cutoff.saturating_add(self.options.interval);
        let next_due = self.count_due(next_cutoff).await?;
        self.monitor.due.store(next_due, Ordering::Relaxed);
        Ok(())
    }
}

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
const SUSPECT_HOLD: Duration = Duration::from_secs(6 * 3_600);
/// The number of rounds that delete a part of the due rows each, before a suspect clock is trusted.
const SUSPECT_ROUNDS: u64 = 10;

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

        // With n of the ten rounds left, an n-th of the remaining rows is a tenth of the rows at
        // the beginning. An incomplete count does not tell how many rows remain, so this round
        // deletes a tenth of the count, and is not one of the ten.
        let is_count_complete = self.max_count.is_none_or(|max_count| due < max_count);
        let divisor = if is_count_complete {
            suspect.rounds_left
        } else {
            SUSPECT_ROUNDS
        };
        let rows = due.div_ceil(divisor);

        // The last round stores the time of the suspect clock, so the clock is trusted from the
        // next round on.
        let is_last_round = due == 0 || is_count_complete && suspect.rounds_left == 1;
        if is_count_complete {
            suspect.rounds_left = (suspect.rounds_left - 1).max(1);
        }
        tracing::warn!(%now, last_seen = last_seen_field, due, rows, "the clock may be wrong: a tenth of the old rows is deleted");
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
    use tokio::time::timeout;

    use super::*;
    use crate::memory::InMemoryStore;
    use crate::ports::{PurchaseQuery, PurchaseStore, Removed, Selector};
    use crate::{Purchase, PurchaseId, UserId, Uuid};

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

    #[derive(Debug)]
    struct FixedClock(Timestamp);

    impl Clock for FixedClock {
        fn now(&self) -> Timestamp {
            self.0
        }

        fn fresh_id(&self) -> Uuid {
            Uuid::now_v7()
        }
    }

    fn purchase(age: i64) -> Purchase {
        let id = PurchaseId::from_uuid(Uuid::from_u128(age.unsigned_abs().into()));
        Purchase::new(
            id,
            "u1".parse().unwrap(),
            "ada".parse().unwrap(),
            "1".parse().unwrap(),
            at(NOW - age),
        )
    }

    /// A store of a hundred purchases, one per hour until [`NOW`], whose clock was right then.
    async fn store() -> (InMemoryStore, Vec<Purchase>) {
        let store = InMemoryStore::new();
        let all: Vec<Purchase> = (0..100).map(|hours| purchase(hours * HOUR)).collect();
        store.insert(all.clone().into()).await.unwrap();
        store.last_seen(Some(at(NOW))).await.unwrap();
        (store, all)
    }

    /// A new process, which keeps purchases for ten hours.
    fn retention(store: &InMemoryStore, now: i64) -> Retention {
        let mut options = RetentionOptions::new(Duration::from_secs(10 * 3_600));
        (options.clock, options.batch_size) = (Arc::new(FixedClock(at(now))), 7);
        Retention::new(Arc::new(store.clone()), options)
    }

    async fn wait_for(monitor: &RetentionMonitor, count: u64) {
        while monitor.deleted.load(Ordering::Relaxed) < count {
            sleep(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn old_purchases_are_deleted_periodically() {
        let (store, all) = store().await;
        let retention = retention(&store, NOW);
        let monitor = retention.monitor();
        let task = tokio::spawn(retention.run());
        wait_for(&monitor, 89).await;
        assert_eq!(
            store.summary(&Selector::All).await.unwrap().count,
            11,
            "up to exactly ten hours"
        );
        // A log delivers all of them again.
        store.insert(all.into()).await.unwrap();
        wait_for(&monitor, 178).await;
        assert_eq!(store.summary(&Selector::All).await.unwrap().count, 11);
        task.abort();

        // The system clock is far ahead of the stored time, so the deletion begins after six hours.
        let run = run_retention(store.clone(), Duration::ZERO);
        timeout(2 * SUSPECT_HOLD, run).await.unwrap_err();
        assert_eq!(store.summary(&Selector::All).await.unwrap().count, 0);
    }

    /// A store in which a deletion takes a second, and deletes one of many purchases.
    #[derive(Debug)]
    struct SlowStore;

    #[async_trait::async_trait]
    impl PurchaseErase for SlowStore {
        async fn erase(&self, _: &UserId, _: usize) -> Result<Removed> {
            Ok(Removed::default())
        }

        async fn mark_erased(&self, _: &[PurchaseId]) -> Result<u64> {
            Ok(0)
        }

        async fn delete_before(
            &self,
            _: Timestamp,
            _: usize,
            deletion: Deletion,
        ) -> Result<Removed> {
            if deletion == Deletion::DryRun {
                return Ok(1.into());
            }
            sleep(Duration::from_secs(1)).await;
            Ok(1.into())
        }

        async fn last_seen(&self, _: Option<Timestamp>) -> Result<Option<Timestamp>> {
            Ok(Some(SystemClock.now()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_deletes_during_a_fifth_of_its_time() {
        let options = RetentionOptions::new(Duration::ZERO);
        let retention = Retention::new(Arc::new(SlowStore), options);
        let monitor = retention.monitor();
        let run = timeout(Duration::from_secs(100), retention.run());
        run.await.unwrap_err();
        assert_eq!(monitor.deleted.load(Ordering::Relaxed), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_clock_deletes_nothing_for_six_hours_then_a_tenth_per_round() {
        for (wrong, due) in [
            (NOW + 1_000 * DAY, 100),
            (NOW + DAY + 1, 100),
            (NOW - HOUR - 60_000, 88),
        ] {
            let (store, _) = store().await;
            let mut retention = retention(&store, wrong);
            let (begun, monitor) = (Instant::now(), retention.monitor());
            while begun.elapsed() < SUSPECT_HOLD {
                retention.run_round().await.unwrap();
                assert_eq!(monitor.deleted.load(Ordering::Relaxed), 0);
                assert_eq!(monitor.due.load(Ordering::Relaxed), due);
                assert_eq!(
                    store.last_seen(None).await.unwrap(),
                    Some(at(NOW)),
                    "it is not trusted"
                );
                sleep(Duration::from_secs(60)).await;
            }
            for round in 1..=SUSPECT_ROUNDS {
                assert_eq!(store.last_seen(None).await.unwrap(), Some(at(NOW)));
                retention.run_round().await.unwrap();
                let deleted = monitor.deleted.load(Ordering::Relaxed);
                assert!(
                    deleted <= round * due.div_ceil(SUSPECT_ROUNDS),
                    "{deleted} after {round} rounds"
                );
            }
            assert_eq!(monitor.deleted.load(Ordering::Relaxed), due);
            assert_eq!(
                store.last_seen(None).await.unwrap(),
                Some(at(wrong)),
                "then it is"
            );
        }
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

    #[test]
    fn a_long_retention_keeps_everything() {
        assert_eq!(Timestamp::MAX.saturating_sub(Duration::MAX), Timestamp::MIN);
        assert_eq!(
            Timestamp::MAX.saturating_sub(Duration::ZERO),
            Timestamp::MAX
        );
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
