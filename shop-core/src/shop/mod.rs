//! [`Shop`]: buys, refunds and lists purchases on any backend.
//!
//! A shop connects two ports: a [`PurchaseSink`], to which purchases are published, and a
//! [`PurchaseQuery`], from which stored purchases are read. Around the sink it puts an
//! [`IdempotentSink`], which recognizes repetitions. [`Pipeline`] adds the ingest between
//! the log and the store, for a program that contains both. [`UserPurchases`] selects the purchases
//! to list.
//!
//! Everything that a service or a command does with purchases is a call of the shop, so that it is
//! decided once:
//!
//! | module | calls |
//! |---|---|
//! | `buy`, `buy_all` | buys, refunds |
//! | `read`, `user_purchases` | finds, waits, lists, sums up, follows |
//! | `names` | finds names of users by their beginning |
//! | `import` | imports a file |
//! | this one | checks, closes |
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

mod buy;
mod buy_all;
mod import;
mod names;
mod pipeline;
mod read;
#[cfg(test)]
mod shop_test;
mod user_purchases;

use std::sync::Arc;
use std::time::Duration;

pub use names::Names;
pub use pipeline::Pipeline;
pub use user_purchases::UserPurchases;

use crate::ingest::IngestMonitor;
use crate::log::LogFaults;
use crate::memory::InMemoryStore;
use crate::ports::{
    Durability, IdempotentSink, PurchaseEvents, PurchasePublisher, PurchaseQuery, PurchaseSink,
    ShopCurrency, StoreSink,
};
use crate::{Clock, RequestContext, Result, SystemClock};

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

/// What the clones of a [`Shop`] share.
#[derive(Debug, Clone)]
struct ShopPorts {
    publisher: Arc<dyn PurchasePublisher>,
    query: Arc<dyn PurchaseQuery>,
    events: Option<Arc<dyn PurchaseEvents>>,
    ingest: Option<IngestMonitor>,
    currency: ShopCurrency,
    /// The source of the times of refunds.
    clock: Arc<dyn Clock>,
}

impl ShopPorts {
    /// Creates the ports of a shop without a currency, events, and an ingest in this process.
    fn new(publisher: Arc<dyn PurchasePublisher>, query: Arc<dyn PurchaseQuery>) -> Self {
        Self {
            publisher,
            query,
            events: None,
            ingest: None,
            currency: ShopCurrency::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

impl From<ShopPorts> for Shop {
    fn from(ports: ShopPorts) -> Self {
        Self {
            ports: Arc::new(ports),
            context: None,
        }
    }
}

impl Shop {
    /// Creates a shop that publishes purchases to `sink`, and lists purchases from `query`.
    ///
    /// The shop has no currency, and refuses purchases that name one: see
    /// [`in_currency`](Self::in_currency). An [`IdempotentSink`] around `sink` recognizes repeated
    /// purchases and conflicts. An [`Ingest`](crate::ingest::Ingest), in this process or another one,
    /// moves the published purchases from the log to the store.
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
    /// A purchase without a currency gets the currency of the shop. Purchases are refused as
    /// [`Unavailable`](crate::ErrorKind::Unavailable) until `currency` knows that the store has the
    /// same currency: [ask](ShopCurrency::ask) the store first.
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
        IdempotentSink::new(sink, Arc::new(query))
            .with_currency(currency)
            .into()
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
        ShopPorts::new(Arc::new(publisher), Arc::new(query)).into()
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

    /// Returns the problems of the log to which purchases are published, as far as they are known.
    /// Makes no request.
    #[must_use]
    pub fn faults(&self) -> LogFaults {
        self.ports.publisher.info().faults
    }

    /// Checks whether purchases can be bought and listed now.
    ///
    /// # Errors
    /// The errors of [`check_writes`](Self::check_writes) and [`check_reads`](Self::check_reads).
    pub async fn check(&self) -> Result<()> {
        self.check_writes().await?;
        self.check_reads().await
    }

    /// Checks whether purchases can be bought now. Publishes nothing.
    ///
    /// # Errors
    /// The errors of [`PurchaseSink::check`].
    pub async fn check_writes(&self) -> Result<()> {
        self.ports.publisher.check().await
    }

    /// Checks whether purchases can be listed now.
    ///
    /// # Errors
    /// The errors of [`PurchaseQuery::check_reads`].
    pub async fn check_reads(&self) -> Result<()> {
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

impl<S: PurchaseSink> From<IdempotentSink<S>> for Shop {
    /// Creates a shop that publishes to `sink`, and lists purchases from the store in which `sink`
    /// looks up ids. The shop has the clock and the currency of the sink.
    fn from(sink: IdempotentSink<S>) -> Self {
        let query = Arc::clone(sink.query());
        let clock = Arc::clone(sink.clock());
        let currency = sink.currency().clone();
        let mut ports = ShopPorts::new(Arc::new(sink), query);
        ports.currency = currency;
        ports.clock = clock;
        ports.into()
    }
}
