//! Scans the store before the log: remembers the content of purchases, and finds ids that the scan yields more than once,
//! with bounded memory.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::pin;
use std::sync::Arc;

use futures_util::TryStreamExt;
use tokio::sync::mpsc;

use super::{Findings, Verify, VerifyReport};
use crate::ports::PurchaseQueryExt;
use crate::{Error, ErrorKind, Purchase, PurchaseId, Result};

/// The purchases that a scan of the store has found. Their ids are partitioned by hash, such that one partition fits into
/// memory. Each partition needs one scan.
#[derive(Debug)]
pub(super) struct StoredPurchases {
    /// The number of partitions.
    count: u64,
    /// The partition of the current scan.
    current: u64,
    /// The purchases of this partition, each with a hash of its content.
    seen: HashMap<PurchaseId, u64>,
    duplicates: BTreeSet<PurchaseId>,
    /// The number of purchases in the store: those of the first scan, and later ones that were looked up.
    purchases: u64,
    unreadable: u64,
    /// The number of purchases that all scans have read.
    scanned: u64,
}

impl StoredPurchases {
    pub(super) fn new() -> Self {
        Self {
            count: 1,
            current: 0,
            seen: HashMap::new(),
            duplicates: BTreeSet::new(),
            purchases: 0,
            unreadable: 0,
            scanned: 0,
        }
    }

    /// Scans the store for the first time. Calls `progress` with the number of purchases scanned so far.
    pub(super) async fn scan(
        &mut self,
        verify: &Verify,
        progress: impl Fn(u64) + Sync,
    ) -> Result<()> {
        self.unreadable = self.scan_partition(verify, progress).await?;
        self.purchases = self.scanned;
        Ok(())
    }

    /// Returns the number of purchases that were scanned.
    pub(super) const fn scanned(&self) -> u64 {
        self.scanned
    }

    /// Returns whether the first scan has found `purchase` with this content. If not, it may be stored nevertheless.
    pub(super) fn contains(&self, purchase: &Purchase) -> bool {
        self.seen.get(&purchase.id) == Some(&content_hash(purchase))
    }

    /// Adds a purchase that the store has, and that the first scan has not kept: it may have been stored since.
    pub(super) fn add_late(&mut self, purchase: &Purchase, max: usize) {
        if partition_of(&purchase.id, self.count) != 0 || self.seen.contains_key(&purchase.id) {
            return;
        }
        self.purchases += 1;
        self.see(purchase, max);
    }

    /// Scans the store again for each further partition, and writes what was found into `report`.
    pub(super) async fn finish(
        mut self,
        verify: &Verify,
        report: &mut VerifyReport,
        progress: impl Fn(u64) + Sync,
    ) -> Result<()> {
        report.purchases = self.purchases;
        report.unreadable = self.unreadable;
        let max_reported = verify.options.max_reported;
        self.take_duplicates(&mut report.duplicates, max_reported);
        while self.current < self.count {
            let before = self.scanned;
            self.scan_partition(verify, &progress).await?;
            report.purchases = self.scanned - before;
            self.take_duplicates(&mut report.duplicates, max_reported);
        }
        Ok(())
    }

    /// Reads the store once, and keeps what is in the current partition. Returns the number of unreadable entries.
    async fn scan_partition(
        &mut self,
        verify: &Verify,
        progress: impl Fn(u64) + Sync,
    ) -> Result<u64> {
        // The next batch is read while this one is looked at.
        let (sender, mut batches) = mpsc::channel(1);
        let query = Arc::clone(&verify.query);
        let reading = tokio::spawn(async move {
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
                self.see(purchase, verify.options.dedup_window);
            }
            unreadable += batch.unreadable.len() as u64;
            self.scanned += batch.purchases.len() as u64;
            progress(self.scanned);
        }
        reading.await.map_err(|panicked| {
            let message = "the scan of the store was aborted";
            Error::new(ErrorKind::Internal, message).with_source(panicked)
        })??;
        Ok(unreadable)
    }

    fn see(&mut self, purchase: &Purchase, max: usize) {
        let id = purchase.id;
        if partition_of(&id, self.count) != self.current {
            return;
        }
        let is_duplicate = self.seen.insert(id, content_hash(purchase)).is_some();
        if is_duplicate {
            self.duplicates.insert(id);
        }
        // During the first scan only: later scans need the same partitions.
        while self.current == 0 && self.seen.len() > max.max(1) {
            self.count *= 2;
            let count = self.count;
            self.seen
                .retain(|id, _content| partition_of(id, count) == 0);
            self.duplicates.retain(|id| partition_of(id, count) == 0);
        }
    }

    /// Moves the duplicates of the current partition into `findings`, and begins the next partition.
    fn take_duplicates(&mut self, findings: &mut Findings<PurchaseId>, max: usize) {
        self.seen.clear();
        for id in std::mem::take(&mut self.duplicates) {
            findings.add(id, max);
        }
        self.current += 1;
    }
}

/// The partition of `id`, of `count`.
fn partition_of(id: &PurchaseId, count: u64) -> u64 {
    if count == 1 {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish() % count
}

/// Returns a hash of what [`Purchase::same_content`] compares. Purchases with the same content may have other hashes, where
/// one of them lacks its currency; purchases with other content have the same hash once in 2^64.
fn content_hash(purchase: &Purchase) -> u64 {
    let mut hasher = DefaultHasher::new();
    purchase.user_id.hash(&mut hasher);
    purchase.user_name.hash(&mut hasher);
    purchase.price.hash(&mut hasher);
    purchase.details.to_json().hash(&mut hasher);
    hasher.finish()
}
