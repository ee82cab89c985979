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

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

pub use pipeline::{DeadLetterLog, LocalPorts, Pipeline, PurchasesRole};
use tokio::time::{Instant, timeout};
pub use user_purchases::UserPurchases;

use crate::domain::RefundReason;
use crate::ingest::IngestMonitor;
use crate::memory::InMemoryStore;
use crate::ports::{
    Durability, IdempotentSink, Lookup, Polls, PublishedPurchase, PurchaseEvents,
    PurchasePublisher, PurchaseQuery, PurchaseQueryExt as _, PurchaseSink, REFUND_TIMEOUT,
    Selector, ShopCurrency, StoreSink, may_be_unstored,
};
use crate::{
    Clock, Error, ErrorKind, Invalid, NewPurchase, Outcome, Price, Purchase, PurchaseId,
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
    ports: Arc<ShopPorts>,
    context: Option<Box<RequestContext>>,
}

/// The least time for a look-up, also for the last one of a wait.
const LAST_LOOK_UP: Duration = Duration::from_millis(250);

/// What the clones of a [`Shop`] share.
#[derive(Debug, Clone)]
struct ShopPorts {
    publisher: Arc<dyn PurchasePublisher>,
    query: Arc<dyn PurchaseQuery>,
    events: Option<Arc<dyn PurchaseEvents>>,
    ingest: Option<IngestMonitor>,
    currency: ShopCurrency,
    clock: Arc<dyn Clock>,
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
        Self::from_publisher(publisher, query).with_currency(currency)
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
        let ports = ShopPorts {
            publisher: Arc::new(publisher),
            query: Arc::new(query),
            events: None,
            ingest: None,
            currency: ShopCurrency::default(),
            clock: Arc::new(SystemClock),
        };
        Self {
            ports: Arc::new(ports),
            context: None,
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
        Arc::make_mut(&mut self.ports).events = Some(Arc::new(events));
        self
    }

    /// Adds the ingest that stores the purchases of this shop, if it runs in this process. A call
    /// that waits for a purchase then continues as soon as a batch is stored.
    #[must_use]
    pub fn with_ingest(mut self, ingest: IngestMonitor) -> Self {
        Arc::make_mut(&mut self.ports).ingest = Some(ingest);
        self
    }

    /// Returns this shop with `currency`, which its publisher already observes.
    #[must_use]
    pub fn with_currency(mut self, currency: ShopCurrency) -> Self {
        Arc::make_mut(&mut self.ports).currency = currency;
        self
    }

    /// Returns this shop with the times of refunds from `clock` (default: the clock of the system).
    /// The publisher has a clock of its own.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        Arc::make_mut(&mut self.ports).clock = clock;
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
        self.with_request(Some(Box::new(context)))
    }

    /// Returns a shop like [`with_context`](Self::with_context), for a request that may have no
    /// context.
    #[doc(hidden)]
    #[must_use]
    pub fn with_request(&self, context: Option<Box<RequestContext>>) -> Self {
        Self {
            ports: Arc::clone(&self.ports),
            context,
        }
    }

    /// Returns the currency of this shop. Only a shop that was created
    /// [in a currency](Self::in_currency) knows one.
    #[must_use]
    pub fn shop_currency(&self) -> &ShopCurrency {
        &self.ports.currency
    }

    /// Returns the port to which purchases are published.
    #[must_use]
    pub fn sink(&self) -> Arc<dyn PurchaseSink> {
        Arc::clone(&self.ports.publisher) as _
    }

    /// Returns the port from which purchases are listed.
    #[must_use]
    pub fn query(&self) -> Arc<dyn PurchaseQuery> {
        Arc::clone(&self.ports.query)
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
        let purchase: NewPurchase = new.try_into().map_err(Into::<Error>::into)?;
        self.ports
            .publisher
            .publish_new(purchase, self.context.clone())
            .await
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
    pub async fn buy_many(&self, purchases: Vec<NewPurchase>) -> Vec<Result<PublishedPurchase>> {
        self.ports
            .publisher
            .publish_new_many(purchases, self.context.clone())
            .await
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
    /// [5 s](REFUND_TIMEOUT) for this decision. Before, it [waits](Self::look_up_acknowledged) as
    /// long for a purchase that may not be stored yet. A refund without a decision in time is in the
    /// log, and the returned refund is [`pending`](PublishedPurchase::pending).
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
        id: impl TryInto<PurchaseId, Error: Into<Invalid>>,
        amount: Option<Price>,
        reason: Option<RefundReason>,
    ) -> Result<PublishedPurchase> {
        let id = id.try_into().map_err(Into::<Invalid>::into)?;
        let lookup = self
            .look_up_acknowledged(&id)
            .await
            .map_err(|error| error.with_outcome(Outcome::NotApplied))?;
        let Lookup::Stored(purchase) = lookup else {
            let message = "there is no purchase with this id";
            return Err(Error::new(ErrorKind::Invalid, message));
        };
        self.refund_purchase(&purchase, amount, reason).await
    }

    /// Refunds `amount`, or the whole price without an amount, of the stored `purchase`, as
    /// [`refund`](Self::refund) does.
    ///
    /// A caller that decides by the purchase whether it may be refunded
    /// [looks it up](Self::look_up_acknowledged) first.
    ///
    /// # Errors
    /// - The errors of [`Purchase::refund`], for example for an amount above the price
    /// - The errors of [`PurchasePublisher::publish_new`]
    ///
    /// # Cancel safety
    /// As for [`refund`](Self::refund).
    pub async fn refund_purchase(
        &self,
        purchase: &Purchase,
        amount: Option<Price>,
        reason: Option<RefundReason>,
    ) -> Result<PublishedPurchase> {
        let mut refund = purchase.refund(amount, self.ports.clock.now())?;
        refund.details.reason = reason;
        self.ports
            .publisher
            .publish_new(refund.into(), self.context.clone())
            .await
    }

    /// Returns the purchase with this id if this shop acknowledged it recently. The store may not
    /// contain it yet.
    #[must_use]
    pub fn acknowledged(&self, id: &PurchaseId) -> Option<Purchase> {
        self.ports.publisher.acknowledged(id)
    }

    /// Returns the entry of the store under this id.
    ///
    /// A purchase that may be acknowledged without being stored yet is waited for, up to
    /// [`REFUND_TIMEOUT`]: one that this shop acknowledged recently, or whose id is a UUIDv7 of the
    /// last 30 s, which another process may have acknowledged.
    ///
    /// # Errors
    /// - The first error of [`PurchaseQuery::look_up`]
    /// - [`DeadlineExceeded`](crate::ErrorKind::DeadlineExceeded) if the store does not respond in this
    ///   time
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn look_up_acknowledged(&self, id: &PurchaseId) -> Result<Lookup> {
        let mut polls = Polls::until(Instant::now() + REFUND_TIMEOUT);
        loop {
            let next_batch = self.next_batch();
            let look_up = self.ports.query.look_up(id);
            let lookup = timeout(polls.time_left().max(LAST_LOOK_UP), look_up)
                .await
                .map_err(|_elapsed| {
                    let message = "the store did not respond in time";
                    Error::new(ErrorKind::DeadlineExceeded, message)
                })??;
            let is_awaited = matches!(lookup, Lookup::Missing)
                && may_be_unstored(&*self.ports.publisher, id, self.ports.clock.now());
            if !is_awaited || !polls.pause_unless(Duration::ZERO, next_batch).await {
                return Ok(lookup);
            }
        }
    }

    /// Returns a future that completes when the ingest of this process has handled a batch after this
    /// call. It never completes if there is no such ingest, or after the ingest ended.
    pub fn next_batch(&self) -> impl Future<Output = ()> + Send + use<> {
        let next_batch = self.ports.ingest.as_ref().map(IngestMonitor::next_batch);
        async move {
            match next_batch {
                Some(next_batch) => next_batch.await,
                None => pending().await,
            }
        }
    }

    /// Returns the purchase or refund with this id, or `None` if it is not stored.
    ///
    /// # Errors
    /// Returns the errors of [`PurchaseQuery::look_up`], and [`Invalid`](crate::ErrorKind::Invalid) for
    /// text that is not an id.
    pub async fn get(
        &self,
        id: impl TryInto<PurchaseId, Error: Into<Invalid>>,
    ) -> Result<Option<Purchase>> {
        self.ports
            .query
            .get(&id.try_into().map_err(Into::<Invalid>::into)?)
            .await
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
    pub fn user(&self, id: impl TryInto<UserId, Error: Into<Invalid>>) -> UserPurchases {
        UserPurchases::new(
            self,
            id.try_into()
                .map_err(Into::<Invalid>::into)
                .map(Selector::User),
        )
    }

    /// Selects the purchases of all users with this name, to list or to sum them as with
    /// [`user`](Self::user).
    pub fn user_with_name(
        &self,
        name: impl TryInto<UserName, Error: Into<Invalid>>,
    ) -> UserPurchases {
        UserPurchases::new(
            self,
            name.try_into()
                .map_err(Into::<Invalid>::into)
                .map(Selector::Name),
        )
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
        self.ports.publisher.check().await?;
        self.ports.query.check_reads().await
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
        self.ports.publisher.close(timeout).await
    }
}
