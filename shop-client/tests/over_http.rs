//! The conformance kit over real HTTP: the client as the sink and the query of services on the in-memory ports.

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
    Capabilities, LogFixture, MemoryFixture, ShopFixture, ShopOnLog, StoreFixture, log_suite,
    shop_suite, store_suite,
};
use shop_core::feed::PurchaseFeed;
use shop_core::log::{Log, RecordPosition};
use shop_core::memory::InMemoryStore;
use shop_core::ports::{Durability, PurchaseErase, PurchaseQuery, PurchaseSink, PurchaseStore};
use shop_http::{HttpOptions, Parts, router, serve};
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

/// A store that is filled directly, and read by a client of management.
#[derive(Debug)]
struct StoreOverHttp<S>(S);

#[async_trait]
impl<S: StoreFixture> StoreFixture for StoreOverHttp<S> {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities().without_unknown_members()
    }

    async fn store(&self) -> Arc<dyn PurchaseStore> {
        self.0.store().await
    }

    async fn query(&self) -> Arc<dyn PurchaseQuery> {
        let query = self.0.query().await;
        let parts = Parts::management(self.0.store().await, Durability::Memory, query);
        Arc::new(client_of(router(parts, HttpOptions::default())).await)
    }
}

/// A shop that is served by facing with management behind it, and used by a client.
#[derive(Debug)]
struct ShopOverHttp<S>(S);

#[async_trait]
impl<S: ShopFixture> ShopFixture for ShopOverHttp<S> {
    async fn shop(&self) -> Shop {
        let backend = self.0.shop().await.backend();
        let store = Arc::new(InMemoryStore::new());
        let management = Parts::management(store, Durability::Memory, backend.query.unwrap());
        let query = Arc::new(client_of(router(management, HttpOptions::default())).await);
        let mut parts = Parts::facing(backend.sink.unwrap(), query);
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

log_suite!(log_in_memory, async {
    LogOverHttp(MemoryFixture::default())
});
store_suite!(store_in_memory, async {
    StoreOverHttp(MemoryFixture::default())
});
shop_suite!(shop_in_memory, async {
    ShopOverHttp(ShopOnLog::new(MemoryFixture::default(), MemoryFixture::default()).await)
});
