//! The backend of a test with users and orders: files or PostgreSQL, with the log in files or on Kafka. Reads the
//! stored rows and events.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use futures_util::{Stream, TryStreamExt};
use rusqlite::Connection;
use shop_core::log::{Batch, Log};
use shop_core::record::{Event, Record};
use shop_kafka::KafkaLog;
use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions};
use shop_store::postgres::tokio_postgres::error::SqlState;
use shop_store::postgres::tokio_postgres::{self, NoTls};

use crate::postgres_server::Cluster;
use crate::process::{Binary, Process, borrow_settings};
use crate::servers::Servers;

/// The backends of both roles.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    Files(&'a Path),
    /// The log on Kafka, and the rows in a private cluster.
    Kafka(&'a Servers, &'a Cluster),
    /// Rows in a private cluster, and the log in files.
    Postgres(&'a Cluster, &'a Path),
}

/// The projections that each role has of the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Views {
    pub(crate) known_users: BTreeSet<i64>,
    pub(crate) orders_of_users: BTreeMap<i64, i64>,
}

impl Place<'_> {
    /// The settings of a process with these roles.
    fn settings(&self, roles: &'static str) -> Vec<(&'static str, String)> {
        let mut settings = vec![("SHOP_ROLES", roles.to_owned())];
        match self {
            Place::Files(_) => {}
            Place::Kafka(servers, cluster) => {
                settings.extend(servers.settings());
                settings.extend(servers.settings_of_events());
                settings.push(("POSTGRES_URL", cluster.url()));
                // Partitions return at once, not when the session of a killed member ends.
                settings.push(("KAFKA_INSTANCE_ID", format!("{roles}-0")));
            }
            Place::Postgres(cluster, _) => settings.push(("DATABASE_URL", cluster.url())),
        }
        settings
    }

    fn folder(&self) -> &Path {
        match self {
            Place::Files(folder) | Place::Postgres(_, folder) => folder,
            Place::Kafka(..) => Path::new("/nonexistent/shop-data"),
        }
    }

    /// Starts a binary with these roles.
    pub(crate) async fn start(
        &self,
        binary: Binary,
        roles: &'static str,
        more: &[(&str, &str)],
    ) -> Process {
        let settings = self.settings(roles);
        let mut settings = borrow_settings(&settings);
        settings.extend(more);
        Process::start(binary, self.folder(), &settings).await
    }

    /// Replays all events into a role.
    pub(crate) async fn replay(&self, role: &'static str) -> String {
        let settings = self.settings(role);
        let mut settings = borrow_settings(&settings);
        let folder = self.folder().to_str().unwrap().to_owned();
        settings.push(("SHOP_DATA_DIR", &folder));
        let output = Binary::Management
            .run(&["replay", role, "--from-beginning"], &settings)
            .await;
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{printed}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The projections of both roles, read from the backend.
    pub(crate) async fn views(&self) -> Views {
        match self {
            Place::Files(folder) => Views {
                known_users: rows(folder, "orders", "SELECT id, 0 FROM known_users")
                    .into_keys()
                    .collect(),
                orders_of_users: rows(folder, "users", "SELECT id, user_id FROM orders_of_users"),
            },
            Place::Postgres(cluster, _) | Place::Kafka(_, cluster) => Views {
                known_users: numbers(cluster, "select id, id from cached_users")
                    .await
                    .into_keys()
                    .collect(),
                orders_of_users: numbers(cluster, "select id, user_id from cached_orders").await,
            },
        }
    }

    /// Kills the server of the rows, and starts it again.
    pub(crate) fn kill_server(&self) {
        if let Place::Postgres(cluster, _) | Place::Kafka(_, cluster) = self {
            tokio::task::block_in_place(|| ["kill", "start"].map(|command| cluster.ctl(command)));
        }
    }

    /// Deletes the projections of both roles, which do not run.
    pub(crate) async fn forget_views(&self) {
        match self {
            Place::Files(folder) => {
                execute(folder, "orders", "DELETE FROM known_users");
                execute(folder, "users", "DELETE FROM orders_of_users");
            }
            Place::Postgres(cluster, _) | Place::Kafka(_, cluster) => {
                let truncate = session(cluster)
                    .await
                    .batch_execute("truncate cached_users, cached_orders")
                    .await;
                truncate.unwrap();
            }
        }
    }

    /// Every published event of this kind, with duplicates.
    pub(crate) async fn published<E: Event>(&self) -> Vec<E> {
        all(self.log::<E>().await.admin().scan().await.unwrap()).await
    }

    async fn log<E: Event>(&self) -> Arc<dyn Log> {
        match self {
            Place::Files(_) | Place::Postgres(..) => Arc::new(self.file::<E>().await),
            Place::Kafka(servers, _) => {
                Arc::new(KafkaLog::open(servers.log(E::TOPIC)).await.unwrap())
            }
        }
    }

    async fn file<E: Event>(&self) -> EmbeddedLog {
        EmbeddedLog::open(self.folder(), EmbeddedLogOptions::for_events(E::TOPIC))
            .await
            .unwrap()
    }
}

async fn all<E: Record>(batches: impl Stream<Item = shop_core::Result<Batch>>) -> Vec<E> {
    let batches: Vec<Batch> = batches.try_collect().await.unwrap();
    let of = |batch: Batch| {
        let decode = |record| E::decode(record, &batch.partition).ok();
        batch.records.iter().filter_map(decode).collect::<Vec<E>>()
    };
    batches.into_iter().flat_map(of).collect()
}

pub(crate) async fn session(cluster: &Cluster) -> tokio_postgres::Client {
    try_session(cluster).await.unwrap()
}

pub(crate) async fn try_session(
    cluster: &Cluster,
) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(&cluster.url(), NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn numbers(cluster: &Cluster, sql: &str) -> BTreeMap<i64, i64> {
    match session(cluster).await.query(sql, &[]).await {
        // A process creates its tables in the background.
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => BTreeMap::new(),
        rows => rows
            .unwrap()
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect(),
    }
}

fn open(folder: &Path, file: &str) -> Connection {
    let connection = Connection::open(folder.join(format!("{file}.db"))).unwrap();
    connection
        .busy_timeout(std::time::Duration::from_secs(10))
        .unwrap();
    connection
}

fn rows(folder: &Path, file: &str, sql: &str) -> BTreeMap<i64, i64> {
    // The first row creates the file.
    if !folder.join(format!("{file}.db")).exists() {
        return BTreeMap::new();
    }
    let connection = open(folder, file);
    let Ok(mut statement) = connection.prepare(sql) else {
        return BTreeMap::new();
    };
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}

fn execute(folder: &Path, file: &str, sql: &str) {
    open(folder, file).execute(sql, []).unwrap();
}
