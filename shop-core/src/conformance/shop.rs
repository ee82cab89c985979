//! The tests of a whole [`Shop`]: it behaves alike on every backend.

use std::fmt::Debug;

use async_trait::async_trait;

use super::fixture::assert_fails;
use super::prelude::*;
use crate::feed::PurchaseFeed;
use crate::ingest::{Ingest, IngestOptions};
use crate::ports::{Durability, PublishedPurchase, PurchaseErase, StoreSink};
use crate::{Clock, Error, IdempotencyKey, Outcome, SystemClock, Uuid};

/// A fresh log and a fresh store, with an ingest between them.
#[async_trait]
pub trait ShopFixture: Debug + Send + Sync {
    /// A shop on them, as of another process with each call.
    async fn shop(&self) -> Shop;

    /// The events of the shop; `None` if it has none.
    async fn feed(&self) -> Option<PurchaseFeed>;

    /// Erases purchases from the store.
    async fn erase(&self) -> Arc<dyn PurchaseErase>;
}

/// A shop on a log and a store, whose ingest runs as long as the test.
#[derive(Debug)]
pub struct ShopOnLog<L, S>(L, S);

impl<L: LogFixture, S: EraseFixture> ShopOnLog<L, S> {
    /// A shop on `log` and `store`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn new(log: L, store: S) -> Self {
        let source = log.source("shop").await;
        let ingest = Ingest::new(
            source,
            store.store().await,
            log.log(),
            IngestOptions::default(),
        );
        tokio::spawn(ingest.run(std::future::pending()));
        Self(log, store)
    }
}

#[async_trait]
impl<L: LogFixture, S: EraseFixture> ShopFixture for ShopOnLog<L, S> {
    async fn shop(&self) -> Shop {
        let shop = Shop::new(self.0.sink().await, self.1.query().await);
        shop.with_events(self.feed().await.expect("a feed"))
    }

    async fn feed(&self) -> Option<PurchaseFeed> {
        Some(PurchaseFeed::new(
            self.0.log(),
            &self.0.group("shop"),
            self.1.query().await,
        ))
    }

    async fn erase(&self) -> Arc<dyn PurchaseErase> {
        self.1.erase().await
    }
}

/// A shop that writes straight into a store, as [`Shop::in_memory`] does.
#[derive(Debug)]
pub struct ShopOnStore<S>(pub S);

#[async_trait]
impl<S: EraseFixture> ShopFixture for ShopOnStore<S> {
    async fn shop(&self) -> Shop {
        Shop::new(
            StoreSink::new(self.0.store().await, Durability::Memory),
            self.0.query().await,
        )
    }

    async fn feed(&self) -> Option<PurchaseFeed> {
        None
    }

    async fn erase(&self) -> Arc<dyn PurchaseErase> {
        self.0.erase().await
    }
}

/// Returns an order of user `buyer`, whose name is "ada".
pub(super) fn order_of(buyer: &str, price: &str, key: &str) -> NewPurchase {
    let order = NewPurchase::for_user(buyer)
        .with_user_name("ada")
        .with_price(price);
    order.unwrap().with_key(key).unwrap()
}

fn order(price: &str, key: &str) -> NewPurchase {
    order_of("u1", price, key)
}

#[track_caller]
pub(super) fn buy(shop: &Shop, order: NewPurchase) -> impl Future<Output = PublishedPurchase> {
    succeed(shop.buy(order))
}

/// Returns the number of the buyer's purchases, once this one is stored.
#[track_caller]
fn count(shop: &Shop, bought: &PublishedPurchase) -> impl Future<Output = u64> {
    let buyer = shop.user(bought.purchase.user_id.clone());
    let listing = buyer
        .wait_for(&bought.receipt)
        .with_wait_timeout(Duration::from_secs(30));
    succeed(async move { Ok(listing.summary().await?.count) })
}

/// A listing that waits for the receipt has the purchase, unchanged, with the time at which it was
/// made.
pub async fn a_bought_purchase_is_listed(fixture: &dyn ShopFixture) {
    let shop = fixture.shop().await;
    let now = NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price("1195.30")
        .unwrap();
    let earlier = now.clone().with_timestamp(at(5));
    for (number, order) in (1..).zip([now, earlier]) {
        let time = order.timestamp;
        let bought = buy(&shop, order).await;
        assert!(!bought.replayed);
        assert_eq!(bought.receipt.id, bought.purchase.id);
        assert!(
            time.is_none_or(|time| time == bought.purchase.timestamp),
            "{bought:?}"
        );
        assert_eq!(count(&shop, &bought).await, number);
        assert_eq!(
            succeed(shop.get(&bought.receipt.id)).await,
            Some(bought.purchase)
        );
    }
}

/// A repetition returns the first purchase with its time, before and after it is stored, also at
/// another process. The key with other content is a conflict.
pub async fn a_repetition_returns_the_first_purchase(fixture: &dyn ShopFixture) {
    let shop = fixture.shop().await;
    let first = buy(&shop, order("29.99", "order-7").with_timestamp(at(5))).await;
    assert!(!first.replayed);
    let assert_known = async |shop: &Shop| {
        let again = buy(shop, order("29.990", "order-7")).await;
        assert!(again.replayed);
        assert_eq!(
            (again.receipt.id, &again.purchase),
            (first.receipt.id, &first.purchase)
        );
        let error = fail(shop.buy(order("1", "order-7"))).await;
        assert_fails(&error, ErrorKind::Conflict, Outcome::NotApplied);
        let key = error.idempotency_key().map(IdempotencyKey::as_str);
        assert_eq!(key, Some("order-7"));
    };
    assert_known(&shop).await;
    assert_eq!(count(&shop, &first).await, 1);
    assert_known(&shop).await;
    assert_known(&fixture.shop().await).await;
    assert_eq!(count(&shop, &first).await, 1);
    assert_eq!(
        succeed(shop.get(&first.receipt.id)).await.as_ref(),
        Some(&first.purchase)
    );
}

/// A repetition without a lookup, because its key is as new as the purchase, returns the first
/// purchase too.
pub async fn a_repetition_of_a_new_key_returns_the_first_purchase(fixture: &dyn ShopFixture) {
    let shop = fixture.shop().await;
    let key = SystemClock.fresh_id().to_string();
    let first = buy(&shop, order("29.99", &key).with_timestamp(at(5))).await;
    assert_eq!(count(&shop, &first).await, 1);
    let other = fixture.shop().await;
    let again = buy(&other, order("29.99", &key).with_timestamp(at(6))).await;
    assert_eq!(again.receipt.id, first.receipt.id);
    if again.receipt.position.is_none() {
        assert!(again.replayed);
        assert_eq!(again.purchase, first.purchase);
    }
    assert_eq!(count(&shop, &first).await, 1);
    assert_eq!(
        succeed(shop.get(&first.receipt.id)).await,
        Some(first.purchase)
    );
}

/// Keys count per user, unless they are UUIDs that cannot be guessed: a UUID that was computed is
/// not the id of another user's key.
pub async fn a_key_cannot_be_claimed_by_another_user(fixture: &dyn ShopFixture) {
    let shop = fixture.shop().await;
    let own = order("5", "order-7");
    let computed = crate::id_from_key(&own.user_id, own.key.as_ref().unwrap()).to_string();
    let [nil, max] = [Uuid::nil(), Uuid::max()].map(|id| id.to_string());
    for key in ["order-7", &computed, &nil, &max] {
        let claimed = buy(&shop, order_of("eve", "1", key)).await;
        assert_ne!(claimed.receipt.id.to_string(), computed);
        count(&shop, &claimed).await;
    }
    let bought = buy(&shop, own).await;
    assert_eq!(bought.receipt.id.to_string(), computed);
    assert_eq!(count(&shop, &bought).await, 1);
}

/// The key of an erased purchase is refused, whatever the content: nothing is acknowledged that is
/// never stored.
pub async fn an_erased_key_is_refused(fixture: &dyn ShopFixture) {
    let shop = fixture.shop().await;
    let first = buy(&shop, order("29.99", "order-7")).await;
    assert_eq!(count(&shop, &first).await, 1);
    let erase = fixture.erase().await;
    let erased = succeed(erase.erase(&first.purchase.user_id, 100)).await;
    assert_eq!(erased, 1.into());
    let other = fixture.shop().await;
    for shop in [&shop, &other] {
        let error = buy_until_refused(shop, order("29.99", "order-7")).await;
        assert_fails(&error, ErrorKind::Erased, Outcome::NotApplied);
    }
    // A process with the key in its cache may report a conflict.
    let kind = buy_until_refused(&other, order("1", "order-7"))
        .await
        .kind();
    assert!(
        matches!(kind, ErrorKind::Erased | ErrorKind::Conflict),
        "{kind:?}"
    );
    let later = buy(&shop, order("29.99", "order-8")).await;
    assert_eq!(count(&shop, &later).await, 1);
}

/// Buys `new` until `shop` refuses it, and returns the error.
///
/// A shop that gets no answer from its store within 250 ms decides without the store, and does not
/// ask it for a second. It does not know then that the key belongs to an erased purchase.
async fn buy_until_refused(shop: &Shop, new: NewPurchase) -> Error {
    soon("refuse the purchase", async {
        loop {
            if let Err(error) = shop.buy(new.clone()).await {
                return error;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    })
    .await
}

/// Purchases of a batch are repeated, rejected and stored like single ones.
pub async fn each_purchase_of_a_batch_has_a_result(fixture: &dyn ShopFixture) {
    let shop = fixture.shop().await;
    let first = buy(&shop, order("1", "order-1").with_timestamp(at(5))).await;
    count(&shop, &first).await;
    for shop in [&shop, &fixture.shop().await] {
        let unkeyed = NewPurchase {
            key: None,
            ..order("2", "none")
        };
        let many = vec![order("1", "order-1"), order("9", "order-1"), unkeyed];
        let results = soon("buy", shop.buy_many(many)).await;
        let [Ok(again), Err(refused), Ok(new)] = &results[..] else {
            panic!("{results:?}")
        };
        assert_eq!((again.replayed, &again.purchase), (true, &first.purchase));
        assert_eq!((refused.kind(), new.replayed), (ErrorKind::Conflict, false));
        count(shop, new).await;
    }
    assert_eq!(count(&shop, &first).await, 3);
}

/// The pages of a selection have its order, its range and its size, and end.
pub async fn pages_are_those_of_the_selection(fixture: &dyn ShopFixture) {
    let shop = fixture.shop().await;
    let mut bought = Vec::new();
    for number in 1..=5 {
        let order = order("1", &format!("order-{number}")).with_timestamp(at(number));
        let published = buy(&shop, order).await;
        count(&shop, &published).await;
        bought.push(published.purchase);
    }
    let range = TimeRange::new(Some(at(2)), Some(at(5))).unwrap();
    let selection = || {
        let buyer = shop.user("u1").with_range(range);
        buyer.with_page_size(PageLimit::new(2).unwrap())
    };
    let mut expected = bought[1..4].to_vec();
    for listing in [selection().oldest_first(), selection()] {
        let first = succeed(listing.page()).await;
        let second = succeed(listing.page_at(first.next.expect("a second page"))).await;
        assert_eq!(second.next, None);
        assert_eq!(
            [&first.items[..], &second.items],
            [&expected[..2], &expected[2..]]
        );
        expected.reverse();
    }
}
