//! The conformance kit over real HTTP: the clients as the stores of users and of orders, of services on the in-memory
//! ports.

use std::sync::Arc;

use async_trait::async_trait;
use shop_accounts::client::{AccountsClient as _, Users};
use shop_accounts::conformance::{
    EntityFixture, EntityPorts, EntityStores as _, MemoryEntities, UsersFixture, orders_suite,
    users_suite,
};
use shop_accounts::entity::{Entity, EntityStore};
use shop_accounts::http::{Accounts, OrdersRole, UsersRole};
use shop_accounts::orders::Order;
use shop_accounts::users::{User, UserOrders};
use shop_client::ShopClient;
use shop_core::conformance::Capabilities;
use shop_http::{HttpOptions, Parts, ServiceKind, router};

use crate::shop::Script;

/// A client of management with these roles.
async fn client_of(accounts: Accounts) -> ShopClient {
    let mut parts = Parts::new(ServiceKind::Management, None);
    parts.roles.push(Arc::new(accounts));
    let router = router(parts, HttpOptions::default());
    Script::default().client_of(router).await
}

/// Users and orders of a management, which are registered, placed and found by a client.
#[derive(Debug, Default)]
struct OverHttp(MemoryEntities);

impl OverHttp {
    async fn users(&self) -> Users {
        let users = UsersRole::new(Arc::new(self.0.user_store().clone()));
        let client = client_of(Accounts {
            users: Some(users),
            ..Accounts::default()
        });
        client.await.users()
    }
}

/// Returns `ports` with this client as the store. `/v1` refuses lenient rows.
fn over_http<E: Entity>(store: impl EntityStore<E>, ports: EntityPorts<E>) -> EntityPorts<E> {
    EntityPorts {
        store: Arc::new(store),
        capabilities: Capabilities::default().without_unchecked_rows(),
        ..ports
    }
}

#[async_trait]
impl EntityFixture<User> for OverHttp {
    async fn ports(&self) -> EntityPorts<User> {
        over_http(
            self.users().await,
            EntityPorts::from_store(self.0.user_store()),
        )
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
    async fn ports(&self) -> EntityPorts<Order> {
        let orders = OrdersRole::new(Arc::new(self.0.order_store().clone()));
        let client = client_of(Accounts {
            orders: Some(orders),
            ..Accounts::default()
        });
        let orders = client.await.orders();
        over_http(orders, EntityPorts::from_store(self.0.order_store()))
    }
}

users_suite!(users_over_http, async { OverHttp::default() });
orders_suite!(orders_over_http, async { OverHttp::default() });
