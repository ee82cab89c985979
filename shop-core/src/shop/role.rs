//! [`PurchasesRole`]: the ports of one backend, as a service needs them to serve purchases.

use std::sync::Arc;

use crate::feed::PurchaseFeed;
use crate::ingest::IngestMonitor;
use crate::log::{Log, RecordType};
use crate::ports::{PurchaseQuery, PurchaseSink};

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
