//! A topic that is deleted and created again is another log: its records are read from the first one on.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use shop_core::conformance::LogFixture as _;
use shop_core::log::{CommitOffset, GapCause, LogAdmin as _, LogSource, SourceEvent};
use shop_core::ports::PurchaseSink as _;

use crate::fixture::KafkaFixture;
use crate::servers;
use crate::support::{purchase, soon};

const BEFORE: u64 = 20;
const AFTER: u64 = 1_000;

async fn create_again(fixture: &KafkaFixture) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", fixture.addresses());
    let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
    let topic = fixture.topic();
    let options = AdminOptions::new();
    admin.delete_topics(&[topic], &options).await.unwrap()[0]
        .as_ref()
        .unwrap();
    let new = NewTopic::new(topic, 1, TopicReplication::Fixed(1));
    // The deletion is not complete at once.
    let create = async || {
        admin
            .create_topics([&new], &options)
            .await
            .unwrap()
            .remove(0)
    };
    soon("create", async { while create().await.is_err() {} }).await;
}

/// Commits what `source` delivers, until it has delivered `count` offsets in order. Returns them, and the causes of gaps.
async fn read(source: &dyn LogSource, count: u64) -> (BTreeSet<u64>, BTreeSet<GapCause>) {
    let mut offsets = BTreeSet::new();
    let mut causes = BTreeSet::new();
    while (offsets.len() as u64) < count {
        let (partition, next) = match soon("next", source.next())
            .await
            .unwrap_or(SourceEvent::Closed)
        {
            SourceEvent::Batch(batch) => {
                offsets.extend(batch.records.iter().map(|record| record.offset));
                (batch.partition, offsets.last().unwrap() + 1)
            }
            SourceEvent::Gap(gap) => {
                causes.insert(gap.cause);
                (gap.partition, gap.next_offset)
            }
            // A revocation, or an error while there is no topic.
            _ => continue,
        };
        let _fenced_or_gone = source.commit(&[CommitOffset::new(partition, next)]).await;
    }
    (offsets, causes)
}

async fn publish(fixture: &KafkaFixture, count: u64) {
    let sink = fixture.log().sink();
    let purchases: Vec<_> = (0..count).map(purchase).collect();
    for chunk in purchases.chunks(100) {
        let mut left = chunk.to_vec();
        let all = async {
            while !left.is_empty() {
                let results = sink.publish_many(&left).await;
                left = left
                    .into_iter()
                    .zip(results)
                    .filter(|(_, done)| done.is_err())
                    .map(|(left, _)| left)
                    .collect();
            }
        };
        soon("publish", all).await;
    }
}

async fn fixture() -> Option<KafkaFixture> {
    let fixture = servers::on_broker_with(|options| options.partitions = 1).await?;
    publish(&fixture, BEFORE).await;
    Some(fixture)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_reads_a_topic_that_was_created_again_from_its_start() {
    let Some(fixture) = fixture().await else {
        return;
    };
    let source = fixture.source("group").await;
    assert_eq!(
        read(&*source, BEFORE).await,
        ((0..BEFORE).collect(), BTreeSet::new())
    );
    create_again(&fixture).await;
    publish(&fixture, AFTER).await;
    let (offsets, causes) = read(&*source, AFTER).await;
    assert!(
        offsets.first() == Some(&0) && offsets.len() as u64 >= AFTER,
        "{:?}",
        offsets.first()
    );
    assert_eq!(causes, BTreeSet::from([GapCause::Recreated]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_of_a_topic_that_was_created_again_ends_with_an_error() {
    let Some(fixture) = fixture().await else {
        return;
    };
    let log = fixture.log();
    let tail = async |at| {
        soon("tail", log.tail(&BTreeMap::from([(0, at)])))
            .await
            .unwrap()
    };
    let mut before = tail(BEFORE).await;
    create_again(&fixture).await;
    publish(&fixture, AFTER).await;
    assert!(
        soon("the end", before.batches.next())
            .await
            .unwrap()
            .is_err()
    );
    let after = tail(BEFORE).await;
    assert!(
        before.generation.is_some()
            && after.generation.is_some()
            && before.generation != after.generation
    );
}
