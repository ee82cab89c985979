//! A row that a fail-over may still take away is not counted as imported before.

use super::import_test::{counts, csv, import_into};
use super::*;
use crate::log::LogAdmin as _;
use crate::memory::{InMemoryLog, InMemoryStore};
use crate::ports::{
    DescribeStore, Lookup, Page, PageRequest, PurchaseQuery, Selector, StoreInfo, Summary,
};
use crate::{Purchase, PurchaseId};

/// A store of which a durable look-up has this answer.
#[derive(Debug)]
struct NotDurable(InMemoryStore, Result<Lookup>);

#[crate::async_trait]
impl PurchaseQuery for NotDurable {
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        self.0.page(selector, request).await
    }
    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        self.0.summary(selector).await
    }
    async fn get(&self, id: &PurchaseId) -> Result<Option<Purchase>> {
        self.0.get(id).await
    }
    async fn look_up_durable(&self, _id: &PurchaseId) -> Result<Lookup> {
        self.1.clone()
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
    let query = NotDurable(store.clone(), Ok(Lookup::Missing));
    let mut report = ImportReport::default();
    let import = csv();
    let sink = log.sink();
    let run = import.run(&sink, &query, file.as_bytes(), &mut report, |_| ());
    run.await.unwrap();
    // The log has acknowledged the rows, and the store has them.
    assert_eq!(counts(&report), [2, 0, 0, 0], "{report}");
    assert!(log.find(0, 1).await.unwrap().is_some(), "two records");

    // A durable row is not published.
    let query = NotDurable(store.clone(), store.look_up(&store.all()[0].id).await);
    let mut report = ImportReport::default();
    let log = InMemoryLog::default();
    let import = csv();
    let sink = log.sink();
    let run = import.run(&sink, &query, file.as_bytes(), &mut report, |_| ());
    run.await.unwrap();
    assert_eq!(report.repeated, 1, "{report}");
    assert!(log.find(0, 0).await.unwrap().is_none(), "no record");
}
