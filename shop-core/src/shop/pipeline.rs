//! [`Pipeline`]: a shop with the ingest that stores its purchases.
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
use crate::backend::Backend;
use crate::feed::PurchaseFeed;
use crate::ingest::{Ingest, IngestCounters, IngestMonitor, IngestOptions};
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
/// let backend = log.backend("purchase-group").with_sink(log.sink()).with(store.backend());
/// let pipeline = Pipeline::start(backend, IngestOptions::default())?;
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
    /// The log and the store, with `feed` and `monitor`.
    backend: Backend,
    feed: PurchaseFeed,
    monitor: IngestMonitor,
    ingest_task: JoinHandle<Result<IngestCounters>>,
    /// Stops the ingest when dropped.
    stop: DropGuard,
}

impl Pipeline {
    /// Starts the ingest of the log of `backend` into its store, as a member of its consumer group.
    /// The shop is in the currency of `backend`.
    ///
    /// Purchases of the shop are published to the sink of `backend`, which must append to the same
    /// log.
    ///
    /// # Errors
    /// - [`Unsupported`](ErrorKind::Unsupported) if `backend` lacks a log, a group, a sink or a store
    /// - [`Invalid`](ErrorKind::Invalid) if the group has no valid name
    /// - [`Unavailable`](ErrorKind::Unavailable) if the log cannot be used
    ///
    /// # Panics
    /// Panics outside of a tokio runtime.
    pub fn start(mut backend: Backend, options: IngestOptions) -> Result<Self> {
        let log = backend.require_log()?;
        let group = backend.require_group()?;
        let sink = backend.require_sink()?;
        let query = backend.require_query()?;
        let store = Arc::clone(backend.require_store()?);

        let source = log.source(group)?;
        let ingest = Ingest::<Purchase>::new(source, store, Arc::clone(log), options)
            .with_decoders(backend.decoders.clone());
        let monitor = ingest.monitor();
        let feed = backend.create_feed()?;
        let currency = backend.currency.clone();
        let shop = Shop::in_currency(currency, Arc::clone(sink), Arc::clone(query))
            .with_events(feed.clone())
            .with_ingest(monitor.clone());
        backend.feed = Some(feed.clone());
        backend.ingest = Some(monitor.clone());

        let stop = CancellationToken::new();
        let ingest_task = tokio::spawn(ingest.run(stop.clone().cancelled_owned()));
        Ok(Self {
            shop,
            backend,
            feed,
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

    /// Returns the log and the store with the ingest and the feed of this pipeline.
    ///
    /// `shop_http::routes(pipeline.backend())` makes a router of them. Drop the router before
    /// [`close`](Self::close).
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend.clone()
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
        // The ingest is stopped even if the shop could not be closed: that error is returned below.
        let shop_result = self.shop.close(timeout).await;
        // Dropping `stop` stops the ingest. The others would keep the log and the store open.
        drop((self.shop, self.backend, self.feed, self.stop));
        let ingest_end = timeout_at(deadline, self.ingest_task).await;

        shop_result?;
        let task_result = ingest_end.map_err(|_elapsed| {
            Error::new(
                ErrorKind::DeadlineExceeded,
                "the ingest did not stop in time",
            )
            .with_origin("pipeline")
        })?;
        let ingest_result = task_result.map_err(|join_error| {
            Error::new(ErrorKind::Internal, "the ingest was aborted").with_source(join_error)
        })?;
        ingest_result.map(drop)
    }
}

impl Shop {
    /// Returns the ports of this shop, for a service that publishes and lists as this shop does. The
    /// service serves no events, because the ports contain no feed.
    ///
    /// `shop_http::routes(shop.backend())` makes a router of them.
    #[must_use]
    pub fn backend(&self) -> Backend {
        let ports = &self.ports;
        let mut backend = Backend::new(Arc::clone(&ports.publisher) as _, Arc::clone(&ports.query));
        backend.ingest.clone_from(&ports.ingest);
        backend.currency = ports.currency.clone();
        backend
    }
}
