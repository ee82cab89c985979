//! Fixtures for tests of users, orders and outboxes.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use shop_core::Uuid;
use shop_core::conformance::{Capabilities, RecordStoreFixture};
use shop_core::log::LogRecord;
use shop_core::ports::RecordStore;

use crate::entity::{Entity as _, EntityStore, Insertion};
use crate::memory::{InMemoryOrders, InMemoryUsers};
use crate::orders::{NewOrder, Order, OrderNumber};
use crate::outbox::Outbox;
use crate::users::{NewUser, User, UserNumber, UserStore};

/// A fresh store of users with its ports.
#[async_trait]
pub trait UsersFixture: Debug + Send + Sync {
    /// Returns the capabilities of the store.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// The store.
    async fn users(&self) -> Arc<dyn UserStore>;

    /// Applies the events of orders.
    async fn events(&self) -> Arc<dyn RecordStore<Order>>;

    /// The pending events of the users.
    async fn outbox(&self) -> Arc<dyn Outbox>;
}

/// A fresh store of orders with its ports.
#[async_trait]
pub trait OrdersFixture: Debug + Send + Sync {
    /// Returns the capabilities of the store.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// The store.
    async fn orders(&self) -> Arc<dyn EntityStore<Order>>;

    /// Applies the events of users.
    async fn events(&self) -> Arc<dyn RecordStore<User>>;

    /// The pending events of the orders.
    async fn outbox(&self) -> Arc<dyn Outbox>;
}

/// A fresh outbox, and a way to write entries.
#[async_trait]
pub trait OutboxFixture: Debug + Send + Sync {
    /// The capabilities of the outbox.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// The outbox.
    async fn outbox(&self) -> Arc<dyn Outbox>;

    /// Writes a row with an event. Returns the event, which is not equal to an earlier one.
    async fn write(&self) -> LogRecord;

    /// Writes a row with `event`, awaits `before_commit`, and commits. If the outbox requires it of
    /// its callers, begins when no other write of the key is open. Only called if
    /// [`Capabilities::open_writes`] is set.
    async fn write_event(&self, event: &User, before_commit: BoxFuture<'_, ()>) {
        drop(before_commit);
        panic!("this fixture does not hold the write of {event:?}: declare it in its capabilities");
    }
}

/// A store of users that applies the events of orders.
#[derive(Debug)]
pub struct OrdersOfUsers<F>(pub F);

#[async_trait]
impl<F: UsersFixture> RecordStoreFixture for OrdersOfUsers<F> {
    type Record = Order;

    async fn store(&self) -> Arc<dyn RecordStore<Order>> {
        self.0.events().await
    }

    fn record(&self, number: i64) -> Order {
        Order::with_number(&new_order(number % 5 + 1), OrderNumber::new(number))
    }

    fn contradicting(&self, number: i64) -> Option<Order> {
        Some(Order::with_number(&new_order(99), OrderNumber::new(number)))
    }
}

/// A store of orders that applies the events of users.
#[derive(Debug)]
pub struct UsersOfOrders<F>(pub F);

#[async_trait]
impl<F: OrdersFixture> RecordStoreFixture for UsersOfOrders<F> {
    type Record = User;

    async fn store(&self) -> Arc<dyn RecordStore<User>> {
        self.0.events().await
    }

    fn record(&self, number: i64) -> User {
        user(number)
    }

    fn contradicting(&self, _number: i64) -> Option<User> {
        None
    }
}

/// A store of users and a store of orders, each of which also applies the other's events and is its
/// own outbox. A fixture of both.
pub trait EntityStores: Debug + Send + Sync {
    /// The store of users.
    type Users: UserStore + RecordStore<Order> + Outbox + Clone;
    /// The store of orders.
    type Orders: EntityStore<Order> + RecordStore<User> + Outbox + Clone;

    /// The users.
    fn user_store(&self) -> &Self::Users;

    /// The orders.
    fn order_store(&self) -> &Self::Orders;
}

#[async_trait]
impl<A: EntityStores> UsersFixture for A {
    async fn users(&self) -> Arc<dyn UserStore> {
        Arc::new(self.user_store().clone())
    }

    async fn events(&self) -> Arc<dyn RecordStore<Order>> {
        Arc::new(self.user_store().clone())
    }

    async fn outbox(&self) -> Arc<dyn Outbox> {
        Arc::new(self.user_store().clone())
    }
}

#[async_trait]
impl<A: EntityStores> OrdersFixture for A {
    async fn orders(&self) -> Arc<dyn EntityStore<Order>> {
        Arc::new(self.order_store().clone())
    }

    async fn events(&self) -> Arc<dyn RecordStore<User>> {
        Arc::new(self.order_store().clone())
    }

    async fn outbox(&self) -> Arc<dyn Outbox> {
        Arc::new(self.order_store().clone())
    }
}

/// In-memory stores of users and orders with their outboxes.
#[derive(Debug, Default)]
pub struct MemoryEntities {
    users: InMemoryUsers,
    orders: InMemoryOrders,
}

impl EntityStores for MemoryEntities {
    type Users = InMemoryUsers;
    type Orders = InMemoryOrders;

    fn user_store(&self) -> &InMemoryUsers {
        &self.users
    }

    fn order_store(&self) -> &InMemoryOrders {
        &self.orders
    }
}

/// The outbox of a store of users.
#[derive(Debug)]
pub struct OutboxOfUsers<F>(pub F, AtomicU64);

impl<F> OutboxOfUsers<F> {
    /// The outbox of `fixture`.
    pub const fn new(fixture: F) -> Self {
        Self(fixture, AtomicU64::new(0))
    }
}

#[async_trait]
impl<F: UsersFixture> OutboxFixture for OutboxOfUsers<F> {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default().without_open_writes()
    }

    async fn outbox(&self) -> Arc<dyn Outbox> {
        self.0.outbox().await
    }

    async fn write(&self) -> LogRecord {
        let new = new_user(&format!("user-{}", self.1.fetch_add(1, Ordering::Relaxed)));
        match self.0.users().await.insert(&new).await.expect("register") {
            Insertion::Inserted(user) => user.event(&new).expect("an event"),
            other => panic!("{other:?}"),
        }
    }
}

/// The outbox of a store of orders. All orders are of one user, so all events share one key.
#[derive(Debug)]
pub struct OutboxOfOrders<F>(pub F);

#[async_trait]
impl<F: OrdersFixture> OutboxFixture for OutboxOfOrders<F> {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default().without_open_writes()
    }

    async fn outbox(&self) -> Arc<dyn Outbox> {
        self.0.outbox().await
    }

    async fn write(&self) -> LogRecord {
        let orders = self.0.orders().await;
        let new = new_order(1);
        let mut placed = orders.insert(&new).await.expect("place");
        if placed == Insertion::Refused {
            self.0
                .events()
                .await
                .apply(Arc::new([user(1)]))
                .await
                .expect("apply");
            placed = orders.insert(&new).await.expect("place");
        }
        match placed {
            Insertion::Inserted(order) => order.event(&new).expect("an event"),
            other => panic!("{other:?}"),
        }
    }
}

/// User `number`, as in its event.
pub(super) fn user(number: i64) -> User {
    User::with_number(
        &new_user(&format!("user-{number}")),
        UserNumber::new(number),
    )
}

/// A user with the address `name@example.com`.
pub(super) fn new_user(name: &str) -> NewUser {
    let email = format!("{name}@example.com").parse().expect("an address");
    NewUser::new(Uuid::now_v7().into(), email, name.parse().expect("a name"))
}

/// An order of user `user`.
pub(super) fn new_order(user: i64) -> NewOrder {
    let product = "Notebook".parse().expect("a product");
    let price = "50.00".parse().expect("a price");
    NewOrder::new(
        Uuid::now_v7().into(),
        UserNumber::new(user),
        product,
        2,
        price,
    )
}
