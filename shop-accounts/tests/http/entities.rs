//! Fixture: users and orders in memory, with their relays and ingests.

use std::sync::Arc;

use shop_accounts::http::{Accounts, OrdersRole, UsersRole};
use shop_accounts::memory::{InMemoryOrders, InMemoryUsers};
use shop_accounts::orders::Order;
use shop_accounts::outbox::{Outbox, Relay, RelayOptions};
use shop_accounts::users::{User, UserNumber};
use shop_core::conformance::fault::Faults;
use shop_core::ingest::{Ingest, IngestOptions};
use shop_core::memory::{InMemoryLog, InMemoryLogOptions};
use shop_core::ports::RecordStore;
use shop_core::record::Event;

/// Users and orders in memory, connected only by two logs. No event is transferred before
/// [`Entities::start`].
pub(crate) struct Entities {
    pub(crate) users: InMemoryUsers,
    pub(crate) orders: InMemoryOrders,
    pub(crate) users_log: InMemoryLog,
    /// The faults of the relays' writes to the logs.
    pub(crate) faults: Faults,
    accounts: Accounts,
    stopped: Option<(Vec<Relay>, Ingest<User>, Ingest<Order>)>,
}

impl Entities {
    pub(crate) fn new() -> Self {
        let users = InMemoryUsers::new();
        let orders = InMemoryOrders::new();
        let users_log = log(User::TOPIC);
        let orders_log = log(Order::TOPIC);
        let faults = Faults::new();
        let relay = |outbox: Arc<dyn Outbox>, log: &InMemoryLog| {
            let log = faults.log(Arc::new(log.clone()));
            Relay::new(outbox, log, RelayOptions::default())
        };
        let users_relay = relay(Arc::new(users.clone()), &users_log);
        let orders_relay = relay(Arc::new(orders.clone()), &orders_log);
        let users_events = ingest(&users_log, "order_service_group", Arc::new(orders.clone()));
        let orders_events = ingest(&orders_log, "user_service_group", Arc::new(users.clone()));

        let mut users_role = UsersRole::new(Arc::new(users.clone()));
        users_role.ingest = Some(orders_events.monitor());
        users_role.relay = Some(users_relay.monitor());
        let mut orders_role = OrdersRole::new(Arc::new(orders.clone()));
        orders_role.ingest = Some(users_events.monitor());
        orders_role.relay = Some(orders_relay.monitor());
        Self {
            users,
            orders,
            users_log,
            faults,
            accounts: Accounts {
                users: Some(users_role),
                orders: Some(orders_role),
                ..Accounts::default()
            },
            stopped: Some((vec![users_relay, orders_relay], users_events, orders_events)),
        }
    }

    /// Tells the orders of user 1, as an event does.
    pub(crate) async fn introduce_ada(&self) {
        let email = "ada@example.com".parse().unwrap();
        let ada = User::new(UserNumber::new(1), email, "Ada".parse().unwrap());
        let events: &dyn RecordStore<User> = &self.orders;
        events.apply([ada].into()).await.unwrap();
    }

    /// Starts relays and ingest of both.
    pub(crate) fn start(&mut self) {
        let (relays, users_events, orders_events) = self.stopped.take().unwrap();
        for relay in relays {
            tokio::spawn(relay.run(std::future::pending()));
        }
        tokio::spawn(users_events.run(std::future::pending()));
        tokio::spawn(orders_events.run(std::future::pending()));
    }

    /// Both roles, with their relays and ingests.
    pub(crate) fn accounts(&self) -> Accounts {
        self.accounts.clone()
    }
}

fn log(topic: &str) -> InMemoryLog {
    let mut options = InMemoryLogOptions::default();
    topic.clone_into(&mut options.topic);
    InMemoryLog::new(options)
}

fn ingest<R: shop_core::record::Record>(
    log: &InMemoryLog,
    group: &str,
    store: Arc<dyn RecordStore<R>>,
) -> Ingest<R> {
    let letters = Arc::new(log.clone());
    Ingest::new(
        Arc::new(log.source(group)),
        store,
        letters,
        IngestOptions::default(),
    )
}
