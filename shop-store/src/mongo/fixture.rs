//! The fixtures of the stores on a MongoDB server, for the conformance kit.

#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shop_core::Uuid;
use shop_core::conformance::{EntityStores, StoreFixture, skip};
use shop_core::ports::{PurchaseQuery, PurchaseStore};

use super::{MongoAccountsOptions, MongoOrders, MongoStore, MongoStoreOptions, MongoUsers};

/// The server of the tests, as long as this lives.
#[derive(Debug)]
struct TestServer {
    uri: String,
    #[cfg(feature = "containers")]
    _container: Option<Arc<super::container::MongoContainer>>,
}

impl TestServer {
    fn at(uri: &str) -> Self {
        Self {
            uri: uri.to_owned(),
            #[cfg(feature = "containers")]
            _container: None,
        }
    }

    /// See [`MongoFixture::on_test_server`].
    async fn told_of(told: fn(&str) -> Option<String>) -> Option<Self> {
        if let Some(uri) = told("SHOP_TEST_MONGODB_URI") {
            return Some(Self::at(&uri));
        }
        match Self::in_container(told("TEST_MONGO_IMAGE")).await {
            Ok(server) => Some(server),
            Err(why) => {
                let why = format!("SHOP_TEST_MONGODB_URI names no MongoDB server, and {why}");
                skip("mongo", told("SHOP_TEST_REQUIRE").as_deref(), &why);
                None
            }
        }
    }

    #[cfg(feature = "containers")]
    async fn in_container(image: Option<String>) -> Result<Self, &'static str> {
        let container = super::container::MongoContainer::shared(image.as_deref()).await?;
        Ok(Self { uri: container.uri.clone(), _container: Some(container) })
    }

    #[cfg(not(feature = "containers"))]
    #[expect(clippy::unused_async, reason = "as with containers")]
    async fn in_container(_image: Option<String>) -> Result<Self, &'static str> {
        Err("this test was built without containers")
    }
}

/// The name of a database that nobody else uses.
fn fresh_database() -> String {
    format!("test_{}", Uuid::now_v7().simple())
}

/// A store in a database of its own.
#[derive(Debug)]
pub struct MongoFixture {
    store: MongoStore,
    server: TestServer,
}

impl MongoFixture {
    /// An empty store on the server at `uri`.
    ///
    /// # Panics
    /// When `uri` is no address.
    pub async fn new(uri: &str) -> Self {
        Self::on(TestServer::at(uri)).await
    }

    async fn on(server: TestServer) -> Self {
        let mut options = MongoStoreOptions::new(server.uri.as_str());
        options.database = Some(fresh_database());
        let store = MongoStore::open(options).await.expect("an address of MongoDB");
        // A server that makes indexes may refuse what is inserted meanwhile; these tests are of the calm after that.
        let indexed = tokio::time::timeout(std::time::Duration::from_secs(60), store.indexed());
        indexed.await.expect("a MongoDB server that answers");
        Self { store, server }
    }

    /// The store itself.
    #[must_use]
    pub fn mongo(&self) -> MongoStore {
        self.store.clone()
    }

    /// The server's address.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.server.uri
    }

    /// An empty store on the server that tests are told of as `SHOP_TEST_MONGODB_URI`, or in a container of the image
    /// `TEST_MONGO_IMAGE` with the feature `containers`. `None` without either, which is said. `told` is a test's
    /// environment: a library does not read it.
    ///
    /// # Panics
    /// When there is none, and `SHOP_TEST_REQUIRE` asks for `mongo`.
    pub async fn on_test_server(told: fn(&str) -> Option<String>) -> Option<Self> {
        Some(Self::on(TestServer::told_of(told).await?).await)
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

/// Users and orders, each in a database of its own.
#[derive(Debug)]
pub struct MongoAccounts {
    users: MongoUsers,
    orders: MongoOrders,
    server: TestServer,
}

impl MongoAccounts {
    /// Nobody, and nothing ordered, on the server of [`MongoFixture::on_test_server`].
    ///
    /// # Panics
    /// As there.
    pub async fn on_test_server(told: fn(&str) -> Option<String>) -> Option<Self> {
        let server = TestServer::told_of(told).await?;
        let options = || {
            // Many tests at a time, on a server of two processors perhaps.
            let insert_deadline = Duration::from_secs(30);
            MongoAccountsOptions {
                insert_deadline,
                ..MongoAccountsOptions::new(server.uri.as_str(), fresh_database())
            }
        };
        let users = MongoUsers::open(options()).await.expect("an address of MongoDB");
        let orders = MongoOrders::open(options()).await.expect("an address of MongoDB");
        Some(Self { users, orders, server })
    }

    /// The server's address.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.server.uri
    }
}

impl EntityStores for MongoAccounts {
    type Users = MongoUsers;
    type Orders = MongoOrders;

    fn user_store(&self) -> &MongoUsers {
        &self.users
    }

    fn order_store(&self) -> &MongoOrders {
        &self.orders
    }
}
