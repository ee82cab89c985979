//! The conformance kit over real HTTP: the client as the sink, the query, and the store of users and of orders, of
//! services on the in-memory ports.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use shop_client::ShopClient;
use shop_core::Shop;
use shop_core::conformance::{
    Capabilities, LogFixture, MemoryEntities, MemoryFixture, OrdersFixture, ShopFixture, ShopOnLog,
    StoreFixture, UsersFixture, log_suite, orders_suite, shop_suite, store_suite, users_suite,
};
use shop_core::entity::EntityStore;
use shop_core::feed::PurchaseFeed;
use shop_core::log::{Log, RecordPosition};
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_core::orders::Order;
use shop_core::outbox::Outbox;
use shop_core::ports::{
    Durability, PurchaseErase, PurchaseQuery, PurchaseSink, PurchaseStore, RecordStore,
};
use shop_core::users::{User, UserStore};
use shop_http::{HttpOptions, OrdersRole, Parts, ServiceKind, UsersRole, router, serve};
use tokio::net::TcpListener;

/// A client of `router`, which is served as long as the test runs.
async fn client_of(router: Router) -> ShopClient {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(
        listener,
        router,
        &HttpOptions::default(),
        std::future::pending(),
    ));
    ShopClient::builder(format!("http://{address}"))
        .build()
        .unwrap()
}

fn facing_on(sink: Arc<dyn PurchaseSink>) -> Router {
    router(
        Parts::facing(sink, Arc::new(InMemoryStore::new())),
        HttpOptions::default(),
    )
}

/// A log whose every sink is a client of its own facing.
#[derive(Debug)]
struct LogOverHttp<L>(L);

#[async_trait]
impl<L: LogFixture> LogFixture for LogOverHttp<L> {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn log(&self) -> Arc<dyn Log> {
        self.0.log()
    }

    async fn sink(&self) -> Arc<dyn PurchaseSink> {
        Arc::new(client_of(facing_on(self.0.sink().await)).await)
    }

    async fn delete_before(&self, position: &RecordPosition) {
        self.0.delete_before(position).await;
    }
}

/// A store that is filled directly, and read by a client.
#[derive(Debug)]
struct StoreOverHttp<S>(S, Way);

#[async_trait]
impl<S: StoreFixture> StoreFixture for StoreOverHttp<S> {
    fn capabilities(&self) -> Capabilities {
        match self.1 {
            Way::Management => self.0.capabilities(),
            Way::Facing => self.0.capabilities().without_listing_everybody(),
        }
    }

    async fn store(&self) -> Arc<dyn PurchaseStore> {
        self.0.store().await
    }

    async fn query(&self) -> Arc<dyn PurchaseQuery> {
        let parts = Parts::management(
            self.0.store().await,
            Durability::Memory,
            self.0.query().await,
        );
        let client = Arc::new(client_of(router(parts, HttpOptions::default())).await);
        match self.1 {
            Way::Management => client,
            Way::Facing => {
                let parts = Parts::facing(Arc::new(InMemoryLog::default().sink()), client);
                Arc::new(client_of(router(parts, HttpOptions::default())).await)
            }
        }
    }
}

/// A shop that is served by facing with management behind it, and used by a client.
#[derive(Debug)]
struct ShopOverHttp<S>(S);

#[async_trait]
impl<S: ShopFixture> ShopFixture for ShopOverHttp<S> {
    async fn shop(&self) -> Shop {
        let shop = self.0.shop().await;
        let store = Arc::new(InMemoryStore::new());
        let management = Parts::management(store, Durability::Memory, shop.query());
        let query = Arc::new(client_of(router(management, HttpOptions::default())).await);
        let mut parts = Parts::facing(shop.sink(), query);
        parts.purchases.as_mut().unwrap().feed = self.0.feed().await;
        client_of(router(parts, HttpOptions::default()))
            .await
            .shop()
    }

    async fn feed(&self) -> Option<PurchaseFeed> {
        self.0.feed().await
    }

    async fn erase(&self) -> Arc<dyn PurchaseErase> {
        self.0.erase().await
    }
}

/// The services between the test and the store.
#[derive(Debug, Clone, Copy)]
enum Way {
    Management,
    /// Facing, and management behind it.
    Facing,
}

/// A client of facing, which has `roles` as clients of a management.
async fn through_facing(
    roles: impl FnOnce(&mut Parts),
    clients: impl FnOnce(&mut Parts, ShopClient),
) -> ShopClient {
    let mut management = Parts::new(ServiceKind::Management, None);
    roles(&mut management);
    let client = client_of(router(management, HttpOptions::default())).await;
    let mut facing = Parts::facing(
        Arc::new(InMemoryLog::default().sink()),
        Arc::new(InMemoryStore::new()),
    );
    clients(&mut facing, client);
    client_of(router(facing, HttpOptions::default())).await
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
            |management| management.users = Some(UsersRole::new(users)),
            |facing, client| facing.users = Some(UsersRole::new(Arc::new(client.users()))),
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
            |management| management.orders = Some(OrdersRole::new(orders)),
            |facing, client| facing.orders = Some(OrdersRole::new(Arc::new(client.orders()))),
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
log_suite!(log_in_memory, async {
    LogOverHttp(MemoryFixture::default())
});
store_suite!(store_in_memory, async {
    StoreOverHttp(MemoryFixture::default(), Way::Management)
});
store_suite!(store_of_facing, async {
    StoreOverHttp(MemoryFixture::default(), Way::Facing)
});
shop_suite!(shop_in_memory, async {
    ShopOverHttp(ShopOnLog::new(MemoryFixture::default(), MemoryFixture::default()).await)
});
