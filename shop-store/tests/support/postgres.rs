//! The fixtures of the stores on a PostgreSQL server, for the conformance kit.

#![allow(
    clippy::expect_used,
    dead_code,
    reason = "a test that cannot be set up has failed; each takes its part"
)]

#[path = "postgres_server.rs"]
pub(crate) mod server;

use std::time::Duration;

use shop_core::conformance::skip;
use shop_core::{Uuid, async_trait};
use shop_store::postgres::database::{Insertable, PostgresConnection, Statement, TargetTable};
use shop_store::postgres::tokio_postgres::{self, Client, NoTls};
use shop_store::postgres::{PostgresStore, PostgresStoreOptions};

pub(crate) use crate::container::TestServer;
use crate::container::{ServerFixture, SharedContainer, SharedStore, environment};
use server::Cluster;

static CONTAINER: SharedContainer = SharedContainer::new(
    "postgres:17.10",
    5432,
    "PostgreSQL init process complete",
    Some(("POSTGRES_HOST_AUTH_METHOD", "trust")),
    &[],
);

/// Reports why a test is skipped; a panic when `SHOP_TEST_REQUIRE` asks for `postgres`.
pub(crate) fn skipped(why: &str) {
    skip("postgres", environment("SHOP_TEST_REQUIRE").as_deref(), why);
}

impl TestServer {
    /// See [`PostgresFixture::on_test_server`].
    pub(crate) async fn find() -> Option<Self> {
        let server = CONTAINER
            .find_server("SHOP_TEST_POSTGRES_URL", "TEST_POSTGRES_IMAGE", |address| {
                format!("postgresql://postgres@{address}/postgres")
            })
            .await;
        let server = server.or_else(|no_server| match Cluster::shared() {
            Ok(cluster) => Ok(Self::at(cluster.url())),
            Err(no_cluster) => Err(format!("{no_server}, and {no_cluster}")),
        });
        server.inspect_err(|why| skipped(why)).ok()
    }
}

/// `url` with one more option.
pub(crate) fn with_option(url: &str, option: &str) -> String {
    format!("{url}{}{option}", if url.contains('?') { '&' } else { '?' })
}

/// `url`, whose sessions have this setting as well.
pub(crate) fn with_setting(url: &str, name: &str, value: &str) -> String {
    url.replace("options=", &format!("options=-c%20{name}%3D{value}%20"))
}

/// A session on the server at `url`, which has started.
pub(crate) async fn session(url: &str) -> Client {
    let connect = async {
        loop {
            match tokio_postgres::connect(url, NoTls).await {
                Ok((client, connection)) => {
                    // It ends with the client, or with the server.
                    tokio::spawn(connection);
                    return client;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), connect)
        .await
        .expect("a PostgreSQL server")
}

/// The URL of an empty schema in the database at `url`.
pub(crate) async fn fresh_schema(url: &str) -> String {
    let name = format!("test_{}", Uuid::now_v7().simple());
    session(url)
        .await
        .batch_execute(&format!("create schema {name}"))
        .await
        .expect("a schema");
    with_option(url, &format!("options=-c%20search_path%3D{name}"))
}

/// A cluster for the test alone.
pub(crate) fn cluster() -> Option<Cluster> {
    Cluster::start().inspect_err(|why| skipped(why)).ok()
}

/// A primary with a standby that streams from it.
pub(crate) async fn cluster_with_standby(is_synchronous: bool) -> Option<Cluster> {
    let cluster = cluster()?;
    tokio::task::block_in_place(|| cluster.ctl("make_standby"));
    let primary = session(&cluster.url()).await;
    if is_synchronous {
        for sql in [
            "alter system set synchronous_standby_names = '*'",
            "select pg_reload_conf()",
        ] {
            primary.batch_execute(sql).await.expect("a superuser");
        }
    }
    let state = if is_synchronous { "sync" } else { "async" };
    let sql = "select from pg_stat_replication where state = 'streaming' and sync_state = $1";
    until(async || {
        let standbys = primary.query(sql, &[&state]).await;
        !standbys.expect("a primary").is_empty()
    })
    .await;
    Some(cluster)
}

/// Waits until `holds`, for at most a minute.
pub(crate) async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait)
        .await
        .expect("the condition holds");
}

/// The URL of a new role that may use the schema at `url`, and its name.
pub(crate) async fn of_new_role(url: &str) -> (String, String) {
    let role = format!("role_{}", Uuid::now_v7().simple());
    let schema = url.rsplit_once("search_path%3D").expect("a schema").1;
    let sql = format!("create role {role}; grant usage on schema {schema} to {role}");
    session(url)
        .await
        .batch_execute(&sql)
        .await
        .expect("a superuser");
    (with_setting(url, "role", &role), role)
}

pub(crate) async fn drop_role(owner: &Client, role: &str) {
    owner
        .batch_execute(&format!("drop owned by {role}; drop role {role}"))
        .await
        .expect("a role");
}

/// Makes the server skip the rows of `table` that `of` matches, as it does for a trigger that
/// returns null.
pub(crate) async fn skip_rows(client: &Client, operation: &str, table: &str, of: &str) {
    let sql = format!(
        "create or replace function skip() returns trigger language plpgsql as 'begin return null; end';
         create or replace trigger skip before {operation} on {table} for each row when ({of}) execute function skip()"
    );
    client.batch_execute(&sql).await.expect("a trigger");
}

/// The plan of a statement that is not run.
pub(crate) async fn plan(connection: &PostgresConnection, mut statement: Statement) -> String {
    statement.sql = format!("explain (costs off) {}", statement.sql).into();
    let rows = connection.query(statement).await.expect("a plan");
    rows.iter()
        .map(|row| row.get::<_, &str>(0))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The statement that compares `batch` with what is stored.
pub(crate) fn insertion<R: Insertable>(table: &TargetTable, batch: &[R]) -> Statement {
    R::bind(
        Statement::new(table.insert_new()),
        &batch.iter().collect::<Vec<_>>(),
    )
}

/// A store in a separate schema.
pub(crate) type PostgresFixture = ServerFixture<PostgresStore>;

#[async_trait]
impl SharedStore for PostgresStore {
    async fn open_again(fixture: &PostgresFixture) -> Self {
        let options = PostgresStoreOptions::new(fixture.database.as_str());
        Self::open(options).await.expect("a URL of PostgreSQL")
    }
}

impl PostgresFixture {
    /// An empty store on the server that `SHOP_TEST_POSTGRES_URL` names, in a container of the image
    /// `TEST_POSTGRES_IMAGE`, or in a private cluster. `None` without all of them, which is logged; a panic when
    /// `SHOP_TEST_REQUIRE` asks for `postgres`.
    pub(crate) async fn on_test_server() -> Option<Self> {
        let server = TestServer::find().await?;
        let database = fresh_schema(&server.url).await;
        let store = PostgresStore::open(PostgresStoreOptions::new(database.as_str()))
            .await
            .expect("a URL of PostgreSQL");
        let created = tokio::time::timeout(Duration::from_secs(60), store.wait_for_schema());
        created.await.expect("a PostgreSQL server");
        Some(Self {
            store,
            server,
            database,
        })
    }

    /// The store itself.
    pub(crate) fn postgres(&self) -> PostgresStore {
        self.store.clone()
    }

    /// The URL of its schema.
    pub(crate) fn url(&self) -> &str {
        &self.database
    }

    /// The URL of the server's database.
    pub(crate) fn server_url(&self) -> &str {
        &self.server.url
    }
}
