//! The fixtures of the stores on a MongoDB server, for the conformance kit.

#![allow(
    clippy::expect_used,
    dead_code,
    reason = "a test that cannot be set up has failed; each takes its part"
)]

use std::sync::Arc;

use async_trait::async_trait;
use shop_core::Uuid;
use shop_core::conformance::{EraseFixture, StoreFixture, skip};
use shop_core::ports::{CurrencyStore, PurchaseErase, PurchaseQuery, PurchaseStore};

use crate::container;
use shop_store::mongo::{MongoStore, MongoStoreOptions};

/// A variable of the test environment.
#[expect(clippy::disallowed_methods, reason = "the addresses of servers")]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

static CONTAINER: container::SharedContainer =
    container::SharedContainer::new("mongo:7.0.28", 27_017, "Waiting for connections", &[]);

/// The server of the tests, as long as this lives.
#[derive(Debug)]
struct TestServer {
    uri: String,
    _container: Option<Arc<container::Container>>,
}

impl TestServer {
    /// See [`MongoFixture::on_test_server`].
    async fn find() -> Option<Self> {
        if let Some(uri) = environment("SHOP_TEST_MONGODB_URI") {
            return Some(Self {
                uri,
                _container: None,
            });
        }
        match CONTAINER
            .get(environment("TEST_MONGO_IMAGE").as_deref())
            .await
        {
            Ok(container) => Some(Self {
                uri: format!("mongodb://{}/", container.address),
                _container: Some(container),
            }),
            Err(why) => {
                let why = format!("SHOP_TEST_MONGODB_URI names no MongoDB server, and {why}");
                skip("mongo", environment("SHOP_TEST_REQUIRE").as_deref(), &why);
                None
            }
        }
    }
}

/// The `host:port` of the server at `uri`, for tests that are between it and the driver. Several servers and TLS are not
/// supported there.
pub(crate) fn one_server(uri: &str) -> &str {
    let authority = uri
        .strip_prefix("mongodb://")
        .and_then(|rest| rest.split(['/', '?']).next())
        .unwrap_or_default();
    let server = authority.rsplit('@').next().unwrap_or_default();
    let is_one = server.contains(':') && !server.contains(',') && !uri.contains("tls=true");
    assert!(
        is_one,
        "SHOP_TEST_MONGODB_URI must be mongodb://[user:password@]host:port/, without TLS, for this test"
    );
    server
}

/// The `uri` with more options.
pub(crate) fn with_options(uri: &str, options: &str) -> String {
    format!(
        "{uri}{}{options}",
        if uri.contains('?') { '&' } else { '?' }
    )
}

/// The name of a new database.
fn fresh_database() -> String {
    format!("test_{}", Uuid::now_v7().simple())
}

/// A store in its own database.
#[derive(Debug)]
pub(crate) struct MongoFixture {
    store: MongoStore,
    server: TestServer,
}

impl MongoFixture {
    async fn on(server: TestServer) -> Self {
        let mut options = MongoStoreOptions::new(server.uri.as_str());
        options.database = Some(fresh_database());
        let store = MongoStore::open(options)
            .await
            .expect("an address of MongoDB");
        // A server that creates indexes may reject inserts meanwhile; these tests start after that.
        let indexed =
            tokio::time::timeout(std::time::Duration::from_secs(60), store.wait_for_indexes());
        indexed.await.expect("a MongoDB server");
        Self { store, server }
    }

    /// The store itself.
    pub(crate) fn mongo(&self) -> MongoStore {
        self.store.clone()
    }

    /// The server's address.
    pub(crate) fn uri(&self) -> &str {
        &self.server.uri
    }

    /// An empty store on the server that `SHOP_TEST_MONGODB_URI` names, or in a container of the image
    /// `TEST_MONGO_IMAGE`. `None` without either, which is logged; a panic when `SHOP_TEST_REQUIRE` asks for `mongo`.
    pub(crate) async fn on_test_server() -> Option<Self> {
        Some(Self::on(TestServer::find().await?).await)
    }
}

#[async_trait]
impl EraseFixture for MongoFixture {
    async fn erase(&self) -> Arc<dyn PurchaseErase> {
        Arc::new(self.store.clone())
    }

    async fn currency(&self) -> Arc<dyn CurrencyStore> {
        Arc::new(self.store.clone())
    }
}

#[async_trait]
impl StoreFixture for MongoFixture {
    async fn store(&self) -> Arc<dyn PurchaseStore> {
        Arc::new(self.store.clone())
    }

    async fn query(&self) -> Arc<dyn PurchaseQuery> {
        Arc::new(self.store.clone())
    }
}
