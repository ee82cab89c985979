//! From Kafka into MongoDB, compared with bare inserts of the same documents and with a naive loop.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::Client;
use mongodb::bson::{DateTime, Decimal128, RawDocumentBuf, rawdoc};
use mongodb::options::{Acknowledgment, WriteConcern};
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::{ClientConfig, Message};
use serde::{Deserialize, Serialize};
use shop_core::Purchase;
use shop_core::ingest::IngestOptions;
use shop_kafka::{KafkaLog, KafkaLogOptions};

use super::collection::{DATABASE, drop_collection, open_collection};
use super::two_threads;
use crate::cases::topic::fill_topic;
use crate::row::{Goal, Row, Unit};
use crate::run::{Pairs, Run, rounds};
use crate::sample::{ingest, purchases};
use crate::scale::{self, Scale};
use crate::usage::{Cost, as_f64, median, memory_of, process, processor_time, quantile};

/// The name of an ingestion in a child process.
pub(crate) const RUN: &str = "kafka-to-mongodb";

/// The number of documents per insert, as in a batch of the pipeline.
const BATCH: usize = 1_000;
/// The number of concurrent inserts, as in the pipeline.
const IN_FLIGHT: usize = 8;

/// The contender to run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ingestion {
    way: Way,
    servers: Servers,
    /// The name of the topic and of the collection.
    name: String,
    records: u64,
}

/// The addresses of the servers.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Servers {
    kafka: String,
    mongodb: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Way {
    /// From Kafka with all guarantees.
    Pipeline,
    /// The ceiling: prepared documents from memory.
    Bare,
    /// From Kafka, in the simplest way, without guarantees.
    Naive,
}

impl Ingestion {
    /// The cost, including the start of the process.
    #[must_use]
    pub fn measure(&self) -> Cost {
        let time = two_threads().block_on(async {
            // All write into the same indexes.
            let store = open_collection(self.servers.mongodb.clone(), self.name.clone()).await;
            match self.way {
                Way::Pipeline => {
                    let log = KafkaLog::open(self.topic(5)).await.unwrap();
                    let source = Arc::new(
                        log.source(&format!("group-{}", uuid::Uuid::now_v7()))
                            .unwrap(),
                    );
                    let ingested = ingest(
                        source,
                        Arc::new(store),
                        Arc::new(log),
                        self.records,
                        IngestOptions::default(),
                    )
                    .await;
                    ingested.extrapolated(self.records)
                }
                Way::Bare => self.insert().await,
                Way::Naive => self.loop_over().await,
            }
        });
        Cost::new(self.records, time, processor_time())
    }

    fn topic(&self, partitions: u32) -> KafkaLogOptions {
        let mut options = KafkaLogOptions::new(&self.servers.kafka);
        options.topic.clone_from(&self.name);
        options.partitions = partitions;
        options
    }

    async fn insert(&self) -> Duration {
        let client = Client::with_uri_str(&self.servers.mongodb).await.unwrap();
        let durable = WriteConcern::builder()
            .w(Acknowledgment::Majority)
            .journal(true)
            .build();
        let documents: Vec<RawDocumentBuf> = purchases(self.records).iter().map(document).collect();
        let batches: Vec<Vec<RawDocumentBuf>> =
            documents.chunks(BATCH).map(<[_]>::to_vec).collect();
        let start = Instant::now();
        let collection = client
            .database(DATABASE)
            .collection::<RawDocumentBuf>(&self.name);
        let insert = |batch: Vec<RawDocumentBuf>| {
            let (collection, durable) = (collection.clone(), durable.clone());
            tokio::spawn(async move {
                collection
                    .insert_many(batch)
                    .ordered(false)
                    .write_concern(durable)
                    .await
                    .unwrap()
            })
        };
        stream::iter(batches)
            .map(insert)
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<Vec<_>>()
            .await
            .unwrap();
        start.elapsed()
    }

    /// Sequential inserts, prices as binary floating point, ids without meaning, and auto-commit. The one setting that
    /// determines its speed is tuned.
    async fn loop_over(&self) -> Duration {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.servers.kafka)
            .set("auto.offset.reset", "earliest");
        config
            .set("group.id", format!("naive-{}", uuid::Uuid::now_v7()))
            .set("fetch.queue.backoff.ms", "5");
        let consumer: StreamConsumer = config.create().unwrap();
        consumer.subscribe(&[&self.name]).unwrap();
        let client = Client::with_uri_str(&self.servers.mongodb).await.unwrap();
        let collection = client.database(DATABASE).collection::<Naive>(&self.name);
        let (mut batch, mut stored, mut begun) = (Vec::new(), 0, None::<(u64, Instant)>);
        while stored < self.records {
            let message = consumer.recv().await.unwrap();
            batch.push(serde_json::from_slice::<Naive>(message.payload().unwrap()).unwrap());
            if batch.len() == BATCH || stored + batch.len() as u64 == self.records {
                stored += batch.len() as u64;
                collection.insert_many(batch.drain(..)).await.unwrap();
                begun.get_or_insert_with(|| (stored, Instant::now()));
            }
        }
        let (before, start) = begun.unwrap();
        start
            .elapsed()
            .mul_f64(as_f64(self.records) / as_f64((self.records - before).max(1)))
    }

    fn clear(&self) {
        two_threads().block_on(drop_collection(&self.servers.mongodb, &self.name));
    }
}

/// A purchase with a floating-point price, which is wrong for money.
#[derive(Debug, Serialize, Deserialize)]
struct Naive {
    username: String,
    userid: String,
    price: f64,
    timestamp: String,
}

/// The document as the store writes it.
fn document(purchase: &Purchase) -> RawDocumentBuf {
    rawdoc! {
        "_id": purchase.id.to_string(),
        "userid": purchase.user_id.as_str(),
        "username": purchase.user_name.as_str(),
        "price": purchase.price.to_string().parse::<Decimal128>().unwrap(),
        "timestamp": DateTime::from_millis(purchase.timestamp.as_millis()),
    }
}

/// Runs on the servers, if they are configured.
fn on_servers(name: &str, records: u64) -> Option<Ingestion> {
    let Some((kafka, mongodb)) = scale::kafka().zip(scale::mongodb()) else {
        eprintln!(
            "kafka_to_mongodb: skipped, SHOP_TEST_KAFKA and SHOP_TEST_MONGODB_URI are not set"
        );
        return None;
    };
    let name = format!("{name}-{}", uuid::Uuid::now_v7().simple());
    Some(Ingestion {
        way: Way::Pipeline,
        servers: Servers { kafka, mongodb },
        name,
        records,
    })
}

/// Measures one partition and five.
pub fn rows(scale: Scale, emit: &mut dyn FnMut(Row)) {
    let records = scale.pick(2_000, 100_000, 1_000_000);
    for partitions in [1, 5] {
        let Some(run) = on_servers("bench", records) else {
            return;
        };
        two_threads().block_on(fill_topic(run.topic(partitions), records));
        let runs =
            [Way::Pipeline, Way::Bare, Way::Naive].map(|way| Ingestion { way, ..run.clone() });
        let [ours, bare, naive] = rounds(scale.pairs(), RUN, &runs, Ingestion::clear);
        run.clear();
        let plural = if partitions == 1 { "" } else { "s" };
        let what = format!("Kafka to MongoDB, {partitions} partition{plural}, {records} records");
        let memory = ours.iter().map(|cost| cost.memory).collect();
        let pairs = Pairs {
            ours,
            baseline: bare,
        };
        let row = pairs.row(&what, |cost| cost.rate, "bare insert_many", Cost::medians);
        emit(row.with_goal(Goal::AtLeast(0.95)));
        let pairs = Pairs {
            baseline: naive,
            ..pairs
        };
        let by_naive = |what: String, figure: fn(&Cost) -> f64| {
            pairs.row(what, figure, "naive loop", Cost::medians)
        };
        emit(by_naive(
            format!("{what}: rate beside a naive loop"),
            |cost| cost.rate,
        ));
        let row = by_naive(
            format!("{what}: processor time beside a naive loop"),
            |cost| cost.processor,
        );
        emit(row.with_goal(Goal::AtMost(1.25)));
        let row = Row::new(format!("{what}: peak memory"), memory, Unit::Mebibytes, "");
        emit(row.with_goal(Goal::AtMost(100e6 / f64::from(1 << 20))));
    }
}

/// The partitions of the topic in a soak test.
const PARTITIONS: u32 = 5;
/// The number of records that are published concurrently, to bound memory.
const AT_A_TIME: usize = 500_000;
/// The interval of memory samples, and the number of samples after which the collection is dropped.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: usize = 20;

/// Soak test: ingests millions of `records` while the collection is dropped repeatedly, so the server stays small.
/// Prints the memory of the first third and of the last third.
pub fn soak(records: u64) {
    let Some(run) = on_servers("soak", records) else {
        return;
    };
    for published in (0..records).step_by(AT_A_TIME) {
        let more = (records - published).min(AT_A_TIME as u64);
        two_threads().block_on(fill_topic(run.topic(PARTITIONS), more));
        println!("published {}", published + more);
    }
    let mut command = Run::new(RUN, &run).command();
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let (ingesting, mut memory) = (process(child.id()), Vec::new());
    while child.try_wait().unwrap().is_none() {
        memory.extend(memory_of(&ingesting).map(|memory| memory.resident));
        if memory.len() % LOOKS == 0 {
            run.clear();
        }
        two_threads().block_on(async { tokio::time::sleep(LOOK).await });
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{run:?} has failed");
    run.clear();
    let cost: Cost = serde_json::from_slice(&output.stdout).unwrap();
    println!("Soak, {PARTITIONS} partitions, {records} records: {cost}");
    let third = (memory.len() / 3).max(1);
    for (which, part) in [
        ("first", &memory[..third]),
        ("last", &memory[memory.len() - third..]),
    ] {
        let (middle, most) = (median(part.to_vec()), quantile(part.to_vec(), 1.0));
        println!("  {which} third: median {middle:.0} MiB, most {most:.0} MiB");
    }
}
