//! The kit through real HTTP: the client as the sink, and as the query, of services that stand on the ports in
//! memory and on the embedded ones.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use shop_client::ShopClient;
use shop_core::conformance::{Capabilities, LogFixture, MemoryFixture, StoreFixture, log_suite, store_suite};
use shop_core::memory::InMemoryStore;
use shop_core::ports::{
    DeadLetter, DeadLetters, Durability, PurchaseQuery, PurchaseSink, PurchaseSource, PurchaseStore,
};
use shop_core::record::LogRecord;
use shop_http::{Facing, HttpOptions, Management, facing, management, serve};
use shop_store::embedded::EmbeddedFixture;
use tokio::net::TcpListener;

/// A client of `router`, which is served as long as the test runs.
async fn client_of(router: Router) -> ShopClient {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, router, &HttpOptions::default(), std::future::pending()));
    ShopClient::builder(format!("http://{address}")).build().unwrap()
}

fn facing_on(sink: Arc<dyn PurchaseSink>) -> Router {
    facing(Facing::new(sink, Arc::new(InMemoryStore::new())), HttpOptions::default())
}

/// A log whose every sink is a client of a facing of its own.
#[derive(Debug)]
struct LogOverHttp<L>(L);

#[async_trait]
impl<L: LogFixture> LogFixture for LogOverHttp<L> {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn sink(&self) -> Arc<dyn PurchaseSink> {
        Arc::new(client_of(facing_on(self.0.sink().await)).await)
    }

    async fn source(&self, group: &str) -> Arc<dyn PurchaseSource> {
        self.0.source(group).await
    }

    async fn dead_letters(&self) -> Arc<dyn DeadLetters> {
        self.0.dead_letters().await
    }

    async fn kept_dead_letters(&self) -> Vec<DeadLetter> {
        self.0.kept_dead_letters().await
    }

    async fn append(&self, record: LogRecord) {
        self.0.append(record).await;
    }
}

/// A store that is filled directly, and read by a client of management.
#[derive(Debug)]
struct StoreOverHttp<S>(S);

#[async_trait]
impl<S: StoreFixture> StoreFixture for StoreOverHttp<S> {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn store(&self) -> Arc<dyn PurchaseStore> {
        self.0.store().await
    }

    async fn query(&self) -> Arc<dyn PurchaseQuery> {
        let parts = Management::new(self.0.store().await, Durability::Memory, self.0.query().await);
        Arc::new(client_of(management(parts, HttpOptions::default())).await)
    }
}

log_suite!(log_in_memory, async { LogOverHttp(MemoryFixture::default()) });
log_suite!(log_embedded, async { LogOverHttp(EmbeddedFixture::new().await) });
store_suite!(store_in_memory, async { StoreOverHttp(MemoryFixture::default()) });
store_suite!(store_embedded, async { StoreOverHttp(EmbeddedFixture::new().await) });
