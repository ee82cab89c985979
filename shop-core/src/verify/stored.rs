//! The scan of the store before the log: remembers the content of purchases, and finds ids that the
//! scan yields more than once.
//!
//! Memory is bounded. The first scan keeps all ids until they are too many. It then divides the ids
//! into twice as many partitions by hash, and keeps one partition only. After the log, the store is
//! scanned once for each further partition, to find its duplicates.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::pin::pin;
use std::sync::Arc;

use futures_util::TryStreamExt;
use tokio::sync::mpsc;

use super::{Findings, Verify, VerifyReport};
use crate::ports::PurchaseQueryExt;
use crate::{Error, ErrorKind, Purchase, PurchaseId, Result};

/// The purchases that scans of the store found.
///
/// The ids are partitioned by hash, so that one partition fits into memory. Each partition needs
/// one scan.
#[derive(Debug, Default)]
pub(super) struct StoredPurchases {
    /// The number of partitions: a power of two, which doubles during the first scan.
    partition_count: u64,
    /// The partition of the current scan.
    current_partition: u64,
    /// The purchases of the current partition that were scanned, each with a hash of its content.
    seen: HashMap<PurchaseId, u64>,
    /// The ids of the current partition that the scan yielded more than once.
    duplicates: BTreeSet<PurchaseId>,
    /// The total number of purchases that the scans read.
    pub(super) scanned: u64,
}

impl StoredPurchases {
    /// Creates the state before the first scan, with a single partition.
    pub(super) fn new() -> Self {
        Self {
            partition_count: 1,
            ..Self::default()
        }
    }

    /// Checks whether the first scan kept `purchase` with this content.
    ///
    /// If not, the purchase may be stored nevertheless: since the scan, in another partition, or
    /// with another hash.
    pub(super) fn contains(&self, purchase: &Purchase) -> bool {
        self.seen.get(&purchase.id) == Some(&content_hash(purchase))
    }

    /// Adds a purchase that a lookup found in the store, and that the first scan did not keep.
    ///
    /// The purchase may have been stored since the scan. A purchase of another partition is
    /// ignored, because its own scan finds it. `max` is the maximum number of ids in memory.
    ///
    /// Returns whether the purchase is a new one of the current partition.
    pub(super) fn add_late(&mut self, purchase: &Purchase, max: usize) -> bool {
        if partition_of(&purchase.id, self.partition_count) != 0
            || self.seen.contains_key(&purchase.id)
        {
            return false;
        }
        self.remember(purchase, max);
        true
    }

    /// Scans the store again for each further partition, and writes the duplicates into `report`,
    /// and after a further scan also its number of purchases.
    ///
    /// # Errors
    /// Returns the errors of the store.
    pub(super) async fn finish(
        mut self,
        verify: &Verify,
        report: &mut VerifyReport,
        progress: impl Fn(u64) + Sync,
    ) -> Result<()> {
        loop {
            self.finish_partition(&mut report.duplicates, verify.options.max_reported);
            if self.current_partition == self.partition_count {
                return Ok(());
            }

            let scanned_before = self.scanned;
            self.scan_partition(verify, &progress).await?;
            // The latest scan knows the number of purchases best.
            report.purchases = self.scanned - scanned_before;
        }
    }

    /// Scans the store once, and keeps the purchases of the current partition. Returns the number
    /// of unreadable entries.
    ///
    /// # Errors
    /// Returns the errors of the store, and [`Internal`](ErrorKind::Internal) if the reading task
    /// panicked.
    pub(super) async fn scan_partition(
        &mut self,
        verify: &Verify,
        progress: impl Fn(u64) + Sync,
    ) -> Result<u64> {
        // A task reads the next batch while this function handles the present one.
        let (sender, mut batches) = mpsc::channel(1);
        let query = Arc::clone(&verify.query);
        let scan_task = tokio::spawn(async move {
            let mut batches = pin!(query.scan_batches());
            while let Some(batch) = batches.try_next().await? {
                if sender.send(batch).await.is_err() {
                    // The verification was dropped.
                    break;
                }
            }
            Ok::<_, Error>(())
        });

        let mut unreadable = 0;
        while let Some(batch) = batches.recv().await {
            for purchase in &batch.purchases {
                self.remember(purchase, verify.options.dedup_window);
            }
            unreadable += batch.unreadable.len() as u64;
            self.scanned += batch.purchases.len() as u64;
            progress(self.scanned);
        }

        scan_task.await.map_err(|panicked| {
            Error::new(ErrorKind::Internal, "the scan of the store was aborted")
                .with_source(panicked)
        })??;
        Ok(unreadable)
    }

    /// Remembers a scanned purchase of the current partition, and recognizes an id that was scanned
    /// before.
    ///
    /// If the first scan finds more than `max` ids, the number of partitions doubles, and half of
    /// the ids are forgotten.
    fn remember(&mut self, purchase: &Purchase, max: usize) {
        let id = purchase.id;
        if partition_of(&id, self.partition_count) != self.current_partition {
            return;
        }
        let is_duplicate = self.seen.insert(id, content_hash(purchase)).is_some();
        if is_duplicate {
            self.duplicates.insert(id);
        }

        // Only the first scan may divide further, because the later scans need the same partitions.
        while self.current_partition == 0 && self.seen.len() > max.max(1) {
            self.partition_count *= 2;
            let count = self.partition_count;
            self.seen
                .retain(|id, _content| partition_of(id, count) == 0);
            self.duplicates.retain(|id| partition_of(id, count) == 0);
        }
    }

    /// Moves the duplicates of the current partition into `findings`, and begins the next
    /// partition.
    fn finish_partition(&mut self, findings: &mut Findings<PurchaseId>, max: usize) {
        self.seen.clear();
        for id in std::mem::take(&mut self.duplicates) {
            findings.add(id, max);
        }
        self.current_partition += 1;
    }
}

/// Hashes ids and content. All its hashers use the same keys, so equal values hash equally.
const HASHER: BuildHasherDefault<DefaultHasher> = BuildHasherDefault::new();

/// Returns the partition of `id`, a number below `count`.
fn partition_of(id: &PurchaseId, count: u64) -> u64 {
    if count == 1 {
        return 0;
    }
    HASHER.hash_one(id) % count
}

/// Returns a hash of the content that [`Purchase::same_content`] compares.
///
/// Purchases with the same content may hash differently, if one purchase lacks its currency: such a
/// purchase is looked up. Purchases with different content hash equally once in 2^64.
fn content_hash(purchase: &Purchase) -> u64 {
    HASHER.hash_one((
        &purchase.user_id,
        &purchase.user_name,
        purchase.price,
        purchase.details.to_json(),
    ))
}
