//! The roles users and orders of a service.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use shop_core::Result;
use shop_core::entity::EntityStore;
use shop_core::ingest::IngestMonitor;
use shop_core::orders::Order;
use shop_core::outbox::RelayMonitor;
use shop_core::users::UserStore;

/// The role users. It consumes the events of orders.
pub type UsersRole = EntityRole<Arc<dyn UserStore>>;
/// The role orders. It consumes the events of users.
pub type OrdersRole = EntityRole<Arc<dyn EntityStore<Order>>>;

/// Rows of one kind in the store `S`, and the tasks of this process for them.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::memory::InMemoryUsers;
/// use shop_http::{Parts, ServiceKind, UsersRole, routes};
///
/// let mut parts = Parts::new(ServiceKind::Management, None);
/// parts.users = Some(UsersRole::new(Arc::new(InMemoryUsers::new())));
/// // `/users` and `/v1/users`, and no routes of purchases.
/// let router = routes(parts).build();
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EntityRole<S> {
    /// The store of the rows, or another service.
    pub store: S,
    /// The ingest of the other role's events, if it runs in this process. Management is not ready while the ingest has
    /// stopped.
    pub ingest: Option<IngestMonitor>,
    /// The relay that publishes the rows' events, if it runs in this process. `/health` and `/metrics` report its state.
    pub relay: Option<RelayMonitor>,
    /// The topic that the role consumes, as metrics name it (default: the topic of the events' type).
    pub subscribed_topic: Option<String>,
    /// Whether the store is a file of this process, which `/readyz` checks (default `false`).
    pub is_local: bool,
}

impl<S> EntityRole<S> {
    /// A role with `store`, without a relay and without an ingest in this process.
    #[must_use]
    pub const fn new(store: S) -> Self {
        Self { store, ingest: None, relay: None, subscribed_topic: None, is_local: false }
    }
}

/// The state of one of the two roles.
pub(crate) struct Entity<'a> {
    /// The name in `/health` and in metrics.
    pub(crate) name: &'static str,
    /// The topic that it consumes.
    pub(crate) subscribed_topic: &'a str,
    pub(crate) ingest: Option<&'a IngestMonitor>,
    pub(crate) relay: Option<&'a RelayMonitor>,
    /// Whether its store is a file of this process.
    pub(crate) is_local: bool,
    /// Checks whether its store is healthy.
    pub(crate) check: BoxFuture<'a, Result<()>>,
}

impl<'a> Entity<'a> {
    pub(super) fn new<S>(
        name: &'static str,
        own_topic: &'static str,
        role: &'a EntityRole<S>,
        check: BoxFuture<'a, Result<()>>,
    ) -> Self {
        let subscribed_topic = role.subscribed_topic.as_deref().unwrap_or(own_topic);
        let (ingest, relay) = (role.ingest.as_ref(), role.relay.as_ref());
        Self { name, subscribed_topic, ingest, relay, is_local: role.is_local, check }
    }
}
