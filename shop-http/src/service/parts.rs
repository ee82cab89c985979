//! The parts of a router: the roles of the process, which are all optional.
//!
//! An embedder fills [`Parts`] and gives it to the builder of the router, which creates a service
//! from these parts.

use std::sync::Arc;

use shop_core::operations::Operations;
use shop_core::ports::{Durability, PurchaseQuery, PurchaseSink, PurchaseStore, StoreSink};
use shop_core::{Backend, Clock, SystemClock};

use crate::metrics::Metrics;
use crate::part_reports::PartReports;
use crate::role::Role;
use crate::service::kind::ServiceKind;

/// The parts of a service: its roles, and the clock and the metrics that they share.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::memory::{InMemoryLog, InMemoryStore};
/// use shop_http::Parts;
///
/// let parts = Parts::facing(Arc::new(InMemoryLog::default().sink()), Arc::new(InMemoryStore::new()));
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Parts {
    /// The kind of the service: facing or management.
    pub kind: ServiceKind,
    /// The sink and the query of the role purchases, and what else of their log and store this
    /// process uses. Without a sink and a query, the routes of purchases and the page for browsers
    /// do not exist.
    pub purchases: Option<Backend>,
    /// The roles beside purchases, such as the users and orders of `shop-accounts` (default none).
    pub roles: Vec<Arc<dyn Role>>,
    /// The operations on the logs whose dead letters are served (default: on the log of the
    /// purchases, if any). To park a record, they need the consumer group, and for purchases the
    /// store.
    pub operations: Vec<Operations>,
    /// The source of times and of fresh ids (default: the clock of the system).
    pub clock: Arc<dyn Clock>,
    /// The registry that `/metrics` exposes (default: a new one).
    pub metrics: Metrics,
    /// What the process notices about its parts, for `/health` (default: only its writes).
    pub reports: PartReports,
}

impl From<Backend> for Parts {
    /// Creates the parts of a facing service of `purchases`.
    fn from(purchases: Backend) -> Self {
        Self::new(ServiceKind::Facing, purchases)
    }
}

impl Parts {
    /// Creates the parts of a service with purchases, or without any role.
    ///
    /// The service serves the dead letters of the log of its purchases.
    #[must_use]
    pub fn new(kind: ServiceKind, purchases: impl Into<Option<Backend>>) -> Self {
        let purchases = purchases.into();
        let backends_with_log = purchases.iter().filter(|backend| backend.log.is_some());
        let operations = backends_with_log.cloned().map(Operations::new).collect();
        Self {
            kind,
            purchases,
            roles: Vec::new(),
            operations,
            clock: Arc::new(SystemClock),
            metrics: Metrics::new(),
            reports: PartReports::new(),
        }
    }

    /// Creates the parts of a facing service, which publishes purchases to `sink` and lists them
    /// from `query`.
    #[must_use]
    pub fn facing(sink: Arc<dyn PurchaseSink>, query: Arc<dyn PurchaseQuery>) -> Self {
        Self::new(ServiceKind::Facing, Backend::new(sink, query))
    }

    /// Creates the parts of a management service, which writes purchases straight into `store` and
    /// lists them from `query`.
    ///
    /// `durability` is the durability of a write to `store`, for receipts.
    #[must_use]
    pub fn management(
        store: Arc<dyn PurchaseStore>,
        durability: Durability,
        query: Arc<dyn PurchaseQuery>,
    ) -> Self {
        let sink = Arc::new(StoreSink::new(store, durability));
        Self::new(ServiceKind::Management, Backend::new(sink, query))
    }
}
