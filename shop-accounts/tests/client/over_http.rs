//! The conformance kit over real HTTP: the clients as the stores of users and of orders, of services on the in-memory
//! ports.

use std::sync::Arc;

use async_trait::async_trait;
use shop_accounts::client::AccountsClient as _;
use shop_accounts::conformance::{
    MemoryEntities, OrdersFixture, UsersFixture, orders_suite, users_suite,
};
use shop_accounts::entity::EntityStore;
use shop_accounts::http::{Accounts, OrdersRole, UsersRole};
use shop_accounts::orders::Order;
use shop_accounts::outbox::Outbox;
use shop_accounts::users::{User, UserStore};
use shop_client::ShopClient;
use shop_core::conformance::Capabilities;
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_core::ports::RecordStore;
use shop_http::{HttpOptions, Parts, ServiceKind, router};

use crate::shop::Script;

/// A client of a service, which runs as long as the test.
async fn client_of(parts: Parts) -> ShopClient {
    let router = router(parts, HttpOptions::default());
    Script::default().client_of(router).await
}

/// A client of facing, which has `roles` as clients of a management.
async fn through_facing(
    roles: impl FnOnce(&mut Parts),
    clients: impl FnOnce(&mut Parts, ShopClient),
) -> ShopClient {
    let mut management = Parts::new(ServiceKind::Management, None);
    roles(&mut management);
    let client = client_of(management).await;
    let mut facing = Parts::facing(
        Arc::new(InMemoryLog::default().sink()),
        Arc::new(InMemoryStore::new()),
    );
    clients(&mut facing, client);
    client_of(facing).await
}

/// The role users, without orders.
fn users_alone(store: Arc<dyn UserStore>) -> Arc<Accounts> {
    Arc::new(Accounts {
        users: Some(UsersRole::new(store)),
        ..Accounts::default()
    })
}

/// The role orders, without users.
fn orders_alone(store: Arc<dyn EntityStore<Order>>) -> Arc<Accounts> {
    Arc::new(Accounts {
        orders: Some(OrdersRole::new(store)),
        ..Accounts::default()
    })
}

/// Users of a management behind facing, which are registered and found by a client.
#[derive(Debug)]
struct UsersOverHttp<U>(U);

#[async_trait]
impl<U: UsersFixture> UsersFixture for UsersOverHttp<U> {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities().without_legacy_rows()
    }

    async fn users(&self) -> Arc<dyn UserStore> {
        let users = self.0.users().await;
        let client = through_facing(
            |management| management.roles.push(users_alone(users)),
            |facing, client| facing.roles.push(users_alone(Arc::new(client.users()))),
        );
        Arc::new(client.await.users())
    }

    async fn events(&self) -> Arc<dyn RecordStore<Order>> {
        self.0.events().await
    }

    async fn outbox(&self) -> Arc<dyn Outbox> {
        self.0.outbox().await
    }
}

/// Orders of a management behind facing, which are placed and found by a client.
#[derive(Debug)]
struct OrdersOverHttp<O>(O);

#[async_trait]
impl<O: OrdersFixture> OrdersFixture for OrdersOverHttp<O> {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities().without_legacy_rows()
    }

    async fn orders(&self) -> Arc<dyn EntityStore<Order>> {
        let orders = self.0.orders().await;
        let client = through_facing(
            |management| management.roles.push(orders_alone(orders)),
            |facing, client| facing.roles.push(orders_alone(Arc::new(client.orders()))),
        );
        Arc::new(client.await.orders())
    }

    async fn events(&self) -> Arc<dyn RecordStore<User>> {
        self.0.events().await
    }

    async fn outbox(&self) -> Arc<dyn Outbox> {
        self.0.outbox().await
    }
}

users_suite!(users_of_facing, async {
    UsersOverHttp(MemoryEntities::default())
});
orders_suite!(orders_of_facing, async {
    OrdersOverHttp(MemoryEntities::default())
});
