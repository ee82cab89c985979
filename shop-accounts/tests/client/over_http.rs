//! The conformance kit over real HTTP: the clients as the stores of users and of orders, of services on the in-memory
//! ports.

use std::sync::Arc;

use async_trait::async_trait;
use shop_accounts::client::{AccountsClient as _, Users};
use shop_accounts::conformance::{
    EntityFixture, EntityStores as _, MemoryEntities, UsersFixture, orders_suite, users_suite,
};
use shop_accounts::entity::EntityStore;
use shop_accounts::http::{Accounts, OrdersRole, UsersRole};
use shop_accounts::orders::Order;
use shop_accounts::outbox::Outbox;
use shop_accounts::users::{User, UserOrders};
use shop_client::ShopClient;
use shop_core::conformance::Capabilities;
use shop_core::ports::RecordStore;
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
        let orders = OrdersRole::new(Arc::new(self.0.order_store().clone()));
        let client = client_of(Accounts {
            orders: Some(orders),
            ..Accounts::default()
        });
        Arc::new(client.await.orders())
    }

    async fn events(&self) -> Arc<dyn RecordStore<User>> {
        Arc::new(self.0.order_store().clone())
    }

    async fn outbox(&self) -> Arc<dyn Outbox> {
        Arc::new(self.0.order_store().clone())
    }
}

users_suite!(users_over_http, async { OverHttp::default() });
orders_suite!(orders_over_http, async { OverHttp::default() });
