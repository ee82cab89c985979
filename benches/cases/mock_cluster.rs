//! From librdkafka's mock cluster into a counting store, compared with a bare consumer loop: the overhead between the
//! client library and the store.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::MockCluster;
use rdkafka::{ClientConfig, Message};
use serde::{Deserialize, Serialize};
use shop_core::ingest::IngestOptions;
use shop_kafka::{KafkaLog, KafkaLogOptions};

use super::two_threads;
use crate::cases::topic::fill_topic;
use crate::row::{Row, thousands};
use crate::run::{Pairs, Run};
use crate::sample::{CountingStore, ingest};
use crate::scale::Scale;
use crate::usage::{Cost, as_f64, processor_time};

/// The name of a consumer in a child process.
pub(crate) const RUN: &str = "consume";

/// Reads a topic from the beginning with a new group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Consume {
    is_bare: bool,
    brokers: String,
    records: u64,
}

const TOPIC: &str = "purchases";
const PARTITIONS: i32 = 5;

fn options(brokers: &str) -> KafkaLogOptions {
    let mut options = KafkaLogOptions::new(brokers);
    TOPIC.clone_into(&mut options.topic);
    options
}

fn fresh_group() -> String {
    format!("group-{}", uuid::Uuid::now_v7())
}

impl Consume {
    /// The cost from the first records on, without the time to join the group.
    #[must_use]
    pub fn measure(&self) -> Cost {
        let (rest, time, processor) = if self.is_bare {
            self.poll()
        } else {
            two_threads().block_on(self.ingest())
        };
        Cost::new(rest.max(1), time, processor)
    }

    async fn ingest(&self) -> (u64, Duration, Duration) {
        let log = KafkaLog::open(options(&self.brokers)).await.unwrap();
        let (source, dead_letters) = (
            Arc::new(log.source(&fresh_group()).unwrap()),
            Arc::new(log.clone()),
        );
        let ingested = ingest(
            source,
            Arc::new(CountingStore::default()),
            dead_letters,
            self.records,
            IngestOptions::default(),
        )
        .await;
        (
            self.records - ingested.first,
            ingested.since_first,
            ingested.processor_since_first,
        )
    }

    /// The ceiling: each record is polled and its bytes are touched, without commits.
    fn poll(&self) -> (u64, Duration, Duration) {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", fresh_group())
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            // As in our source: the default of one second would be a third of the time.
            .set("fetch.queue.backoff.ms", "5")
            .set("queued.max.messages.kbytes", "32768")
            .create()
            .unwrap();
        consumer.subscribe(&[TOPIC]).unwrap();
        let mut begun = None;
        for _ in 0..self.records {
            // No records while the member joins the group.
            let record = std::iter::repeat_with(|| consumer.poll(Duration::from_secs(1)))
                .flatten()
                .next();
            black_box(record.unwrap().unwrap().payload().unwrap());
            begun.get_or_insert_with(|| (Instant::now(), processor_time()));
        }
        let (start, before) = begun.unwrap();
        (self.records - 1, start.elapsed(), processor_time() - before)
    }
}

/// Few records: a partition of a mock cluster holds 5 MiB.
pub fn rows(scale: Scale, emit: &mut dyn FnMut(Row)) {
    let records = scale.pick(2_000, 50_000, 100_000);
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, PARTITIONS, 1).unwrap();
    let brokers = cluster.bootstrap_servers();
    two_threads().block_on(fill_topic(options(&brokers), records));
    let run = |is_bare| {
        Run::new(
            RUN,
            &Consume {
                is_bare,
                brokers: brokers.clone(),
                records,
            },
        )
    };
    let pairs: Pairs<Cost> = Pairs::from_runs(scale.pairs(), &run(false), &run(true));
    let what = format!(
        "librdkafka's own test cluster → counting store, {} records",
        thousands(as_f64(records))
    );
    emit(pairs.row(what, |cost| cost.rate, "bare consumer loop", Cost::medians));
}
