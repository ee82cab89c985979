//! The parts of a router: the roles of the process, each of them optional.

use std::sync::Arc;

use shop_core::feed::PurchaseFeed;
use shop_core::ingest::IngestMonitor;
use shop_core::log::{LogAdmin, RecordType};
use shop_core::ports::{Durability, PurchaseQuery, PurchaseSink, PurchaseStore, StoreSink};
use shop_core::{Clock, SystemClock};

use crate::metrics::Metrics;
use crate::service::entity_role::{OrdersRole, UsersRole};

/// Which of the two services this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceKind {
    /// Accepts purchases, by default into a log, and lists them.
    Facing,
    /// Owns the store, and lists purchases.
    Management,
}

impl ServiceKind {
    /// Its name: `facing` or `management`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Facing => "facing",
            Self::Management => "management",
        }
    }
}

/// The log of a topic, whose dead letters management lists and resolves under `/v1/dead-letters`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeadLetterLog {
    /// The topic.
    pub topic: String,
    /// The type of its records.
    pub record_type: RecordType,
    /// The log.
    pub admin: Arc<dyn LogAdmin>,
}

impl DeadLetterLog {
    /// The log of `topic`, whose records are of type `record_type`.
    #[must_use]
    pub fn new(topic: impl Into<String>, record_type: RecordType, admin: Arc<dyn LogAdmin>) -> Self {
        Self { topic: topic.into(), record_type, admin }
    }
}

/// A service: its roles, and what they share.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::memory::{InMemoryLog, InMemoryOrders, InMemoryStore, InMemoryUsers};
/// use shop_http::{OrdersRole, Parts, UsersRole};
///
/// let mut parts = Parts::facing(Arc::new(InMemoryLog::default().sink()), Arc::new(InMemoryStore::new()));
/// parts.users = Some(UsersRole::new(Arc::new(InMemoryUsers::new())));
/// parts.orders = Some(OrdersRole::new(Arc::new(InMemoryOrders::new())));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Parts {
    /// Facing or management.
    pub kind: ServiceKind,
    /// Purchases. Without them their routes do not exist, and there is no page for browsers.
    pub purchases: Option<PurchasesRole>,
    /// Users.
    pub users: Option<UsersRole>,
    /// Orders.
    pub orders: Option<OrdersRole>,
    /// The logs whose dead letters management serves (default: none, and then without routes).
    pub dead_letters: Vec<DeadLetterLog>,
    /// The time of day, and fresh ids (default: those of the system).
    pub clock: Arc<dyn Clock>,
    /// The registry that `/metrics` exposes (default: a new one).
    pub metrics: Metrics,
}

/// The role purchases.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::memory::{InMemoryLog, InMemoryStore};
/// use shop_http::{LocalPorts, Parts, PurchasesRole, ServiceKind};
///
/// let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
/// let mut purchases = PurchasesRole::new(Arc::new(log.sink()), Arc::new(store));
/// // With a log and a store in files of this process, `/readyz` checks both.
/// purchases.local = LocalPorts::new(true, true);
/// let parts = Parts::new(ServiceKind::Facing, purchases);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PurchasesRole {
    /// The destination of purchases: a log, or a store by a [`StoreSink`].
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

impl LocalPorts {
    /// Says of the log and of the store whether it is a file of this process.
    #[must_use]
    pub const fn new(log: bool, store: bool) -> Self {
        Self { log, store }
    }
}

impl PurchasesRole {
    /// Purchases that are published to `sink` and listed from `query`, without an ingest in this process.
    #[must_use]
    pub fn new(sink: Arc<dyn PurchaseSink>, query: Arc<dyn PurchaseQuery>) -> Self {
        Self { sink, query, ingest: None, local: LocalPorts::default(), feed: None }
    }
}

impl Parts {
    /// A service with purchases, or without any role.
    #[must_use]
    pub fn new(kind: ServiceKind, purchases: impl Into<Option<PurchasesRole>>) -> Self {
        let (clock, metrics, purchases) = (Arc::new(SystemClock), Metrics::new(), purchases.into());
        Self { kind, purchases, users: None, orders: None, dead_letters: Vec::new(), clock, metrics }
    }

    /// Facing, which publishes purchases to `sink` and lists them from `query`.
    #[must_use]
    pub fn facing(sink: Arc<dyn PurchaseSink>, query: Arc<dyn PurchaseQuery>) -> Self {
        Self::new(ServiceKind::Facing, PurchasesRole::new(sink, query))
    }

    /// Management, which writes purchases straight into `store`, with this durability, and lists them from `query`.
    #[must_use]
    pub fn management(
        store: Arc<dyn PurchaseStore>,
        durability: Durability,
        query: Arc<dyn PurchaseQuery>,
    ) -> Self {
        let sink = Arc::new(StoreSink::new(store, durability));
        Self::new(ServiceKind::Management, PurchasesRole::new(sink, query))
    }
}
