//! [`Shop`]: buys and lists purchases on any backend.
//!
//! ```
//! use shop_core::{NewPurchase, Shop};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> shop_core::Result<()> {
//! let shop = Shop::in_memory();
//! let order = NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?.with_key("order-7")?;
//! let bought = shop.buy(order).await?;
//!
//! let spent = shop.user("u1").wait_for(&bought.receipt).summary().await?;
//! assert_eq!((spent.count, spent.total_spent.to_string()), (1, "29.99".to_owned()));
//! # Ok(())
//! # }
//! ```
//!
//! The same code runs over HTTP with the `shop()` of `shop_client::ShopClient`, on files with
//! `shop_store::embedded::EmbeddedShop`, on your own log and store with [`Shop::new`], and in tests with
//! [`Shop::in_memory`] or on mocks of the two ports (feature `mock`).

mod buy_all;
mod pipeline;
mod role;
#[cfg(test)]
mod shop_test;
mod user_purchases;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use pipeline::Pipeline;
pub use role::{DeadLetterLog, LocalPorts, PurchasesRole};
pub use user_purchases::UserPurchases;

use crate::domain::RefundReason;
use crate::memory::InMemoryStore;
use crate::ports::{
    Durability, IdempotentSink, PublishedPurchase, PurchaseEvents, PurchaseQuery, PurchaseSink,
    REFUND_TIMEOUT, Selector, StoreSink,
};
use crate::{
    Clock, Error, ErrorKind, IntoValid, NewPurchase, Outcome, Price, Purchase, PurchaseId,
    RequestContext, Result, SystemClock, UserId, UserName,
};

/// The pause between two queries for a purchase that is refunded before it is stored.
const PAUSE_UNTIL_STORED: Duration = Duration::from_millis(50);

/// Buys and lists purchases, on any backend. Cheap to clone: clones share the two ports.
///
/// ```
/// use shop_core::{NewPurchase, Result, Shop};
///
/// /// Independent of the backend.
/// async fn checkout(shop: &Shop, price: &str) -> Result<u64> {
///     let bought = shop.buy(NewPurchase::for_user("u1").with_user_name("ada").with_price(price)?).await?;
///     let user = shop.user(bought.purchase.user_id).wait_for(&bought.receipt);
///     Ok(user.summary().await?.count)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// assert_eq!(checkout(&Shop::in_memory(), "29.99").await?, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Shop {
    sink: Arc<dyn PurchaseSink>,
    query: Arc<dyn PurchaseQuery>,
    events: Option<Arc<dyn PurchaseEvents>>,
    context: Option<Box<RequestContext>>,
}

impl Shop {
    /// A shop that publishes to `sink` and lists from `query`. An [`Ingest`](crate::ingest::Ingest), here or in another
    /// process, stores what is published. Repetitions and conflicts are recognised by an [`IdempotentSink`] unless
    /// `sink` [does so itself](PurchaseSink::is_idempotent).
    ///
    /// ```
    /// use shop_core::Shop;
    /// use shop_core::memory::{InMemoryLog, InMemoryStore};
    ///
    /// let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
    /// let shop = Shop::new(log.sink(), store);
    /// ```
    #[must_use]
    pub fn new(sink: impl PurchaseSink, query: impl PurchaseQuery) -> Self {
        let query: Arc<dyn PurchaseQuery> = Arc::new(query);
        let sink: Arc<dyn PurchaseSink> = if sink.is_idempotent() {
            Arc::new(sink)
        } else {
            Arc::new(IdempotentSink::new(sink, Arc::clone(&query)))
        };
        Self {
            sink,
            query,
            events: None,
            context: None,
        }
    }

    /// A shop in memory, where a purchase is listed as soon as it is bought. It has no log, and so no
    /// [events](Self::with_events). For tests and experiments.
    ///
    /// ```
    /// use shop_core::{ErrorKind, NewPurchase, Shop};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> shop_core::Result<()> {
    /// let shop = Shop::in_memory();
    /// let order = |price| NewPurchase::for_user("u1").with_user_name("ada").with_price(price);
    /// shop.buy(order("29.99")?.with_key("order-7")).await?;
    /// // The key is used by a purchase with another price.
    /// let error = shop.buy(order("1")?.with_key("order-7")).await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Conflict);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn in_memory() -> Self {
        let store = InMemoryStore::new();
        Self::new(
            StoreSink::new(Arc::new(store.clone()), Durability::Memory),
            store,
        )
    }

    /// The same shop with [`events`](UserPurchases::events), such as those of a
    /// [`PurchaseFeed`](crate::feed::PurchaseFeed) over its log and store.
    #[must_use]
    pub fn with_events(mut self, events: impl PurchaseEvents) -> Self {
        self.events = Some(Arc::new(events));
        self
    }

    /// A shop whose purchases belong to `context`: its request id and its W3C `traceparent` are transmitted with each
    /// purchase.
    ///
    /// ```
    /// use shop_core::{NewPurchase, RequestContext, Shop};
    ///
    /// # async fn example(shop: Shop, order: NewPurchase, id: String) -> shop_core::Result<()> {
    /// let of_this_request = shop.with_context(RequestContext::new(Some(id), None));
    /// of_this_request.buy(order).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_context(&self, context: RequestContext) -> Self {
        Self {
            context: Some(Box::new(context)),
            ..self.clone()
        }
    }

    /// The port that purchases are published to.
    #[must_use]
    pub fn sink(&self) -> Arc<dyn PurchaseSink> {
        Arc::clone(&self.sink)
    }

    /// The port that purchases are listed from.
    #[must_use]
    pub fn query(&self) -> Arc<dyn PurchaseQuery> {
        Arc::clone(&self.query)
    }

    /// Buys.
    ///
    /// The key of the purchase makes the call idempotent: the purchase is stored once, however often it is bought.
    /// Without a key, one is generated for this call. A repetition returns the first purchase with its time, and is
    /// [`replayed`](PublishedPurchase::replayed). The argument may be the [`Result`] of a call that makes a purchase, such
    /// as [`with_key`](NewPurchase::with_key). It is one attempt, except over HTTP, where a `ShopClient` repeats it.
    ///
    /// ```
    /// use shop_core::{NewPurchase, Shop};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> shop_core::Result<()> {
    /// # let shop = Shop::in_memory();
    /// let order = NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?.with_key("order-7")?;
    /// let bought = shop.buy(order).await?;
    /// println!("purchase {} survives: {:?}", bought.purchase.id, bought.receipt.durability);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`PurchaseSink::publish_new`]. The error's [`outcome`](crate::Error::outcome) tells apart a purchase
    /// that was not recorded and one that may have been. Its [`idempotency_key`](crate::Error::idempotency_key) is the
    /// key to repeat the purchase with.
    ///
    /// # Cancel safety
    /// Once polled, the purchase may be published even if the future is dropped.
    pub async fn buy(
        &self,
        new: impl TryInto<NewPurchase, Error: Into<Error>>,
    ) -> Result<PublishedPurchase> {
        let mut purchase: NewPurchase = new.try_into().map_err(Into::<Error>::into)?;
        let with_key = with_key(&mut purchase);
        self.sink
            .publish_new(purchase, self.context.clone())
            .await
            .map_err(with_key)
    }

    /// Buys all of them together, as [`buy`](Self::buy), and returns one result per purchase, in their order.
    ///
    /// The purchases of one user are recorded in their order. [`buy_all`](Self::buy_all) buys a stream.
    ///
    /// ```
    /// use shop_core::{NewPurchase, Shop};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> shop_core::Result<()> {
    /// # let shop = Shop::in_memory();
    /// let cart = ["29.99", "5"].map(|price| NewPurchase::for_user("u1").with_user_name("ada").with_price(price));
    /// let results = shop.buy_many(cart.into_iter().collect::<Result<_, _>>()?).await;
    /// assert!(results.len() == 2 && results.iter().all(Result::is_ok));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// As [`PurchaseSink::publish_many`].
    pub async fn buy_many(
        &self,
        mut purchases: Vec<NewPurchase>,
    ) -> Vec<Result<PublishedPurchase>> {
        let keys: Vec<_> = purchases.iter_mut().map(with_key).collect();
        let results = self
            .sink
            .publish_new_many(purchases, self.context.clone())
            .await;
        results
            .into_iter()
            .zip(keys)
            .map(|(result, with_key)| result.map_err(with_key))
            .collect()
    }

    /// Pays back `amount`, or the whole price, of the purchase with this id: a further entry of its user, whose negative
    /// price is added to all sums. It is no further purchase.
    ///
    /// A purchase is refunded once. A repetition returns the first refund, and is
    /// [`replayed`](PublishedPurchase::replayed); another amount or reason is a [`Conflict`](crate::ErrorKind::Conflict).
    ///
    /// The store decides over the refund. The call waits for it, for at most [5 s](REFUND_TIMEOUT); also for a purchase that
    /// was acknowledged and [may not be stored yet](PurchaseSink::may_be_unstored). A refund that the store has not decided
    /// over by then is in the log, and is [`pending`](PublishedPurchase::pending).
    ///
    /// ```
    /// use shop_core::domain::RefundReason;
    /// use shop_core::{ErrorKind, NewPurchase, Shop};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> shop_core::Result<()> {
    /// let shop = Shop::in_memory();
    /// let bought = shop.buy(NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?).await?.purchase;
    /// let reason = Some(RefundReason::try_from("broken")?);
    /// let refund = shop.refund(bought.id, Some("9.99".parse()?), reason.clone()).await?;
    /// assert_eq!((refund.purchase.details.of, refund.replayed), (Some(bought.id), false));
    /// let spent = shop.user("u1").summary().await?;
    /// assert_eq!((spent.count, spent.total_spent.to_string()), (1, "20".to_owned()));
    /// assert!(shop.refund(bought.id, Some("9.99".parse()?), reason.clone()).await?.replayed);
    /// let whole = shop.refund(bought.id, None, reason).await;
    /// assert_eq!(whole.unwrap_err().kind(), ErrorKind::Conflict);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) when the purchase is not stored, which [`get`](Self::get) tells apart, and as
    /// [`Purchase::refund`]; otherwise those of [`PurchaseQuery::get`] and of [`PurchaseSink::publish_new`]. When the store
    /// cannot be asked, nothing is published.
    ///
    /// # Cancel safety
    /// As [`buy`](Self::buy). The same call can be repeated.
    pub async fn refund(
        &self,
        id: impl IntoValid<PurchaseId>,
        amount: Option<Price>,
        reason: Option<RefundReason>,
    ) -> Result<PublishedPurchase> {
        let id = id.into_valid()?;
        let bought = self
            .wait_until_stored(&id)
            .await
            .map_err(|error| error.with_outcome(Outcome::NotApplied))?;
        let Some(bought) = bought else {
            let message = "there is no purchase with this id";
            return Err(Error::new(ErrorKind::Invalid, message));
        };
        let mut refund = bought.refund(amount, SystemClock.now())?;
        refund.details.reason = reason;
        self.sink
            .publish_new(refund.into(), self.context.clone())
            .await
    }

    /// Returns the purchase with this id. Waits for one that may not be stored yet.
    async fn wait_until_stored(&self, id: &PurchaseId) -> Result<Option<Purchase>> {
        let until = Instant::now() + REFUND_TIMEOUT;
        loop {
            let found = self.query.get(id).await?;
            if found.is_some() || !self.sink.may_be_unstored(id) || Instant::now() >= until {
                return Ok(found);
            }
            sleep(PAUSE_UNTIL_STORED).await;
        }
    }

    /// The purchase with this id, if it is stored.
    ///
    /// # Errors
    /// Those of [`PurchaseQuery::get`].
    pub async fn get(&self, id: impl IntoValid<PurchaseId>) -> Result<Option<Purchase>> {
        self.query.get(&id.into_valid()?).await
    }

    /// The purchases of the user with this id. Text that is not an id is the error of the call that reads.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> shop_core::Result<()> {
    /// # let shop = shop_core::Shop::in_memory();
    /// let spent = shop.user("u1").summary().await?;
    /// println!("{} purchases for {}", spent.count, spent.total_spent);
    /// # Ok(())
    /// # }
    /// ```
    pub fn user(&self, id: impl IntoValid<UserId>) -> UserPurchases {
        UserPurchases::new(self, id.into_valid().map(Selector::User))
    }

    /// The purchases of the users with this name, as [`user`](Self::user).
    pub fn user_with_name(&self, name: impl IntoValid<UserName>) -> UserPurchases {
        UserPurchases::new(self, name.into_valid().map(Selector::Name))
    }

    /// The purchases of all users. A facing service denies them, unless they have a
    /// [reference](UserPurchases::with_reference); management lists them with the scope `observe`.
    pub fn all_users(&self) -> UserPurchases {
        UserPurchases::new(self, Ok(Selector::All))
    }

    /// Checks whether purchases can be bought and listed now.
    ///
    /// # Errors
    /// The reason why not.
    pub async fn check(&self) -> Result<()> {
        self.sink.check().await?;
        self.query.check_reads().await
    }

    /// Rejects further purchases of this shop and its clones, and waits up to `timeout` for those in flight. Listings
    /// still work.
    ///
    /// # Errors
    /// [`DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded) when some are still in flight after that time.
    pub async fn close(&self, timeout: Duration) -> Result<()> {
        self.sink.close(timeout).await
    }
}

/// Generates a key for `purchase` unless it has one. Returns what adds the key to the error of the purchase.
fn with_key(purchase: &mut NewPurchase) -> impl FnOnce(Error) -> Error + use<> {
    let is_given = purchase.key.is_some();
    let key = purchase
        .key
        .get_or_insert_with(|| SystemClock.fresh_id().into())
        .clone();
    move |error| {
        if is_given {
            error.with_idempotency_key(key)
        } else {
            error.with_generated_key(key)
        }
    }
}
