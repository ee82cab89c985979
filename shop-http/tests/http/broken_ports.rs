//! Fixture: ports that panic, or violate their contract.

use shop_core::log::{Gap, GapCause, LogFaults, Partition};
use shop_core::memory::InMemorySink;
use shop_core::ports::{
    Cursor, DescribeStore, Lookup, Page, PageRequest, PurchaseQuery, PurchaseSink, Receipt,
    Selector, SinkInfo, StoreInfo, Summary,
};
use shop_core::{PurchaseId, Result, Uuid, async_trait};

use crate::prelude::*;
use crate::shop::facing_parts_of;

/// A log, listings and a clock that panic.
#[derive(Debug)]
pub(crate) struct Panics;

fn fail() -> ! {
    panic!("a defect with details")
}

#[async_trait]
impl PurchaseQuery for Panics {
    async fn page(&self, _selector: &Selector, _request: &PageRequest) -> Result<Page> {
        fail()
    }

    async fn summary(&self, _selector: &Selector) -> Result<Summary> {
        fail()
    }

    async fn look_up(&self, _id: &PurchaseId) -> Result<Lookup> {
        fail()
    }

    async fn check_reads(&self) -> Result<()> {
        Ok(())
    }
}

impl DescribeStore for Panics {
    fn info(&self) -> StoreInfo<'_> {
        StoreInfo::default()
    }
}

#[async_trait]
impl PurchaseSink for Panics {
    async fn publish(&self, _purchase: &Purchase) -> Result<Receipt> {
        fail()
    }

    fn info(&self) -> SinkInfo {
        SinkInfo::new(Durability::Memory)
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self, _deadline: Duration) -> Result<()> {
        Ok(())
    }
}

impl Clock for Panics {
    fn now(&self) -> Timestamp {
        fail()
    }

    fn fresh_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// Listings without an index of names, of which each page has a next one.
#[derive(Debug)]
pub(crate) struct NeverEnds;

#[async_trait]
impl PurchaseQuery for NeverEnds {
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        let last = purchase("u1", 1);
        let cursor = Cursor::after(selector, request, &last);
        Ok(Page::new(vec![last], Some(cursor)))
    }

    async fn summary(&self, _selector: &Selector) -> Result<Summary> {
        Ok(Summary::default())
    }

    async fn look_up(&self, _id: &PurchaseId) -> Result<Lookup> {
        Ok(Lookup::Missing)
    }

    async fn check_reads(&self) -> Result<()> {
        Ok(())
    }
}

impl DescribeStore for NeverEnds {
    fn info(&self) -> StoreInfo<'_> {
        StoreInfo::default()
    }
}

/// A log of which one partition has no leader, and another one was truncated.
#[derive(Debug)]
pub(crate) struct InCluster(InMemorySink);

impl Default for InCluster {
    fn default() -> Self {
        Self(InMemoryLog::default().sink())
    }
}

#[async_trait]
impl PurchaseSink for InCluster {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        self.0.publish(purchase).await
    }

    fn info(&self) -> SinkInfo {
        let mut faults = LogFaults::default();
        faults.unavailable = vec!["purchases-3".to_owned()];
        let partition = Partition::new("cluster".into(), "purchases".into(), 0, 0);
        faults.files = vec!["shop.db: its pages are being checked".to_owned()];
        faults.lost = vec![Gap::new(partition, 20, 40, GapCause::Truncated)];
        self.0.info().with_faults(faults)
    }

    async fn check(&self) -> Result<()> {
        self.0.check().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        self.0.close(deadline).await
    }
}

#[tokio::test]
async fn a_listing_without_progress_is_aborted() {
    let facing = router(facing_parts_of(NeverEnds), HttpOptions::default());
    let listing = request(Method::GET, "/getAllUserBuys/u1", &[], Body::empty());
    let response = facing.oneshot(listing).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
}
