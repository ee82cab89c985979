//! Fixture: users and orders in memory, with their relays and ingests.

use std::sync::Arc;

use axum::Router;
use shop_accounts::http::{Accounts, OrdersRole, UsersRole};
use shop_accounts::memory::{InMemoryOrders, InMemoryUsers};
use shop_accounts::orders::Order;
use shop_accounts::outbox::{Relay, RelayMonitor, RelayOptions};
use shop_accounts::users::{User, UserNumber};
use shop_core::ingest::{Ingest, IngestMonitor, IngestOptions};
use shop_core::log::LogWriter;
use shop_core::memory::{InMemoryLog, InMemoryLogOptions, InMemoryStore};
use shop_core::ports::RecordStore;
use shop_core::record::Event;
use shop_http::{HttpOptions, Parts, ServiceKind, router};

use crate::shop::facing_parts_of;

/// Users and orders in memory, connected only by two logs. No event is transferred before
/// [`Entities::start`].
pub(crate) struct Entities {
    pub(crate) users: InMemoryUsers,
    pub(crate) orders: InMemoryOrders,
    users_monitors: (IngestMonitor, RelayMonitor),
    orders_monitors: (IngestMonitor, RelayMonitor),
    running: Option<Running>,
}

type Running = (Relay, Relay, Ingest<User>, Ingest<Order>);

impl Entities {
    pub(crate) fn new() -> Self {
        let log = |topic: &str| {
            let mut options = InMemoryLogOptions::default();
            topic.clone_into(&mut options.topic);
            InMemoryLog::new(options)
        };
        Self::over(&log(User::TOPIC), &log(Order::TOPIC), |log| {
            Arc::new(log.clone())
        })
    }

    /// On these logs, written by `sink`.
    pub(crate) fn over(
        of_users: &InMemoryLog,
        of_orders: &InMemoryLog,
        sink: impl Fn(&InMemoryLog) -> Arc<dyn LogWriter>,
    ) -> Self {
        let users = InMemoryUsers::new();
        let orders = InMemoryOrders::new();
        let options = RelayOptions::default;
        let tell_of_users = Relay::new(Arc::new(users.clone()), sink(of_users), options());
        let tell_of_orders = Relay::new(Arc::new(orders.clone()), sink(of_orders), options());
        let hear_of_users =
            ingest::<User>(of_users, "order_service_group", Arc::new(orders.clone()));
        let hear_of_orders =
            ingest::<Order>(of_orders, "user_service_group", Arc::new(users.clone()));
        Self {
            users,
            orders,
            users_monitors: (hear_of_orders.monitor(), tell_of_users.monitor()),
            orders_monitors: (hear_of_users.monitor(), tell_of_orders.monitor()),
            running: Some((tell_of_users, tell_of_orders, hear_of_users, hear_of_orders)),
        }
    }

    /// Tells the orders of user 1, as an event does.
    pub(crate) async fn introduce_ada(&self) {
        let ada = User::new(
            UserNumber::new(1),
            "ada@example.com".parse().unwrap(),
            "Ada".parse().unwrap(),
        );
        RecordStore::<User>::apply(&self.orders, [ada].into())
            .await
            .unwrap();
    }

    /// Starts relays and ingest of both.
    pub(crate) fn start(&mut self) {
        let (tell_of_users, tell_of_orders, hear_of_users, hear_of_orders) =
            self.running.take().unwrap();
        for relay in [tell_of_users, tell_of_orders] {
            tokio::spawn(relay.run(std::future::pending()));
        }
        tokio::spawn(hear_of_users.run(std::future::pending()));
        tokio::spawn(hear_of_orders.run(std::future::pending()));
    }

    /// Both roles, with their relays and ingests.
    pub(crate) fn accounts(&self) -> Accounts {
        let mut users = UsersRole::new(Arc::new(self.users.clone()));
        let (events, relay) = self.users_monitors.clone();
        users.ingest = Some(events);
        users.relay = Some(relay);
        let mut orders = OrdersRole::new(Arc::new(self.orders.clone()));
        let (events, relay) = self.orders_monitors.clone();
        orders.ingest = Some(events);
        orders.relay = Some(relay);
        Accounts {
            users: Some(users),
            orders: Some(orders),
            ..Accounts::default()
        }
    }

    /// Management with users and orders alone.
    pub(crate) fn management(&self, options: HttpOptions) -> Router {
        management(self.accounts(), options)
    }

    /// Facing with users and orders.
    pub(crate) fn facing(&self, options: HttpOptions) -> Router {
        let mut parts = facing_parts_of(InMemoryStore::new());
        let users = UsersRole::new(Arc::new(self.users.clone()));
        let orders = OrdersRole::new(Arc::new(self.orders.clone()));
        parts.roles.push(Arc::new(Accounts {
            users: Some(users),
            orders: Some(orders),
            ..Accounts::default()
        }));
        router(parts, options)
    }
}

/// Management with these roles alone.
pub(crate) fn management(accounts: Accounts, options: HttpOptions) -> Router {
    let mut parts = Parts::new(ServiceKind::Management, None);
    parts.roles.push(Arc::new(accounts));
    router(parts, options)
}

fn ingest<R: shop_core::record::Record>(
    log: &InMemoryLog,
    group: &str,
    store: Arc<dyn RecordStore<R>>,
) -> Ingest<R> {
    let letters = Arc::new(log.dead_letters());
    Ingest::new(
        Arc::new(log.source(group)),
        store,
        letters,
        IngestOptions::default(),
    )
}
