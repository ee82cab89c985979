//! The roles of a service.

pub(crate) mod batch;
pub(crate) mod bounded;
pub(crate) mod dead_letters;
pub(crate) mod entity_role;
pub(crate) mod parts;
pub(crate) mod publisher;
pub(crate) mod purchases;
pub(crate) mod recent;
pub(crate) mod waiting;

pub(crate) use bounded::{check_with_timeout, is_healthy};
pub(crate) use entity_role::Entity;
pub(crate) use purchases::Purchases;
pub(crate) use waiting::Visibility;

use std::collections::BTreeSet;
use std::sync::Arc;

use shop_core::ingest::IngestMonitor;
use shop_core::orders::Order;
use shop_core::record::Event;
use shop_core::users::User;
use shop_core::{Clock, ErrorKind, IdempotencyKey, Result};

use crate::auth::{Action, Caller, Policy};
use crate::metrics::{Metrics, Publishing};
use crate::options::HttpOptions;
use crate::response::{HttpError, Subject};
use crate::routes::groups::{Listener, RouteGroup};
use crate::service::bounded::within;
use crate::service::dead_letters::DeadLetterLogs;
use crate::service::entity_role::{OrdersRole, UsersRole};
pub(crate) use crate::service::parts::ServiceKind;
use crate::service::parts::{LocalPorts, Parts};

/// The state of all routes.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) kind: ServiceKind,
    pub(crate) purchases: Option<Arc<Purchases>>,
    pub(crate) users: Option<UsersRole>,
    pub(crate) orders: Option<OrdersRole>,
    pub(crate) dead_letters: DeadLetterLogs,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) options: Arc<HttpOptions>,
    pub(crate) policy: Policy,
    pub(crate) listener: Listener,
    groups: BTreeSet<RouteGroup>,
}

impl Service {
    /// A service with the roles of `parts`.
    pub(crate) fn new(
        parts: Parts,
        options: HttpOptions,
        policy: Policy,
        groups: BTreeSet<RouteGroup>,
    ) -> Self {
        let Parts { kind, purchases, users, orders, dead_letters, clock, metrics } = parts;
        let options = Arc::new(options);
        // Registers the series at the start, also in a service without purchases.
        let publishing = Publishing::new(&metrics, kind);
        let purchases = purchases.map(|role| {
            let purchases = Purchases::new(kind, role, publishing, Arc::clone(&clock), Arc::clone(&options));
            Arc::new(purchases.with_policy(policy.clone()))
        });
        let listener = Listener::default();
        let dead_letters =
            DeadLetterLogs::new(if kind == ServiceKind::Management { dead_letters } else { Vec::new() });
        Self {
            kind,
            purchases,
            users,
            orders,
            dead_letters,
            clock,
            metrics,
            options,
            policy,
            listener,
            groups,
        }
    }

    /// Whether `caller` may read the metrics and the whole state: on an admin listener, everyone who reaches it.
    pub(crate) fn may_inspect(&self, caller: &Caller) -> Result<(), HttpError> {
        match self.listener {
            Listener::Admin => Ok(()),
            _ => self.policy.check(caller, &Action::Operate),
        }
    }

    /// Whether the router has the routes of `group`.
    pub(crate) fn has(&self, group: RouteGroup) -> bool {
        self.groups.contains(&group)
    }

    /// The ingest of purchases, if it runs in this process.
    pub(crate) fn ingest(&self) -> Option<&IngestMonitor> {
        self.purchases.as_ref()?.ingest.as_ref()
    }

    /// The ports of purchases that are files of this process.
    pub(crate) fn local(&self) -> LocalPorts {
        self.purchases.as_ref().map(|purchases| purchases.local).unwrap_or_default()
    }

    /// The result of a query of a store of these, if it completes in time.
    pub(crate) async fn query_for<T>(
        &self,
        subject: Subject,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T, HttpError> {
        within(self.options.query_timeout, call).await.map_err(|error| match error.kind() {
            // The backend does not have this role.
            ErrorKind::Unsupported => HttpError::NO_ROUTE,
            _ => HttpError::query(error, subject),
        })
    }

    /// The outcome of a write with `key` to a store of these, if it is known in time.
    pub(crate) async fn write<T>(
        &self,
        subject: Subject,
        key: &IdempotencyKey,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T, HttpError> {
        let written = within(self.options.publish_timeout, call).await;
        written.map_err(|error| match error.kind() {
            // The backend does not have this role.
            ErrorKind::Unsupported => HttpError::NO_ROUTE,
            _ => HttpError::write(error, subject, key.clone()),
        })
    }

    /// The roles users and orders, if this service has them.
    pub(crate) fn entities(&self) -> impl Iterator<Item = Entity<'_>> {
        let users = self.users.iter();
        let users = users.map(|role| Entity::new("users", Order::TOPIC, role, role.store.check()));
        let orders = self.orders.iter();
        users.chain(orders.map(|role| Entity::new("orders", User::TOPIC, role, role.store.check())))
    }

    /// All ingests of this process: of purchases and of events.
    pub(crate) fn ingests(&self) -> impl Iterator<Item = &IngestMonitor> {
        let users = self.users.iter().filter_map(|role| role.ingest.as_ref());
        let orders = self.orders.iter().filter_map(|role| role.ingest.as_ref());
        self.ingest().into_iter().chain(users).chain(orders)
    }

    /// The roles whose tasks run in this process.
    pub(crate) fn own_entities(&self) -> impl Iterator<Item = Entity<'_>> {
        let runs = |entity: &Entity<'_>| entity.ingest.is_some() || entity.relay.is_some();
        self.entities().filter(move |entity| self.kind == ServiceKind::Management || runs(entity))
    }
}
