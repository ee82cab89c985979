//! The conformance kit over real HTTP: the clients as the stores of users and of orders, of services on the in-memory
//! ports.

use std::sync::Arc;

use async_trait::async_trait;
use shop_accounts::client::AccountsClient as _;
use shop_accounts::conformance::{
    EntityFixture, EntityStores as _, MemoryEntities, UsersFixture, orders_suite, users_suite,
};
use shop_accounts::entity::EntityStore;
use shop_accounts::http::{Accounts, OrdersRole, UsersRole};
use shop_accounts::orders::Order;
use shop_accounts::outbox::Outbox;
use shop_accounts::users::{User, UserOrders, UserStore};
use shop_client::ShopClient;
use shop_core::conformance::Capabilities;
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_core::ports::RecordStore;
use shop_http::{HttpOptions, Parts, ServiceKind, router};

use crate::shop::Script;

/// The role users, without orders.
fn users_alone(store: Arc<dyn UserStore>) -> Accounts {
    Accounts {
        users: Some(UsersRole::new(store)),
        ..Accounts::default()
    }
}

/// The role orders, without users.
fn orders_alone(store: Arc<dyn EntityStore<Order>>) -> Accounts {
    Accounts {
        orders: Some(OrdersRole::new(store)),
        ..Accounts::default()
    }
}

async fn client_of(mut parts: Parts, role: Accounts) -> ShopClient {
    parts.roles.push(Arc::new(role));
    let router = router(parts, HttpOptions::default());
    Script::default().client_of(router).await
}

async fn client_of_management(role: Accounts) -> ShopClient {
    client_of(Parts::new(ServiceKind::Management, None), role).await
}

async fn client_of_facing(role: Accounts) -> ShopClient {
    let sink = Arc::new(InMemoryLog::default().sink());
    client_of(Parts::facing(sink, Arc::new(InMemoryStore::new())), role).await
}

/// Users and orders of a management behind facing, which are registered, placed and found by a client.
#[derive(Debug, Default)]
struct OverHttp(MemoryEntities);

impl OverHttp {
    async fn users(&self) -> shop_accounts::client::Users {
        let management = client_of_management(users_alone(Arc::new(self.0.user_store().clone())));
        let facing = client_of_facing(users_alone(Arc::new(management.await.users())));
        facing.await.users()
    }
}

#[async_trait]
impl EntityFixture<User> for OverHttp {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default().without_legacy_rows()
    }

    async fn store(&self) -> Arc<dyn EntityStore<User>> {
        Arc::new(self.users().await)
    }

    async fn events(&self) -> Arc<dyn RecordStore<Order>> {
        Arc::new(self.0.user_store().clone())
    }

    async fn outbox(&self) -> Arc<dyn Outbox> {
        Arc::new(self.0.user_store().clone())
    }
}

#[async_trait]
impl UsersFixture for OverHttp {
    async fn user_orders(&self) -> Arc<dyn UserOrders> {
        Arc::new(self.users().await)
    }
}

#[async_trait]
impl EntityFixture<Order> for OverHttp {
    fn capabilities(&self) -> Capabilities {
        Capabilities::default().without_legacy_rows()
    }

    async fn store(&self) -> Arc<dyn EntityStore<Order>> {
        let management = client_of_management(orders_alone(Arc::new(self.0.order_store().clone())));
        let facing = client_of_facing(orders_alone(Arc::new(management.await.orders())));
        Arc::new(facing.await.orders())
    }

    async fn events(&self) -> Arc<dyn RecordStore<User>> {
        Arc::new(self.0.order_store().clone())
    }

    async fn outbox(&self) -> Arc<dyn Outbox> {
        Arc::new(self.0.order_store().clone())
    }
}

users_suite!(users_of_facing, async { OverHttp::default() });
orders_suite!(orders_of_facing, async { OverHttp::default() });
