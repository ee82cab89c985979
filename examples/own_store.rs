//! Your own store, tested by the conformance kit: `cargo test -p examples --example own_store`
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use shop_core::conformance::store_suite;
use shop_core::ports::{
    DescribeStore, InsertOutcome, Keyset, ListOrder, Lookup, Page, PageRequest, PurchaseQuery,
    RecordStore, Selector, StoreInfo,
};
use shop_core::{Purchase, PurchaseId, Result};

#[derive(Debug, Clone, Default)]
struct OwnStore(Arc<Mutex<Vec<Purchase>>>);

impl OwnStore {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<Purchase>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
    fn selected(&self, selector: &Selector) -> Vec<Purchase> {
        self.with(|rows| {
            rows.iter()
                .filter(|row| selector.matches(row))
                .cloned()
                .collect()
        })
    }
}

#[async_trait]
impl RecordStore<Purchase> for OwnStore {
    async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        let insert = |rows: &mut Vec<Purchase>, new: &Purchase| match rows
            .iter()
            .find(|row| row.id == new.id)
        {
            Some(first) if first.same_content(new) => InsertOutcome::Duplicate,
            Some(_) => InsertOutcome::Conflict,
            None => {
                rows.push(new.clone().without_context());
                InsertOutcome::Inserted
            }
        };
        Ok(self.with(|rows| batch.iter().map(|new| insert(rows, new)).collect()))
    }
    async fn check(&self) -> Result<()> {
        Ok(())
    }
}

impl DescribeStore for OwnStore {
    fn info(&self) -> StoreInfo<'_> {
        StoreInfo::default()
    }
}

#[async_trait]
impl PurchaseQuery for OwnStore {
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        let mut found = self.selected(selector);
        found.retain(|row| request.range.contains(row.timestamp));
        let newest_first = request.order == ListOrder::NewestFirst;
        found.sort_by_key(Keyset::for_purchase);
        if newest_first {
            found.reverse();
        }
        if let Some(cursor) = &request.cursor {
            // Compared by position: the last purchase may have been deleted.
            let last = cursor.decode(selector, request)?;
            found.retain(|row| {
                if newest_first {
                    Keyset::for_purchase(row) < last
                } else {
                    Keyset::for_purchase(row) > last
                }
            });
        }
        Ok(Page::from_overfetch(found, selector, request))
    }
    // An answer of this function acknowledges a purchase: a store with replicas waits for them here.
    async fn look_up(&self, id: &PurchaseId) -> Result<Lookup> {
        let found = self.with(|rows| rows.iter().find(|row| row.id == *id).cloned());
        Ok(found.map_or(Lookup::Missing, Lookup::Stored))
    }
}

// One test for each documented behavior of the two ports.
store_suite!(own_store, async { OwnStore::default() });

#[tokio::main]
async fn main() -> Result<()> {
    let summary = OwnStore::default().summary(&Selector::All).await?;
    assert_eq!(summary.count, 0);
    Ok(())
}
