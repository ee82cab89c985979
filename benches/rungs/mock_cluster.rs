//! From librdkafka's own cluster for tests into a store that counts, beside a bare consumer loop: what stands between
//! the client's library and the store.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::MockCluster;
use rdkafka::{ClientConfig, Message};
use serde::{Deserialize, Serialize};
use shop_core::Purchase;
use shop_core::ingest::{Ingest, IngestOptions};
use shop_core::ports::PurchaseSink;
use shop_kafka::{KafkaLog, KafkaLogOptions};

use super::hot_path::two_threads;
use crate::row::{Row, thousands};
use crate::run::{Run, in_turn};
use crate::scale::Scale;
use crate::usage::{Cost, processor_time};
use crate::{CountingStore, purchases};

/// Everything in a topic, read from its beginning by a group of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Consume {
    is_bare: bool,
    brokers: String,
    records: usize,
}

const TOPIC: &str = "purchases";
const PARTITIONS: u32 = 5;

fn options(brokers: &str) -> KafkaLogOptions {
    let mut options = KafkaLogOptions::new(brokers);
    TOPIC.clone_into(&mut options.topic);
    options
}

fn fresh_group() -> String {
    format!("group-{}", uuid::Uuid::now_v7())
}

impl Consume {
    /// What it costs, from the first records on: how long it takes to join a group is another matter.
    #[must_use]
    pub fn measure(&self) -> Cost {
        if self.is_bare { self.poll() } else { two_threads().block_on(self.carry()) }
    }

    async fn carry(&self) -> Cost {
        let log = KafkaLog::open(options(&self.brokers)).await.unwrap();
        let (source, letters) = (log.source(&fresh_group()).unwrap(), log.dead_letters());
        let (store, options) = (CountingStore::default(), IngestOptions::default());
        let ingest = Ingest::new(Arc::new(source), Arc::new(store), Arc::new(letters), options);
        let (monitor, all) = (ingest.monitor(), self.records as u64);
        let (told, cost) = tokio::sync::oneshot::channel();
        let end = async move {
            let first = monitor.wait_for(|status| status.tally.inserted > 0).await.tally.inserted;
            let (start, before) = (Instant::now(), processor_time());
            monitor.wait_for(|status| status.tally.inserted >= all).await;
            told.send(cost_of(all - first, start, before)).unwrap();
        };
        ingest.run(end).await.unwrap();
        cost.await.unwrap()
    }

    /// The ceiling: each record polled, its bytes looked at, nothing committed.
    fn poll(&self) -> Cost {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", fresh_group())
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            // As ours: librdkafka's own second is a third of the time.
            .set("fetch.queue.backoff.ms", "5")
            .set("queued.max.messages.kbytes", "32768")
            .create()
            .unwrap();
        consumer.subscribe(&[TOPIC]).unwrap();
        let mut begun = None;
        for _ in 0..self.records {
            // None while the group is being joined.
            let record = std::iter::repeat_with(|| consumer.poll(Duration::from_secs(1))).flatten().next();
            black_box(record.unwrap().unwrap().payload().unwrap());
            begun.get_or_insert_with(|| (Instant::now(), processor_time()));
        }
        let (start, before) = begun.unwrap();
        cost_of(self.records as u64 - 1, start, before)
    }
}

fn cost_of(records: u64, start: Instant, before: Duration) -> Cost {
    Cost::with(usize::try_from(records).unwrap().max(1), start.elapsed(), processor_time() - before)
}

async fn fill(brokers: &str, records: usize) {
    let sink = KafkaLog::open(options(brokers)).await.unwrap().sink();
    let all = purchases(records as u64);
    let publish = async |purchase: &Purchase| while sink.publish(purchase).await.is_err() {};
    stream::iter(&all).map(publish).buffer_unordered(5_000).collect::<()>().await;
    sink.close(Duration::from_secs(10)).await.unwrap();
}

/// Few records: a partition of such a cluster keeps 5 MiB.
pub fn rows(scale: Scale, tell: &mut dyn FnMut(Row)) {
    let records = scale.pick(2_000, 50_000, 100_000);
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, i32::try_from(PARTITIONS).unwrap(), 1).unwrap();
    let brokers = cluster.bootstrap_servers();
    two_threads().block_on(fill(&brokers, records));
    let run = |is_bare| Run::Consume(Consume { is_bare, brokers: brokers.clone(), records });
    let (ours, bare): (Vec<Cost>, Vec<Cost>) = in_turn(scale.pairs(), &run(false), &run(true));
    let rates = |costs: &[Cost]| costs.iter().map(|cost| cost.records_per_second).collect::<Vec<_>>();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let count = thousands(records as f64);
    let what = format!("librdkafka's own test cluster → counting store, {count} records");
    let beside = format!("bare consumer loop, {}", Cost::median(&bare));
    tell(Row::ratios(what, &rates(&ours), &rates(&bare)).saying(Cost::median(&ours).to_string(), beside));
}
