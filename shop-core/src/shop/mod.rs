//! [`Shop`]: buys, refunds and lists purchases on any backend.
//!
//! A shop connects two ports: a [`PurchaseSink`], to which purchases are published, and a
//! [`PurchaseQuery`], from which stored purchases are read. Around the sink it puts an
//! [`IdempotentSink`], which recognizes repetitions. [`Pipeline`] adds the ingest between
//! the log and the store, for a program that contains both. [`UserPurchases`] selects the purchases
//! to list.
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
//! `shop_store::embedded::EmbeddedShop`, on your own log and store with [`Shop::new`], and in tests
//! with [`Shop::in_memory`] or on mocks of the two ports (feature `mock`).

mod buy_all;
mod pipeline;
#[cfg(test)]
mod shop_test;
mod user_purchases;

use std::sync::Arc;
use std::time::Duration;

pub use pipeline::{DeadLetterLog, LocalPorts, Pipeline, PurchasesRole};
pub use user_purchases::UserPurchases;

use crate::domain::RefundReason;
use crate::memory::InMemoryStore;
use crate::ports::{
    Durability, IdempotentSink, PublishedPurchase, PurchaseEvents, PurchasePublisher,
    PurchaseQuery, PurchaseSink, REFUND_TIMEOUT, Selector, ShopCurrency, StoreSink,
};
use crate::{
    Clock, Error, ErrorKind, IntoValid, NewPurchase, Outcome, Price, Purchase, PurchaseId,
    RequestContext, Result, SystemClock, UserId, UserName,
};

/// A shop that buys, refunds and lists purchases, on any backend. Clones are cheap, and share the
/// two ports.
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
    publisher: Arc<dyn PurchasePublisher>,
    query: Arc<dyn PurchaseQuery>,
    events: Option<Arc<dyn PurchaseEvents>>,
    context: Option<Box<RequestContext>>,
    currency: ShopCurrency,
}

impl Shop {
    /// Creates a shop that publishes purchases to `sink`, and lists purchases from `query`.
    ///
    /// The shop has no currency, and refuses purchases that name one: see
    /// [`in_currency`](Self::in_currency). An [`Ingest`](crate::ingest::Ingest), in this process or another one, moves the published
    /// purchases from the log to the store. An [`IdempotentSink`] around `sink` recognizes repeated
    /// purchases and conflicts.
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
        Self::in_currency(ShopCurrency::default(), sink, query)
    }

    /// Creates a shop like [`new`](Self::new), whose purchases are in `currency`.
    ///
    /// A purchase without a currency gets that of the shop. While the currency of the store is not
    /// known, or is another one, purchases are refused as
    /// [`Unavailable`](crate::ErrorKind::Unavailable): [ask](ShopCurrency::ask) the store first.
    ///
    /// ```
    /// use shop_core::memory::{InMemoryLog, InMemoryStore};
    /// use shop_core::ports::ShopCurrency;
    /// use shop_core::{NewPurchase, Shop};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> shop_core::Result<()> {
    /// let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
    /// let currency = ShopCurrency::not_yet_known(Some("EUR".parse()?));
    /// currency.ask(&store).await?;
    /// let shop = Shop::in_currency(currency, log.sink(), store);
    /// let bought = shop.buy(NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?).await?;
    /// assert_eq!(bought.purchase.details.currency.as_ref().unwrap().as_str(), "EUR");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn in_currency(
        currency: ShopCurrency,
        sink: impl PurchaseSink,
        query: impl PurchaseQuery,
    ) -> Self {
        let query: Arc<dyn PurchaseQuery> = Arc::new(query);
        let publisher =
            IdempotentSink::new(sink, Arc::clone(&query)).with_currency(currency.clone());
        Self {
            currency,
            ..Self::from_publisher(publisher, query)
        }
    }

    /// Creates a shop that publishes purchases by `publisher`, which recognizes repeated purchases
    /// and conflicts itself, and lists purchases from `query`.
    ///
    /// ```
    /// use shop_core::Shop;
    /// use shop_core::ports::{PurchasePublisher, PurchaseQuery};
    ///
    /// fn of_another_service(client: impl PurchasePublisher + PurchaseQuery + Clone) -> Shop {
    ///     Shop::from_publisher(client.clone(), client)
    /// }
    /// ```
    #[must_use]
    pub fn from_publisher(publisher: impl PurchasePublisher, query: impl PurchaseQuery) -> Self {
        Self {
            publisher: Arc::new(publisher),
            query: Arc::new(query),
            events: None,
            context: None,
            currency: ShopCurrency::default(),
        }
    }

    /// Creates a shop in memory, for tests and experiments.
    ///
    /// A purchase is listed as soon as it is bought. There is no log, and so there are no
    /// [events](Self::with_events).
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

    /// Adds a source of [events](UserPurchases::events) to this shop, such as a
    /// [`PurchaseFeed`](crate::feed::PurchaseFeed) over its log and store.
    #[must_use]
    pub fn with_events(mut self, events: impl PurchaseEvents) -> Self {
        self.events = Some(Arc::new(events));
        self
    }

    /// Returns a shop on the same ports that buys and refunds on behalf of the request `context`.
    ///
    /// The request id and the W3C `traceparent` of the context are transmitted with each purchase
    /// and refund.
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

    /// Returns the currency of this shop. Only a shop that was created
    /// [in a currency](Self::in_currency) knows one.
    #[must_use]
    pub const fn shop_currency(&self) -> &ShopCurrency {
        &self.currency
    }

    /// Returns the port to which purchases are published.
    #[must_use]
    pub fn sink(&self) -> Arc<dyn PurchaseSink> {
        Arc::clone(&self.publisher) as _
    }

    /// Returns the port from which purchases are listed.
    #[must_use]
    pub fn query(&self) -> Arc<dyn PurchaseQuery> {
        Arc::clone(&self.query)
    }

    /// Buys the purchase `new`, and returns it with its id, its time and the receipt of the log.
    ///
    /// The idempotency key of the purchase makes the call repeatable: the purchase is stored once,
    /// however often it is bought with this key. A repeated call returns the first purchase with
    /// its time, and is [`replayed`](PublishedPurchase::replayed). Without a key, one is generated
    /// for this call.
    ///
    /// The argument may be the [`Result`] of a call that makes a purchase, such as
    /// [`with_key`](NewPurchase::with_key). The call makes one attempt. Over HTTP, a `ShopClient`
    /// repeats attempts that fail.
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
    /// Returns the errors of [`PurchasePublisher::publish_new`], and the error of an argument that
    /// is not a valid purchase. The [`outcome`](crate::Error::outcome) of the error tells apart a
    /// purchase that was not recorded and a purchase that may have been recorded. Repeat the
    /// purchase with the [`idempotency_key`](crate::Error::idempotency_key) of the error.
    ///
    /// # Cancel safety
    /// Once the future was polled, the purchase may be published even if the future is dropped.
    pub async fn buy(
        &self,
        new: impl TryInto<NewPurchase, Error: Into<Error>>,
    ) -> Result<PublishedPurchase> {
        let mut purchase: NewPurchase = new.try_into().map_err(Into::<Error>::into)?;
        let add_key = ensure_key(&mut purchase);
        self.publisher
            .publish_new(purchase, self.context.clone())
            .await
            .map_err(add_key)
    }

    /// Buys all `purchases` together, and returns one result per purchase, in the same order.
    ///
    /// Each purchase is bought as [`buy`](Self::buy) does. The purchases of one user are recorded
    /// in their order. Use [`buy_all`](Self::buy_all) to buy a stream of purchases.
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
    /// Dropping the future loses the results. Each purchase may be published or not, as with
    /// [`PurchaseSink::publish_many`].
    pub async fn buy_many(
        &self,
        mut purchases: Vec<NewPurchase>,
    ) -> Vec<Result<PublishedPurchase>> {
        // One function per purchase, which adds the key of this purchase to its error below.
        let add_keys: Vec<_> = purchases.iter_mut().map(ensure_key).collect();
        let results = self
            .publisher
            .publish_new_many(purchases, self.context.clone())
            .await;
        results
            .into_iter()
            .zip(add_keys)
            .map(|(result, add_key)| result.map_err(add_key))
            .collect()
    }

    /// Refunds `amount`, or the whole price without an amount, of the purchase with this id.
    ///
    /// A refund is an entry of the same user with a negative price, which is added to all sums. It
    /// does not count as a purchase.
    ///
    /// A purchase is refunded at most once. Repeating the call returns the first refund, which is
    /// [`replayed`](PublishedPurchase::replayed) then. Another amount or reason is a
    /// [`Conflict`](crate::ErrorKind::Conflict).
    ///
    /// The store decides whether the refund is applied. The call waits at most
    /// [5 s](REFUND_TIMEOUT) for this decision. Before, it waits as long for a purchase that was
    /// acknowledged but [may not be stored yet](PurchasePublisher::may_be_unstored). A refund
    /// without a decision in time is in the log, and the returned refund is
    /// [`pending`](PublishedPurchase::pending).
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
    /// - [`Invalid`](crate::ErrorKind::Invalid) if there is no stored purchase with this id, which
    ///   [`get`](Self::get) tells apart from the following
    /// - the errors of [`Purchase::refund`], for example for an amount above the price
    /// - the errors of [`PurchaseQuery::get`]: nothing was published then
    /// - the errors of [`PurchasePublisher::publish_new`]
    ///
    /// # Cancel safety
    /// Once the future was polled, the refund may be published even if the future is dropped. The
    /// same call can be repeated.
    pub async fn refund(
        &self,
        id: impl IntoValid<PurchaseId>,
        amount: Option<Price>,
        reason: Option<RefundReason>,
    ) -> Result<PublishedPurchase> {
        let id = id.into_valid()?;
        let stored = self
            .wait_until_stored(&id)
            .await
            .map_err(|error| error.with_outcome(Outcome::NotApplied))?;
        let Some(purchase) = stored else {
            let message = "there is no purchase with this id";
            return Err(Error::new(ErrorKind::Invalid, message));
        };

        let mut refund = purchase.refund(amount, SystemClock.now())?;
        refund.details.reason = reason;
        self.publisher
            .publish_new(refund.into(), self.context.clone())
            .await
    }

    /// Returns the purchase with this id, or `None` if it is not stored.
    ///
    /// Waits up to [`REFUND_TIMEOUT`] while the publisher reports that the purchase may be
    /// acknowledged but not stored yet.
    ///
    /// # Errors
    /// Returns the first error of [`PurchaseQuery::get`] or [`PurchaseQuery::wait_for`].
    async fn wait_until_stored(&self, id: &PurchaseId) -> Result<Option<Purchase>> {
        let stored = self.query.get(id).await?;
        if stored.is_some() || !self.publisher.may_be_unstored(id) {
            return Ok(stored);
        }
        self.query.wait_for(id, REFUND_TIMEOUT).await?;
        self.query.get(id).await
    }

    /// Returns the purchase or refund with this id, or `None` if it is not stored.
    ///
    /// # Errors
    /// Returns the errors of [`PurchaseQuery::get`], and [`Invalid`](crate::ErrorKind::Invalid) for
    /// text that is not an id.
    pub async fn get(&self, id: impl IntoValid<PurchaseId>) -> Result<Option<Purchase>> {
        self.query.get(&id.into_valid()?).await
    }

    /// Selects the purchases of the user with this id, to list or to sum them.
    ///
    /// Nothing is read yet. Text that is not a user id becomes the error of the call that reads the
    /// purchases.
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

    /// Selects the purchases of all users with this name, to list or to sum them as with
    /// [`user`](Self::user).
    pub fn user_with_name(&self, name: impl IntoValid<UserName>) -> UserPurchases {
        UserPurchases::new(self, name.into_valid().map(Selector::Name))
    }

    /// Selects the purchases of all users, to list or to sum them.
    ///
    /// The public API of a service denies this selection, unless it is limited to a
    /// [reference](UserPurchases::with_reference). The management API lists all purchases with the
    /// scope `observe`.
    pub fn all_users(&self) -> UserPurchases {
        UserPurchases::new(self, Ok(Selector::All))
    }

    /// Checks whether purchases can be bought and listed now.
    ///
    /// # Errors
    /// Returns the error of the sink or of the query that cannot be used now.
    pub async fn check(&self) -> Result<()> {
        self.publisher.check().await?;
        self.query.check_reads().await
    }

    /// Rejects further purchases of this shop and its clones, and waits up to `timeout` for the
    /// purchases in flight.
    ///
    /// Purchases can still be listed.
    ///
    /// # Errors
    /// [`DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded) if purchases are still in flight
    /// after `timeout`.
    pub async fn close(&self, timeout: Duration) -> Result<()> {
        self.publisher.close(timeout).await
    }
}

/// Gives `purchase` a generated idempotency key if it carries none, and returns a function that
/// adds the key to an error.
///
/// A caller repeats a failed purchase with the key in the error. The error keeps apart given and
/// generated keys: with an unknown outcome, the same call without a key must not be repeated,
/// because it would generate another key and could buy twice.
fn ensure_key(purchase: &mut NewPurchase) -> impl FnOnce(Error) -> Error + use<> {
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
