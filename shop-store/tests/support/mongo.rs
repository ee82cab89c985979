//! The fixtures of the stores on a MongoDB server, for the conformance kit.

#![allow(
    clippy::expect_used,
    dead_code,
    reason = "a test that cannot be set up has failed; each takes its part"
)]

use std::time::Duration;

use bson::doc;
use mongodb::options::ClientOptions;
use mongodb::{Client, Database};
use shop_core::conformance::skip;
use shop_core::{Uuid, async_trait};

use crate::container::{ServerFixture, SharedContainer, SharedStore, environment};
use shop_store::mongo::{MongoStore, MongoStoreOptions};

#[path = "mongo_uri.rs"]
mod uri;

pub(crate) use uri::ConnectionString;

static CONTAINER: SharedContainer =
    SharedContainer::new("mongo:7.0.28", 27_017, "Waiting for connections", None);

/// How long a server may take until it can be written to.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Reports why a test is skipped; a panic when `SHOP_TEST_REQUIRE` asks for `what`.
pub(crate) fn skipped(what: &str, why: &str) {
    skip(what, environment("SHOP_TEST_REQUIRE").as_deref(), why);
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
            .inspect_err(|why| skipped("mongo", why))
            .ok()?;
        let database = format!("test_{}", Uuid::now_v7().simple());
        let options = MongoStoreOptions::new(&*server.url).database(Some(database.clone()));
        let store = MongoStore::open(options)
            .await
            .expect("an address of MongoDB");
        // A server that creates indexes may reject inserts meanwhile; these tests start after that.
        let indexed = tokio::time::timeout(START_TIMEOUT, store.wait_for_indexes());
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

    /// Returns the database `admin`, with connections of its own.
    pub(crate) async fn admin(&self) -> Database {
        admin_of(self.uri()).await
    }
}

async fn admin_of(uri: &str) -> Database {
    let client = Client::with_uri_str(uri).await;
    client.expect("an address of MongoDB").database("admin")
}

/// Returns the code of a command that the server has rejected.
pub(crate) fn error_code(error: &mongodb::error::Error) -> Option<i32> {
    match &*error.kind {
        mongodb::error::ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

/// The server that a test puts a proxy before: the primary of a replica set, or the only server.
pub(crate) struct ProxiedServer {
    /// The `host:port` of the server.
    pub(crate) address: String,
    uri: ConnectionString,
}

impl ProxiedServer {
    /// Finds the primary of the servers at `uri`. `None`, which is logged, if they use TLS, which a proxy cannot read.
    ///
    /// # Panics
    /// - if `SHOP_TEST_REQUIRE` asks for `mongo`, and the servers use TLS
    /// - if no server responds
    pub(crate) async fn find(uri: &str) -> Option<Self> {
        let mut given = ConnectionString::new(uri);
        if given.has_tls() {
            skipped(
                "mongo",
                "SHOP_TEST_MONGODB_URI uses TLS, and these tests read what is sent",
            );
            return None;
        }
        let options = ClientOptions::parse(uri).await.expect("a URI of MongoDB");
        // A service record may contain the database of the login.
        let source = options
            .credential
            .as_ref()
            .and_then(|login| login.source.clone());
        if let Some(source) = source.filter(|_| given.has_login()) {
            given = given.with_option("authSource", &source);
        }
        let hello = admin_of(uri).await.run_command(doc! { "hello": 1 }).await;
        let hello = hello.expect("a MongoDB server");
        // A server without a replica set does not know its address. With `directConnection`, the address may be one that
        // only the other members reach.
        let is_direct = options.direct_connection == Some(true);
        let member = hello.get_str("me").ok().filter(|_| !is_direct);
        Some(Self {
            address: member.map_or_else(|| options.hosts[0].to_string(), str::to_owned),
            uri: given,
        })
    }

    /// Returns the URI of the server behind a proxy at `proxy_address`.
    pub(crate) fn uri_through(&self, proxy_address: &str) -> ConnectionString {
        self.uri.clone().directly_to(proxy_address)
    }
}
