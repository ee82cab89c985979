//! Finds ids that a scan of the store yields more than once, with bounded memory.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::pin;
use std::sync::Arc;

use futures_util::TryStreamExt;

use super::{Findings, Verify, VerifyReport};
use crate::ports::PurchaseQueryExt;
use crate::{PurchaseId, Result};

/// Partitions ids by hash, such that one partition fits into memory. Each partition needs one scan.
#[derive(Debug)]
struct HashPartitions {
    count: u64,
    /// The partition of the current scan.
    current: u64,
    seen: BTreeSet<PurchaseId>,
    duplicates: BTreeSet<PurchaseId>,
}

impl HashPartitions {
    fn is_current(count: u64, current: u64, id: &PurchaseId) -> bool {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        hasher.finish() % count == current
    }

    fn see(&mut self, id: PurchaseId, max: usize) {
        if !Self::is_current(self.count, self.current, &id) {
            return;
        }
        if !self.seen.insert(id) {
            self.duplicates.insert(id);
        }
        // During the first scan only: later scans need the same partitions.
        while self.current == 0 && self.seen.len() > max.max(1) {
            self.count *= 2;
            let count = self.count;
            self.seen.retain(|id| Self::is_current(count, 0, id));
            self.duplicates.retain(|id| Self::is_current(count, 0, id));
        }
    }

    fn end_scan(&mut self, findings: &mut Findings<PurchaseId>, max: usize) {
        self.seen.clear();
        for id in std::mem::take(&mut self.duplicates) {
            findings.add(id, max);
        }
        self.current += 1;
    }
}

/// Counts purchases and finds duplicate ids. Calls `progress` with the number of purchases scanned so far.
pub(super) async fn scan(
    Verify { query, options }: &Verify,
    report: &mut VerifyReport,
    progress: impl Fn(u64) + Send + Sync,
) -> Result<()> {
    let mut partitions = HashPartitions {
        count: 1,
        current: 0,
        seen: BTreeSet::new(),
        duplicates: BTreeSet::new(),
    };
    let mut scanned = 0;
    while partitions.current < partitions.count {
        let mut batches = pin!(Arc::clone(query).scan_batches());
        while let Some(batch) = batches.try_next().await? {
            scanned += batch.purchases.len() as u64;
            batch
                .purchases
                .iter()
                .for_each(|purchase| partitions.see(purchase.id, options.dedup_window));
            if partitions.current == 0 {
                report.unreadable += batch.unreadable.len() as u64;
            }
            progress(scanned);
        }
        if partitions.current == 0 {
            report.purchases = scanned;
        }
        partitions.end_scan(&mut report.duplicates, options.max_reported);
    }
    Ok(())
}
