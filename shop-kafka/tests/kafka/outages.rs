//! Kafka is unavailable, recovers, or rejects records.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::fixture::{InProcessCluster, KafkaFixture};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use shop_core::conformance::assert_fails;
use shop_core::log::{
    Batch, DeadLetters as _, LogAdmin as _, LogRecord, LogSource as _, SourceEvent,
};
use shop_core::ports::PurchaseSink as _;
use shop_core::{ErrorKind, Outcome, Timestamp};
use shop_kafka::{KafkaLog, KafkaLogOptions};

use crate::support::{next_batch, publish_with_retries, purchase, read_all, soon};

/// librdkafka repeats a failed request for a producer id after 500 ms, and asks for a missing leader each second.
/// Beside other load 5 of 200 first publishes took 0.5 to 1.04 s.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(3);

/// A cluster with one broker, whose outage makes Kafka unavailable.
fn one_broker() -> (InProcessCluster, KafkaLogOptions) {
    let cluster = InProcessCluster::start(1);
    let mut options = KafkaFixture::options(&cluster.addresses);
    options.publish_timeout = PUBLISH_TIMEOUT;
    cluster.create_topic(&options.topic, options.partitions);
    cluster.create_topic(&format!("{}.dlq", options.topic), 1);
    (cluster, options)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_opened_without_kafka_and_recovers() {
    let (cluster, options) = one_broker();
    cluster.broker_down(1);
    let log = KafkaLog::open(options)
        .await
        .expect("opening does not need kafka");
    let (sink, source, dead_letters) =
        (log.sink(), log.source("group").unwrap(), log.dead_letters());
    let purchase = purchase(1);
    let error = soon("publish", sink.publish(&purchase)).await.unwrap_err();
    assert_fails(&error, ErrorKind::Unavailable, Outcome::NotApplied);
    for error in [
        soon("check", sink.check()).await.unwrap_err(),
        soon("check", source.check()).await.unwrap_err(),
        soon("check", dead_letters.check()).await.unwrap_err(),
        soon("next", source.next()).await.unwrap_err(),
        soon("put", dead_letters.put(&[])).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.is_retryable(), "{error}");
    }
    cluster.broker_up(1);
    publish_with_retries(&sink, &purchase).await;
    read_all(&source, &BTreeSet::from([purchase.id])).await;
    for check in [sink.check(), source.check(), dead_letters.check()] {
        soon("check", check).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_reported_and_recovers() {
    let (cluster, options) = one_broker();
    let log = KafkaLog::open(options).await.unwrap();
    let sink = log.sink();
    let source = log.source("group").unwrap();
    let before = purchase(1);
    sink.publish(&before).await.unwrap();
    read_all(&source, &BTreeSet::from([before.id])).await;

    cluster.broker_down(1);
    let during = purchase(2);
    let error = soon("publish", sink.publish(&during)).await.unwrap_err();
    assert_fails(&error, ErrorKind::DeadlineExceeded, Outcome::Unknown);
    let error = soon("next", source.next()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(
        soon("check", sink.check()).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );

    cluster.broker_up(1);
    publish_with_retries(&sink, &during).await;
    read_all(&source, &BTreeSet::from([during.id])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_returns_while_kafka_is_unavailable() {
    let (cluster, mut options) = one_broker();
    // A purchase without a response is waited for nearly as long as a test may take.
    options.publish_timeout = Duration::from_secs(25);
    let log = KafkaLog::open(options).await.unwrap();
    let sink = log.sink();
    let source = log.source("group").unwrap();
    sink.publish(&purchase(1)).await.unwrap();
    next_batch(&source).await;
    cluster.broker_down(1);
    let unanswered = purchase(2);
    let (of_sink, of_source) = tokio::select! {
        // The purchase is in the queue before the close begins.
        biased;
        answer = sink.publish(&unanswered) => panic!("to close took as long as the purchase: {answer:?}"),
        closed = async { tokio::join!(sink.close(A_SECOND), source.close(A_SECOND)) } => closed,
    };
    assert_eq!(of_sink.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    // It returns by the deadline, with or without success.
    if let Err(error) = of_source {
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error}");
    }
    assert!(matches!(
        soon("next", source.next()).await.unwrap(),
        SourceEvent::Closed
    ));
}

const A_SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_waits_for_a_purchase_before_the_first_response() {
    let (_cluster, options) = one_broker();
    let sink = KafkaLog::open(options).await.unwrap().sink();
    let early = purchase(1);
    // The publish is polled first, most likely before the first response of kafka.
    let (receipt, closed) = soon("both", async {
        tokio::join!(biased; sink.publish(&early), sink.close(Duration::from_secs(20)))
    })
    .await;
    assert_eq!(receipt.unwrap().id, early.id);
    closed.unwrap();
    assert_eq!(
        sink.publish(&early).await.unwrap_err().kind(),
        ErrorKind::Closed
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purchase_abandoned_by_a_close_before_the_first_response_is_not_applied() {
    let (cluster, mut options) = one_broker();
    options.publish_timeout = Duration::from_secs(25);
    cluster.broker_down(1);
    let sink = KafkaLog::open(options).await.unwrap().sink();
    let early = purchase(1);
    let (published, closed) = soon("both", async {
        tokio::join!(biased; sink.publish(&early), sink.close(Duration::from_millis(1)))
    })
    .await;
    assert_eq!(closed.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
    let error = published.unwrap_err();
    assert_fails(&error, ErrorKind::Closed, Outcome::NotApplied);
}

/// A broker that knows no batch of the producer accepts the second batch of a partition although it has rejected the
/// first one. librdkafka then reports both as delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_record_is_in_the_log_if_the_first_batch_was_rejected() {
    let (cluster, mut options) = one_broker();
    options.publish_timeout = Duration::from_secs(20);
    let log = KafkaLog::open(options).await.unwrap();
    // The producer is connected, and has not written to this partition yet.
    log.sink().publish(&purchase(1)).await.unwrap();
    cluster.delay_responses(Duration::from_millis(300));
    cluster.reject_next_write();
    // Of one user, so in one partition.
    let purchases = [0, 7, 14].map(purchase);
    let publish = async |(index, purchase)| {
        // Each in a separate batch, sent before the first response.
        tokio::time::sleep(Duration::from_millis(60) * index).await;
        log.sink().publish(purchase).await
    };
    let published = futures_util::future::join_all((0..).zip(&purchases).map(publish));
    let published = soon("publish", published).await;
    cluster.delay_responses(Duration::ZERO);
    let source = log.source("group").unwrap();
    read_all(
        &source,
        &purchases.iter().map(|purchase| purchase.id).collect(),
    )
    .await;
    for receipt in published {
        assert!(receipt.unwrap().position.is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_waits_for_the_leader_of_a_partition() {
    let (cluster, options) = one_broker();
    let topic = options.topic.clone();
    let log = KafkaLog::open(options).await.unwrap();
    log.sink().publish(&purchase(1)).await.unwrap();
    let scan = async || {
        let batches: Vec<Batch> = log.scan().await.unwrap().try_collect().await.unwrap();
        batches
            .iter()
            .map(|batch| batch.records.len())
            .sum::<usize>()
    };
    cluster.reject_offset_requests(3);
    assert_eq!(soon("scan", scan()).await, 1);
    cluster.take_leader(&topic, 0);
    let elect = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.give_leader(&topic, 0, 1);
    };
    assert_eq!(
        soon("scan", async { tokio::join!(scan(), elect) }).await.0,
        1
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_too_large_is_rejected() {
    // The cluster in the process knows no limit; librdkafka's own is 10 MiB here.
    let in_process = KafkaFixture::in_process().await;
    refuses(in_process.log(), 11 << 20).await;
}

async fn refuses(log: &KafkaLog, bytes: usize) {
    let record = |bytes| LogRecord::new(0, Timestamp::MIN, Some(Bytes::from(vec![b'x'; bytes])));
    let error = soon("append", log.append(record(bytes))).await.unwrap_err();
    assert_fails(&error, ErrorKind::TooLarge, Outcome::NotApplied);
    soon("append", log.append(record(500_000))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_without_a_leader_affects_only_its_users() {
    let (cluster, options) = one_broker();
    let topic = options.topic.clone();
    // Opened without faults, to find the partition of each user.
    let early = KafkaLog::open(options.clone()).await.unwrap().sink();
    let purchases: Vec<_> = (0..7).map(purchase).collect();
    let mut places = Vec::new();
    for purchase in &purchases {
        places.push(
            early
                .publish(purchase)
                .await
                .unwrap()
                .position
                .unwrap()
                .partition,
        );
    }
    let lost = places[0];
    cluster.take_leader(&topic, i32::try_from(lost).unwrap());

    let log = KafkaLog::open(options).await.unwrap();
    let sink = log.sink();
    let source = log.source("group").unwrap();
    soon("check", sink.check()).await.unwrap();
    let mut taken = BTreeSet::new();
    for (purchase, place) in purchases.iter().zip(&places) {
        let published = soon("publish", sink.publish(purchase)).await;
        assert_eq!(
            published.is_err(),
            *place == lost,
            "partition {place}: {published:?}"
        );
        taken.extend(published.ok().map(|receipt| receipt.id));
    }
    assert!(!taken.is_empty(), "some users have other partitions");
    read_all(&source, &taken).await;

    cluster.give_leader(&topic, i32::try_from(lost).unwrap(), 1);
    publish_with_retries(&sink, &purchases[0]).await;
    read_all(&source, &BTreeSet::from([purchases[0].id])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_topic_is_used_once_it_exists() {
    let cluster = InProcessCluster::start(1);
    let mut options = KafkaFixture::options(&cluster.addresses);
    options.create_topics = false;
    let log = KafkaLog::open(options.clone()).await.unwrap();
    let sink = log.sink();
    let dead_letters = log.dead_letters();
    for (checked, topic) in [
        (soon("check", sink.check()).await, options.topic.clone()),
        (
            soon("check", dead_letters.check()).await,
            format!("{}.dlq", options.topic),
        ),
        (
            soon("publish", sink.publish(&purchase(1))).await.map(drop),
            options.topic.clone(),
        ),
    ] {
        let error = checked.unwrap_err();
        assert_fails(&error, ErrorKind::Unavailable, Outcome::NotApplied);
        for part in [
            &*format!("the topic {topic} is missing"),
            "KAFKA_CREATE_TOPICS",
        ] {
            assert!(error.message().contains(part), "{part}: {error}");
        }
    }
    cluster.create_topic(&options.topic, options.partitions);
    publish_with_retries(&sink, &purchase(1)).await;
    assert!(dead_letters.check().await.is_err(), "it is still missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_without_any_leader_is_not_ready() {
    let (cluster, options) = one_broker();
    let topic = options.topic.clone();
    let partitions = i32::try_from(options.partitions).unwrap();
    let ready = KafkaLog::open(options.clone()).await.unwrap().sink();
    soon("check", ready.check()).await.unwrap();
    for partition in 0..partitions {
        cluster.take_leader(&topic, partition);
    }
    // Recent metadata counts for a while.
    soon("notice it", async { while ready.check().await.is_ok() {} }).await;
    let sink = KafkaLog::open(options).await.unwrap().sink();
    let error = soon("check", sink.check()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    for partition in 0..partitions {
        cluster.give_leader(&topic, partition, 1);
    }
    publish_with_retries(&sink, &purchase(1)).await;
    soon("check", async { while sink.check().await.is_err() {} }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_reports_a_revoked_permission() {
    let (cluster, options) = one_broker();
    let log = KafkaLog::open(options.clone()).await.unwrap();
    let (sink, source, dead_letters) =
        (log.sink(), log.source("group").unwrap(), log.dead_letters());
    soon("check", sink.check()).await.unwrap();
    cluster.deny_topic(&options.topic);
    // Recent metadata counts for a while.
    let error = soon("check", async {
        while sink.check().await.is_ok() {}
        sink.check().await
    })
    .await
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert_eq!(
        soon("check", source.check()).await.unwrap_err().kind(),
        ErrorKind::Denied
    );
    soon("check", dead_letters.check())
        .await
        .expect("another topic is not affected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn source_waits_for_the_cluster_id() {
    let (cluster, options) = one_broker();
    cluster.hide_cluster_id();
    let log = KafkaLog::open(options).await.unwrap();
    let sink = log.sink();
    let source = log.source("group").unwrap();
    let purchase = purchase(1);
    publish_with_retries(&sink, &purchase).await;
    let error = soon("next", source.next()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.message().contains("reports no id"), "{error}");
    cluster.show_cluster_id();
    cluster.broker_down(1);
    cluster.broker_up(1);
    soon(
        "all of it",
        read_all(&source, &BTreeSet::from([purchase.id])),
    )
    .await;
}
