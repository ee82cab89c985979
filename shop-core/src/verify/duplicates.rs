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
    fn see(&mut self, id: PurchaseId, max: usize) {
        if partition_of(&id, self.count) != self.current {
            return;
        }
        if !self.seen.insert(id) {
            self.duplicates.insert(id);
        }
        // During the first scan only: later scans need the same partitions.
        while self.current == 0 && self.seen.len() > max.max(1) {
            self.count *= 2;
            let count = self.count;
            self.seen.retain(|id| partition_of(id, count) == 0);
            self.duplicates.retain(|id| partition_of(id, count) == 0);
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

/// The partition of `id`, of `count`.
fn partition_of(id: &PurchaseId, count: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish() % count
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
            for purchase in &batch.purchases {
                partitions.see(purchase.id, options.dedup_window);
            }
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
