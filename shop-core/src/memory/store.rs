//! An in-memory store of purchases.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::lock;
use crate::ports::{
    InsertOutcome, Keyset, ListOrder, Lookup, Page, PageBounds, PageRequest, PurchaseErase, PurchaseQuery,
    RecordStore, Selector, Summary,
};
use crate::{Purchase, PurchaseId, Result, Timestamp, Total, UserId, UserName, Uuid};

/// An in-memory store of purchases, with the indexes of every store.
///
/// Clones share the purchases.
#[derive(Debug, Clone, Default)]
pub struct InMemoryStore {
    tables: Arc<Mutex<Tables>>,
}

#[derive(Debug, Default)]
struct Tables {
    purchases: BTreeMap<PurchaseId, Purchase>,
    by_user: BTreeMap<UserId, BTreeSet<Keyset>>,
    by_name: BTreeMap<UserName, BTreeSet<Keyset>>,
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
            return if same { InsertOutcome::Duplicate } else { InsertOutcome::Conflict };
        }
        if self.erased.contains(&purchase.id) {
            return InsertOutcome::Erased;
        }
        let key = Keyset::for_purchase(purchase);
        self.by_user.entry(purchase.user_id.clone()).or_default().insert(key);
        self.by_name.entry(purchase.user_name.clone()).or_default().insert(key);
        self.by_time.insert(key);
        self.purchases.insert(purchase.id, purchase.clone().without_context());
        InsertOutcome::Inserted
    }

    /// Deletes the purchases with these keys. Returns their number.
    fn delete(&mut self, keys: &[Keyset]) -> u64 {
        let deleted = keys.iter().filter_map(|key| Some((key, self.purchases.remove(&key.id)?)));
        let mut count = 0;
        for (key, Purchase { user_id, user_name, .. }) in deleted {
            remove(&mut self.by_user, user_id, key);
            remove(&mut self.by_name, user_name, key);
            self.by_time.remove(key);
            count += 1;
        }
        count
    }

    fn index(&self, selector: &Selector) -> Option<&BTreeSet<Keyset>> {
        match selector {
            Selector::User(id) => self.by_user.get(id),
            Selector::Name(name) => self.by_name.get(name),
            Selector::All => Some(&self.by_time),
        }
    }

    fn within(
        &self,
        selector: &Selector,
        order: ListOrder,
        bounds: &PageBounds,
        limit: usize,
    ) -> Vec<Purchase> {
        let Some(index) = self.index(selector) else { return Vec::new() };
        let purchase = |key: &Keyset| self.purchases.get(&key.id).cloned();
        // The lowest id of all, so that a bound is before all purchases of its time.
        let before = |timestamp: Timestamp| Keyset { timestamp, id: PurchaseId::from_uuid(Uuid::nil()) };
        let after = bounds.after.map(Bound::Excluded);
        let from = bounds.from.map(|time| Bound::Included(before(time)));
        let to = bounds.to.map(|time| Bound::Excluded(before(time)));
        match order {
            ListOrder::OldestFirst => {
                let range = (after.or(from).unwrap_or(Bound::Unbounded), to.unwrap_or(Bound::Unbounded));
                index.range(range).take(limit).filter_map(purchase).collect()
            }
            ListOrder::NewestFirst => {
                let range = (from.unwrap_or(Bound::Unbounded), after.or(to).unwrap_or(Bound::Unbounded));
                index.range(range).rev().take(limit).filter_map(purchase).collect()
            }
        }
    }
}

/// Removes `key` from the index of `owner`.
fn remove<T: Ord>(index: &mut BTreeMap<T, BTreeSet<Keyset>>, owner: T, key: &Keyset) {
    if let Entry::Occupied(mut keys) = index.entry(owner) {
        keys.get_mut().remove(key);
        if keys.get().is_empty() {
            keys.remove();
        }
    }
}

#[async_trait]
impl PurchaseErase for InMemoryStore {
    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64> {
        let mut tables = lock(&self.tables);
        let keys: Vec<Keyset> = tables.by_user.get(user).into_iter().flatten().take(limit).copied().collect();
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
        Ok(tables.by_time.iter().take_while(|key| key.timestamp < time).take(limit).count() as u64)
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
        Ok(batch.iter().map(|purchase| tables.insert(purchase)).collect())
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl PurchaseQuery for InMemoryStore {
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        let bounds = request.bounds(selector)?;
        let found = lock(&self.tables).within(selector, request.order, &bounds, request.limit.get() + 1);
        Ok(Page::from_overfetch(found, selector, request))
    }

    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        let tables = lock(&self.tables);
        let keys = tables.index(selector).into_iter().flatten();
        let prices = keys.filter_map(|key| tables.purchases.get(&key.id)).map(|purchase| purchase.price);
        let (mut count, mut total) = (0, Total::ZERO);
        for price in prices {
            count += 1;
            total = total.checked_add_price(price)?;
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
        Ok(tables.by_name.keys().find(|name| name.as_str() >= from).map(ToString::to_string))
    }

    async fn check_reads(&self) -> Result<()> {
        Ok(())
    }
}
