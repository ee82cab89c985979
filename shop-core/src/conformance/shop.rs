//! The tests of a whole [`Shop`]: it behaves alike on every backend.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::fixture::{assert_fails, soon};
use super::sample::at;
use super::{EraseFixture, LogFixture};
use crate::feed::PurchaseFeed;
use crate::ingest::{Ingest, IngestOptions};
use crate::ports::{Durability, PageLimit, PublishedPurchase, PurchaseErase, StoreSink, TimeRange};
use crate::{
    Clock, ErrorKind, IdempotencyKey, NewPurchase, Outcome, Result, Shop, SystemClock,
    UserPurchases, Uuid,
};

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
        let dead_letters = log.dead_letters().await;
        let ingest = Ingest::new(
            source,
            store.store().await,
            dead_letters,
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
            self.0.log().admin(),
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

fn order(price: &str, key: &str) -> NewPurchase {
    let new = NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price(price)
        .unwrap();
    new.with_key(key).unwrap()
}

async fn buy(shop: &Shop, new: NewPurchase) -> Result<PublishedPurchase> {
    soon("buy", shop.buy(new)).await
}

/// The purchases of the buyer, once this one is stored.
fn listed(shop: &Shop, bought: &PublishedPurchase) -> UserPurchases {
    let user = shop
        .user(bought.purchase.user_id.clone())
        .wait_for(&bought.receipt);
    user.wait_timeout(Duration::from_secs(30))
}

async fn count(shop: &Shop, bought: &PublishedPurchase) -> u64 {
    soon("list", listed(shop, bought).summary())
        .await
        .expect("a summary")
        .count
}

/// A listing that waits for the receipt has the purchase, unchanged.
pub async fn a_bought_purchase_is_listed(fixture: &dyn ShopFixture) {
    let shop = fixture.shop().await;
    let new = NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price("1195.30")
        .unwrap();
    let bought = buy(&shop, new).await.expect("buy");
    assert!(!bought.replayed);
    assert_eq!(
        (count(&shop, &bought).await, bought.receipt.id),
        (1, bought.purchase.id)
    );
    assert_eq!(
        shop.get(&bought.receipt.id).await.unwrap(),
        Some(bought.purchase)
    );
}

/// A purchase keeps the time at which it was made.
pub async fn a_time_is_kept(fixture: &dyn ShopFixture) {
    let shop = fixture.shop().await;
    let bought = buy(&shop, order("1", "order-7").with_timestamp(at(5)))
        .await
        .expect("buy");
    count(&shop, &bought).await;
    assert_eq!(
        shop.get(&bought.receipt.id)
            .await
            .unwrap()
            .unwrap()
            .timestamp,
        at(5)
    );
}

/// A repetition returns the first purchase with its time, before and after it is stored, also at
/// another process.
pub async fn a_repetition_returns_the_first_purchase(fixture: &dyn ShopFixture) {
    let shop = fixture.shop().await;
    let first = buy(&shop, order("29.99", "order-7").with_timestamp(at(5)))
        .await
        .expect("buy");
    assert!(!first.replayed);
    let repeated = async |shop: &Shop| {
        let again = buy(shop, order("29.990", "order-7"))
            .await
            .expect("buy again");
        assert!(again.replayed);
        assert_eq!(
            (again.receipt.id, again.purchase),
            (first.receipt.id, first.purchase.clone())
        );
    };
    repeated(&shop).await;
    assert_eq!(count(&shop, &first).await, 1);
    repeated(&shop).await;
    repeated(&fixture.shop().await).await;
    assert_eq!(count(&shop, &first).await, 1);
}

/// A repetition without a lookup, because its key is as new as the purchase, returns the first
/// purchase too.
pub async fn a_repetition_of_a_new_key_returns_the_first_purchase(fixture: &dyn ShopFixture) {
    let shop = fixture.shop().await;
    let key = SystemClock.fresh_id().to_string();
    let first = buy(&shop, order("29.99", &key).with_timestamp(at(5)))
        .await
        .expect("buy");
    assert_eq!(count(&shop, &first).await, 1);
    let again = buy(
        &fixture.shop().await,
        order("29.99", &key).with_timestamp(at(6)),
    )
    .await
    .expect("buy");
    assert_eq!(again.receipt.id, first.receipt.id);
    assert_eq!(
        shop.get(&first.receipt.id).await.unwrap(),
        Some(first.purchase.clone())
    );
    if again.receipt.position.is_none() {
        assert!(again.replayed);
        assert_eq!(again.purchase, first.purchase);
    }
    assert_eq!(count(&shop, &first).await, 1);
}

/// A key with other content is a conflict, before and after the first purchase is stored, also at
/// another process.
pub async fn a_key_with_other_content_is_a_conflict(fixture: &dyn ShopFixture) {
    let shop = fixture.shop().await;
    let first = buy(&shop, order("29.99", "order-7")).await.expect("buy");
    let refused = async |shop: &Shop| {
        let error = buy(shop, order("1", "order-7")).await.unwrap_err();
        assert_fails(&error, ErrorKind::Conflict, Outcome::NotApplied);
        assert_eq!(
            error.idempotency_key().map(IdempotencyKey::as_str),
            Some("order-7")
        );
    };
    refused(&shop).await;
    assert_eq!(count(&shop, &first).await, 1);
    refused(&fixture.shop().await).await;
    assert_eq!(
        shop.get(&first.receipt.id).await.unwrap(),
        Some(first.purchase)
    );
}

/// Keys count per user, unless they are UUIDs that cannot be guessed: a UUID that was computed is
/// not the id of another user's key.
pub async fn a_key_cannot_be_claimed_by_another_user(fixture: &dyn ShopFixture) {
    let shop = fixture.shop().await;
    let own = order("5", "order-7");
    let computed = crate::id_from_key(&own.user_id, own.key.as_ref().unwrap()).to_string();
    for key in [
        "order-7",
        &computed,
        &Uuid::nil().to_string(),
        &Uuid::max().to_string(),
    ] {
        let claim = NewPurchase::for_user("eve")
            .with_user_name("eve")
            .with_price("1")
            .unwrap();
        let claimed = buy(&shop, claim.with_key(key).unwrap()).await.expect("buy");
        assert_ne!(claimed.receipt.id.to_string(), computed);
        count(&shop, &claimed).await;
    }
    let bought = buy(&shop, own).await.expect("buy");
    assert_eq!(
        (bought.receipt.id.to_string(), count(&shop, &bought).await),
        (computed, 1)
    );
}

/// The key of an erased purchase is refused, whatever the content: nothing is acknowledged that is
/// never stored.
pub async fn an_erased_key_is_refused(fixture: &dyn ShopFixture) {
    let shop = fixture.shop().await;
    let first = buy(&shop, order("29.99", "order-7")).await.expect("buy");
    assert_eq!(count(&shop, &first).await, 1);
    let erase = fixture.erase().await;
    assert_eq!(
        soon("erase", erase.erase(&first.purchase.user_id, 100))
            .await
            .expect("erase"),
        1
    );
    let other = fixture.shop().await;
    for shop in [&shop, &other] {
        let error = buy(shop, order("29.99", "order-7")).await.unwrap_err();
        assert_fails(&error, ErrorKind::Erased, Outcome::NotApplied);
    }
    // A process with the key in its cache may report a conflict.
    let kind = buy(&other, order("1", "order-7")).await.unwrap_err().kind();
    assert!(
        matches!(kind, ErrorKind::Erased | ErrorKind::Conflict),
        "{kind:?}"
    );
    let later = buy(&shop, order("29.99", "order-8")).await.expect("buy");
    assert_eq!(count(&shop, &later).await, 1);
}

/// Purchases of a batch are repeated, rejected and stored like single ones.
pub async fn each_purchase_of_a_batch_has_a_result(fixture: &dyn ShopFixture) {
    let shop = fixture.shop().await;
    let first = buy(&shop, order("1", "order-1").with_timestamp(at(5)))
        .await
        .expect("buy");
    count(&shop, &first).await;
    for shop in [&shop, &fixture.shop().await] {
        let unkeyed = NewPurchase::for_user("u1")
            .with_user_name("ada")
            .with_price("2")
            .unwrap();
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
    for number in 1..=5 {
        let new = order(&number.to_string(), &format!("order-{number}")).with_timestamp(at(number));
        let bought = buy(&shop, new).await.expect("buy");
        count(&shop, &bought).await;
    }
    let range = TimeRange::new(Some(at(2)), Some(at(5))).unwrap();
    let user = || {
        shop.user("u1")
            .within(range)
            .page_size(PageLimit::new(2).unwrap())
    };
    for (user, expected) in [
        (user(), ["4", "3", "2"]),
        (user().oldest_first(), ["2", "3", "4"]),
    ] {
        let mut prices = Vec::new();
        let mut sizes = Vec::new();
        let mut page = soon("page", user.page()).await.expect("the first page");
        loop {
            sizes.push(page.items.len());
            assert!(sizes.len() <= expected.len(), "the listing ends");
            prices.extend(page.items.iter().map(|purchase| purchase.price.to_string()));
            let Some(next) = page.next else { break };
            page = soon("page", user.page_at(next))
                .await
                .expect("the next page");
        }
        assert_eq!(
            (&prices[..], &sizes[..]),
            (&expected.map(str::to_owned)[..], &[2, 1][..])
        );
    }
}
