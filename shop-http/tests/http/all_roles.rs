//! Fixture: both services with all their roles, and the ingest of purchases.

use shop_accounts::entity::EntityStore as _;
use shop_accounts::http::{Accounts, OrdersRole, UsersRole};
use shop_accounts::memory::{InMemoryOrders, InMemoryUsers};
use shop_accounts::orders::NewOrder;
use shop_accounts::users::{NewUser, User, UserNumber};
use shop_core::ingest::IngestMonitor;
use shop_core::memory::InMemoryLogOptions;
use shop_core::operations::Operations;
use shop_core::ports::RecordStore;
use shop_http::{Backend, ServiceKind, StoreSink};

use crate::dead_letters::dead_letter;
use crate::prelude::*;
use crate::shop::StoppedClock;

/// Everything that both services stand on, in memory. Ingest is not started.
pub(crate) struct AllRoles {
    pub(crate) log: InMemoryLog,
    pub(crate) store: InMemoryStore,
    /// Of the log, of the store and of listings, in both services and in ingest.
    pub(crate) faults: Faults,
    users: InMemoryUsers,
    orders: InMemoryOrders,
    /// Those of management and of ingest.
    pub(crate) metrics: Metrics,
    pub(crate) monitor: IngestMonitor,
    ingest: Option<Ingest>,
}

impl Default for AllRoles {
    fn default() -> Self {
        Self::with_ingest_options(IngestOptions::default())
    }
}

impl AllRoles {
    pub(crate) fn with_ingest_options(options: IngestOptions) -> Self {
        let mut log_options = InMemoryLogOptions::default();
        log_options.partitions = 4;
        let log = InMemoryLog::new(log_options);
        let store = InMemoryStore::new();
        let faults = Faults::new();
        let metrics = Metrics::new();
        let ingest = new_ingest(&log, &store, &faults, options);
        let ingest = ingest.with_observer(metrics.ingest_observer());
        Self {
            log,
            store,
            faults,
            users: InMemoryUsers::new(),
            orders: InMemoryOrders::new(),
            metrics,
            monitor: ingest.monitor(),
            ingest: Some(ingest),
        }
    }

    /// Adds one purchase, one account and one order of each of the users `1` and `2`, and the dead
    /// letters `purchases-0-0` and `purchases-0-1`.
    pub(crate) async fn add_rows(&self) {
        let purchases = vec![purchase("1", 1), purchase("2", 2)];
        self.store.insert(purchases.into()).await.unwrap();
        let dead_letters = [0, 1].map(|offset| dead_letter("purchases", offset, b"poison"));
        self.log.put_dead_letters(&dead_letters).await.unwrap();
        for number in [1, 2] {
            self.add_account(number).await;
        }
    }

    async fn add_account(&self, number: i64) {
        let id = UserNumber::new(number);
        let key = format!("key-{number}").parse().unwrap();
        let email = format!("{number}@example.com").parse().unwrap();
        let user = User::new(id, email, "Ada".parse().unwrap());
        let new_user = NewUser::new(key, user.email.clone(), user.name.clone());
        self.users.insert(&new_user).await.unwrap();
        // The orders know the user, as if its event had arrived.
        RecordStore::<User>::apply(&self.orders, vec![user].into())
            .await
            .unwrap();

        let tea = "tea".parse().unwrap();
        let order = NewOrder::new(new_user.key, id, tea, 1, "2".parse().unwrap());
        self.orders.insert(&order).await.unwrap();
    }

    /// Starts ingest.
    pub(crate) fn start(&mut self) -> IngestMonitor {
        let ingest = self.ingest.take().unwrap();
        tokio::spawn(ingest.run(std::future::pending()));
        self.monitor.clone()
    }

    /// Starts ingest of another process, in the same group.
    pub(crate) fn start_another_member(&self) -> IngestMonitor {
        let options = IngestOptions::default();
        let other = new_ingest(&self.log, &self.store, &self.faults, options);
        let monitor = other.monitor();
        tokio::spawn(other.run(std::future::pending()));
        monitor
    }

    /// Facing with purchases, users and orders.
    pub(crate) fn facing(&self) -> Parts {
        let sink = self.faults.sink(Arc::new(self.log.sink()));
        let query = self.faults.query(Arc::new(self.store.clone()));
        self.with_accounts(Parts::facing(sink, query))
    }

    /// Management with purchases, their ingest and dead letters, users and orders.
    pub(crate) fn management(&self) -> Parts {
        let store = self.faults.store(Arc::new(self.store.clone()));
        let query = self.faults.query(Arc::new(self.store.clone()));
        let sink = StoreSink::new(store, Durability::Memory);
        let mut purchases = Backend::new(Arc::new(sink), query);
        purchases.ingest = Some(self.monitor.clone());
        let mut parts = self.with_accounts(Parts::new(ServiceKind::Management, purchases));
        parts.metrics = self.metrics.clone();
        parts.operations = vec![self.operations("purchase-group")];
        parts
    }

    /// The operations on the log and the store, with this consumer group.
    pub(crate) fn operations(&self, group: &str) -> Operations {
        Operations::new(self.log.backend(group).with(self.store.backend()))
    }

    fn with_accounts(&self, mut parts: Parts) -> Parts {
        parts.clock = Arc::new(StoppedClock);
        let accounts = Accounts {
            users: Some(UsersRole::new(Arc::new(self.users.clone()))),
            orders: Some(OrdersRole::new(Arc::new(self.orders.clone()))),
            ..Accounts::default()
        };
        parts.roles.extend(crate::roles_of(accounts));
        parts
    }
}

fn new_ingest(
    log: &InMemoryLog,
    store: &InMemoryStore,
    faults: &Faults,
    options: IngestOptions,
) -> Ingest {
    let source = faults.source(Arc::new(log.source("purchase-group")));
    let letters = Arc::new(log.clone());
    Ingest::new(
        source,
        faults.store(Arc::new(store.clone())),
        letters,
        options,
    )
}
