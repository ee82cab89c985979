//! The roles users and orders of a service.
//!
//! An embedder describes a role by an [`EntityRole`]: its store, and the tasks of this process for
//! it. [`Accounts`] holds both roles of a service, and reports their states as [`OtherRole`]s, from
//! which `/health`, `/readyz` and `/metrics` respond.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use shop_core::Result;
use shop_core::entity::EntityStore;
use shop_core::ingest::IngestMonitor;
use shop_core::orders::Order;
use shop_core::outbox::RelayMonitor;
use shop_core::record::Event as _;
use shop_core::users::{User, UserStore};

use crate::service::other_role::{OtherRole, OutboxStatus};

/// The role users, which consumes the events of orders.
pub type UsersRole = EntityRole<Arc<dyn UserStore>>;
/// The role orders, which consumes the events of users.
pub type OrdersRole = EntityRole<Arc<dyn EntityStore<Order>>>;

/// A role for rows of one kind, such as users: their store `S`, and the tasks of this process for
/// the rows.
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
    /// The ingest of the events of the other role, if the ingest runs in this process. Management
    /// is not ready while the ingest is stopped.
    pub ingest: Option<IngestMonitor>,
    /// The relay that publishes the events of the rows, if the relay runs in this process.
    /// `/health` and `/metrics` report the state of the relay.
    pub relay: Option<RelayMonitor>,
    /// The topic that the role consumes, as metrics name the topic (default: the topic of the type
    /// of the events).
    pub subscribed_topic: Option<String>,
    /// Whether the store is a file of this process, which `/readyz` checks (default `false`).
    pub is_local: bool,
}

impl<S> EntityRole<S> {
    /// Creates a role with `store`, without a relay and without an ingest in this process.
    #[must_use]
    pub const fn new(store: S) -> Self {
        Self {
            store,
            ingest: None,
            relay: None,
            subscribed_topic: None,
            is_local: false,
        }
    }
}

/// The roles users and orders of a service, which may include one, both or neither.
pub(crate) struct Accounts {
    pub(crate) users: Option<UsersRole>,
    pub(crate) orders: Option<OrdersRole>,
}

impl Accounts {
    /// Returns the states of the roles of the service.
    pub(crate) fn roles(&self) -> Vec<OtherRole<'_>> {
        let users = self
            .users
            .iter()
            .map(|role| role_state("users", Order::TOPIC, role, role.store.check()));
        let orders = self
            .orders
            .iter()
            .map(|role| role_state("orders", User::TOPIC, role, role.store.check()));
        users.chain(orders).collect()
    }
}

/// Returns the state of `role`, whose store `check` checks.
///
/// The role consumes `default_topic`, unless it names another topic.
fn role_state<'a, S>(
    name: &'static str,
    default_topic: &'static str,
    role: &'a EntityRole<S>,
    check: BoxFuture<'a, Result<()>>,
) -> OtherRole<'a> {
    OtherRole {
        name,
        subscribed_topic: role.subscribed_topic.as_deref().unwrap_or(default_topic),
        ingest: role.ingest.as_ref(),
        outbox: role.relay.as_ref().map(outbox_status),
        is_local: role.is_local,
        check,
    }
}

/// Returns the state of the outbox from which `relay` publishes.
fn outbox_status(relay: &RelayMonitor) -> OutboxStatus<'_> {
    let status = relay.status();
    let backlog = async {
        relay
            .backlog()
            .await
            .map(|backlog| (backlog.entries, backlog.oldest))
    };
    OutboxStatus {
        published: status.published,
        waits_for: status.last_error.map(|error| error.kind()),
        backlog: Box::pin(backlog),
    }
}
