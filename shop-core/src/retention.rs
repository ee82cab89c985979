//! Deletes purchases that are older than a retention, in the background.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::ports::PurchaseErase;
use crate::{Clock, Invalid, Result, SystemClock, Timestamp, options};

/// Deletes the purchases of `store` whose timestamp is older than `keep`, until it is dropped: it never ends. It looks once a
/// minute, and deletes in small batches with pauses, so that ingest continues. A program that ends calls
/// [`delete_before`](PurchaseErase::delete_before) instead, without the protection from a wrong clock.
///
/// The retention is by the purchase's own timestamp. A log that delivers an old purchase again stores it again, until
/// the next round deletes it. Several processes may run one for the same store. While the clock may be wrong, because it is
/// more than a day past the last round or behind it, nothing is deleted for six hours, and then a tenth per round.
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
/// None: those of the store are logged, and the next round tries again.
///
/// # Cancel safety
/// Dropping the future may delete one more batch.
pub async fn run_retention(store: impl PurchaseErase, retention: Duration) {
    Retention::new(Arc::new(store), RetentionOptions::new(retention))
        .run()
        .await;
}

/// A [`retain`] with options, and a monitor. A [`DeletionGuard`] limits what a round deletes while the clock may be wrong.
#[doc(hidden)]
#[derive(Debug)]
pub struct Retention {
    store: Arc<dyn PurchaseErase>,
    options: RetentionOptions,
    guard: DeletionGuard,
    monitor: Arc<RetentionMonitor>,
}

/// What a [`Retention`] has deleted, and what it will delete.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct RetentionMonitor {
    /// The number of deleted purchases.
    pub deleted: AtomicU64,
    /// The number of purchases that will be older than the retention in the next round, counted after the last one, up
    /// to 1,000,000.
    pub due: AtomicU64,
}

options! {
    /// Options of a [`Retention`].
    #[doc(hidden)]
    #[derive(Debug, Clone)]
    pub struct RetentionOptions {
        /// How long purchases are kept, by their timestamp.
        pub retention: Duration = keep,
        /// The time between two rounds (default 60 s).
        pub interval: Duration = Duration::from_secs(60),
        /// The maximum number of purchases of one deletion (default 1,000).
        pub batch_size: usize = 1_000,
        /// The clock.
        pub clock: Arc<dyn Clock> = Arc::new(SystemClock),
    }

    /// Purchases are kept for `keep`; the other options have their defaults.
    pub fn new(keep: Duration);
}

/// The maximum number of old purchases that are counted.
const MAX_COUNT: usize = 1_000_000;

/// The pause after a deletion is this multiple of its duration: 20 % of the time at most.
const PAUSE_FACTOR: u32 = 4;

/// How far a client's clock may be ahead: a timestamp in the future would be the newest of a listing until then.
const MAX_CLIENT_AHEAD: Duration = Duration::from_secs(5 * 60);

/// The timestamps that a new purchase may have. An older one than the retention would be deleted at once.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcceptedTimes {
    first: Timestamp,
    last: Timestamp,
}

impl AcceptedTimes {
    /// Those at `now`, of a store that keeps purchases for `keep`; `None` is for ever.
    #[must_use]
    pub fn new(now: Timestamp, keep: Option<Duration>) -> Self {
        let first = now.saturating_sub(keep.unwrap_or(Duration::MAX));
        Self {
            first,
            last: now.saturating_add(MAX_CLIENT_AHEAD),
        }
    }

    /// Checks `time`.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub fn check(self, time: Timestamp) -> Result<Timestamp, Invalid> {
        let refused = |reason| Err(Invalid::malformed("the timestamp", reason));
        match time {
            time if time > self.last => refused("must not be more than 5 minutes in the future"),
            time if time < self.first => {
                refused("must not be older than the retention of purchases")
            }
            time => Ok(time),
        }
    }
}

impl Retention {
    /// A retention for `store`. It deletes nothing before it [runs](Self::run).
    #[must_use]
    pub fn new(store: Arc<dyn PurchaseErase>, options: RetentionOptions) -> Self {
        Self {
            store,
            options,
            guard: DeletionGuard::with_max_count(MAX_COUNT as u64),
            monitor: Arc::default(),
        }
    }

    /// What it has deleted, and what it will delete.
    #[must_use]
    pub fn monitor(&self) -> Arc<RetentionMonitor> {
        Arc::clone(&self.monitor)
    }

    /// Deletes old purchases until it is dropped. Errors of the store are logged, and the next round tries again.
    ///
    /// # Cancel safety
    /// Dropping the future may delete one more batch.
    pub async fn run(mut self) {
        let mut has_failed = false;
        loop {
            match self.round().await {
                Ok(()) => has_failed = false,
                Err(error) => {
                    if !std::mem::replace(&mut has_failed, true) {
                        tracing::warn!(error = %error.chain(), "deleting old purchases failed, trying again");
                    }
                }
            }
            sleep(self.options.interval).await;
        }
    }

    /// Deletes what the guard allows.
    pub(crate) async fn round(&mut self) -> Result<()> {
        let store = Arc::clone(&self.store);
        let now = self.options.clock.now();
        let before = now.saturating_sub(self.options.retention);
        let due = store.count_before(before, MAX_COUNT).await?;
        let Allowance {
            rows: mut left,
            last_seen: seen,
        } = self
            .guard
            .next_allowance(now, store.last_seen().await?, due);
        while left > 0 {
            let begun = Instant::now();
            let batch = self
                .options
                .batch_size
                .max(1)
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let deleted = store.delete_before(before, batch).await?;
            if deleted == 0 {
                break;
            }
            left = left.saturating_sub(deleted);
            self.monitor.deleted.fetch_add(deleted, Ordering::Relaxed);
            tracing::debug!(deleted, %before, "old purchases deleted");
            sleep(begun.elapsed() * PAUSE_FACTOR).await;
        }
        if let Some(seen) = seen {
            store.store_last_seen(seen).await?;
        }
        let next = before.saturating_add(self.options.interval);
        self.monitor.due.store(
            store.count_before(next, MAX_COUNT).await?,
            Ordering::Relaxed,
        );
        Ok(())
    }
}

/// Limits rounds of deletion while the clock may be wrong: a clock that is ahead makes everything old.
///
/// The last time that a round has seen is stored beside the rows. If the clock is more than a day past it, or behind
/// it, rounds delete nothing for six hours of the monotonic clock, and each of the next ten a tenth of what is due.
/// Then the clock is trusted. While more is due than is counted, each round deletes a tenth of the count, and is none
/// of the ten.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct DeletionGuard {
    suspect: Option<SuspectClock>,
    /// The count at which counting ends, if it does.
    max_count: Option<u64>,
}

/// A clock that may be wrong.
#[derive(Debug)]
struct SuspectClock {
    since: Instant,
    rounds_left: u64,
}

/// What a round may delete.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// The maximum number of rows; `u64::MAX` if the clock is trusted.
    pub rows: u64,
    /// The time to store as the last one seen, after the deletion.
    pub last_seen: Option<Timestamp>,
}

impl Allowance {
    /// What a round that deletes in slices may delete after `deleted` rows; `None` if the clock is trusted, so that
    /// each slice may be a round.
    #[must_use]
    pub fn remaining_after(self, deleted: u64) -> Option<Self> {
        (self.rows < u64::MAX).then(|| Self {
            rows: self.rows.saturating_sub(deleted),
            ..self
        })
    }
}

const MAX_AHEAD: Duration = Duration::from_secs(24 * 3_600);
/// The clocks of two processes differ.
const MAX_BEHIND: Duration = Duration::from_secs(5 * 60);
/// How often the time is stored.
const SEEN_INTERVAL: Duration = Duration::from_secs(3_600);
const HOLD: Duration = Duration::from_secs(6 * 3_600);
const ROUNDS: u64 = 10;

impl DeletionGuard {
    /// A guard for rows that are counted up to `max_count`.
    #[must_use]
    pub const fn with_max_count(max_count: u64) -> Self {
        Self {
            suspect: None,
            max_count: Some(max_count),
        }
    }

    /// Returns what a round at `now` may delete of the `due` rows. Without a stored time the clock is trusted if no row
    /// is due. Logs a warning when deletion is suspended, and for each round that deletes a tenth.
    pub fn next_allowance(
        &mut self,
        now: Timestamp,
        last_seen: Option<Timestamp>,
        due: u64,
    ) -> Allowance {
        let is_plausible = last_seen.map_or(due == 0, |last| {
            now.saturating_since(last) <= MAX_AHEAD && last.saturating_since(now) <= MAX_BEHIND
        });
        if is_plausible {
            self.suspect = None;
            let is_recent =
                last_seen.is_some_and(|last| now.saturating_since(last) < SEEN_INTERVAL);
            return Allowance {
                rows: u64::MAX,
                last_seen: (!is_recent).then_some(now),
            };
        }
        let last_seen = last_seen.map(tracing::field::display);
        let suspect = self.suspect.get_or_insert_with(|| {
            tracing::warn!(%now, last_seen, due, "the clock may be wrong: old rows are not deleted for six hours");
            SuspectClock { since: Instant::now(), rounds_left: ROUNDS }
        });
        if suspect.since.elapsed() < HOLD {
            return Allowance {
                rows: 0,
                last_seen: None,
            };
        }
        let is_counted = self.max_count.is_none_or(|max| due < max);
        let rows = due.div_ceil(if is_counted {
            suspect.rounds_left
        } else {
            ROUNDS
        });
        let is_last = due == 0 || is_counted && suspect.rounds_left == 1;
        if is_counted {
            suspect.rounds_left = (suspect.rounds_left - 1).max(1);
        }
        tracing::warn!(%now, last_seen, due, rows, "the clock may be wrong: a tenth of the old rows is deleted");
        Allowance {
            rows,
            last_seen: is_last.then_some(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::InMemoryStore;
    use crate::ports::{PurchaseQuery, PurchaseStore, Selector};
    use crate::{Purchase, PurchaseId, Uuid};

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;
    const NOW: i64 = 1_767_225_600_000;

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
        store.store_last_seen(at(NOW)).await.unwrap();
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
            while begun.elapsed() < HOLD {
                retention.round().await.unwrap();
                assert_eq!(monitor.deleted.load(Ordering::Relaxed), 0);
                assert_eq!(monitor.due.load(Ordering::Relaxed), due);
                assert_eq!(
                    store.last_seen().await.unwrap(),
                    Some(at(NOW)),
                    "it is not trusted"
                );
                sleep(Duration::from_secs(60)).await;
            }
            for round in 1..=ROUNDS {
                assert_eq!(store.last_seen().await.unwrap(), Some(at(NOW)));
                retention.round().await.unwrap();
                let deleted = monitor.deleted.load(Ordering::Relaxed);
                assert!(
                    deleted <= round * due.div_ceil(ROUNDS),
                    "{deleted} after {round} rounds"
                );
            }
            assert_eq!(monitor.deleted.load(Ordering::Relaxed), due);
            assert_eq!(
                store.last_seen().await.unwrap(),
                Some(at(wrong)),
                "then it is"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_right_again_is_trusted_at_once() {
        let mut guard = DeletionGuard::default();
        let (trusted, held) = (
            Allowance {
                rows: u64::MAX,
                last_seen: None,
            },
            Allowance {
                rows: 0,
                last_seen: None,
            },
        );
        let mut round = |now| guard.next_allowance(at(now), Some(at(NOW)), 7);
        assert_eq!(round(NOW + DAY + 1), held);
        assert_eq!(
            round(NOW - HOUR / 12),
            trusted,
            "clocks of two processes differ"
        );
        tokio::time::advance(HOLD).await;
        assert_eq!(round(NOW + DAY + 1), held, "six hours from now on");
        let last_seen = Some(at(NOW + DAY));
        assert_eq!(
            round(NOW + DAY),
            Allowance {
                rows: u64::MAX,
                last_seen
            }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn rows_that_are_not_counted_are_deleted_by_tenths_of_the_count() {
        let (mut guard, mut due) = (DeletionGuard::with_max_count(1_000), 3_000_u64);
        let mut round =
            |due: u64| guard.next_allowance(at(NOW + DAY + 1), Some(at(NOW)), due.min(1_000));
        assert_eq!(round(due).rows, 0);
        tokio::time::advance(HOLD).await;
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
        assert_eq!(
            first(0),
            Allowance {
                rows: u64::MAX,
                last_seen: Some(at(NOW))
            }
        );
        assert_eq!(
            first(1),
            Allowance {
                rows: 0,
                last_seen: None
            }
        );
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
        assert_eq!(
            Allowance {
                rows: u64::MAX,
                last_seen: None
            }
            .remaining_after(1_000),
            None
        );
    }

    #[test]
    fn a_long_retention_keeps_everything() {
        assert_eq!(Timestamp::MAX.saturating_sub(Duration::MAX), Timestamp::MIN);
        assert_eq!(
            Timestamp::MAX.saturating_sub(Duration::ZERO),
            Timestamp::MAX
        );
    }
}
