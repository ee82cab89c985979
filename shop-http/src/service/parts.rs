//! What an embedder builds a router from: the roles of the process, each of them optional.

use std::sync::Arc;

use shop_core::ingest::IngestMonitor;
use shop_core::ports::{Durability, PurchaseQuery, PurchaseSink, PurchaseStore};
use shop_core::{Clock, SystemClock};

use crate::metrics::Metrics;
use crate::service::entity_role::{OrdersRole, UsersRole};
use crate::service::store_sink::StoreSink;

/// What facing is built from: its purchases go into a sink, which usually is a log.
pub type Facing = Parts<Arc<dyn PurchaseSink>>;
/// What management is built from: its purchases go straight into the store that it owns.
pub type Management = Parts<StoreSink>;

/// The roles of a service, and what all of them use. `W` is where purchases are written. The default has no role.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Parts<W> {
    /// Purchases. Without them their routes are not found, and there is no page for browsers.
    pub purchases: Option<PurchasesRole<W>>,
    /// Users.
    pub users: Option<UsersRole>,
    /// Orders.
    pub orders: Option<OrdersRole>,
    /// The time of day, and fresh ids. The default is the system's.
    pub clock: Arc<dyn Clock>,
    /// What `/metrics` exposes. The default is a registry of this service alone.
    pub metrics: Metrics,
}

/// Purchases, as a service has them. `W` is where they are written.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PurchasesRole<W> {
    /// Where purchases go.
    pub writer: W,
    /// Where listings come from: the store itself, or another service.
    pub query: Arc<dyn PurchaseQuery>,
    /// The ingest that runs in this process, if one does: `/health` and `/metrics` report its state.
    pub ingest: Option<IngestMonitor>,
    /// The ports that are files of this process. The default is none.
    pub local: LocalPorts,
}

/// Which ports of a service are files of its process. `/readyz` checks these alone: a broker or a store that is
/// unavailable takes no process out of its load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LocalPorts {
    /// The log that purchases are published to.
    pub log: bool,
    /// The store that listings are read from.
    pub store: bool,
}

impl LocalPorts {
    /// The log and the store, each a file of this process or not.
    #[must_use]
    pub const fn new(log: bool, store: bool) -> Self {
        Self { log, store }
    }
}

impl PurchasesRole<Arc<dyn PurchaseSink>> {
    /// Purchases that `sink` takes and `query` lists, without an ingest in this process.
    #[must_use]
    pub fn with_sink(sink: Arc<dyn PurchaseSink>, query: Arc<dyn PurchaseQuery>) -> Self {
        Self { writer: sink, query, ingest: None, local: LocalPorts::default() }
    }
}

impl PurchasesRole<StoreSink> {
    /// Purchases that go straight into `store` and that `query` lists, without an ingest in this process. `durability`
    /// is what a stored purchase survives.
    #[must_use]
    pub fn with_store(
        store: Arc<dyn PurchaseStore>,
        durability: Durability,
        query: Arc<dyn PurchaseQuery>,
    ) -> Self {
        let writer = StoreSink { store, durability };
        Self { writer, query, ingest: None, local: LocalPorts::default() }
    }
}

impl<W> Default for Parts<W> {
    fn default() -> Self {
        let (clock, metrics) = (Arc::new(SystemClock), Metrics::new());
        Self { purchases: None, users: None, orders: None, clock, metrics }
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
