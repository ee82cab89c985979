//! A shop over the ports in memory and over faults.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::Instant;

use super::*;
use crate::conformance::fault::{Call, Fault, Faults};
use crate::log::LogExt as _;
use crate::memory::InMemoryLog;
use crate::ports::{
    DescribeStore, Lookup, Page, PageLimit, PageRequest, PurchaseStore, Selector, StoreInfo,
    Summary,
};
use crate::record::header;
use crate::{ErrorKind, NewPurchase, Outcome, PurchaseId, Timestamp, id_from_key};

fn new(price: &str) -> NewPurchase {
    NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price(price)
        .unwrap()
}

/// A store that notes the limits of the requested pages.
#[derive(Debug, Default, Clone)]
struct Noting(InMemoryStore, Arc<Mutex<Vec<usize>>>);

#[async_trait]
impl PurchaseQuery for Noting {
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        self.1.lock().unwrap().push(request.limit.get());
        self.0.page(selector, request).await
    }

    async fn summary(&self, selector: &Selector) -> Result<Summary> {
        self.0.summary(selector).await
    }

    async fn look_up(&self, id: &PurchaseId) -> Result<Lookup> {
        self.0.look_up(id).await
    }

    async fn check_reads(&self) -> Result<()> {
        Ok(())
    }
}

impl DescribeStore for Noting {
    fn info(&self) -> StoreInfo<'_> {
        self.0.info()
    }
}

#[tokio::test]
async fn a_closed_shop_in_memory_lists_its_purchases() {
    let shop = Shop::in_memory();
    let bought = shop.buy(new("29.99")).await.unwrap();
    shop.check().await.unwrap();
    shop.clone().close(Duration::ZERO).await.unwrap();
    let refused = shop.buy(new("1")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed);
    let stored = shop.get(&bought.receipt.id).await.unwrap();
    assert_eq!(stored, Some(bought.purchase));
}

#[tokio::test]
async fn an_error_has_a_key_to_retry_with() {
    let faults = Faults::new();
    faults.always(Call::Publish, Fault::LoseAnswer);
    faults.always(Call::Check, Fault::unavailable());
    let sink = faults.sink(Arc::new(InMemoryLog::default().sink()));
    let shop = Shop::new(sink, InMemoryStore::new());
    let keyed = shop
        .buy(new("1").with_key("order-7").unwrap())
        .await
        .unwrap_err();
    assert_eq!(
        (keyed.outcome(), keyed.is_retryable()),
        (Outcome::Unknown, true)
    );
    assert_eq!(keyed.idempotency_key().unwrap(), "order-7");
    // A repetition without the generated key would be another purchase.
    let generated = shop.buy(new("1")).await.unwrap_err();
    assert!(!generated.is_retryable());
    let key = generated.idempotency_key().unwrap().as_str();
    assert!(key.parse::<PurchaseId>().is_ok(), "{key}");
    assert!(shop.check().await.is_err());
}

#[tokio::test]
async fn a_second_attempt_has_the_context_of_its_own_request() {
    let faults = Faults::new();
    faults.once(Call::Publish, Fault::LoseAnswer);
    let log = InMemoryLog::default();
    let shop = Shop::new(faults.sink(Arc::new(log.sink())), InMemoryStore::new());
    let buy = async |request: &str| {
        let context = RequestContext::new(Some(request.into()), None);
        let order = new("1").with_key("order-7").unwrap();
        shop.with_context(context).buy(order).await
    };
    buy("first").await.unwrap_err();
    buy("second").await.unwrap();
    let batches: Vec<_> = log.scan_all().await.unwrap().try_collect().await.unwrap();
    let requests = batches
        .iter()
        .flat_map(|batch| &batch.records)
        .map(|record| record.headers.get(header::REQUEST_ID).unwrap());
    assert_eq!(
        requests.collect::<Vec<_>>(),
        [b"first".as_slice(), b"second"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_refund_waits_until_its_purchase_is_stored() {
    let store = InMemoryStore::new();
    let shop = Shop::new(InMemoryLog::default().sink(), store.clone());
    let order = new("9").with_key("order-7").unwrap();
    let bought = shop.buy(order).await.unwrap().purchase;
    let refunding = tokio::spawn({
        let shop = shop.clone();
        let id = bought.id;
        async move { shop.refund(id, None, None).await }
    });
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!refunding.is_finished(), "the purchase is not stored");
    store.insert_one(bought).await.unwrap();
    let pending = refunding.await.unwrap().unwrap();
    assert!(pending.pending, "the store does not have the refund");

    let unknown = id_from_key(&"u1".parse().unwrap(), &"order-8".parse().unwrap());
    let begun = Instant::now();
    let error = shop.refund(unknown, None, None).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome(), begun.elapsed()),
        (ErrorKind::Invalid, Outcome::NotApplied, Duration::ZERO)
    );
}

#[tokio::test(start_paused = true)]
async fn a_listing_waits_for_the_receipt() {
    let store = InMemoryStore::new();
    let shop = Shop::new(InMemoryLog::default().sink(), store.clone());
    let bought = shop.buy(new("29.99")).await.unwrap();
    let user = shop.user("u1");
    let first = Duration::from_millis(300);
    for hurried in [
        user.clone()
            .wait_for(&bought.receipt)
            .with_wait_timeout(first),
        user.clone()
            .with_wait_timeout(first)
            .wait_for(&bought.receipt),
    ] {
        let start = Instant::now();
        let error = hurried.summary().await.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::DeadlineExceeded, Outcome::NotApplied)
        );
        assert_eq!(start.elapsed(), first);
    }
    let waiting = user.wait_for(&bought.receipt);
    let insert = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        store.insert_one(bought.purchase.clone()).await.unwrap();
    };
    let listed = waiting.purchases().try_collect::<Vec<_>>();
    let (listed, ()) = futures_util::future::join(listed, insert).await;
    assert_eq!(listed.unwrap(), std::slice::from_ref(&bought.purchase));
    assert_eq!(waiting.page().await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn a_stream_starts_with_small_pages() {
    let query = Noting::default();
    let shop = Shop::new(
        StoreSink::new(Arc::new(query.0.clone()), Durability::Memory),
        query.clone(),
    );
    let at = |second: i64| Timestamp::from_millis(second * 1_000).unwrap();
    let orders: Vec<_> = (0..120)
        .map(|second| new("1").with_timestamp(at(second)))
        .collect();
    let bought: Vec<_> = shop
        .buy_all(stream::iter(orders), 8)
        .try_collect()
        .await
        .unwrap();
    assert!(
        bought
            .iter()
            .map(|bought| bought.purchase.timestamp)
            .eq((0..120).map(at)),
        "in order"
    );

    let user = shop.user("u1");
    let limits = || std::mem::take(&mut *query.1.lock().unwrap());
    assert_eq!(user.purchases().take(10).count().await, 10);
    assert_eq!(limits(), [50]);
    let newest: Vec<_> = user.purchases().try_collect().await.unwrap();
    assert_eq!(
        (newest.len(), newest[0].timestamp, limits()),
        (120, at(119), vec![50, 1_000])
    );
    let sized = user
        .oldest_first()
        .with_page_size(PageLimit::new(60).unwrap());
    let oldest: Vec<_> = sized.purchases().try_collect().await.unwrap();
    assert_eq!(
        (oldest.len(), oldest[0].timestamp, limits()),
        (120, at(0), vec![60, 60])
    );
}

#[tokio::test]
async fn a_fallible_source_keeps_its_tags_and_errors() {
    let shop = Shop::in_memory();
    let source = stream::iter([
        Ok((1, new("1"))),
        Err("line 2 is damaged"),
        Ok((3, new("3"))),
    ]);
    let results: Vec<_> = shop.try_buy_all(source, 0).collect().await;
    let prices = results.into_iter().map(|result| {
        result.map(|(tag, bought)| (tag, bought.unwrap().purchase.price.to_string()))
    });
    let expected = [
        Ok((1, "1".to_owned())),
        Err("line 2 is damaged"),
        Ok((3, "3".to_owned())),
    ];
    assert_eq!(prices.collect::<Vec<_>>(), expected);
}
