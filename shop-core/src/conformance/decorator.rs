//! The tests of decorators: a sink or a store around another one forwards all of it.
//!
//! A test wraps a port that notes its calls, and compares what comes through the decorator with
//! what the inner port does. A decorator may leave out a function that has a default made of the
//! others: it is slower then, and not wrong.

use std::sync::Mutex;

use async_trait::async_trait;

use super::prelude::*;
use crate::lock::lock;
use crate::log::LogFaults;
use crate::memory::InMemoryStore;
use crate::ports::{
    DescribeStore, Durability, ImportedFiles, InsertOutcome, Page, PurchaseSink, Receipt,
    RecordStore, SinkInfo, StoreInfo, UserNames, WaitingRefund, WaitingRefunds, WaitingSummary,
};
use crate::{Error, Uuid};

/// Returns `wrap`, which makes a decorator of a sink.
///
/// The closure needs no types of its own then.
#[doc(hidden)]
pub fn sink<D: PurchaseSink, W: Fn(Arc<dyn PurchaseSink>) -> D>(wrap: W) -> W {
    wrap
}

/// Returns `wrap`, which makes a decorator of a store.
#[doc(hidden)]
pub fn store<D: PurchaseStore, W: Fn(Arc<dyn PurchaseStore>) -> D>(wrap: W) -> W {
    wrap
}

/// Returns `wrap`, which makes a decorator of a query.
#[doc(hidden)]
pub fn query<D: PurchaseQuery, W: Fn(Arc<dyn PurchaseQuery>) -> D>(wrap: W) -> W {
    wrap
}

/// The text of what the inner port answers.
const INNER: &str = "of the inner port";

/// Returns an error that only the inner port returns.
fn inner_error() -> Error {
    Error::new(ErrorKind::Denied, INNER)
}

/// Checks that `result` is the error of the inner port.
#[track_caller]
fn assert_inner_error<T>(result: Result<T>, call: &str) {
    let message = result.err().map(|error| error.message().to_owned());
    assert_eq!(message.as_deref(), Some(INNER), "`{call}` is not forwarded");
}

/// A sink that notes its calls.
#[derive(Debug, Default)]
struct NotingSink {
    /// The numbers of purchases of the calls of `publish_many`.
    batches: Mutex<Vec<usize>>,
    /// The number of calls of `publish`.
    single: Mutex<usize>,
    /// The deadline of the last call of `close`.
    deadline: Mutex<Option<Duration>>,
}

/// The durability of the purchases in a [`NotingSink`].
const DURABILITY: Durability = Durability::Broker { replicas: Some(7) };

/// Returns faults of which no part is empty.
fn all_faults() -> LogFaults {
    let partition = Partition::new("cluster".into(), "purchases".into(), 0, 0);
    LogFaults {
        unavailable: vec![INNER.to_owned()],
        lost: vec![Gap::new(partition, 20, 40, GapCause::Truncated)],
        weak_settings: vec![INNER.to_owned()],
        files: vec![INNER.to_owned()],
    }
}

#[async_trait]
impl PurchaseSink for NotingSink {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        *lock(&self.single) += 1;
        Ok(Receipt::new(purchase.id, DURABILITY))
    }

    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        lock(&self.batches).push(purchases.len());
        let receipts = purchases
            .iter()
            .map(|purchase| Ok(Receipt::new(purchase.id, DURABILITY)));
        receipts.collect()
    }

    fn info(&self) -> SinkInfo {
        SinkInfo::new(DURABILITY)
            .with_storing(true)
            .with_faults(all_faults())
    }

    async fn check(&self) -> Result<()> {
        Err(inner_error())
    }

    async fn close(&self, deadline: Duration) -> Result<()> {
        *lock(&self.deadline) = Some(deadline);
        Err(inner_error())
    }
}

/// The info of a sink around another one is that of the inner one: its durability, whether it
/// stores, and all its faults.
pub async fn a_sink_forwards_its_info<D: PurchaseSink>(
    wrap: &(impl Fn(Arc<dyn PurchaseSink>) -> D + Sync),
) {
    let info = wrap(Arc::new(NotingSink::default())).info();
    assert_eq!(info.durability, DURABILITY, "the durability is dropped");
    assert!(info.is_storing, "`is_storing` is dropped");
    assert_eq!(info.faults, all_faults(), "faults are dropped");
}

/// A batch reaches the inner sink as one batch, whose receipts are returned in its order.
pub async fn a_sink_forwards_its_batches<D: PurchaseSink>(
    wrap: &(impl Fn(Arc<dyn PurchaseSink>) -> D + Sync),
) {
    let inner = Arc::new(NotingSink::default());
    let sink = wrap(Arc::<NotingSink>::clone(&inner));
    let purchases = purchases(0..3);
    let receipts = soon("publish_many", sink.publish_many(&purchases)).await;
    assert_eq!(
        *lock(&inner.batches),
        [3],
        "a batch is not forwarded as one"
    );
    assert_eq!(*lock(&inner.single), 0, "a batch is published one by one");
    let published: Vec<_> = receipts
        .into_iter()
        .map(|receipt| receipt.expect("a receipt").id)
        .collect();
    let expected: Vec<_> = purchases.iter().map(|purchase| purchase.id).collect();
    assert_eq!(published, expected);
}

/// A single purchase, a check and the end reach the inner sink, whose results are returned.
pub async fn a_sink_forwards_its_other_calls<D: PurchaseSink>(
    wrap: &(impl Fn(Arc<dyn PurchaseSink>) -> D + Sync),
) {
    let inner = Arc::new(NotingSink::default());
    let sink = wrap(Arc::<NotingSink>::clone(&inner));
    let receipt = succeed(sink.publish(&purchase(0))).await;
    assert_eq!(receipt, Receipt::new(purchase(0).id, DURABILITY));
    assert_eq!(*lock(&inner.single), 1);
    assert_inner_error(soon("check", sink.check()).await, "check");
    let deadline = Duration::from_secs(7);
    assert_inner_error(soon("close", sink.close(deadline)).await, "close");
    assert_eq!(*lock(&inner.deadline), Some(deadline));
}

/// A store that can do everything beyond its ports.
#[derive(Debug, Default)]
struct CapableStore(InMemoryStore);

/// The number of servers that have taken over a [`CapableStore`].
const TAKEOVERS: u64 = 7;

impl DescribeStore for CapableStore {
    fn info(&self) -> StoreInfo<'_> {
        StoreInfo::default()
            .with_file_faults(vec![INNER.to_owned()])
            .with_takeovers(TAKEOVERS)
            .with_waiting_refunds(self)
            .with_imported_files(self)
            .with_user_names(self)
    }
}

#[async_trait]
impl WaitingRefunds for CapableStore {
    async fn waiting_summary(&self) -> Result<WaitingSummary> {
        Err(inner_error())
    }

    async fn apply_waiting(&self, _removed: &[u64], _limit: usize) -> Result<Vec<WaitingRefund>> {
        Err(inner_error())
    }
}

#[async_trait]
impl ImportedFiles for CapableStore {
    async fn last_reading(&self, _file: Uuid, _kept: Option<&str>) -> Result<Option<String>> {
        Err(inner_error())
    }
}

#[async_trait]
impl UserNames for CapableStore {
    async fn next_name(&self, _from: &str) -> Result<Option<String>> {
        Err(inner_error())
    }
}

#[async_trait]
impl RecordStore<Purchase> for CapableStore {
    async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        self.0.apply(batch).await
    }

    async fn check(&self) -> Result<()> {
        Err(inner_error())
    }
}

#[async_trait]
impl PurchaseQuery for CapableStore {
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        self.0.page(selector, request).await
    }

    async fn look_up(&self, id: &PurchaseId) -> Result<Lookup> {
        self.0.look_up(id).await
    }
}

/// Checks that `info` is that of a [`CapableStore`], and that the calls of its capabilities reach
/// the store.
async fn assert_capable(info: StoreInfo<'_>) {
    assert_eq!(info.file_faults, [INNER], "faults of files are dropped");
    assert_eq!(info.takeovers, TAKEOVERS, "takeovers are dropped");
    let refunds = info.waiting_refunds.expect("waiting refunds are dropped");
    assert_inner_error(refunds.waiting_summary().await, "waiting_summary");
    assert_inner_error(refunds.apply_waiting(&[], 1).await, "apply_waiting");
    let files = info.imported_files.expect("imported files are dropped");
    let reading = files.last_reading(Uuid::nil(), None).await;
    assert_inner_error(reading, "last_reading");
    let names = info.user_names.expect("names of users are dropped");
    assert_inner_error(names.next_name("").await, "next_name");
}

/// The info of a store around another one is that of the inner one: its state, and what it can do
/// beyond its ports.
pub async fn a_store_forwards_its_info<D: PurchaseStore>(
    wrap: &(impl Fn(Arc<dyn PurchaseStore>) -> D + Sync),
) {
    assert_capable(wrap(Arc::new(CapableStore::default())).info()).await;
}

/// A batch and a check reach the inner store, whose results are returned.
pub async fn a_store_forwards_its_calls<D: PurchaseStore>(
    wrap: &(impl Fn(Arc<dyn PurchaseStore>) -> D + Sync),
) {
    let inner = Arc::new(CapableStore::default());
    let store = wrap(Arc::<CapableStore>::clone(&inner));
    for expected in ["iii", "ddd"] {
        let outcomes = succeed(store.insert(purchases(0..3).into())).await;
        assert_eq!(outcome_codes(&outcomes), expected);
    }
    assert_eq!(inner.0.all().len(), 3);
    assert_inner_error(soon("check", store.check()).await, "check");
}

/// The info of a query around another one is that of the inner one: its state, and what it can do
/// beyond its ports.
pub async fn a_query_forwards_its_info<D: PurchaseQuery>(
    wrap: &(impl Fn(Arc<dyn PurchaseQuery>) -> D + Sync),
) {
    assert_capable(wrap(Arc::new(CapableStore::default())).info()).await;
}

/// All calls of a query around another one have the results of the inner one.
pub async fn a_query_forwards_its_calls<D: PurchaseQuery>(
    wrap: &(impl Fn(Arc<dyn PurchaseQuery>) -> D + Sync),
) {
    let inner = Arc::new(CapableStore::default());
    succeed(inner.insert(purchases(0..7).into())).await;
    let query = wrap(Arc::<CapableStore>::clone(&inner));
    let selector = Selector::All;
    let request = PageRequest::first(ListOrder::NewestFirst, PageLimit::new(3).unwrap());
    let page = succeed(query.page(&selector, &request)).await;
    assert_eq!(page, succeed(inner.page(&selector, &request)).await, "page");
    let summary = succeed(query.summary(&selector)).await;
    assert_eq!(summary, succeed(inner.summary(&selector)).await, "summary");
    let request = TotalsRequest::new(TimeRange::ALL, Period::Hour);
    let totals = succeed(query.totals(&selector, &request)).await;
    let expected = succeed(inner.totals(&selector, &request)).await;
    assert_eq!(totals, expected, "totals");

    for number in [0, 7] {
        let found = succeed(query.look_up(&id(number))).await;
        assert_eq!(found, succeed(inner.look_up(&id(number))).await, "look_up");
        let is_stored = succeed(query.wait_for(&id(number), Duration::ZERO)).await;
        assert_eq!(is_stored, number < 7, "wait_for");
    }
    let batch = succeed(query.scan_batch(None)).await;
    assert_eq!(batch, succeed(inner.scan_batch(None)).await, "scan_batch");
    succeed(query.check_reads()).await;
}

#[cfg(test)]
#[path = "decorator_test.rs"]
mod tests;
