//! An in-memory store of purchases.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::lock;
use crate::ports::{
    InsertOutcome, Keyset, ListOrder, Page, PageRequest, PurchaseQuery, RecordStore, Selector, Summary,
};
use crate::{Error, ErrorKind, Purchase, PurchaseId, Result, Total, UserId, UserName};

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
        let key = Keyset::for_purchase(purchase);
        self.by_user.entry(purchase.user_id.clone()).or_default().insert(key);
        self.by_name.entry(purchase.user_name.clone()).or_default().insert(key);
        self.by_time.insert(key);
        self.purchases.insert(purchase.id, purchase.clone().without_context());
        InsertOutcome::Inserted
    }

    fn index(&self, selector: &Selector) -> Option<&BTreeSet<Keyset>> {
        match selector {
            Selector::User(id) => self.by_user.get(id),
            Selector::Name(name) => self.by_name.get(name),
            Selector::All => Some(&self.by_time),
        }
    }

    fn after(
        &self,
        selector: &Selector,
        order: ListOrder,
        place: Option<Keyset>,
        limit: usize,
    ) -> Vec<Purchase> {
        let Some(index) = self.index(selector) else { return Vec::new() };
        let purchase = |key: &Keyset| self.purchases.get(&key.id).cloned();
        match order {
            ListOrder::OldestFirst => {
                let from = place.map_or(Bound::Unbounded, Bound::Excluded);
                index.range((from, Bound::Unbounded)).take(limit).filter_map(purchase).collect()
            }
            ListOrder::NewestFirst => {
                let to = place.map_or(Bound::Unbounded, Bound::Excluded);
                index.range((Bound::Unbounded, to)).rev().take(limit).filter_map(purchase).collect()
            }
        }
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
        let cursor = request.cursor.as_ref();
        let place = cursor.map(|cursor| cursor.decode(selector, request.order)).transpose()?;
        let found = lock(&self.tables).after(selector, request.order, place, request.limit.get() + 1);
        Ok(Page::from_overfetch(found, selector, request))
    }

    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        let tables = lock(&self.tables);
        let keys = tables.index(selector).into_iter().flatten();
        let prices = keys.filter_map(|key| tables.purchases.get(&key.id)).map(|purchase| purchase.price);
        let (mut count, mut total) = (0, Total::ZERO);
        for price in prices {
            count += 1;
            total = total.checked_add_price(price).map_err(|error| {
                Error::new(ErrorKind::Corrupt, "the purchases cannot be summed exactly").with_source(error)
            })?;
        }
        Ok(Summary::new(count, total))
    }

    async fn get(&self, id: &PurchaseId) -> Result<Option<Purchase>> {
        Ok(lock(&self.tables).purchases.get(id).cloned())
    }

    async fn check_reads(&self) -> Result<()> {
        Ok(())
    }
}
