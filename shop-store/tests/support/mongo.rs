//! The fixtures of the stores on a MongoDB server, for the conformance kit.

#![allow(
    clippy::expect_used,
    clippy::panic,
    dead_code,
    reason = "a test that cannot be set up has failed; each takes its part"
)]

use std::sync::Arc;
use std::time::Duration;

use bson::{Document, doc};
use mongodb::options::ClientOptions;
use mongodb::{Client, Database};
use shop_core::conformance::skip;
use shop_core::{Uuid, async_trait};

use crate::container::{ServerFixture, SharedContainer, SharedStore, environment};
use shop_store::mongo::{DocumentDecoder, MongoStore, MongoStoreOptions};

#[path = "mongo_uri.rs"]
mod uri;

pub(crate) use uri::ConnectionString;

static CONTAINER: SharedContainer = SharedContainer::new(
    "mongo:7.0.28",
    27_017,
    "Waiting for connections",
    None,
    &[
        "mongod",
        "--replSet",
        "rs",
        "--setParameter",
        "enableTestCommands=1",
    ],
);

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
        let options = fixture.options();
        Self::open(options).await.expect("an address of MongoDB")
    }

    /// The stand-in of `.ci/servers` holds writes back from the majority of one database. MongoDB's fail point is of all
    /// databases, and it has no command that drops what no majority has.
    async fn hold_back_writes(fixture: &MongoFixture) -> bool {
        let fail_over = doc! { "failOver": 1, "database": &fixture.database };
        if let Err(error) = fixture.run_on_admin(fail_over).await {
            let why = format!("the server of the tests has no fail-over: {}", error.kind);
            skip(
                "failover",
                environment("SHOP_TEST_REQUIRE").as_deref(),
                &why,
            );
            return false;
        }
        let hold_back = doc! {
            "configureFailPoint": "disableSnapshotting",
            "mode": "alwaysOn",
            "data": { "database": &fixture.database },
        };
        fixture.run_on_admin(hold_back).await.expect("a fail point");
        true
    }

    async fn fail_over(fixture: &MongoFixture) {
        let fail_over = doc! { "failOver": 1, "database": &fixture.database };
        fixture.run_on_admin(fail_over).await.expect("a fail-over");
    }
}

impl MongoFixture {
    /// An empty store on the server that `SHOP_TEST_MONGODB_URI` names, or in a container of the image
    /// `TEST_MONGO_IMAGE`. `None` without either, which is logged; a panic when `SHOP_TEST_REQUIRE` asks for `mongo`.
    pub(crate) async fn on_test_server() -> Option<Self> {
        let server = CONTAINER
            .find_server("SHOP_TEST_MONGODB_URI", "TEST_MONGO_IMAGE", |address| {
                format!("mongodb://{address}/?directConnection=true")
            })
            .await
            .inspect_err(|why| skipped("mongo", why))
            .ok()?;
        if server.is_container() {
            initiate_replica_set(&server.url).await;
        }
        let database = format!("test_{}", Uuid::now_v7().simple());
        let options = options(&server.url, &database);
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

    /// Runs a command on the database `admin`.
    async fn run_on_admin(&self, command: Document) -> mongodb::error::Result<Document> {
        let client = Client::with_uri_str(self.uri()).await?;
        let reply = client.database("admin").run_command(command).await;
        client.shutdown().immediate(true).await;
        reply
    }

    /// The store itself.
    pub(crate) fn mongo(&self) -> MongoStore {
        self.store.clone()
    }

    /// The options of the store.
    pub(crate) fn options(&self) -> MongoStoreOptions {
        options(self.uri(), &self.database)
    }

    /// Opens another store on the same collection, which reads the documents that `decoder` knows.
    pub(crate) async fn open_with_decoder(&self, decoder: impl DocumentDecoder) -> MongoStore {
        let options = self.options().decoder(Some(Arc::new(decoder)));
        let store = MongoStore::open(options).await;
        store.expect("an address of MongoDB")
    }

    /// Inserts documents as another program does.
    pub(crate) async fn insert_documents(&self, documents: impl IntoIterator<Item = Document>) {
        let client = Client::with_uri_str(self.uri()).await;
        let client = client.expect("an address of MongoDB");
        let collection = client.database(&self.database).collection("purchases");
        let inserted = collection.insert_many(documents).await;
        inserted.expect("documents that no index refuses");
        client.shutdown().immediate(true).await;
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

/// The options of a store in `database` of the server at `uri`.
fn options(uri: &str, database: &str) -> MongoStoreOptions {
    // All tests at once share the server, so that a query may take longer than in a service.
    MongoStoreOptions::new(uri)
        .database(Some(database.to_owned()))
        .query_timeout(Duration::from_secs(30))
}

async fn admin_of(uri: &str) -> Database {
    let client = Client::with_uri_str(uri).await;
    client.expect("an address of MongoDB").database("admin")
}

/// Makes the server at `uri`, which was started with the name of a replica set, the only member of the set, and waits
/// until it is the primary.
///
/// The name of the member is the address inside the container. Clients outside of it connect with
/// `directConnection=true`, so that they do not use this name. Servers that only have MongoDB's protocol have no replica
/// sets, and stay as they are.
async fn initiate_replica_set(uri: &str) {
    let admin = admin_of(uri).await;
    let config = doc! { "_id": "rs", "members": [{ "_id": 0, "host": "127.0.0.1:27017" }] };
    let initiated = admin.run_command(doc! { "replSetInitiate": config }).await;
    if let Err(error) = initiated {
        match error_code(&error) {
            // AlreadyInitialized, ConfigurationInProgress: another test has done it.
            Some(23 | 109) => {}
            // CommandNotFound, NoReplicationEnabled.
            Some(59 | 76) => return,
            _ => panic!("the replica set cannot be initiated: {error}"),
        }
    }

    let until_primary = async {
        loop {
            let hello = admin.run_command(doc! { "hello": 1 }).await;
            if hello.is_ok_and(|hello| hello.get_bool("isWritablePrimary").unwrap_or(false)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let is_primary = tokio::time::timeout(START_TIMEOUT, until_primary).await;
    is_primary.expect("a primary");
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
