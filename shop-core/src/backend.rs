//! [`Backend`]: the log and the store of a shop, as one value.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::feed::{FeedOptions, PurchaseFeed};
use crate::ingest::IngestMonitor;
use crate::log::{Log, RecordType};
use crate::ports::{
    CurrencyStore, Durability, PurchaseErase, PurchaseQuery, PurchaseSink, PurchaseStore,
    ShopCurrency, StoreSink,
};
use crate::record::{Record as _, RecordDecoder, RecordDecoders};
use crate::{Error, ErrorKind, Purchase, Result};

/// The log of a topic, the store that it feeds, and what this process runs between them.
///
/// The fields are the *parts* of the backend. A process that uses only the log, or only the store,
/// leaves the parts of the other one empty. Each adapter creates a backend with the parts of its log
/// or of its store, and [`with`](Self::with) joins the two:
///
/// ```
/// use shop_core::memory::{InMemoryLog, InMemoryStore};
/// use shop_core::operations::Operations;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> shop_core::Result<()> {
/// let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
/// let backend = log.backend("purchase-group").with(store.backend());
/// assert_eq!(Operations::new(backend).status().await?.lag, 0);
/// # Ok(())
/// # }
/// ```
///
/// A [`Pipeline`](crate::shop::Pipeline), [`Operations`](crate::operations::Operations) and
/// `shop_http::routes` take it. Clones share the log and the store, which are open until all of
/// them are dropped.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Backend {
    /// The log (default: none).
    pub log: Option<Arc<dyn Log>>,
    /// The topic of the log (default: `purchases`).
    pub topic: String,
    /// The type of the records in the log (default: purchases).
    pub record_type: RecordType,
    /// The decoders of the records in the log (default: that of purchases alone), which ingest, the
    /// feed and the operations share.
    pub decoders: RecordDecoders,
    /// The consumer group whose ingest moves the records of the log to the store (default: none).
    pub group: Option<String>,
    /// Whether the log is a file of this process, so that `/readyz` checks it (default `false`).
    ///
    /// `/readyz` does not check a log outside of this process, such as a broker: its outage would
    /// remove every process from the load balancer, although the processes work.
    pub has_local_log: bool,
    /// The destination of new purchases (default: none): the log, or a store behind a
    /// [`StoreSink`].
    pub sink: Option<Arc<dyn PurchaseSink>>,
    /// The source of listings (default: none): the store, or another service.
    pub query: Option<Arc<dyn PurchaseQuery>>,
    /// The store, for the ingest of this process and for retention (default: none).
    pub store: Option<Arc<dyn PurchaseStore>>,
    /// The store, for erasure and retention (default: none).
    pub erase: Option<Arc<dyn PurchaseErase>>,
    /// The port that says in which currency the stored purchases are (default: none): the store, or
    /// another service.
    pub currency_store: Option<Arc<dyn CurrencyStore>>,
    /// The number of entries read from the store that are not purchases, if the store counts them.
    pub unreadable: Option<Arc<AtomicU64>>,
    /// Whether listings are read from a file of this process, so that `/readyz` checks it (default
    /// `false`).
    pub has_local_store: bool,
    /// The currency of the shop (default: none, and purchases that name one are refused). While it
    /// is not known, or the store has another one, writes are refused.
    pub currency: ShopCurrency,
    /// The ingest of this process, if there is one. `/health` and `/metrics` report its state.
    pub ingest: Option<IngestMonitor>,
    /// The feed of the purchases that become visible (default: none).
    ///
    /// Close the feed when a shutdown begins, because a server waits for the end of its open
    /// responses.
    pub feed: Option<PurchaseFeed>,
}

impl Default for Backend {
    /// Creates a backend without a log and without a store.
    fn default() -> Self {
        Self {
            log: None,
            topic: "purchases".to_owned(),
            record_type: Purchase::TYPE,
            decoders: RecordDecoders::default(),
            group: None,
            has_local_log: false,
            sink: None,
            query: None,
            store: None,
            erase: None,
            currency_store: None,
            unreadable: None,
            has_local_store: false,
            currency: ShopCurrency::default(),
            ingest: None,
            feed: None,
        }
    }
}

impl Backend {
    /// Creates a backend that publishes purchases to `sink` and lists them from `query`.
    ///
    /// The backend has no other part, because the log behind `sink` and the store behind `query`
    /// belong to other processes.
    #[must_use]
    pub fn new(sink: Arc<dyn PurchaseSink>, query: Arc<dyn PurchaseQuery>) -> Self {
        Self {
            sink: Some(sink),
            query: Some(query),
            ..Self::default()
        }
    }

    /// Creates a backend with the parts of a log of purchases, which is the topic `topic`, without a
    /// sink.
    #[must_use]
    pub fn of_log(topic: impl Into<String>, log: Arc<dyn Log>) -> Self {
        Self {
            log: Some(log),
            topic: topic.into(),
            ..Self::default()
        }
    }

    /// Creates a backend with the parts of a store. Its sink writes straight into the store, with
    /// this `durability`.
    #[must_use]
    pub fn of_store<S>(store: S, durability: Durability) -> Self
    where
        S: PurchaseStore + PurchaseQuery + Clone,
    {
        let query = Arc::new(store);
        let purchase_store: Arc<dyn PurchaseStore> = Arc::clone(&query) as _;
        let sink = StoreSink::new(Arc::clone(&purchase_store), durability);
        Self {
            sink: Some(Arc::new(sink)),
            query: Some(query),
            store: Some(purchase_store),
            ..Self::default()
        }
    }

    /// Creates a feed of the purchases that the consumer group ingests from the log into the store.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) if there is no log, no group or no store.
    pub fn create_feed(&self) -> Result<PurchaseFeed> {
        let log = Arc::clone(self.require_log()?);
        let query = Arc::clone(self.require_query()?);
        let options = FeedOptions::default().decoders(self.decoders.clone());
        Ok(PurchaseFeed::of_group(
            log,
            self.require_group()?,
            query,
            options,
        ))
    }

    /// Returns this backend with `group` as the consumer group whose ingest stores the records.
    #[must_use]
    pub fn with_group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Returns this backend with one more decoder of records that another program wrote.
    #[must_use]
    pub fn with_decoder(mut self, decoder: impl RecordDecoder) -> Self {
        self.decoders = self.decoders.with(decoder);
        self
    }

    /// Returns this backend with `sink` as the destination of new purchases.
    #[must_use]
    pub fn with_sink(mut self, sink: impl PurchaseSink) -> Self {
        self.sink = Some(Arc::new(sink));
        self
    }

    /// Joins this backend, which has a log, with `store_backend`, which has a store.
    ///
    /// The parts of the store come from `store_backend`, and all others from this backend. New
    /// purchases go to the sink of this backend. Without one, they go to the sink of the store.
    #[must_use]
    pub fn with(self, store_backend: Self) -> Self {
        Self {
            sink: self.sink.or(store_backend.sink),
            query: store_backend.query,
            store: store_backend.store,
            erase: store_backend.erase,
            currency_store: store_backend.currency_store,
            unreadable: store_backend.unreadable,
            has_local_store: store_backend.has_local_store,
            ..self
        }
    }

    /// Returns the log.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) without a log.
    pub fn require_log(&self) -> Result<&Arc<dyn Log>> {
        require_part(self.log.as_ref(), "log")
    }

    /// Returns the consumer group.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) without a group.
    pub fn require_group(&self) -> Result<&str> {
        require_part(self.group.as_deref(), "consumer group")
    }

    /// Returns the destination of new purchases.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) without a sink.
    pub fn require_sink(&self) -> Result<&Arc<dyn PurchaseSink>> {
        require_part(self.sink.as_ref(), "sink of purchases")
    }

    /// Returns the source of listings.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) without a source of listings.
    pub fn require_query(&self) -> Result<&Arc<dyn PurchaseQuery>> {
        require_part(self.query.as_ref(), "store that lists purchases")
    }

    /// Returns the store.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) without a store.
    pub fn require_store(&self) -> Result<&Arc<dyn PurchaseStore>> {
        require_part(self.store.as_ref(), "store of purchases")
    }

    /// Returns the store that erases purchases.
    ///
    /// # Errors
    /// [`Unsupported`](ErrorKind::Unsupported) without a store that erases purchases.
    pub fn require_erase(&self) -> Result<&Arc<dyn PurchaseErase>> {
        require_part(self.erase.as_ref(), "store that erases purchases")
    }
}

/// Returns `part` of a backend, which messages call `name`.
///
/// # Errors
/// [`Unsupported`](ErrorKind::Unsupported) if the backend lacks the part.
fn require_part<T>(part: Option<T>, name: &str) -> Result<T> {
    part.ok_or_else(|| {
        let detail = format!("the operation needs a {name}, and the backend has none");
        Error::new(ErrorKind::Unsupported, detail)
    })
}
