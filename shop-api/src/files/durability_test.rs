//! A row that a fail-over may still take away is not counted as imported before.

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::import_test::{counts, csv, import_into, run};
use super::*;
use shop_core::PurchaseId;
use shop_core::log::Log as _;
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_core::ports::{
    DescribeStore, Lookup, Page, PageRequest, PurchaseQuery, Selector, StoreInfo, Summary,
};

/// A store whose purchases are durable after they were looked up once.
#[derive(Debug)]
struct NotDurable(InMemoryStore, Mutex<BTreeSet<PurchaseId>>);

#[shop_core::async_trait]
impl PurchaseQuery for NotDurable {
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        self.0.page(selector, request).await
    }
    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        self.0.summary(selector).await
    }
    async fn look_up(&self, id: &PurchaseId) -> Result<Lookup> {
        if self.1.lock().unwrap().insert(*id) {
            return Ok(Lookup::Missing);
        }
        self.0.look_up(id).await
    }
    async fn check_reads(&self) -> Result<()> {
        Ok(())
    }
}

impl DescribeStore for NotDurable {
    fn info(&self) -> StoreInfo<'_> {
        self.0.info()
    }
}

#[tokio::test]
async fn a_row_that_is_not_durable_is_published_again() {
    let file = "username,userid,price\nada,u1,1\nbob,u2,2\n";
    let store = InMemoryStore::new();
    import_into(&store, &csv(), file).await.unwrap();
    let log = InMemoryLog::default();
    let query = NotDurable(store.clone(), Mutex::default());
    let mut report = ImportReport::default();
    let import = csv();
    let sink = log.sink();
    let imported = run(&import, &sink, &query, file.as_bytes(), &mut report);
    imported.await.unwrap();
    // The log has acknowledged the rows, and the store has them.
    assert_eq!(counts(&report), [2, 0, 0, 0], "{report}");
    assert!(log.find(0, 1).await.unwrap().is_some(), "two records");

    // Now the rows are durable, and are not published.
    let mut report = ImportReport::default();
    let log = InMemoryLog::default();
    let import = csv();
    let sink = log.sink();
    let imported = run(&import, &sink, &query, file.as_bytes(), &mut report);
    imported.await.unwrap();
    assert_eq!(report.repeated, 2, "{report}");
    assert!(log.find(0, 0).await.unwrap().is_none(), "no record");
}
