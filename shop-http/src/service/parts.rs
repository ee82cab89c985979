//! The parts of a router: the roles of the process, each of them optional.

use std::sync::Arc;

use shop_core::ports::{Durability, PurchaseQuery, PurchaseSink, PurchaseStore, StoreSink};
use shop_core::shop::{DeadLetterLog, PurchasesRole};
use shop_core::{Clock, SystemClock};

#[cfg(feature = "accounts")]
use crate::accounts::role::{OrdersRole, UsersRole};
use crate::metrics::Metrics;
use crate::service::kind::ServiceKind;

/// A service: its roles, and what they share.
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
    /// Facing or management.
    pub kind: ServiceKind,
    /// Purchases. Without them their routes do not exist, and there is no page for browsers.
    pub purchases: Option<PurchasesRole>,
    /// Users.
    #[cfg(feature = "accounts")]
    pub users: Option<UsersRole>,
    /// Orders.
    #[cfg(feature = "accounts")]
    pub orders: Option<OrdersRole>,
    /// The logs whose dead letters are served (default: that of the purchases, if they have one).
    pub dead_letters: Vec<DeadLetterLog>,
    /// The time of day, and fresh ids (default: those of the system).
    pub clock: Arc<dyn Clock>,
    /// The registry that `/metrics` exposes (default: a new one).
    pub metrics: Metrics,
}

impl From<PurchasesRole> for Parts {
    /// Facing with these purchases.
    fn from(purchases: PurchasesRole) -> Self {
        Self::new(ServiceKind::Facing, purchases)
    }
}

impl Parts {
    /// A service with purchases, or without any role. It serves the dead letters of their log.
    #[must_use]
    pub fn new(kind: ServiceKind, purchases: impl Into<Option<PurchasesRole>>) -> Self {
        let clock = Arc::new(SystemClock);
        let metrics = Metrics::new();
        let purchases = purchases.into();
        let dead_letters = purchases
            .iter()
            .filter_map(|role| role.log.clone())
            .collect();
        Self {
            kind,
            purchases,
            #[cfg(feature = "accounts")]
            users: None,
            #[cfg(feature = "accounts")]
            orders: None,
            dead_letters,
            clock,
            metrics,
        }
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
