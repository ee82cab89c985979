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

mod accepted;
mod guard;
#[cfg(test)]
mod retention_test;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::ports::{Deletion, LeftEntries, PurchaseErase};
use crate::{Clock, Result, SystemClock, Timestamp, options};
pub use accepted::AcceptedTimes;
pub use guard::{Allowance, DeletionGuard};

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
    /// # Errors
    /// Returns the first error of the store. The time of the round is not stored then.
    pub(crate) async fn run_round(&mut self) -> Result<()> {
        let now = self.options.clock.now();
        let cutoff = now.saturating_sub(self.options.retention);
        let due_count = self.count_due(cutoff).await?;
        // `None` reads the stored time, and stores no other one.
        let last_seen = self.store.last_seen(None).await?;
        let allowance = self.guard.next_allowance(now, last_seen, due_count);
        self.delete_rows(cutoff, allowance.rows).await?;

        // The time is stored after the deletion. If the process ends before that, the guard of the
        // next round compares the clock with the earlier time again.
        if let Some(last_seen) = allowance.last_seen {
            self.store.last_seen(Some(last_seen)).await?;
        }

        // The monitor reports the purchases that will be due when the next round begins.
        let next_cutoff = cutoff.saturating_add(self.options.interval);
        let next_due = self.count_due(next_cutoff).await?;
        self.monitor.due.store(next_due, Ordering::Relaxed);
        Ok(())
    }

    /// Deletes about `allowed_rows` of the rows before `cutoff`, in batches, with a pause after each
    /// one, so that ingest continues meanwhile.
    ///
    /// # Errors
    /// Returns the first error of the store.
    async fn delete_rows(&self, cutoff: Timestamp, mut allowed_rows: u64) -> Result<()> {
        let batch_size = self.options.batch_size.max(1);
        while allowed_rows > 0 {
            let batch_start = Instant::now();
            let limit = batch_size.min(usize::try_from(allowed_rows).unwrap_or(usize::MAX));
            let removed_rows = self
                .store
                .delete_before(cutoff, limit, Deletion::Delete)
                .await?;
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
        Ok(())
    }
}
