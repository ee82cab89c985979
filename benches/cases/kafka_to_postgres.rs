//! From Kafka and from the embedded log into PostgreSQL, compared with bare statements that write the same rows into the same table with its indexes.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use shop_core::Purchase;
use shop_core::ingest::IngestOptions;
use shop_core::log::{Log, LogSource};
use shop_kafka::{KafkaLog, KafkaLogOptions};
use shop_store::postgres::tokio_postgres::binary_copy::BinaryCopyInWriter;
use shop_store::postgres::tokio_postgres::types::Type;
use shop_store::postgres::tokio_postgres::{self, Client, Error, NoTls};
use shop_store::postgres::{PostgresStore, PostgresStoreOptions};

use super::hot_path::embedded_log;
use super::two_threads;
use crate::cases::topic::fill_topic;
use crate::row::{Goal, Row};
use crate::run::{Pairs, rounds};
use crate::sample::{ingest, purchases};
use crate::scale::{self, Scale};
use crate::usage::{Cost, processor_time};

/// The name of an ingestion in a child process.
pub(crate) const RUN: &str = "kafka-to-postgres";

const PARTITIONS: u32 = 5;

/// The contender to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ingestion {
    way: Way,
    kafka: String,
    /// The URL of the schema.
    postgres: String,
    /// The name of the topic and of the schema.
    name: String,
    records: u64,
    /// The number of records per batch.
    batch: usize,
    /// The number of concurrent batches, each on a connection.
    in_flight: usize,
    /// `synchronous_commit` of the bare sessions. The store raises `off` to `on`.
    synchronous_commit: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Way {
    /// From Kafka with all guarantees.
    Kafka,
    /// The same from the embedded log. The records are written before the time begins; the processor time
    /// includes that.
    Embedded,
    /// `insert … select from unnest`, of prepared rows from memory.
    Unnest,
    /// `COPY` in the binary format, of prepared rows from memory.
    Copy,
}

/// The columns of prepared rows.
const COLUMNS: &str = r#"id, userid, username, price, "timestamp""#;
const TYPES: [Type; 5] = [
    Type::TEXT,
    Type::TEXT,
    Type::TEXT,
    Type::NUMERIC,
    Type::TIMESTAMPTZ,
];

impl Ingestion {
    /// The cost, including the start of the process.
    #[must_use]
    pub fn measure(&self) -> Cost {
        let time = two_threads().block_on(async {
            // All write into the same table with the same indexes.
            let store = PostgresStore::open(PostgresStoreOptions::new(self.postgres.as_str()))
                .await
                .unwrap();
            store.wait_for_schema().await;
            match self.way {
                Way::Kafka => self.ingest_kafka(store).await,
                Way::Embedded => self.ingest_embedded(store).await,
                Way::Unnest | Way::Copy => self.write().await,
            }
        });
        Cost::new(self.records, time, processor_time())
    }

    fn topic(&self) -> KafkaLogOptions {
        let mut options = KafkaLogOptions::new(&self.kafka).batch_records(self.batch);
        options.topic.clone_from(&self.name);
        options.partitions = PARTITIONS;
        options
    }

    async fn ingest_kafka(&self, store: PostgresStore) -> Duration {
        let log = KafkaLog::open(self.topic()).await.unwrap();
        let source = Arc::new(
            log.source(&format!("group-{}", uuid::Uuid::now_v7()))
                .unwrap(),
        );
        self.ingest(source, store, Arc::new(log.clone())).await
    }

    async fn ingest_embedded(&self, store: PostgresStore) -> Duration {
        let folder = tempfile::tempdir().unwrap();
        let log = embedded_log(folder.path(), &purchases(self.records)).await;
        let source = Arc::new(log.source("group").unwrap());
        self.ingest(source, store, Arc::new(log.clone())).await
    }

    async fn ingest(
        &self,
        source: Arc<dyn LogSource>,
        store: PostgresStore,
        log: Arc<dyn Log>,
    ) -> Duration {
        let options = IngestOptions::default().max_in_flight_batches(self.in_flight);
        let ingested = ingest(source, Arc::new(store), log, self.records, options).await;
        ingested.extrapolated(self.records)
    }

    async fn write(&self) -> Duration {
        let all = purchases(self.records);
        let mut parts = vec![Vec::new(); self.in_flight];
        for (number, batch) in all.chunks(self.batch).enumerate() {
            parts[number % self.in_flight].push(batch.to_vec());
        }
        let mut sessions = Vec::new();
        for part in parts {
            sessions.push((self.session().await, part));
        }
        let start = Instant::now();
        let write = |(client, batches): (Client, Vec<Vec<Purchase>>)| {
            let way = self.way;
            tokio::spawn(async move {
                for batch in batches {
                    match way {
                        Way::Copy => copy(&client, &batch).await.unwrap(),
                        _ => unnest(&client, &batch).await.unwrap(),
                    }
                }
            })
        };
        stream::iter(sessions)
            .map(write)
            .buffer_unordered(self.in_flight)
            .try_collect::<Vec<_>>()
            .await
            .unwrap();
        start.elapsed()
    }

    async fn session(&self) -> Client {
        let client = connect(&self.postgres).await;
        if !self.synchronous_commit {
            client
                .batch_execute("set synchronous_commit = off")
                .await
                .unwrap();
        }
        client
    }

    /// Empties the schema, or creates it.
    fn clear(&self) {
        let name = &self.name;
        self.execute(&format!(
            "drop schema if exists {name} cascade; create schema {name}; checkpoint"
        ));
    }

    fn execute(&self, sql: &str) {
        two_threads().block_on(async {
            connect(&self.postgres)
                .await
                .batch_execute(sql)
                .await
                .unwrap();
        });
    }
}

pub(super) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// One statement like that of the store, but without a lookup of stored rows.
async fn unnest(client: &Client, batch: &[Purchase]) -> Result<(), Error> {
    let sql = format!(
        "insert into purchases ({COLUMNS}) select * from unnest($1::text[], $2::text[], $3::text[], $4::numeric[], $5::timestamptz[])"
    );
    let ids: Vec<_> = batch
        .iter()
        .map(|purchase| purchase.id.to_string())
        .collect();
    let users: Vec<_> = batch
        .iter()
        .map(|purchase| purchase.user_id.as_str())
        .collect();
    let names: Vec<_> = batch
        .iter()
        .map(|purchase| purchase.user_name.as_str())
        .collect();
    let prices: Vec<_> = batch
        .iter()
        .map(|purchase| purchase.price.as_decimal())
        .collect();
    let times: Vec<_> = batch
        .iter()
        .map(|purchase| SystemTime::from(purchase.timestamp))
        .collect();
    client
        .query_typed(
            &sql,
            &[
                (&ids, Type::TEXT_ARRAY),
                (&users, Type::TEXT_ARRAY),
                (&names, Type::TEXT_ARRAY),
                (&prices, Type::NUMERIC_ARRAY),
                (&times, Type::TIMESTAMPTZ_ARRAY),
            ],
        )
        .await
        .map(drop)
}

async fn copy(client: &Client, batch: &[Purchase]) -> Result<(), Error> {
    let sink = client
        .copy_in(&format!("copy purchases ({COLUMNS}) from stdin binary"))
        .await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &TYPES));
    for purchase in batch {
        let (id, time) = (
            purchase.id.to_string(),
            SystemTime::from(purchase.timestamp),
        );
        let (user, name) = (purchase.user_id.as_str(), purchase.user_name.as_str());
        writer
            .as_mut()
            .write(&[&id, &user, &name, &purchase.price.as_decimal(), &time])
            .await?;
    }
    writer.finish().await.map(drop)
}

/// Runs on the servers, if they are configured.
fn on_servers(records: u64) -> Option<Ingestion> {
    let Some((kafka, url)) = scale::kafka().zip(scale::postgres()) else {
        eprintln!(
            "kafka_to_postgres: skipped, SHOP_TEST_KAFKA and SHOP_TEST_POSTGRES_URL are not set"
        );
        return None;
    };
    let name = format!("bench_{}", uuid::Uuid::now_v7().simple());
    let separator = if url.contains('?') { '&' } else { '?' };
    let postgres = format!("{url}{separator}options=-c%20search_path%3D{name}");
    let (batch, in_flight, synchronous_commit) = (1_000, 8, true);
    Some(Ingestion {
        way: Way::Kafka,
        kafka,
        postgres,
        name,
        records,
        batch,
        in_flight,
        synchronous_commit,
    })
}

/// The pipeline on Kafka and on the embedded log, both bare statements, then the same with other settings.
fn contenders(run: &Ingestion) -> [Ingestion; 10] {
    let [kafka, embedded, unnest, copy] = [Way::Kafka, Way::Embedded, Way::Unnest, Way::Copy]
        .map(|way| Ingestion { way, ..run.clone() });
    [
        kafka.clone(),
        embedded,
        unnest.clone(),
        copy,
        Ingestion {
            batch: 100,
            ..kafka.clone()
        },
        Ingestion {
            in_flight: 1,
            ..kafka.clone()
        },
        Ingestion {
            in_flight: 2,
            ..kafka
        },
        Ingestion {
            batch: 100,
            ..unnest.clone()
        },
        Ingestion {
            batch: 5_000,
            ..unnest.clone()
        },
        Ingestion {
            synchronous_commit: false,
            ..unnest
        },
    ]
}

/// Measures the pipeline compared with both bare statements, and the effect of the settings.
pub fn rows(scale: Scale, emit: &mut dyn FnMut(Row)) {
    let records = scale.pick(2_000, 100_000, 500_000);
    let Some(run) = on_servers(records) else {
        return;
    };
    two_threads().block_on(fill_topic(run.topic(), records));
    let [
        ours,
        embedded,
        unnest,
        copy,
        small,
        one,
        two,
        bare_small,
        bare_large,
        relaxed,
    ] = rounds(scale.pairs(), RUN, &contenders(&run), Ingestion::clear);
    run.execute(&format!("drop schema {} cascade", run.name));
    let what = format!("Kafka to PostgreSQL, {PARTITIONS} partitions, {records} records");
    let mut row = |ours: &[Cost], what: &str, baseline: &[Cost], name: &str, goal: Option<Goal>| {
        let pairs = Pairs {
            ours: ours.to_vec(),
            baseline: baseline.to_vec(),
        };
        emit(
            pairs
                .row(what, |cost| cost.rate, name, Cost::medians)
                .with_goal(goal),
        );
    };
    let bare = "bare insert … unnest";
    row(&ours, &what, &unnest, bare, Some(Goal::AtLeast(0.8)));
    let from_embedded = format!("Embedded log to PostgreSQL, {records} records");
    row(
        &embedded,
        &from_embedded,
        &unnest,
        bare,
        Some(Goal::AtLeast(0.8)),
    );
    row(
        &ours,
        &format!("{what}: beside COPY"),
        &copy,
        "bare COPY",
        None,
    );
    let default = "batches of 1,000, 8 at a time";
    row(
        &small,
        &format!("{what}: batches of 100"),
        &ours,
        default,
        None,
    );
    row(
        &one,
        &format!("{what}: 1 batch at a time"),
        &ours,
        default,
        None,
    );
    row(
        &two,
        &format!("{what}: 2 batches at a time"),
        &ours,
        default,
        None,
    );
    let statement = format!("Bare insert … unnest, {records} records");
    row(
        &small,
        &format!("{what}: batches of 100, beside the bare statement"),
        &bare_small,
        bare,
        None,
    );
    row(
        &bare_small,
        &format!("{statement}: batches of 100"),
        &unnest,
        default,
        None,
    );
    row(
        &bare_large,
        &format!("{statement}: batches of 5,000"),
        &unnest,
        default,
        None,
    );
    row(
        &relaxed,
        &format!("{statement}: synchronous_commit off"),
        &unnest,
        "synchronous_commit on",
        None,
    );
}
