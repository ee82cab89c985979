//! The scan of the store before the log: remembers the purchases, and finds ids that the scan
//! yields more than once.
//!
//! Memory is bounded, so one pass of a verification covers a range of the ids. The range of the
//! first pass begins as all ids. Whenever too many purchases were remembered, the range becomes
//! narrower, and the ids that are no longer in it are forgotten. The next pass begins with all ids
//! behind this range.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;

use futures_util::TryStreamExt;
use tokio::sync::mpsc;

use super::fingerprint::{FingerprintKey, FingerprintSet, IdRange};
use super::{Findings, Verify};
use crate::ports::PurchaseQueryExt;
use crate::{Error, ErrorKind, Purchase, PurchaseId, Result};

/// The purchases that a scan of the store found, as far as their ids are in the range of the
/// present pass.
#[derive(Debug)]
pub(super) struct StoredPurchases {
    key: FingerprintKey,
    /// The ids that the present pass verifies.
    range: IdRange,
    /// The fingerprints of the purchases of the range.
    fingerprints: FingerprintSet,
    /// The ids of the range that the scan yielded more than once.
    duplicates: BTreeSet<PurchaseId>,
    /// The maximum number of fingerprints and duplicates.
    capacity: usize,
}

/// The number of entries that a scan of the store read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ScannedEntries {
    /// The number of purchases, with any id.
    pub(super) purchases: u64,
    /// The number of entries that are not purchases.
    pub(super) unreadable: u64,
}

impl StoredPurchases {
    /// Creates the state before the first pass, which remembers about `capacity` purchases.
    pub(super) fn new(key: FingerprintKey, capacity: usize) -> Self {
        Self {
            key,
            range: IdRange::ALL,
            fingerprints: FingerprintSet::new(capacity),
            duplicates: BTreeSet::new(),
            // An id that the scan yields twice is a fingerprint and a duplicate, and must fit.
            capacity: capacity.max(2),
        }
    }

    /// Returns whether the present pass verifies `id`.
    pub(super) fn covers(&self, id: &PurchaseId) -> bool {
        self.range.contains(self.key.fingerprint_id(id))
    }

    /// Returns whether the present pass verifies all ids.
    pub(super) fn covers_all_ids(&self) -> bool {
        self.range == IdRange::ALL
    }

    /// Returns the number of passes that follow the present one, if the purchases are as evenly
    /// distributed as the ids.
    pub(super) const fn passes_left(&self) -> u64 {
        self.range.further_ranges()
    }

    /// Checks whether the scan of the store found `purchase` with this content.
    ///
    /// If it did not, the store may still contain the purchase: it may have been stored since the
    /// scan, or have another fingerprint.
    pub(super) fn contains(&self, purchase: &Purchase) -> bool {
        self.fingerprints.contains(self.key.fingerprint(purchase))
    }

    /// Adds a purchase that the scan did not find, and a lookup found in the store.
    ///
    /// Returns whether the purchase was stored since the scan. At the maximum number of purchases, it
    /// is not remembered, so it counts as new again with each further record.
    pub(super) fn add_late(&mut self, purchase: &Purchase) -> bool {
        let fingerprint = self.key.fingerprint(purchase);
        if self.fingerprints.contains_id(fingerprint) {
            return false;
        }
        // The range cannot become narrower now, because a part of the log was verified by it.
        if self.remembered_count() < self.capacity {
            self.fingerprints.insert(fingerprint);
        }
        true
    }

    /// Scans the whole store, and remembers the purchases of the range. `progress` is called with
    /// the number of purchases that were read.
    ///
    /// # Errors
    /// Returns the errors of the store, and [`Internal`](ErrorKind::Internal) if the reading task
    /// panicked.
    pub(super) async fn scan(
        &mut self,
        verify: &Verify,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<ScannedEntries> {
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

        let mut scanned_entries = ScannedEntries::default();
        while let Some(batch) = batches.recv().await {
            for purchase in &batch.purchases {
                self.remember(purchase);
            }
            scanned_entries.purchases += batch.purchases.len() as u64;
            scanned_entries.unreadable += batch.unreadable.len() as u64;
            progress(scanned_entries.purchases);
        }

        // The outer error is a panic of the task, and the inner one is an error of the store.
        scan_task.await.map_err(|join_error| {
            Error::new(ErrorKind::Internal, "the scan of the store was aborted")
                .with_source(join_error)
        })??;
        Ok(scanned_entries)
    }

    /// Ends the present pass: adds its duplicates to `findings`, forgets its purchases, and moves the
    /// range to the ids of the next pass.
    ///
    /// Returns whether there is a next pass. Without one, the range stays as it is.
    pub(super) fn finish_pass(
        &mut self,
        findings: &mut Findings<PurchaseId>,
        max_samples: usize,
    ) -> bool {
        for id in std::mem::take(&mut self.duplicates) {
            findings.add(id, max_samples);
        }
        self.fingerprints.clear();

        let Some(next_range) = self.range.rest() else {
            return false;
        };
        self.range = next_range;
        true
    }

    /// Remembers a scanned purchase of the range, and recognizes an id that was scanned before.
    ///
    /// Narrows the range if too many purchases are remembered.
    fn remember(&mut self, purchase: &Purchase) {
        let fingerprint = self.key.fingerprint(purchase);
        if !self.range.contains(fingerprint) {
            return;
        }
        let is_new = self.fingerprints.insert(fingerprint);
        if !is_new {
            self.duplicates.insert(purchase.id);
        }

        while self.remembered_count() > self.capacity
            && let Some(narrowed_range) = self.range.narrowed()
        {
            self.range = narrowed_range;
            self.fingerprints.retain_range(narrowed_range);
            let key = &self.key;
            self.duplicates
                .retain(|id| narrowed_range.contains(key.fingerprint_id(id)));
        }
    }

    /// Returns the number of purchases and of duplicates in memory.
    fn remembered_count(&self) -> usize {
        self.fingerprints.len() + self.duplicates.len()
    }
}
