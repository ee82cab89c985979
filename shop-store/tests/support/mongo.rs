//! The fixtures of the stores on a MongoDB server, for the conformance kit.

#![allow(
    clippy::expect_used,
    dead_code,
    reason = "a test that cannot be set up has failed; each takes its part"
)]

use std::time::Duration;

use shop_core::conformance::skip;
use shop_core::{Uuid, async_trait};

use crate::container::{ServerFixture, SharedContainer, SharedStore, environment};
use shop_store::mongo::{MongoStore, MongoStoreOptions};

static CONTAINER: SharedContainer =
    SharedContainer::new("mongo:7.0.28", 27_017, "Waiting for connections", None);

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

/// A store in its own database.
pub(crate) type MongoFixture = ServerFixture<MongoStore>;

#[async_trait]
impl SharedStore for MongoStore {
    async fn open_again(fixture: &MongoFixture) -> Self {
        let database = Some(fixture.database.clone());
        let options = MongoStoreOptions::new(fixture.uri()).database(database);
        Self::open(options).await.expect("an address of MongoDB")
    }
}

impl MongoFixture {
    /// An empty store on the server that `SHOP_TEST_MONGODB_URI` names, or in a container of the image
    /// `TEST_MONGO_IMAGE`. `None` without either, which is logged; a panic when `SHOP_TEST_REQUIRE` asks for `mongo`.
    pub(crate) async fn on_test_server() -> Option<Self> {
        let server = CONTAINER
            .find_server("SHOP_TEST_MONGODB_URI", "TEST_MONGO_IMAGE", |address| {
                format!("mongodb://{address}/")
            })
            .await
            .inspect_err(|why| skip("mongo", environment("SHOP_TEST_REQUIRE").as_deref(), why))
            .ok()?;
        let database = format!("test_{}", Uuid::now_v7().simple());
        let options = MongoStoreOptions::new(&*server.url).database(Some(database.clone()));
        let store = MongoStore::open(options)
            .await
            .expect("an address of MongoDB");
        // A server that creates indexes may reject inserts meanwhile; these tests start after that.
        let indexed = tokio::time::timeout(Duration::from_secs(60), store.wait_for_indexes());
        indexed.await.expect("a MongoDB server");
        Some(Self {
            store,
            server,
            database,
        })
    }

    /// The store itself.
    pub(crate) fn mongo(&self) -> MongoStore {
        self.store.clone()
    }

    /// The server's address.
    pub(crate) fn uri(&self) -> &str {
        &self.server.url
    }
}
