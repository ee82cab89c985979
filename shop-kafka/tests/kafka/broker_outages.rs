//! Kafka is unavailable, recovers, or rejects records.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use rdkafka::types::RDKafkaApiKey;
use rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION as NOT_LEADER;
use shop_core::conformance::assert_fails;
use shop_core::log::{LogExt as _, Resolution};
use shop_core::{Error, Outcome};

use crate::prelude::*;

fn assert_unavailable(errors: impl IntoIterator<Item = Error>) {
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.is_retryable(), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_opened_without_kafka_and_recovers_from_every_outage() {
    let (cluster, options) = one_broker();
    cluster.broker_down();
    let log = KafkaLog::open(options)
        .await
        .expect("opening does not need kafka");
    let sink = log.sink();
    let source = log.source("group").unwrap();
    let early = purchase(1);
    let error = soon("publish", sink.publish(&early)).await.unwrap_err();
    assert_fails(&error, ErrorKind::Unavailable, Outcome::NotApplied);
    let failures = async {
        tokio::join!(
            sink.check(),
            log.check(),
            source.next(),
            log.put_dead_letters(&[]),
        )
    };
    let (of_sink, of_log, next, put) = soon("fail", failures).await;
    assert_unavailable([of_sink, of_log, next.map(drop), put].map(Result::unwrap_err));

    cluster.broker_up();
    publish_with_retries(&sink, &early).await;
    read_all(&source, &BTreeSet::from([early.id])).await;
    for check in [sink.check(), log.check()] {
        soon("check", check).await.unwrap();
    }

    let letters = scanned(&log).await;
    cluster.broker_down();
    let later = purchase(2);
    let error = soon("publish", sink.publish(&later)).await.unwrap_err();
    assert_fails(&error, ErrorKind::DeadlineExceeded, Outcome::Unknown);
    let failures = async {
        tokio::join!(
            sink.check(),
            source.next(),
            log.scan_all(),
            log.resolve(&letters, OF, Resolution::Replayed),
            log.resolve(&letters, OF, Resolution::Dropped),
        )
    };
    let (of_sink, next, scan, replay, discard) = soon("fail", failures).await;
    assert_unavailable([of_sink, next.map(drop)].map(Result::unwrap_err));
    for failed in [scan.map(drop), replay.map(drop), discard.map(drop)] {
        let kind = failed.unwrap_err().kind();
        assert!(
            [ErrorKind::Unavailable, ErrorKind::DeadlineExceeded].contains(&kind),
            "{kind:?}"
        );
    }

    cluster.broker_up();
    publish_with_retries(&sink, &later).await;
    read_all(&source, &BTreeSet::from([later.id])).await;
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
    cluster.broker_down();
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
async fn a_close_before_the_first_response_waits_for_a_purchase_until_its_deadline() {
    let (cluster, mut options) = one_broker();
    options.publish_timeout = Duration::from_secs(25);
    let early = purchase(1);
    // The publish is polled first, most likely before the first response of kafka.
    let publish_and_close = async |deadline| {
        let sink = KafkaLog::open(options.clone()).await.unwrap().sink();
        let both = async { tokio::join!(biased; sink.publish(&early), sink.close(deadline)) };
        soon("both", both).await
    };

    let (receipt, closed) = publish_and_close(Duration::from_secs(20)).await;
    assert_eq!(receipt.unwrap().id, early.id);
    closed.unwrap();

    cluster.broker_down();
    let (published, closed) = publish_and_close(Duration::from_millis(1)).await;
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
    cluster.change(|mock| mock.broker_round_trip_time(1, Duration::from_millis(300)));
    cluster.fail_next(RDKafkaApiKey::Produce, vec![NOT_LEADER]);
    // Of one user, so in one partition.
    let purchases = [0, 7, 14].map(purchase);
    let publish = async |(index, purchase)| {
        // Each in a separate batch, sent before the first response.
        tokio::time::sleep(Duration::from_millis(60) * index).await;
        log.sink().publish(purchase).await
    };
    let published = join_all((0..).zip(&purchases).map(publish));
    let published = soon("publish", published).await;
    cluster.change(|mock| mock.broker_round_trip_time(1, Duration::ZERO));
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
    cluster.fail_next(RDKafkaApiKey::ListOffsets, vec![NOT_LEADER; 3]);
    assert_eq!(scanned(&log).await.len(), 1);
    cluster.set_leader(&topic, 0, None);
    let elect = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.set_leader(&topic, 0, Some(1));
    };
    let (letters, ()) = tokio::join!(scanned(&log), elect);
    assert_eq!(letters.len(), 1);
}

/// Leaders are taken away while no source fetches: this cluster crashes at a fetch from a partition without one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_without_a_leader_affect_only_their_users_unless_there_is_no_other() {
    let (cluster, options) = one_broker();
    let topic = options.topic.clone();
    // Opened without faults, to find the partition of each user.
    let early = KafkaLog::open(options.clone()).await.unwrap().sink();
    let purchases: Vec<_> = (0..7).map(purchase).collect();
    let mut partitions = Vec::new();
    for purchase in &purchases {
        let receipt = early.publish(purchase).await.unwrap();
        partitions.push(receipt.position.unwrap().partition);
    }
    for partition in 0..options.partitions {
        cluster.set_leader(&topic, partition, None);
    }
    // Recent metadata counts for a while.
    soon("notice it", async { while early.check().await.is_ok() {} }).await;
    let log = KafkaLog::open(options.clone()).await.unwrap();
    let sink = log.sink();
    assert_unavailable(soon("check", sink.check()).await.err());

    let lost = partitions[0];
    for partition in 0..options.partitions {
        let leader = (partition != lost).then_some(1);
        cluster.set_leader(&topic, partition, leader);
    }
    soon("check", async { while sink.check().await.is_err() {} }).await;
    let source = log.source("group").unwrap();
    let published = join_all(purchases.iter().map(|purchase| sink.publish(purchase)));
    let mut taken = BTreeSet::new();
    for (partition, published) in partitions.iter().zip(soon("publish", published).await) {
        let is_lost = *partition == lost;
        assert_eq!(published.is_err(), is_lost, "{partition}: {published:?}");
        taken.extend(published.ok().map(|receipt| receipt.id));
    }
    assert!(!taken.is_empty(), "some users have other partitions");
    read_all(&source, &taken).await;

    cluster.set_leader(&topic, lost, Some(1));
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
    for (checked, topic) in [
        (soon("check", sink.check()).await, options.topic.clone()),
        (
            soon("put", log.put_dead_letters(&[])).await,
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
    let put = soon("put", log.put_dead_letters(&[])).await;
    assert!(put.is_err(), "it is still missing");
}
