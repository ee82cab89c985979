//! An in-memory store of purchases.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::lock;
use crate::ports::{
    InsertOutcome, Keyset, ListOrder, Lookup, Page, PageBounds, PageRequest, PurchaseErase,
    PurchaseQuery, RecordStore, Selector, Summary,
};
use crate::{Purchase, PurchaseId, Result, Timestamp, Total, UserId, Uuid};

/// An in-memory store of purchases, with one index, by time: for tests, and for few purchases.
///
/// Clones share the purchases.
#[derive(Debug, Clone, Default)]
pub struct InMemoryStore {
    tables: Arc<Mutex<Tables>>,
}

#[derive(Debug, Default)]
struct Tables {
    purchases: BTreeMap<PurchaseId, Purchase>,
    by_time: BTreeSet<Keyset>,
    erased: BTreeSet<PurchaseId>,
    last_seen: Option<Timestamp>,
}

impl InMemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All purchases, ordered by id.
    #[must_use]
    pub fn all(&self) -> Vec<Purchase> {
        lock(&self.tables).purchases.values().cloned().collect()
    }
}

impl Tables {
    fn insert(&mut self, purchase: &Purchase) -> InsertOutcome {
        if let Some(first) = self.purchases.get(&purchase.id) {
            let same = first.same_content(purchase);
            return if same {
                InsertOutcome::Duplicate
            } else {
                InsertOutcome::Conflict
            };
        }
        if self.erased.contains(&purchase.id) {
            return InsertOutcome::Erased;
        }
        if let Some(of) = &purchase.details.of
            && let Some(refused) = InsertOutcome::of_refund(purchase, self.purchases.get(of))
        {
            return refused;
        }
        self.by_time.insert(Keyset::for_purchase(purchase));
        self.purchases.insert(purchase.id, purchase.clone_stored());
        InsertOutcome::Inserted
    }

    fn delete(&mut self, keys: &[Keyset]) -> u64 {
        for key in keys {
            self.by_time.remove(key);
            self.purchases.remove(&key.id);
        }
        keys.len() as u64
    }

    /// The selected purchases in `range`, oldest first.
    fn selected<'a>(
        &'a self,
        selector: &'a Selector,
        range: impl RangeBounds<Keyset>,
    ) -> impl DoubleEndedIterator<Item = &'a Purchase> {
        let purchases = self
            .by_time
            .range(range)
            .filter_map(move |key| self.purchases.get(&key.id));
        purchases.filter(move |purchase| selector.matches(purchase))
    }

    /// The first selected purchases within `bounds`.
    fn within(
        &self,
        of: &Selector,
        order: ListOrder,
        bounds: &PageBounds,
        limit: usize,
    ) -> Vec<Purchase> {
        // The lowest id of all, so that a bound is before all purchases of its time.
        let before = |timestamp: Timestamp| Keyset {
            timestamp,
            id: PurchaseId::from_uuid(Uuid::nil()),
        };
        let after = bounds.after.map(Bound::Excluded);
        let from = bounds.from.map(|time| Bound::Included(before(time)));
        let to = bounds.to.map(|time| Bound::Excluded(before(time)));
        match order {
            ListOrder::OldestFirst => {
                let range = (
                    after.or(from).unwrap_or(Bound::Unbounded),
                    to.unwrap_or(Bound::Unbounded),
                );
                self.selected(of, range).take(limit).cloned().collect()
            }
            ListOrder::NewestFirst => {
                let range = (
                    from.unwrap_or(Bound::Unbounded),
                    after.or(to).unwrap_or(Bound::Unbounded),
                );
                self.selected(of, range)
                    .rev()
                    .take(limit)
                    .cloned()
                    .collect()
            }
        }
    }
}

#[async_trait]
impl PurchaseErase for InMemoryStore {
    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64> {
        let mut tables = lock(&self.tables);
        let selector = Selector::User(user.clone());
        let keys: Vec<Keyset> = tables
            .selected(&selector, ..)
            .take(limit)
            .map(Keyset::for_purchase)
            .collect();
        tables.erased.extend(keys.iter().map(|key| key.id));
        Ok(tables.delete(&keys))
    }

    async fn mark_erased(&self, ids: &[PurchaseId]) -> Result<u64> {
        let mut guard = lock(&self.tables);
        let tables = &mut *guard;
        let unknown = ids.iter().filter(|id| !tables.purchases.contains_key(*id));
        Ok(unknown.map(|id| u64::from(tables.erased.insert(*id))).sum())
    }

    async fn delete_before(&self, time: Timestamp, limit: usize) -> Result<u64> {
        let mut tables = lock(&self.tables);
        let old = tables.by_time.iter().take_while(|key| key.timestamp < time);
        let keys: Vec<Keyset> = old.take(limit).copied().collect();
        Ok(tables.delete(&keys))
    }

    async fn count_before(&self, time: Timestamp, limit: usize) -> Result<u64> {
        let tables = lock(&self.tables);
        Ok(tables
            .by_time
            .iter()
            .take_while(|key| key.timestamp < time)
            .take(limit)
            .count() as u64)
    }

    async fn last_seen(&self) -> Result<Option<Timestamp>> {
        Ok(lock(&self.tables).last_seen)
    }

    async fn store_last_seen(&self, time: Timestamp) -> Result<()> {
        lock(&self.tables).last_seen = Some(time);
        Ok(())
    }
}

#[async_trait]
impl RecordStore<Purchase> for InMemoryStore {
    async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        let mut tables = lock(&self.tables);
        Ok(batch
            .iter()
            .map(|purchase| tables.insert(purchase))
            .collect())
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl PurchaseQuery for InMemoryStore {
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        let bounds = request.bounds(selector)?;
        let found =
            lock(&self.tables).within(selector, request.order, &bounds, request.limit.get() + 1);
        Ok(Page::from_overfetch(found, selector, request))
    }

    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        let tables = lock(&self.tables);
        let (mut count, mut total) = (0, Total::ZERO);
        for purchase in tables.selected(selector, ..) {
            let one = Summary::of(purchase.price);
            (count, total) = (count + one.count, total.checked_add(one.total_spent)?);
        }
        Ok(Summary::new(count, total))
    }

    async fn get(&self, id: &PurchaseId) -> Result<Option<Purchase>> {
        Ok(lock(&self.tables).purchases.get(id).cloned())
    }

    async fn look_up(&self, id: &PurchaseId) -> Result<Lookup> {
        let tables = lock(&self.tables);
        Ok(match tables.purchases.get(id) {
            Some(purchase) => Lookup::Stored(purchase.clone()),
            None if tables.erased.contains(id) => Lookup::Erased,
            None => Lookup::Missing,
        })
    }

    async fn next_name(&self, from: &str) -> Result<Option<String>> {
        let tables = lock(&self.tables);
        let names = tables
            .purchases
            .values()
            .map(|purchase| purchase.user_name.as_str());
        Ok(names.filter(|name| *name >= from).min().map(str::to_owned))
    }

    async fn check_reads(&self) -> Result<()> {
        Ok(())
    }
}
