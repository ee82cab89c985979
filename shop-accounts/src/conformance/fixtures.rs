//! Fixtures for tests of users, orders and outboxes.

use super::prelude::*;
use crate::entity::EntityStore;
use crate::memory::{InMemoryOrders, InMemoryUsers};
use crate::users::{UserErase, UserOrders, UserStore};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use shop_core::conformance::{Capabilities, RecordStoreFixture};
use shop_core::log::LogRecord;
use shop_core::ports::RecordStore;
use shop_core::{RequestContext, Uuid};
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicI64, Ordering};

/// The ports of a store of users or of orders.
#[derive(Debug)]
pub struct EntityPorts<E: Entity> {
    /// The store.
    pub store: Arc<dyn EntityStore<E>>,
    /// Applies the events of the other service.
    pub events: Arc<dyn RecordStore<E::ForeignEvent>>,
    /// The pending events of the rows.
    pub outbox: Arc<dyn Outbox>,
    /// The capabilities of the store.
    pub capabilities: Capabilities,
}

impl<E: Entity> EntityPorts<E> {
    /// Creates the ports of a store that applies the other service's events and is its own outbox.
    pub fn from_store<S>(store: &S) -> Self
    where
        S: EntityStore<E> + RecordStore<E::ForeignEvent> + Outbox + Clone,
    {
        Self {
            store: Arc::new(store.clone()),
            events: Arc::new(store.clone()),
            outbox: Arc::new(store.clone()),
            capabilities: Capabilities::default(),
        }
    }
}

/// A fresh store of users or of orders.
#[async_trait]
pub trait EntityFixture<E: Entity>: Debug + Send + Sync {
    /// Returns the ports of the store.
    async fn ports(&self) -> EntityPorts<E>;
}

/// A fresh store of users.
#[async_trait]
pub trait UsersFixture: EntityFixture<User> {
    /// Returns the port that lists the orders of users.
    async fn user_orders(&self) -> Arc<dyn UserOrders>;
}

/// A fresh store from which users can be erased.
#[async_trait]
pub trait EraseUsersFixture: UsersFixture {
    /// Returns the port that erases users.
    async fn erase(&self) -> Arc<dyn UserErase>;
}

/// A fresh outbox, and a way to write entries.
#[async_trait]
pub trait OutboxFixture: Debug + Send + Sync {
    /// Returns the capabilities of the outbox.
    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Returns the outbox.
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

/// A store of users and a store of orders, each of which also applies the other's events and is its
/// own outbox. A fixture of both.
pub trait EntityStores: Debug + Send + Sync {
    /// The store of users.
    type Users: UserStore + RecordStore<Order> + Outbox + Clone;
    /// The store of orders.
    type Orders: EntityStore<Order> + RecordStore<User> + Outbox + Clone;

    /// Returns the store of users.
    fn user_store(&self) -> &Self::Users;

    /// Returns the store of orders.
    fn order_store(&self) -> &Self::Orders;
}

#[async_trait]
impl<A: EntityStores> EntityFixture<User> for A {
    async fn ports(&self) -> EntityPorts<User> {
        EntityPorts::from_store(self.user_store())
    }
}

#[async_trait]
impl<A: EntityStores> EntityFixture<Order> for A {
    async fn ports(&self) -> EntityPorts<Order> {
        EntityPorts::from_store(self.order_store())
    }
}

#[async_trait]
impl<A: EntityStores> UsersFixture for A {
    async fn user_orders(&self) -> Arc<dyn UserOrders> {
        Arc::new(self.user_store().clone())
    }
}

#[async_trait]
impl<A: EntityStores<Users: UserErase>> EraseUsersFixture for A {
    async fn erase(&self) -> Arc<dyn UserErase> {
        Arc::new(self.user_store().clone())
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

/// The rows with which the kit tests a store of users or of orders.
pub trait SampleEntity: Entity {
    /// Creates a new row with a key and a context of its own. The same number gives the same address
    /// of a user.
    fn sample(number: i64) -> Self::New;

    /// Returns rows with the key of `new`, which is a UUID. Each has one other member.
    fn with_key_of(new: &Self::New) -> Vec<Self::New>;

    /// Returns a row that a store refuses if it has [`sample(1)`](Self::sample).
    fn refused() -> Self::New;

    /// Returns rows with unusual members, and rows that `/v1` refuses.
    fn unusual() -> (Vec<Self::New>, Vec<Self::New>);

    /// Returns the event of row `number` of the other service.
    fn foreign_event(number: i64) -> Self::ForeignEvent;

    /// Returns an event that contradicts [`foreign_event`](Self::foreign_event), if one can.
    fn contradicting_event(number: i64) -> Option<Self::ForeignEvent>;
}

impl SampleEntity for User {
    fn sample(number: i64) -> NewUser {
        new_user(&format!("user-{number}@example.com"), "Ada")
    }

    fn with_key_of(new: &NewUser) -> Vec<NewUser> {
        let mut other_name = new.clone();
        other_name.name = "Eva".parse().expect("a name");
        let mut other_email = new.clone();
        other_email.email = "eva@example.com".parse().expect("an address");
        vec![other_name, other_email]
    }

    fn refused() -> NewUser {
        Self::sample(1)
    }

    fn unusual() -> (Vec<NewUser>, Vec<NewUser>) {
        let unusual = vec![
            new_user("Ada.Lovelace+x@example.com", "Ada Lovelace"),
            new_user("ada.lovelace+x@example.com", "Ada Lovelace"),
            new_user("ünï@exämple.com", "Ünï \"—😀 <b>"),
        ];
        let unchecked = vec![
            new_user("uni@exämple.com", "Ünï\n<b>"),
            new_user("a@b.de", ""),
        ];
        (unusual, unchecked)
    }

    fn foreign_event(number: i64) -> Order {
        let user = number % 5 + 1;
        Order::with_number(
            &new_order(user, "Notebook", 2, "50.00"),
            OrderNumber::new(number),
        )
    }

    fn contradicting_event(number: i64) -> Option<Order> {
        let of_another = new_order(99, "Notebook", 2, "50.00");
        Some(Order::with_number(&of_another, OrderNumber::new(number)))
    }
}

impl SampleEntity for Order {
    fn sample(_number: i64) -> NewOrder {
        new_order(1, "Notebook", 2, "50.00")
    }

    fn with_key_of(new: &NewOrder) -> Vec<NewOrder> {
        let others = [
            new_order(2, "Notebook", 2, "50.00"),
            new_order(1, "Pencil", 2, "50.00"),
            new_order(1, "Notebook", 3, "50.00"),
            new_order(1, "Notebook", 2, "50.01"),
        ];
        let mut others = Vec::from(others);
        others
            .iter_mut()
            .for_each(|other| other.key = new.key.clone());
        others
    }

    fn refused() -> NewOrder {
        new_order(99, "Notebook", 2, "50.00")
    }

    fn unusual() -> (Vec<NewOrder>, Vec<NewOrder>) {
        let unusual = vec![
            new_order(1, "Ünï \"—😀 <b>", i32::MAX, "99999999.99"),
            new_order(1, "x", 1, "0.00"),
        ];
        let unchecked = vec![
            new_order(1, "", -1, "-0.01"),
            new_order(1, "Ünï\n<b>", 1, "1.00"),
            new_order(1, "x", 0, "0.00"),
        ];
        (unusual, unchecked)
    }

    fn foreign_event(number: i64) -> User {
        User::with_number(&User::sample(number), UserNumber::new(number))
    }

    fn contradicting_event(_number: i64) -> Option<User> {
        None
    }
}

fn new_user(email: &str, name: &str) -> NewUser {
    let id = Uuid::now_v7();
    let email = email.parse().expect("an address");
    NewUser::new(id.into(), email, name.parse().expect("a name")).with_context(context_of(id))
}

pub(super) fn new_order(user: i64, product: &str, quantity: i32, price: &str) -> NewOrder {
    let id = Uuid::now_v7();
    let product = product.parse().expect("a product");
    let price = price.parse().expect("a price");
    NewOrder::new(id.into(), UserNumber::new(user), product, quantity, price)
        .with_context(context_of(id))
}

/// Returns the context of a request with this id.
fn context_of(id: Uuid) -> Option<Box<RequestContext>> {
    Some(Box::new(RequestContext::new(Some(id.to_string()), None)))
}

/// Inserts `new`, and returns the outcome.
pub(super) async fn insert<E: Entity>(store: &dyn EntityStore<E>, new: &E::New) -> Insertion<E> {
    succeed(store.insert(new)).await
}

/// Inserts `new`, and returns its row. Panics if the row is not new.
pub(super) async fn inserted<E: Entity>(store: &dyn EntityStore<E>, new: &E::New) -> E {
    match insert(store, new).await {
        Insertion::Inserted(row) => row,
        other => panic!("{other:?}"),
    }
}

/// Returns the store of `ports`, after it has received the rows 1 and 2 of the other service, so
/// that it accepts samples.
pub(super) async fn ready_store<E: SampleEntity>(
    ports: &EntityPorts<E>,
) -> Arc<dyn EntityStore<E>> {
    let required = [1, 2].map(E::foreign_event);
    succeed(ports.events.apply(required.into())).await;
    Arc::clone(&ports.store)
}

/// Returns the oldest entries of `outbox`, at most 10.
pub(super) async fn pending(outbox: &dyn Outbox) -> Vec<OutboxEntry> {
    succeed(outbox.pending(10)).await
}

/// The store of a fixture as an outbox, and as a store of the other service's events. All events of
/// orders have one key.
#[derive(Debug)]
pub struct StoreOf<E, F> {
    fixture: F,
    written: AtomicI64,
    entity: PhantomData<fn() -> E>,
}

impl<E: SampleEntity, F: EntityFixture<E>> StoreOf<E, F> {
    /// Creates a fixture from the store of `fixture`.
    pub const fn new(fixture: F) -> Self {
        Self {
            fixture,
            written: AtomicI64::new(0),
            entity: PhantomData,
        }
    }
}

#[async_trait]
impl<E: SampleEntity, F: EntityFixture<E>> RecordStoreFixture for StoreOf<E, F> {
    type Record = E::ForeignEvent;

    async fn store(&self) -> Arc<dyn RecordStore<E::ForeignEvent>> {
        self.fixture.ports().await.events
    }

    fn record(&self, number: i64) -> E::ForeignEvent {
        E::foreign_event(number)
    }

    fn contradicting(&self, number: i64) -> Option<E::ForeignEvent> {
        E::contradicting_event(number)
    }
}

#[async_trait]
impl<E: SampleEntity, F: EntityFixture<E>> OutboxFixture for StoreOf<E, F> {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default().without_open_writes()
    }

    async fn outbox(&self) -> Arc<dyn Outbox> {
        self.fixture.ports().await.outbox
    }

    async fn write(&self) -> LogRecord {
        let new = E::sample(self.written.fetch_add(1, Ordering::Relaxed));
        let store = ready_store(&self.fixture.ports().await).await;
        inserted(&*store, &new).await.event(&new).expect("an event")
    }
}
