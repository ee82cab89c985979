//! The backend of a test with users and orders: files or PostgreSQL, with the log in files or on Kafka. Reads the
//! stored rows and events.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt;
use rusqlite::Connection;
use shop_core::log::{Batch, Log, LogExt as _};
use shop_core::record::Event;
use shop_store::postgres::tokio_postgres;
use shop_store::postgres::tokio_postgres::NoTls;
use shop_store::postgres::tokio_postgres::error::SqlState;

use crate::prelude::*;

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
        settings.push(("SHOP_DATA_DIR", self.folder().to_str().unwrap()));
        let words = ["replay", role, "--from-beginning"];
        let output = Binary::Management.run(&words, &settings).await;
        assert_ended(&output, 0, "");
        text(&output.stdout)
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

    /// Every published event of this kind, with duplicates.
    pub(crate) async fn published<E: Event>(&self) -> Vec<E> {
        let log: Arc<dyn Log> = match self {
            Place::Kafka(servers, _) => {
                Arc::new(KafkaLog::open(servers.log(E::TOPIC)).await.unwrap())
            }
            Place::Files(folder) | Place::Postgres(_, folder) => {
                let options = EmbeddedLogOptions::for_events(E::TOPIC);
                Arc::new(EmbeddedLog::open(folder, options).await.unwrap())
            }
        };
        let batches = log.scan_all().await.unwrap();
        let batches: Vec<Batch> = batches.try_collect().await.unwrap();
        let mut events = Vec::new();
        for batch in batches {
            for record in &batch.records {
                events.extend(E::decode(record, &batch.partition).ok());
            }
        }
        events
    }
}

pub(crate) async fn session(cluster: &Cluster) -> tokio_postgres::Client {
    let connected = tokio_postgres::connect(&cluster.url(), NoTls).await;
    let (client, connection) = connected.unwrap();
    tokio::spawn(connection);
    client
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

fn rows(folder: &Path, file: &str, sql: &str) -> BTreeMap<i64, i64> {
    let file = folder.join(format!("{file}.db"));
    // The first row creates the file.
    if !file.exists() {
        return BTreeMap::new();
    }
    let connection = Connection::open(file).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    let Ok(mut statement) = connection.prepare(sql) else {
        return BTreeMap::new();
    };
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.unwrap().map(Result::unwrap).collect()
}
