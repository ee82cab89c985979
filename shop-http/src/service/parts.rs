//! The parts of a router: the roles of the process, each of them optional.

use std::sync::Arc;

use shop_core::feed::PurchaseFeed;
use shop_core::ingest::IngestMonitor;
use shop_core::log::{LogAdmin, RecordType};
use shop_core::ports::{Durability, PurchaseQuery, PurchaseSink, PurchaseStore, StoreSink};
use shop_core::{Clock, SystemClock};

use crate::metrics::Metrics;
use crate::service::entity_role::{OrdersRole, UsersRole};

/// The parts of facing. Purchases are written to a sink, by default a log.
pub type Facing = Parts<Arc<dyn PurchaseSink>>;
/// The parts of management. Purchases are written straight into its store.
pub type Management = Parts<StoreSink>;

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

/// The roles of a service, and what they share. `W` is the destination of purchases. The default has no role.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::memory::{InMemoryLog, InMemoryOrders, InMemoryStore, InMemoryUsers};
/// use shop_http::{Facing, OrdersRole, UsersRole};
///
/// let mut parts = Facing::new(Arc::new(InMemoryLog::default().sink()), Arc::new(InMemoryStore::new()));
/// parts.users = Some(UsersRole::new(Arc::new(InMemoryUsers::new())));
/// parts.orders = Some(OrdersRole::new(Arc::new(InMemoryOrders::new())));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Parts<W> {
    /// Purchases. Without them their routes do not exist, and there is no page for browsers.
    pub purchases: Option<PurchasesRole<W>>,
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

/// The role purchases. `W` is their destination.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::memory::{InMemoryLog, InMemoryStore};
/// use shop_http::{Facing, LocalPorts, PurchasesRole};
///
/// let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
/// let mut purchases = PurchasesRole::with_sink(Arc::new(log.sink()), Arc::new(store));
/// // With a log and a store in files of this process, `/readyz` checks both.
/// purchases.local = LocalPorts::new(true, true);
/// let parts: Facing = purchases.into();
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PurchasesRole<W> {
    /// The destination of purchases.
    pub writer: W,
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

impl PurchasesRole<Arc<dyn PurchaseSink>> {
    /// Purchases that are published to `sink` and listed from `query`, without an ingest in this process.
    #[must_use]
    pub fn with_sink(sink: Arc<dyn PurchaseSink>, query: Arc<dyn PurchaseQuery>) -> Self {
        Self { writer: sink, query, ingest: None, local: LocalPorts::default(), feed: None }
    }
}

impl PurchasesRole<StoreSink> {
    /// Purchases that are written straight into `store` and listed from `query`, without an ingest in this process.
    /// `durability` is that of a stored purchase.
    #[must_use]
    pub fn with_store(
        store: Arc<dyn PurchaseStore>,
        durability: Durability,
        query: Arc<dyn PurchaseQuery>,
    ) -> Self {
        let writer = StoreSink::new(store, durability);
        Self { writer, query, ingest: None, local: LocalPorts::default(), feed: None }
    }
}

impl<W> Default for Parts<W> {
    fn default() -> Self {
        let (clock, metrics) = (Arc::new(SystemClock), Metrics::new());
        Self { purchases: None, users: None, orders: None, dead_letters: Vec::new(), clock, metrics }
    }
}

impl Management {
    /// The same parts. The store is a sink.
    pub(crate) fn into_sink(self) -> Facing {
        let Self { purchases, users, orders, dead_letters, clock, metrics } = self;
        let purchases = purchases.map(|PurchasesRole { writer, query, ingest, local, feed }| PurchasesRole {
            writer: writer.into(),
            query,
            ingest,
            local,
            feed,
        });
        Parts { purchases, users, orders, dead_letters, clock, metrics }
    }
}

impl<W> From<PurchasesRole<W>> for Parts<W> {
    fn from(purchases: PurchasesRole<W>) -> Self {
        Self { purchases: Some(purchases), ..Self::default() }
    }
}

impl Facing {
    /// Facing with [`PurchasesRole::with_sink`].
    #[must_use]
    pub fn new(sink: Arc<dyn PurchaseSink>, query: Arc<dyn PurchaseQuery>) -> Self {
        PurchasesRole::with_sink(sink, query).into()
    }
}

impl Management {
    /// Management with [`PurchasesRole::with_store`].
    #[must_use]
    pub fn new(store: Arc<dyn PurchaseStore>, durability: Durability, query: Arc<dyn PurchaseQuery>) -> Self {
        PurchasesRole::with_store(store, durability, query).into()
    }
}
