//! [`EmbeddedShop`]: log, store and ingest in one value.

use std::path::Path;
use std::time::Duration;

use shop_core::domain::Currency;
use shop_core::feed::PurchaseFeed;
use shop_core::ingest::{IngestMonitor, IngestOptions};
use shop_core::ports::ShopCurrency;
use shop_core::shop::Pipeline;
use shop_core::{Backend, Error, ErrorKind, Outcome, Result, Shop};
use tokio::time::{Instant, timeout_at};

use super::engine::lock::FileLock;
use super::{EmbeddedLog, EmbeddedLogOptions, EmbeddedStore, EmbeddedStoreOptions};

/// A shop in one file, without a server: the log, the store, and the ingest that moves purchases
/// from the log to the store.
///
/// ```
/// use std::time::Duration;
///
/// use shop_core::NewPurchase;
/// use shop_store::embedded::EmbeddedShop;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let temporary = tempfile::tempdir()?;
/// let folder = "shop-data";
/// # let folder = temporary.path().join(folder);
/// let embedded = EmbeddedShop::open(&folder).await?;
/// let shop = embedded.shop();
/// shop.buy(NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?).await?;
/// let user = shop.user("u1");
/// assert_eq!(user.summary().await?.count, 1);
///
/// embedded.close(Duration::from_secs(10)).await?;
/// # Ok(())
/// # }
/// ```
///
/// An acknowledged purchase is on the disk and listed. The ingest stores the purchases that others
/// appended to the log. Dropping the `EmbeddedShop` without [`close`](Self::close) stops the ingest
/// and loses nothing. A clone of its [`shop`](Self::shop) that is used afterwards still publishes.
///
/// One process at a time may have a folder open. Several processes share one with [`EmbeddedLog`]
/// and [`EmbeddedStore`].
#[derive(Debug)]
pub struct EmbeddedShop {
    pipeline: Pipeline,
    log: EmbeddedLog,
    store: EmbeddedStore,
    /// The lock that keeps other processes from opening the folder as an [`EmbeddedShop`].
    _folder_lock: FileLock,
}

shop_core::options! {
    /// Options of an [`EmbeddedShop`].
    #[derive(Debug, Clone)]
    pub struct EmbeddedShopOptions {
        /// The options of the log.
        pub log: EmbeddedLogOptions = EmbeddedLogOptions::default(),
        /// The options of the store.
        pub store: EmbeddedStoreOptions = EmbeddedStoreOptions::default(),
        /// The options of the ingest.
        pub ingest: IngestOptions = IngestOptions::default(),
        /// The consumer group of the ingest (default `purchase-group`, as in the services).
        pub group: String as impl Into<String> = "purchase-group".to_owned(),
        /// The currency of all purchases (default: that of the file, if it has one). Purchases
        /// without a currency get this one, and others are refused.
        pub currency: Option<Currency> = None,
    }
}

impl EmbeddedShop {
    /// Opens the shop in `folder`, which is created if it is missing, and starts the ingest.
    ///
    /// # Errors
    /// - The errors of [`EmbeddedLog::open`] and [`EmbeddedStore::open`]
    /// - [`Unavailable`](ErrorKind::Unavailable) when another `EmbeddedShop` has the folder open
    /// - [`Conflict`](ErrorKind::Conflict) when the purchases of the file are in another currency
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn open(folder: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(folder, EmbeddedShopOptions::default()).await
    }

    /// Opens the shop in `folder` with `options`, and otherwise does the same as
    /// [`open`](Self::open).
    ///
    /// # Errors
    /// The errors of [`open`](Self::open).
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn open_with(folder: impl AsRef<Path>, options: EmbeddedShopOptions) -> Result<Self> {
        let folder = folder.as_ref();
        // The log is opened first, because this creates the folder in which the lock file is
        // created.
        let log = EmbeddedLog::open(folder, options.log).await?;
        let folder_lock = FileLock::open(&folder.join("embedded-shop.lock"))?
            .try_hold()?
            .ok_or_else(|| {
                let message =
                    "another EmbeddedShop has this folder open: close it, or choose another folder";
                Error::new(ErrorKind::Unavailable, message)
                    .with_outcome(Outcome::NotApplied)
                    .with_origin("embedded shop")
                    .with_context("folder", folder.display())
            })?;
        let store = log.store(&options.store).await?;
        let currency = ShopCurrency::not_yet_known(options.currency);
        currency.ask(&store).await?;
        let sink = log.storing_sink(&options.group).await?;
        let mut backend = log.backend(&options.group).with_sink(sink);
        backend = backend.with(store.backend());
        backend.currency = currency;
        let pipeline = Pipeline::start(backend, options.ingest)?;
        Ok(Self {
            pipeline,
            log,
            store,
            _folder_lock: folder_lock,
        })
    }

    /// Returns the shop, with which purchases are made and listed, and which has their events.
    #[must_use]
    pub fn shop(&self) -> Shop {
        self.pipeline.shop()
    }

    /// Returns the log and the store, with the ingest and the events of the shop.
    ///
    /// `shop_http::routes(embedded.backend())` mounts the whole shop, with its ingest, events and
    /// dead letters. Drop the router before [`close`](Self::close).
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.pipeline.backend()
    }

    /// Returns the store, for erasure, retention and verification.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use shop_core::erase::erase_user;
    /// use shop_core::retention::run_retention;
    /// use shop_core::verify::verify;
    /// use shop_store::embedded::{EmbeddedShop, FILE, check_integrity};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let temporary = tempfile::tempdir()?;
    /// let folder = std::path::Path::new("shop-data");
    /// # let folder = &temporary.path().join(folder);
    /// let embedded = EmbeddedShop::open(folder).await?;
    /// let (log, store) = (embedded.log(), embedded.store());
    /// assert_eq!(erase_user("u1".parse()?, log, store).await?.purchases, 0);
    /// let year = Duration::from_secs(365 * 86_400);
    /// let retention = tokio::spawn(run_retention(store.clone(), year));
    /// assert!(!verify(log, store.clone(), Some(year)).await?.has_findings());
    /// assert!(check_integrity(&folder.join(format!("{FILE}.db"))).await?.is_empty());
    /// retention.abort();
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn store(&self) -> &EmbeddedStore {
        &self.store
    }

    /// Returns the log, for its dead letters and for operators' tools.
    #[must_use]
    pub const fn log(&self) -> &EmbeddedLog {
        &self.log
    }

    /// Returns the feed of the purchases that become visible, such as for a mounted service. The
    /// shop uses the same feed.
    #[must_use]
    pub const fn feed(&self) -> &PurchaseFeed {
        self.pipeline.feed()
    }

    /// Returns a handle to the state of the ingest.
    #[must_use]
    pub fn monitor(&self) -> IngestMonitor {
        self.pipeline.monitor()
    }

    /// Closes the shop: rejects new purchases, stops the ingest, ends the events, and waits until
    /// the files are closed, at most for `timeout`.
    ///
    /// Further calls of clones of the [`shop`](Self::shop), of its listings and of the
    /// [`log`](Self::log) fail with [`Closed`](ErrorKind::Closed).
    ///
    /// # Errors
    /// - [`DeadlineExceeded`](ErrorKind::DeadlineExceeded) when calls in progress take longer; no
    ///   acknowledged purchase is lost
    /// - The error of the ingest when it had stopped by itself
    pub async fn close(self, timeout: Duration) -> Result<()> {
        let Self {
            pipeline,
            log,
            store,
            _folder_lock: folder_lock,
        } = self;
        let deadline = Instant::now() + timeout;
        let pipeline_result = pipeline.close(timeout).await;
        // The store is in the file of the log, so waiting for the log waits for both.
        store.close();
        log.close();
        let close_result = timeout_at(deadline, log.closed()).await;
        drop(folder_lock);
        pipeline_result?;
        close_result.map_err(|_elapsed| {
            let message = "calls in progress did not end in time";
            Error::new(ErrorKind::DeadlineExceeded, message).with_origin("embedded shop")
        })
    }
}
