//! Deletes purchases that are older than a retention, in the background.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::option_setters;
use crate::ports::PurchaseErase;
use crate::{Clock, Result, SystemClock, Timestamp};

/// Deletes purchases whose timestamp is older than a retention, in small batches with pauses, so that ingest goes on.
///
/// The retention is by the purchase's own timestamp. A log that delivers an old purchase again stores it again, until the
/// next round deletes it. Several processes may run one for the same store.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::Ordering;
/// use std::time::Duration;
///
/// use shop_core::memory::InMemoryStore;
/// use shop_core::retention::{Retention, RetentionOptions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let year = Duration::from_secs(365 * 24 * 3_600);
/// let retention = Retention::new(Arc::new(InMemoryStore::new()), RetentionOptions::new(year));
/// let deleted = retention.monitor();
/// let task = tokio::spawn(retention.run());
/// // …
/// task.abort();
/// assert_eq!(deleted.load(Ordering::Relaxed), 0);
/// # }
/// ```
#[derive(Debug)]
pub struct Retention {
    store: Arc<dyn PurchaseErase>,
    options: RetentionOptions,
    deleted: Arc<AtomicU64>,
}

/// Options of a [`Retention`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RetentionOptions {
    /// How long purchases are kept, by their timestamp.
    pub keep: Duration,
    /// The time between two rounds (default 60 s).
    pub interval: Duration,
    /// The maximum number of purchases of one deletion (default 1,000).
    pub batch: usize,
    /// The clock.
    pub clock: Arc<dyn Clock>,
}

option_setters!(RetentionOptions {
    keep: Duration,
    interval: Duration,
    batch: usize,
    clock: Arc<dyn Clock>,
});

impl RetentionOptions {
    /// Purchases are kept for `keep`; the other options have their defaults.
    #[must_use]
    pub fn new(keep: Duration) -> Self {
        Self { keep, interval: Duration::from_secs(60), batch: 1_000, clock: Arc::new(SystemClock) }
    }
}

/// The pause after a deletion is this multiple of its duration: 20 % of the time at most.
const PAUSE_FACTOR: u32 = 4;

/// The time before which purchases are older than `keep` at `now`.
#[must_use]
pub fn retained_from(now: Timestamp, keep: Duration) -> Timestamp {
    let keep = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.as_millis().saturating_sub(keep)).unwrap_or(Timestamp::MIN)
}

impl Retention {
    /// A retention for `store`. It deletes nothing before it [runs](Self::run).
    #[must_use]
    pub fn new(store: Arc<dyn PurchaseErase>, options: RetentionOptions) -> Self {
        Self { store, options, deleted: Arc::default() }
    }

    /// The number of deleted purchases.
    #[must_use]
    pub fn monitor(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.deleted)
    }

    /// Deletes old purchases until it is dropped. Errors of the store are logged, and the next round tries again.
    ///
    /// # Cancel safety
    /// Dropping the future may delete one more batch.
    pub async fn run(self) {
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

    async fn round(&self) -> Result<()> {
        let before = retained_from(self.options.clock.now(), self.options.keep);
        loop {
            let begun = Instant::now();
            let deleted = self.store.delete_before(before, self.options.batch.max(1)).await?;
            if deleted == 0 {
                return Ok(());
            }
            self.deleted.fetch_add(deleted, Ordering::Relaxed);
            tracing::debug!(deleted, %before, "old purchases deleted");
            sleep(begun.elapsed() * PAUSE_FACTOR).await;
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
        let time = Timestamp::from_millis(1_767_225_600_000 - age).unwrap();
        let id = PurchaseId::from_uuid(Uuid::from_u128(age.unsigned_abs().into()));
        Purchase::new(id, "u1".parse().unwrap(), "ada".parse().unwrap(), "1".parse().unwrap(), time)
    }

    async fn wait_for(deleted: &AtomicU64, count: u64) {
        while deleted.load(Ordering::Relaxed) < count {
            sleep(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn old_purchases_are_deleted_again_and_again() {
        let store = InMemoryStore::new();
        let all: Vec<Purchase> = (0..100).map(|hours| purchase(hours * HOUR)).collect();
        store.insert(all.clone().into()).await.unwrap();
        let clock = FixedClock(all[0].timestamp);
        let mut options = RetentionOptions::new(Duration::from_secs(10 * 3_600));
        (options.clock, options.batch) = (Arc::new(clock), 7);
        let retention = Retention::new(Arc::new(store.clone()), options);
        let deleted = retention.monitor();
        let task = tokio::spawn(retention.run());
        wait_for(&deleted, 89).await;
        assert_eq!(store.summary(&Selector::All).await.unwrap().count, 11, "up to exactly ten hours");
        // A log delivers all of them again.
        store.insert(all.into()).await.unwrap();
        wait_for(&deleted, 178).await;
        assert_eq!(store.summary(&Selector::All).await.unwrap().count, 11);
        task.abort();
    }

    #[test]
    fn a_long_retention_keeps_everything() {
        assert_eq!(retained_from(Timestamp::MAX, Duration::MAX), Timestamp::MIN);
        assert_eq!(retained_from(Timestamp::MAX, Duration::ZERO), Timestamp::MAX);
    }
}
