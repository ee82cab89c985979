//! What the options do.

use std::sync::Arc;

use crate::fixture::{InProcessCluster, KafkaFixture};
use bytes::Bytes;
use shop_core::Timestamp;
use shop_core::conformance::LogFixture as _;
use shop_core::log::{CommitOffset, LogRecord, LogSource as _, SourceEvent};
use shop_core::ports::{Durability, PurchaseSink as _};
use shop_kafka::{Compression, KafkaLog, KafkaStatistics, StatisticsObserver};
use tokio::sync::watch;

use crate::raw;
use crate::servers::on_broker;
use crate::support::{purchase, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_names_no_replicas_that_nothing_guarantees() {
    // Three brokers are in sync, and the cluster does not say how many of them must acknowledge.
    let fixture = KafkaFixture::in_process().await;
    let sink = fixture.log().sink();
    let receipt = soon("publish", sink.publish(&purchase(1))).await.unwrap();
    assert_eq!(receipt.durability, Durability::Broker { replicas: None });
    assert_eq!(sink.durability(), receipt.durability);
    assert!(receipt.position.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_names_as_many_replicas_as_must_acknowledge() {
    let Some(fixture) = on_broker().await else { return };
    let sink = fixture.log().sink();
    // The default of a topic, once that was asked for.
    let known = Durability::Broker { replicas: Some(1) };
    let last = async {
        loop {
            let receipt = sink.publish(&purchase(1)).await.unwrap();
            if receipt.durability == known {
                return;
            }
            assert_eq!(receipt.durability, Durability::Broker { replicas: None });
        }
    };
    soon("learn it", last).await;
    assert_eq!(sink.durability(), known);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_compression_is_applied_and_can_be_read() {
    // As they are numbered in the records' format.
    let kinds =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    for (number, compression) in kinds.into_iter().enumerate() {
        let cluster = InProcessCluster::start(1);
        let mut options = KafkaFixture::options(&cluster.addresses);
        (options.compression, options.partitions) = (compression, 1);
        cluster.create_topic(&options.topic, 1);
        let log = KafkaLog::open(options.clone()).await.unwrap();
        // librdkafka leaves as it is what does not shrink.
        let record = LogRecord::new(0, Timestamp::MIN, Some(Bytes::from(vec![b'x'; 10_000])));
        soon("append", log.append(record.clone())).await.unwrap();
        let source = log.source("group").unwrap();
        let SourceEvent::Batch(batch) = soon("next", source.next()).await.unwrap() else { panic!("a batch") };
        assert_eq!(batch.records[0].value, record.value, "{compression:?}");
        let held = soon("fetch", raw::first_batch(&cluster.addresses, &options.topic)).await;
        assert_eq!(raw::codec(&held), number, "{compression:?}");
    }
}

#[derive(Debug)]
struct Latest(watch::Sender<(Option<KafkaStatistics>, Option<KafkaStatistics>)>);

impl StatisticsObserver for Latest {
    fn observe(&self, statistics: &KafkaStatistics) {
        self.0.send_modify(|(producer, consumer)| match statistics {
            KafkaStatistics::Producer { .. } => *producer = Some(statistics.clone()),
            _ => *consumer = Some(statistics.clone()),
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statistics_are_reported() {
    let (sender, mut reported) = watch::channel((None, None));
    let latest: Arc<dyn StatisticsObserver> = Arc::new(Latest(sender));
    let fixture = KafkaFixture::in_process_with(|options| {
        options.statistics = Some(latest);
        options.statistics_interval = std::time::Duration::from_millis(50);
    })
    .await;
    fixture.log().sink().publish(&purchase(1)).await.unwrap();
    let source = fixture.source("group").await;
    let SourceEvent::Batch(batch) = soon("next", source.next()).await.unwrap() else { panic!("a batch") };
    // A position that was never committed is behind nothing.
    let index = batch.partition.index;
    source.commit(&[CommitOffset::new(batch.partition, 1)]).await.unwrap();
    let lags = reported.wait_for(|(producer, consumer)| {
        let connected =
            matches!(producer, Some(KafkaStatistics::Producer { brokers_up: 1.., waiting: 0, .. }));
        let lag = match consumer {
            Some(KafkaStatistics::Consumer { group, lag, .. }) if group.ends_with("-group") => {
                lag.get(&index).copied()
            }
            _ => None,
        };
        connected && lag == Some(0)
    });
    soon("statistics", lags).await.unwrap();
}
