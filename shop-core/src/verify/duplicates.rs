//! Looks for ids that a scan of the store yields more than once, without remembering all of them at a time.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::pin;
use std::sync::Arc;

use futures_util::TryStreamExt;

use super::{Findings, VerifyOptions};
use crate::ports::{ListOrder, PageLimit, PageRequest, PurchaseQuery, PurchaseQueryExt, Selector};
use crate::{PurchaseId, Result};

/// Ids in as many classes as it takes for one class to be remembered; each class has a scan of its own.
#[derive(Debug)]
struct HashPartitions {
    count: u64,
    /// The class that is looked at now.
    current: u64,
    seen: BTreeSet<PurchaseId>,
    twice: BTreeSet<PurchaseId>,
}

impl HashPartitions {
    fn is_current(count: u64, current: u64, id: &PurchaseId) -> bool {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        hasher.finish() % count == current
    }

    fn see(&mut self, id: PurchaseId, most: usize) {
        if !Self::is_current(self.count, self.current, &id) {
            return;
        }
        if !self.seen.insert(id) {
            self.twice.insert(id);
        }
        // During the first scan only: later ones must find the classes as they are.
        while self.current == 0 && self.seen.len() > most.max(1) {
            self.count *= 2;
            let count = self.count;
            self.seen.retain(|id| Self::is_current(count, 0, id));
            self.twice.retain(|id| Self::is_current(count, 0, id));
        }
    }

    fn end_scan(&mut self, findings: &mut Findings<PurchaseId>, most: usize) {
        self.seen.clear();
        for id in std::mem::take(&mut self.twice) {
            findings.add(id, most);
        }
        self.current += 1;
    }
}

/// How many purchases there are, and which ids come more than once. `told` hears how many were scanned so far.
pub(super) async fn scan(
    query: &Arc<dyn PurchaseQuery>,
    options: &VerifyOptions,
    told: impl Fn(u64) + Send + Sync,
) -> Result<(u64, Findings<PurchaseId>)> {
    let mut classes = HashPartitions { count: 1, current: 0, seen: BTreeSet::new(), twice: BTreeSet::new() };
    let (mut purchases, mut scanned, mut findings) = (0, 0, Findings::default());
    while classes.current < classes.count {
        let first = PageRequest::first(ListOrder::OldestFirst, PageLimit::MAX);
        let mut pages = pin!(Arc::clone(query).pages(Selector::All, first));
        while let Some(page) = pages.try_next().await? {
            scanned += page.items.len() as u64;
            page.items.iter().for_each(|purchase| classes.see(purchase.id, options.dedup_window));
            told(scanned);
        }
        if classes.current == 0 {
            purchases = scanned;
        }
        classes.end_scan(&mut findings, options.named);
    }
    Ok((purchases, findings))
}
