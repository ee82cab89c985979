//! The roles users and orders of a service.
//!
//! An embedder describes each by an [`EntityRole`]: its store, and the tasks of this process for it.
//! [`Accounts`] is a [`Role`] with both.

use std::sync::Arc;
use std::time::Duration;

use shop_core::Result;
use shop_core::ingest::IngestMonitor;
use shop_core::record::Event as _;
use shop_http::RouteGroup::V1;
use shop_http::toolkit::RequestClass::{Read, Write};
use shop_http::toolkit::{Route, RouteBuilder, Service};
use shop_http::{PendingEvents, ProblemPage, Role, RoleOutbox, RoleState};

use super::form::{RequestForm, StrictForm};
use super::resources::{self, EntityState};
use crate::entity::EntityStore;
use crate::orders::Order;
use crate::outbox::RelayMonitor;
use crate::users::{User, UserStore};

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
/// use shop_accounts::http::{Accounts, UsersRole};
/// use shop_accounts::memory::InMemoryUsers;
/// use shop_http::{Parts, ServiceKind, routes};
///
/// let mut accounts = Accounts::default();
/// accounts.users = Some(UsersRole::new(Arc::new(InMemoryUsers::new())));
/// let mut parts = Parts::new(ServiceKind::Management, None);
/// parts.roles.push(Arc::new(accounts));
/// // `/v1/users`, and no routes of purchases.
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
///
/// With neither, the service has no routes of users and orders.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    /// The role users.
    pub users: Option<UsersRole>,
    /// The role orders.
    pub orders: Option<OrdersRole>,
    /// How long an order of an unknown user waits for the event that registers the user (default
    /// 0, at most [`publish_timeout`](shop_http::HttpOptions::publish_timeout)). Useful on
    /// management, which stores the orders.
    pub unknown_user_wait: Duration,
}

impl Role for Accounts {
    fn states(&self) -> Vec<RoleState<'_>> {
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

    fn problems(&self) -> &'static [ProblemPage] {
        &PROBLEMS
    }

    fn routes(&self, service: &Arc<Service>) -> Vec<Route> {
        self.routes_in_form(&StrictForm, service)
    }
}

impl Accounts {
    /// Returns the routes below `/v1` for requests in this form.
    ///
    /// Another role may serve the users and the orders in a form of its own: it moves these routes to
    /// other paths.
    #[rustfmt::skip]
    pub fn routes_in_form(&self, form: &'static dyn RequestForm, service: &Arc<Service>) -> Vec<Route> {
        let mut routes = Vec::new();
        if let Some(users) = &self.users {
            let builder = self.route_builder(users, form, service);
            routes.push(builder.write((V1, "/v1/users", Write), "Registers: email, name", resources::post_user));
            routes.push(builder.read((V1, "/v1/users/{user_id}", Read), "One user", resources::get_user));
            routes.push(builder.read((V1, "/v1/users/{user_id}/orders", Read), "The numbers of a user's known orders", resources::get_orders_of_user));
        }
        if let Some(orders) = &self.orders {
            let builder = self.route_builder(orders, form, service);
            routes.push(builder.write((V1, "/v1/orders", Write), "Orders: user_id, product, quantity, total_price", resources::post_order));
            routes.push(builder.read((V1, "/v1/orders/{order_id}", Read), "One order", resources::get_order));
        }
        routes
    }

    /// Returns the builder of the routes of `role`, whose handlers use the store of the role.
    fn route_builder<S: Clone>(
        &self,
        role: &EntityRole<S>,
        form: &'static dyn RequestForm,
        service: &Arc<Service>,
    ) -> RouteBuilder<EntityState<S>> {
        RouteBuilder(EntityState {
            store: role.store.clone(),
            service: Arc::clone(service),
            form,
            unknown_user_wait: self.unknown_user_wait,
        })
    }
}

/// The pages about the types of problems.
const PROBLEMS: [ProblemPage; 4] = [
    ProblemPage {
        name: "unknown-user",
        title: "The user does not exist, or is not replicated yet",
        advice: "Check the number. If the user was registered a moment ago, repeat the request.",
    },
    ProblemPage {
        name: "unknown-order",
        title: "The order does not exist",
        advice: "Check the number.",
    },
    ProblemPage {
        name: "email-taken",
        title: "Another user has this e-mail address",
        advice: "Use another address, or the user that has it.",
    },
    ProblemPage {
        name: "key-taken",
        title: "The idempotency key was used for another user or order",
        advice: "Use a new key.",
    },
];

/// Returns the state of `role` for `/health` and the metrics. The future `check` checks the store
/// of the role.
///
/// The role consumes `default_topic`, unless it names another topic.
fn role_state<'a, S>(
    name: &'static str,
    default_topic: &'static str,
    role: &'a EntityRole<S>,
    check: impl Future<Output = Result<()>> + Send + 'a,
) -> RoleState<'a> {
    let mut state = RoleState::new(name, check);
    state.subscribed_topic = Some(role.subscribed_topic.as_deref().unwrap_or(default_topic));
    state.ingest = role.ingest.as_ref();
    state.outbox = role.relay.as_ref().map(outbox_state);
    state.is_local = role.is_local;
    state
}

/// Returns the state of the outbox from which `relay` publishes.
fn outbox_state(relay: &RelayMonitor) -> RoleOutbox<'_> {
    let status = relay.status();
    let pending = async {
        let backlog = relay.backlog().await?;
        Ok(PendingEvents {
            count: backlog.entries,
            oldest: backlog.oldest,
        })
    };
    RoleOutbox {
        published: status.published,
        // The kind of the error because of which the relay waits.
        waits_for: status.last_error.map(|error| error.kind()),
        pending: Box::pin(pending),
    }
}

#[cfg(test)]
mod tests {
    use shop_api::problem::{EMAIL_TAKEN, KEY_TAKEN, UNKNOWN_ORDER, UNKNOWN_USER};

    use super::*;

    #[test]
    fn every_type_of_problems_has_a_page() {
        let types = PROBLEMS.map(|page| format!("/problems/{}", page.name));
        assert_eq!(types, [UNKNOWN_USER, UNKNOWN_ORDER, EMAIL_TAKEN, KEY_TAKEN]);
        let is_plain = |text: &str| !text.contains(['<', '&']);
        assert!(
            PROBLEMS
                .iter()
                .all(|page| is_plain(page.title) && is_plain(page.advice))
        );
    }
}
