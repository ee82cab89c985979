//! The role purchases of a service: all ports of one backend.

use std::sync::Arc;

use crate::feed::PurchaseFeed;
use crate::ingest::IngestMonitor;
use crate::log::{Log, RecordType};
use crate::ports::{PurchaseQuery, PurchaseSink};

/// The purchases of a service: where they are published and listed, and what else this process has of their backend.
/// `shop_http::routes` serves them over HTTP.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::memory::{InMemoryLog, InMemoryStore};
/// use shop_core::shop::{LocalPorts, PurchasesRole};
///
/// let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
/// let mut purchases = PurchasesRole::new(Arc::new(log.sink()), Arc::new(store));
/// // With a log and a store in files of this process, `/readyz` checks both.
/// purchases.local = LocalPorts::new(true, true);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PurchasesRole {
    /// The destination of purchases: a log, or a store by a [`StoreSink`](crate::ports::StoreSink).
    pub sink: Arc<dyn PurchaseSink>,
    /// The source of listings: the store, or another service.
    pub query: Arc<dyn PurchaseQuery>,
    /// The ingest of this process, if there is one. `/health` and `/metrics` report its state.
    pub ingest: Option<IngestMonitor>,
    /// The ports that are files of this process (default: none).
    pub local: LocalPorts,
    /// The events of `GET /v1/purchases/events` (default: none, and the status is 501). Close it when a shutdown
    /// begins: a server waits for open responses.
    pub feed: Option<PurchaseFeed>,
    /// The log, whose dead letters are served under `/v1/dead-letters` (default: none, and then without routes).
    pub log: Option<DeadLetterLog>,
}

/// Which ports are files of this process. `/readyz` checks these only: an unavailable broker or store does not remove a
/// process from its load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LocalPorts {
    /// The log that purchases are published to.
    pub log: bool,
    /// The store that listings are read from.
    pub store: bool,
}

/// The log of a topic, whose dead letters are listed and resolved under `/v1/dead-letters`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeadLetterLog {
    /// The topic.
    pub topic: String,
    /// The type of its records.
    pub record_type: RecordType,
    /// The log.
    pub log: Arc<dyn Log>,
}

impl PurchasesRole {
    /// Purchases that are published to `sink` and listed from `query`, without an ingest in this process.
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
    /// Says of the log and of the store whether it is a file of this process.
    #[must_use]
    pub const fn new(log: bool, store: bool) -> Self {
        Self { log, store }
    }
}

impl DeadLetterLog {
    /// The log of `topic`, whose records are of type `record_type`.
    #[must_use]
    pub fn new(topic: impl Into<String>, record_type: RecordType, log: Arc<dyn Log>) -> Self {
        Self {
            topic: topic.into(),
            record_type,
            log,
        }
    }
}
