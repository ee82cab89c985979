//! [`Pipeline`]: a shop with the ingest that stores its purchases, and [`PurchasesRole`]: the ports
//! of such a backend, as a service needs them to serve purchases.
//!
//! ```text
//! Shop ─▶ sink ─▶ log ─▶ Ingest (a task) ─▶ store ─▶ Shop: listings
//!                  └───▶ PurchaseFeed ◀───────┘       Shop: events
//! ```

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Shop;
use crate::feed::PurchaseFeed;
use crate::ingest::{Ingest, IngestCounters, IngestMonitor, IngestOptions};
use crate::log::{Log, RecordType};
use crate::ports::{PurchaseQuery, PurchaseSink, PurchaseStore, ShopCurrency};
use crate::{Error, ErrorKind, Purchase, Result};

/// A shop on any log and store, together with the ingest that stores its purchases, and with their
/// events.
///
/// ```
/// use std::time::Duration;
///
/// use shop_core::NewPurchase;
/// use shop_core::ingest::IngestOptions;
/// use shop_core::memory::{InMemoryLog, InMemoryStore};
/// use shop_core::shop::Pipeline;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> shop_core::Result<()> {
/// let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
/// let pipeline = Pipeline::start(log.sink(), &log, store, "purchase-group", IngestOptions::default())?;
///
/// let shop = pipeline.shop();
/// let bought = shop.buy(NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?).await?;
/// assert_eq!(shop.user("u1").wait_for(&bought.receipt).summary().await?.count, 1);
///
/// pipeline.close(Duration::from_secs(10)).await?;
/// # Ok(())
/// # }
/// ```
///
/// Several processes with the same consumer group share the work. Dropping the pipeline without
/// [`close`](Self::close) stops the ingest and loses no purchase.
#[derive(Debug)]
pub struct Pipeline {
    shop: Shop,
    feed: PurchaseFeed,
    group: String,
    monitor: IngestMonitor,
    ingest_task: JoinHandle<Result<IngestCounters>>,
    /// Stops the ingest when dropped.
    stop: DropGuard,
}

impl Pipeline {
    /// Starts the ingest of `log` into `store`, as a member of the consumer group `group`.
    ///
    /// Purchases of the shop are published to `sink`, which must append to the same log.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) if `group` is not a valid group name, and
    /// [`Unavailable`](ErrorKind::Unavailable) if the log cannot be used.
    ///
    /// # Panics
    /// Panics outside of a tokio runtime.
    pub fn start<S>(
        sink: impl PurchaseSink,
        log: &impl Log,
        store: S,
        group: &str,
        options: IngestOptions,
    ) -> Result<Self>
    where
        S: PurchaseStore + PurchaseQuery + Clone,
    {
        Self::start_in_currency(ShopCurrency::default(), sink, log, store, group, options)
    }

    /// Starts like [`start`](Self::start), with a shop [in `currency`](Shop::in_currency).
    ///
    /// # Errors
    /// The errors of [`start`](Self::start).
    ///
    /// # Panics
    /// Panics outside of a tokio runtime.
    pub fn start_in_currency<S>(
        currency: ShopCurrency,
        sink: impl PurchaseSink,
        log: &impl Log,
        store: S,
        group: &str,
        options: IngestOptions,
    ) -> Result<Self>
    where
        S: PurchaseStore + PurchaseQuery + Clone,
    {
        let ingest = Ingest::<Purchase>::new(
            log.source(group)?,
            Arc::new(store.clone()),
            log.dead_letters(),
            options,
        );
        let monitor = ingest.monitor();
        let feed = PurchaseFeed::new(log.admin(), group, Arc::new(store.clone()));
        let shop = Shop::in_currency(currency, sink, store)
            .with_events(feed.clone())
            .with_ingest(monitor.clone());

        let stop = CancellationToken::new();
        let ingest_task = tokio::spawn(ingest.run(stop.clone().cancelled_owned()));
        Ok(Self {
            shop,
            feed,
            group: group.to_owned(),
            monitor,
            ingest_task,
            stop: stop.drop_guard(),
        })
    }

    /// Returns the shop, which buys, lists and follows purchases.
    #[must_use]
    pub fn shop(&self) -> Shop {
        self.shop.clone()
    }

    /// Returns the shop, its ingest and its events as the role of a service that serves purchases.
    ///
    /// `shop_http::routes(pipeline.role())` makes a router from the role. Drop the router before
    /// [`close`](Self::close).
    #[must_use]
    pub fn role(&self) -> PurchasesRole {
        let mut role = self.shop.role();
        role.group = Some(self.group.clone());
        role.feed = Some(self.feed.clone());
        role
    }

    /// Returns the feed of the purchases that become visible, which is also the source of events of
    /// the shop.
    #[must_use]
    pub const fn feed(&self) -> &PurchaseFeed {
        &self.feed
    }

    /// Returns a monitor of the ingest.
    ///
    /// The ingest stops by itself after an error that retries do not resolve, such as too many dead
    /// letters. To learn of the stop, [`wait_for`](IngestMonitor::wait_for) the phase `Stopped`.
    /// Then [`close`](Self::close) returns the error.
    #[must_use]
    pub fn monitor(&self) -> IngestMonitor {
        self.monitor.clone()
    }

    /// Rejects new purchases, ends the events and stops the ingest, all within `timeout`.
    ///
    /// `timeout` should be longer than the [`drain_timeout`](IngestOptions::drain_timeout) of the
    /// ingest. Clones of the [`shop`](Self::shop) fail with [`Closed`](ErrorKind::Closed) when they
    /// buy afterwards.
    ///
    /// # Errors
    /// - [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) if calls in progress or the ingest take
    ///   longer: no acknowledged purchase is lost
    /// - the error of the ingest, if it had stopped by itself
    pub async fn close(self, timeout: Duration) -> Result<()> {
        let deadline = Instant::now() + timeout;
        self.feed.close();
        // The ingest is stopped even if the purchases in flight could not be flushed: that error is
        // returned below.
        let flushed = self.shop.close(timeout).await;
        drop((self.shop, self.feed, self.stop));
        let ended = timeout_at(deadline, self.ingest_task).await;

        flushed?;
        let joined = ended.map_err(|_elapsed| {
            Error::new(
                ErrorKind::DeadlineExceeded,
                "the ingest did not stop in time",
            )
            .with_origin("pipeline")
        })?;
        joined.map_err(|error| {
            Error::new(ErrorKind::Internal, "the ingest was aborted").with_source(error)
        })??;
        Ok(())
    }
}

impl Shop {
    /// Returns the ports of this shop as the role of a service that serves purchases: a service that
    /// publishes and lists as this shop does. The role has no feed, so it serves no events.
    ///
    /// `shop_http::routes(shop.role())` makes a router from the role.
    #[must_use]
    pub fn role(&self) -> PurchasesRole {
        let ports = &self.ports;
        let sink = Arc::clone(&ports.publisher);
        let mut role = PurchasesRole::new(sink, Arc::clone(&ports.query));
        role.ingest.clone_from(&ports.ingest);
        role.currency = ports.currency.clone();
        role
    }
}

/// The ports by which a service publishes and lists purchases, and the other parts of their backend
/// that this process uses. `shop_http::routes` serves them over HTTP.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::memory::{InMemoryLog, InMemoryStore};
/// use shop_core::shop::{LocalPorts, PurchasesRole};
///
/// let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
/// let mut purchases = PurchasesRole::new(Arc::new(log.sink()), Arc::new(store));
/// // The log and the store are files of this process, so `/readyz` checks both.
/// purchases.local = LocalPorts::new(true, true);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PurchasesRole {
    /// The destination of purchases: a log, or a store behind a
    /// [`StoreSink`](crate::ports::StoreSink).
    pub sink: Arc<dyn PurchaseSink>,
    /// The source of listings: the store, or another service.
    pub query: Arc<dyn PurchaseQuery>,
    /// The ingest of this process, if there is one. `/health` and `/metrics` report its state.
    pub ingest: Option<IngestMonitor>,
    /// The ports that are files of this process (default: none).
    pub local: LocalPorts,
    /// The feed of the events of `GET /v1/purchases/events` (default: none, and the status is 501).
    ///
    /// Close the feed when a shutdown begins, because a server waits for the end of its open
    /// responses.
    pub feed: Option<PurchaseFeed>,
    /// The log whose dead letters are served under `/v1/dead-letters` (default: none, and there are
    /// no such routes).
    pub log: Option<DeadLetterLog>,
    /// The currency of the shop (default: none, and purchases that name one are refused). While it is
    /// not known, or the store has another one, writes are refused with a 503.
    pub currency: ShopCurrency,
    /// The consumer group whose ingest stores the purchases of `log` (default: none, and no record
    /// can be parked).
    pub group: Option<String>,
}

/// States which of the ports are files of this process.
///
/// `/readyz` checks these ports only, so that an unavailable broker or store outside of this
/// process does not remove the process from its load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LocalPorts {
    /// Whether the log to which purchases are published is a file of this process.
    pub log: bool,
    /// Whether the store from which listings are read is a file of this process.
    pub store: bool,
}

/// The log of a topic, whose dead letters are listed and resolved under `/v1/dead-letters`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeadLetterLog {
    /// The topic.
    pub topic: String,
    /// The type of the records of the topic.
    pub record_type: RecordType,
    /// The log.
    pub log: Arc<dyn Log>,
}

impl PurchasesRole {
    /// Creates a role that publishes purchases to `sink` and lists them from `query`, without an
    /// ingest in this process.
    #[must_use]
    pub fn new(sink: Arc<dyn PurchaseSink>, query: Arc<dyn PurchaseQuery>) -> Self {
        Self {
            sink,
            query,
            ingest: None,
            local: LocalPorts::default(),
            feed: None,
            log: None,
            currency: ShopCurrency::default(),
            group: None,
        }
    }
}

impl LocalPorts {
    /// States whether the log, and whether the store, is a file of this process.
    #[must_use]
    pub const fn new(log: bool, store: bool) -> Self {
        Self { log, store }
    }
}

impl DeadLetterLog {
    /// Creates the log of `topic`, whose records are of the type `record_type`.
    #[must_use]
    pub fn new(topic: impl Into<String>, record_type: RecordType, log: Arc<dyn Log>) -> Self {
        Self {
            topic: topic.into(),
            record_type,
            log,
        }
    }
}
