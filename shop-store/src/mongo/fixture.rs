//! The fixture of the store on a MongoDB server, for the conformance kit.

#![expect(clippy::expect_used, reason = "a test that cannot be set up has failed")]

use std::sync::Arc;

use async_trait::async_trait;
use shop_core::Uuid;
use shop_core::conformance::{StoreFixture, skip};
use shop_core::ports::{PurchaseQuery, PurchaseStore};

use super::{MongoStore, MongoStoreOptions};

/// A store in a database of its own.
#[derive(Debug)]
pub struct MongoFixture {
    store: MongoStore,
    uri: String,
    /// Runs as long as the fixture.
    #[cfg(feature = "containers")]
    _container: Option<Arc<super::container::MongoContainer>>,
}

impl MongoFixture {
    /// An empty store on the server at `uri`.
    ///
    /// # Panics
    /// When `uri` is no address.
    pub async fn new(uri: &str) -> Self {
        let mut options = MongoStoreOptions::new(uri);
        options.database = Some(format!("test_{}", Uuid::now_v7().simple()));
        let store = MongoStore::open(options).await.expect("an address of MongoDB");
        // A server that makes indexes may refuse what is inserted meanwhile; these tests are of the calm after that.
        let indexed = tokio::time::timeout(std::time::Duration::from_secs(60), store.indexed());
        indexed.await.expect("a MongoDB server that answers");
        Self {
            store,
            uri: uri.to_owned(),
            #[cfg(feature = "containers")]
            _container: None,
        }
    }

    /// The store itself.
    #[must_use]
    pub fn mongo(&self) -> MongoStore {
        self.store.clone()
    }

    /// The server's address.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// An empty store on the server that tests are told of as `SHOP_TEST_MONGODB_URI`, or in a container of the image
    /// `TEST_MONGO_IMAGE` with the feature `containers`. `None` without either, which is said. `told` is a test's
    /// environment: a library does not read it.
    ///
    /// # Panics
    /// When there is none, and `SHOP_TEST_REQUIRE` asks for `mongo`.
    pub async fn on_test_server(told: fn(&str) -> Option<String>) -> Option<Self> {
        if let Some(uri) = told("SHOP_TEST_MONGODB_URI") {
            return Some(Self::new(&uri).await);
        }
        match Self::in_container(told("TEST_MONGO_IMAGE")).await {
            Ok(fixture) => Some(fixture),
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
        let fixture = Self::new(&container.uri).await;
        Ok(Self { _container: Some(container), ..fixture })
    }

    #[cfg(not(feature = "containers"))]
    #[expect(clippy::unused_async, reason = "as with containers")]
    async fn in_container(_image: Option<String>) -> Result<Self, &'static str> {
        Err("this test was built without containers")
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
