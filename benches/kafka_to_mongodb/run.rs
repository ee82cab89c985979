//! A run, in a process of its own: through the pipeline, or past it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::purchases;
use benches::usage::Cost;
use bson::{DateTime, Decimal128, RawDocumentBuf, rawdoc};
use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::Client;
use mongodb::options::{Acknowledgment, WriteConcern};
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::{ClientConfig, Message};
use serde::{Deserialize, Serialize};
use shop_core::Purchase;
use shop_core::ingest::{Ingest, IngestOptions};
use shop_kafka::{KafkaLog, KafkaLogOptions};
use shop_store::mongo::{MongoStore, MongoStoreOptions};

use crate::Servers;

pub(crate) const DATABASE: &str = "shop_bench";
/// As many documents as a batch of ours has.
const BATCH: usize = 1_000;
/// As many inserts as the pipeline has on their way.
const IN_FLIGHT: usize = 8;

/// What is to be run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    what: What,
    /// The topic; the collection has the same name.
    name: String,
    records: usize,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum What {
    /// From Kafka, with every guarantee.
    Pipeline,
    /// The ceiling: documents that are made before, straight from memory.
    Bare,
    /// From Kafka, as one would write it without a guarantee.
    Naive,
}

/// The first argument of a process that is to run one thing.
const RUN: &str = "run-one";

impl Run {
    pub(crate) fn pipeline(name: &str, records: usize) -> Self {
        Self { what: What::Pipeline, name: name.to_owned(), records }
    }

    pub(crate) fn bare(name: &str, records: usize) -> Self {
        Self { what: What::Bare, name: name.to_owned(), records }
    }

    pub(crate) fn naive(name: &str, records: usize) -> Self {
        Self { what: What::Naive, name: name.to_owned(), records }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What tells a process of its own to run this.
    pub(crate) fn arguments(&self) -> [String; 2] {
        [RUN.to_owned(), serde_json::to_string(self).unwrap()]
    }

    /// What the arguments of this process say, if it is one of those.
    pub(crate) fn told_by(arguments: &[String]) -> Option<Self> {
        let [_, run, what] = arguments else { return None };
        (run == RUN).then(|| serde_json::from_str(what).unwrap())
    }

    pub(crate) async fn measure(&self, servers: &Servers) -> Cost {
        let mut options = MongoStoreOptions::new(servers.mongodb.clone());
        options.database = Some(DATABASE.to_owned());
        options.collection.clone_from(&self.name);
        let store = MongoStore::open(options).await.unwrap();
        // Both write into the same indexes.
        store.indexed().await;
        match self.what {
            What::Pipeline => self.carry(servers, store).await,
            What::Bare => self.insert(servers).await,
            What::Naive => self.loop_over(servers).await,
        }
    }

    /// The time begins with the first batch that is stored: how long it takes to join a group is another matter.
    async fn carry(&self, servers: &Servers, store: MongoStore) -> Cost {
        let mut options = KafkaLogOptions::new(&servers.kafka);
        options.topic.clone_from(&self.name);
        let log = KafkaLog::open(options).await.unwrap();
        let source = log.source(&format!("group-{}", uuid::Uuid::now_v7())).unwrap();
        let letters = Arc::new(log.dead_letters());
        let ingest = Ingest::new(Arc::new(source), Arc::new(store), letters, IngestOptions::default());
        let monitor = ingest.monitor();
        let all = self.records as u64;
        let measured = tokio::spawn(async move {
            let before = monitor.wait_for(|status| status.tally.inserted > 0).await.tally.inserted;
            let start = Instant::now();
            let after = monitor.wait_for(|status| status.tally.inserted >= all).await.tally.inserted;
            (usize::try_from(after - before).unwrap(), start.elapsed())
        });
        let (carried, time) = {
            let mut result = (0, Duration::ZERO);
            let end = async { result = measured.await.unwrap() };
            let tally = ingest.run(end).await.unwrap();
            assert_eq!(tally.inserted, all, "{tally:?}");
            result
        };
        // The processor has carried all of them.
        Cost::of(self.records, time.mul_f64(self.records as f64 / carried as f64))
    }

    async fn insert(&self, servers: &Servers) -> Cost {
        let client = Client::with_uri_str(&servers.mongodb).await.unwrap();
        let durable = WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build();
        let documents: Vec<RawDocumentBuf> = purchases(self.records as u64).iter().map(document).collect();
        let batches: Vec<Vec<RawDocumentBuf>> = documents.chunks(BATCH).map(<[_]>::to_vec).collect();
        let start = Instant::now();
        let collection = client.database(DATABASE).collection::<RawDocumentBuf>(&self.name);
        let insert = |batch: Vec<RawDocumentBuf>| {
            let (collection, durable) = (collection.clone(), durable.clone());
            tokio::spawn(async move {
                collection.insert_many(batch).ordered(false).write_concern(durable).await.unwrap()
            })
        };
        stream::iter(batches).map(insert).buffer_unordered(IN_FLIGHT).try_collect::<Vec<_>>().await.unwrap();
        Cost::of(self.records, start.elapsed())
    }

    /// One insert after the other, prices in binary, ids that tell nothing, and the position committed whenever
    /// librdkafka likes. The one setting that its speed hangs on is chosen well.
    async fn loop_over(&self, servers: &Servers) -> Cost {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &servers.kafka).set("auto.offset.reset", "earliest");
        config.set("group.id", format!("naive-{}", uuid::Uuid::now_v7())).set("fetch.queue.backoff.ms", "5");
        let consumer: StreamConsumer = config.create().unwrap();
        consumer.subscribe(&[&self.name]).unwrap();
        let client = Client::with_uri_str(&servers.mongodb).await.unwrap();
        let collection = client.database(DATABASE).collection::<Naive>(&self.name);
        let (mut batch, mut stored, mut begun) = (Vec::new(), 0, None::<(usize, Instant)>);
        while stored < self.records {
            let message = consumer.recv().await.unwrap();
            batch.push(serde_json::from_slice::<Naive>(message.payload().unwrap()).unwrap());
            if batch.len() == BATCH || stored + batch.len() == self.records {
                stored += batch.len();
                collection.insert_many(batch.drain(..)).await.unwrap();
                begun.get_or_insert_with(|| (stored, Instant::now()));
            }
        }
        let (before, start) = begun.unwrap();
        let counted = self.records - before;
        Cost::of(self.records, start.elapsed().mul_f64(self.records as f64 / counted.max(1) as f64))
    }
}

/// A purchase as no program that counts money should hold it.
#[derive(Debug, Serialize, Deserialize)]
struct Naive {
    username: String,
    userid: String,
    price: f64,
    timestamp: String,
}

/// As the store writes it.
fn document(purchase: &Purchase) -> RawDocumentBuf {
    rawdoc! {
        "_id": purchase.id.to_string(),
        "userid": purchase.user_id.as_str(),
        "username": purchase.user_name.as_str(),
        "price": purchase.price.to_string().parse::<Decimal128>().unwrap(),
        "timestamp": DateTime::from_millis(purchase.timestamp.as_millis()),
    }
}
