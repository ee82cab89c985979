//! The kit finds each part that a decorator drops.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

use super::*;

/// The part that a decorator drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dropped {
    Nothing,
    Durability,
    Storing,
    Faults,
    Batches,
    Checks,
    Deadlines,
    FileFaults,
    Takeovers,
    WaitingRefunds,
    ImportedFiles,
    UserNames,
    LookUps,
    Pages,
}

/// A port around another one, without one part of it.
#[derive(Debug)]
struct Without<P: ?Sized>(Dropped, Arc<P>);

impl<P: ?Sized> Without<P> {
    fn drops(&self, part: Dropped) -> bool {
        self.0 == part
    }
}

#[async_trait]
impl PurchaseSink for Without<dyn PurchaseSink> {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        self.1.publish(purchase).await
    }

    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        if self.drops(Dropped::Batches) {
            return crate::ports::publish_each(self, purchases).await;
        }
        self.1.publish_many(purchases).await
    }

    fn info(&self) -> SinkInfo {
        let mut info = self.1.info();
        match self.0 {
            Dropped::Durability => info.durability = Durability::Memory,
            Dropped::Storing => info.is_storing = false,
            Dropped::Faults => info.faults.weak_settings.clear(),
            _ => {}
        }
        info
    }

    async fn check(&self) -> Result<()> {
        if self.drops(Dropped::Checks) {
            return Ok(());
        }
        self.1.check().await
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        if self.drops(Dropped::Deadlines) {
            return self.1.close(Duration::ZERO).await;
        }
        self.1.close(deadline).await
    }
}

impl<P: DescribeStore + ?Sized> DescribeStore for Without<P> {
    fn info(&self) -> StoreInfo<'_> {
        let mut info = self.1.info();
        match self.0 {
            Dropped::FileFaults => info.file_faults.clear(),
            Dropped::Takeovers => info.takeovers = 0,
            Dropped::WaitingRefunds => info.waiting_refunds = None,
            Dropped::ImportedFiles => info.imported_files = None,
            Dropped::UserNames => info.user_names = None,
            _ => {}
        }
        info
    }
}

#[async_trait]
impl RecordStore<Purchase> for Without<dyn PurchaseStore> {
    async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        self.1.apply(batch).await
    }

    async fn check(&self) -> Result<()> {
        if self.drops(Dropped::Checks) {
            return Ok(());
        }
        self.1.check().await
    }
}

/// Leaves the functions with a default out.
#[async_trait]
impl PurchaseQuery for Without<dyn PurchaseQuery> {
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        if self.drops(Dropped::Pages) {
            return Ok(Page::default());
        }
        self.1.page(selector, request).await
    }

    async fn look_up(&self, id: &PurchaseId) -> Result<Lookup> {
        if self.drops(Dropped::LookUps) {
            return Ok(Lookup::Missing);
        }
        self.1.look_up(id).await
    }
}

/// Checks that the cases pass for a decorator that drops nothing, and that one of them fails for
/// each of `parts`.
async fn assert_found<F: Future<Output = ()>>(parts: &[Dropped], cases: impl Fn(Dropped) -> F) {
    cases(Dropped::Nothing).await;
    for part in parts {
        let result = AssertUnwindSafe(cases(*part)).catch_unwind().await;
        assert!(result.is_err(), "{part:?} may be dropped");
    }
}

#[tokio::test]
async fn a_sink_that_drops_a_part_is_found() {
    let parts = [
        Dropped::Durability,
        Dropped::Storing,
        Dropped::Faults,
        Dropped::Batches,
        Dropped::Checks,
        Dropped::Deadlines,
    ];
    assert_found(&parts, async |part| {
        let wrap = sink(move |inner| Without(part, inner));
        a_sink_forwards_its_info(&wrap).await;
        a_sink_forwards_its_batches(&wrap).await;
        a_sink_forwards_its_other_calls(&wrap).await;
    })
    .await;
}

const INFO: [Dropped; 5] = [
    Dropped::FileFaults,
    Dropped::Takeovers,
    Dropped::WaitingRefunds,
    Dropped::ImportedFiles,
    Dropped::UserNames,
];

#[tokio::test]
async fn a_store_that_drops_a_part_is_found() {
    let parts = [&INFO[..], &[Dropped::Checks]].concat();
    assert_found(&parts, async |part| {
        let wrap = store(move |inner| Without(part, inner));
        a_store_forwards_its_info(&wrap).await;
        a_store_forwards_its_calls(&wrap).await;
    })
    .await;
}

#[tokio::test]
async fn a_query_that_drops_a_part_is_found() {
    let parts = [&INFO[..], &[Dropped::Pages, Dropped::LookUps]].concat();
    assert_found(&parts, async |part| {
        let wrap = query(move |inner| Without(part, inner));
        a_query_forwards_its_info(&wrap).await;
        a_query_forwards_its_calls(&wrap).await;
    })
    .await;
}
