//! Effects of the options.

use crate::fixture::{InProcessCluster, KafkaFixture};
use bytes::Bytes;
use shop_core::conformance::LogFixture as _;
use shop_core::log::{CommitOffset, LogRecord};
use shop_core::ports::{Durability, PurchaseSink as _};
use shop_core::{ErrorKind, Timestamp};
use shop_kafka::{Compression, KafkaLog};
#[cfg(not(feature = "tls"))]
use shop_kafka::{KafkaLogOptions, SaslMechanism};

use crate::raw;
use crate::support::{next_batch, purchase, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_has_no_replicas_without_a_guarantee() {
    // Three brokers are in sync, and the cluster does not say how many of them must acknowledge.
    let fixture = KafkaFixture::in_process().await;
    let sink = fixture.log().sink();
    let receipt = soon("publish", sink.publish(&purchase(1))).await.unwrap();
    assert_eq!(receipt.durability, Durability::Broker { replicas: None });
    assert_eq!(sink.durability(), receipt.durability);
    assert!(receipt.position.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_compression_is_applied_and_can_be_read() {
    // As they are numbered in the records' format.
    let kinds = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    for (number, compression) in kinds.into_iter().enumerate() {
        let cluster = InProcessCluster::start(1);
        let mut options = KafkaFixture::options(&cluster.addresses);
        options.compression = compression;
        options.partitions = 1;
        cluster.create_topic(&options.topic, 1);
        let log = KafkaLog::open(options.clone()).await.unwrap();
        // librdkafka does not compress a batch that would not shrink.
        let record = LogRecord::new(0, Timestamp::MIN, Some(Bytes::from(vec![b'x'; 10_000])));
        soon("append", log.append(record.clone())).await.unwrap();
        let source = log.source("group").unwrap();
        let batch = next_batch(&source).await;
        assert_eq!(batch.records[0].value, record.value, "{compression:?}");
        let held = soon(
            "fetch",
            raw::first_batch(&cluster.addresses, &options.topic),
        )
        .await;
        assert_eq!(raw::codec(&held), number, "{compression:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lag_is_read_from_the_statistics() {
    let fixture = KafkaFixture::in_process().await;
    fixture.log().sink().publish(&purchase(1)).await.unwrap();
    let source = fixture.source("group").await;
    let batch = next_batch(&*source).await;
    // A group without a commit has no lag.
    let index = batch.partition.index;
    source
        .commit(&[CommitOffset::new(batch.partition, 1)])
        .await
        .unwrap();
    let is_current = async || source.lag().await.unwrap().records.get(&index) == Some(&0);
    soon("lag", async { while !is_current().await {} }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn properties_reach_the_clients_of_the_log() {
    let fixture = KafkaFixture::in_process().await;
    let mut options = KafkaFixture::options(fixture.addresses());
    fixture.topic().clone_into(&mut options.topic);
    let open = async |name: &str, value: &str| {
        KafkaLog::open(options.clone().with_property(name, value)).await
    };
    for (name, said) in [
        ("client.rock", "No such configuration property"),
        ("acks", "could be lost"),
    ] {
        let error = open(name, "1").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(
            error.message().contains(said) && error.message().contains(name),
            "{error}"
        );
    }
    let record = |size| LogRecord::new(0, Timestamp::MIN, Some(Bytes::from(vec![b'x'; size])));
    let small = open("message.max.bytes", "1000").await.unwrap();
    assert_eq!(
        soon("append", small.append(record(2_000)))
            .await
            .unwrap_err()
            .kind(),
        ErrorKind::TooLarge
    );
    soon("append", small.append(record(10))).await.unwrap();
    let source = open("fetch.error.backoff.ms", "100")
        .await
        .unwrap()
        .source("group")
        .unwrap();
    let batch = next_batch(&source).await;
    assert_eq!(batch.records.len(), 1);
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn open_rejects_options_that_require_openssl() {
    let scram = |options: &mut KafkaLogOptions| {
        options.username = Some("other-user".into());
        options.password = Some("secret".to_owned().into());
        options.mechanism = SaslMechanism::ScramSha512;
    };
    let changes: [fn(&mut KafkaLogOptions); 2] = [scram, |options| options.tls = true];
    for change in changes {
        let mut options = KafkaLogOptions::new("localhost:9092");
        change(&mut options);
        let error = KafkaLog::open(options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.message().contains("feature tls"), "{error}");
    }
}
