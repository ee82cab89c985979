//! Offsets without a record: markers and aborted records are no gap, deleted records are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use shop_core::conformance::LogFixture as _;
use shop_core::log::{
    CommitOffset, Gap, Lag, LogAdmin as _, LogSource, Partition, RecordPosition, SourceEvent,
};
use shop_core::memory::InMemoryStore;
use shop_core::ports::PurchaseSink as _;
use shop_core::verify::{Verify, VerifyOptions, VerifyReport};
use tokio::sync::Notify;

use crate::fixture::KafkaFixture;
use crate::servers;
use crate::support::{purchase, soon};

const DEADLINE: Duration = Duration::from_secs(10);

/// The next event of `source`: the offsets of records, or a gap.
async fn next(source: &dyn LogSource) -> (Partition, Result<Vec<u64>, Gap>) {
    loop {
        match soon("next", source.next()).await.unwrap() {
            SourceEvent::Batch(batch) => {
                let offsets = batch.records.iter().map(|record| record.offset).collect();
                return (batch.partition, Ok(offsets));
            }
            SourceEvent::Gap(gap) => return (gap.partition.clone(), Err(gap)),
            SourceEvent::Revoked(revocation) => revocation.done(),
            other => panic!("{other:?}"),
        }
    }
}

/// The offsets of `count` records, and their partition.
async fn read(source: &dyn LogSource, count: usize) -> (Partition, Vec<u64>) {
    let mut found = Vec::new();
    loop {
        let (partition, event) = next(source).await;
        found.extend(event.unwrap());
        if found.len() >= count {
            return (partition, found);
        }
    }
}

/// Commits `offset`, and leaves the group.
async fn commit_and_close(source: &dyn LogSource, partition: Partition, offset: u64) {
    soon(
        "commit",
        source.commit(&[CommitOffset::new(partition, offset)]),
    )
    .await
    .unwrap();
    soon("close", source.close(DEADLINE)).await.unwrap();
}

/// Writes a record in each of `count` transactions, of which the fourth is aborted.
fn write_transactions(addresses: &str, topic: &str, count: usize) {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", addresses)
        .set("transactional.id", topic);
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(DEADLINE).unwrap();
    for number in 0..count {
        producer.begin_transaction().unwrap();
        let record = BaseRecord::<str, str>::to(topic).partition(0).payload("{}");
        producer.send(record).map_err(|(error, _)| error).unwrap();
        producer.flush(DEADLINE).unwrap();
        match number {
            3 => producer.abort_transaction(DEADLINE).unwrap(),
            _ => producer.commit_transaction(DEADLINE).unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_leave_no_gap() {
    let Some(fixture) = servers::on_broker().await else {
        return;
    };
    assert!(fixture.log().exists().await.unwrap());
    let addresses = fixture.addresses().to_owned();
    let topic = fixture.topic().to_owned();
    tokio::task::spawn_blocking(move || write_transactions(&addresses, &topic, 5))
        .await
        .unwrap();
    // Each transaction ends with a marker.
    let source = fixture.source("group").await;
    let (partition, offsets) = read(&*source, 4).await;
    assert_eq!(offsets, [0, 2, 4, 8]);
    commit_and_close(&*source, partition.clone(), 1).await;
    let source = fixture.source("group").await;
    let (partition, offsets) = read(&*source, 3).await;
    assert_eq!(offsets, [2, 4, 8], "the position was that of a marker");
    commit_and_close(&*source, partition.clone(), 5).await;
    let source = fixture.source("group").await;
    let (partition, offsets) = read(&*source, 1).await;
    assert_eq!(
        offsets,
        [8],
        "the position was before a marker and an aborted record"
    );
    commit_and_close(&*source, partition.clone(), 3).await;
    fixture
        .delete_before(&RecordPosition::new(fixture.topic().to_owned(), 0, 5))
        .await;
    let source = fixture.source("group").await;
    let (_, event) = next(&*source).await;
    let gap = event.unwrap_err();
    assert_eq!((gap.from, gap.to), (3, 5));
    assert_eq!(read(&*source, 1).await.1, [8]);
    let addresses = fixture.addresses().to_owned();
    let topic = fixture.topic().to_owned();
    tokio::task::spawn_blocking(move || write_transactions(&addresses, &topic, 150))
        .await
        .unwrap();
    assert_eq!(verify(&fixture).await.compacted, 0);
}

/// A producer with an open transaction, in which it has written a record.
fn open_transaction(addresses: &str, topic: &str) -> BaseProducer {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", addresses)
        .set("transactional.id", topic);
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(DEADLINE).unwrap();
    producer.begin_transaction().unwrap();
    let record = BaseRecord::<str, str>::to(topic).partition(0).payload("{}");
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(DEADLINE).unwrap();
    producer
}

/// Waits until `source` reports a lag that `is_expected`.
async fn lag_becomes(
    source: &dyn LogSource,
    what: &str,
    is_expected: impl Fn(&Lag) -> bool + Sync,
) {
    let reported = async {
        while !is_expected(&source.lag().await.unwrap()) {
            tokio::task::yield_now().await;
        }
    };
    soon(what, reported).await;
}

async fn verify(fixture: &KafkaFixture) -> VerifyReport {
    let mut options = VerifyOptions::default();
    options.quiet_period = Duration::ZERO;
    let verify = Verify::new(Arc::new(InMemoryStore::new()), options);
    soon("verify", verify.run(fixture.log(), |_| ()))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_transaction_is_reported_and_its_marker_is_no_lag() {
    let one_partition = |options: &mut shop_kafka::KafkaLogOptions| options.partitions = 1;
    let Some(fixture) = servers::on_broker_with(one_partition).await else {
        return;
    };
    let log = fixture.log();
    let sink = fixture.log().sink();
    soon("publish", sink.publish(&purchase(0))).await.unwrap();
    let addresses = fixture.addresses().to_owned();
    let topic = fixture.topic().to_owned();
    let opened = tokio::task::spawn_blocking(move || open_transaction(&addresses, &topic));
    let producer = opened.await.unwrap();
    soon("publish", sink.publish(&purchase(1))).await.unwrap();
    // Only the first record is stable.
    let source = fixture.source("group").await;
    let (partition, offsets) = read(&*source, 1).await;
    assert_eq!(offsets, [0]);
    soon(
        "commit",
        source.commit(&[CommitOffset::new(partition.clone(), 1)]),
    )
    .await
    .unwrap();
    lag_becomes(&*source, "report the transaction", |lag| {
        lag.total() == 2 && lag.open_transactions.contains_key(&0)
    })
    .await;
    let everything = BTreeMap::new();
    let tail = soon("tail", log.tail(&everything)).await.unwrap();
    assert_eq!((tail.end[&0], tail.unstable), (1, BTreeMap::from([(0, 2)])));
    let report = verify(&fixture).await;
    assert_eq!(
        (report.records, report.unstable, report.is_clean()),
        (1, 2, false)
    );

    // It ends during another verification, whose scan is over.
    let mut options = VerifyOptions::default();
    options.quiet_period = Duration::from_secs(3);
    let patient = Verify::new(Arc::new(InMemoryStore::new()), options);
    let scanned = Notify::new();
    let (report, ()) = tokio::join!(patient.run(log, |_| scanned.notify_one()), async {
        scanned.notified().await;
        let aborted = tokio::task::spawn_blocking(move || producer.abort_transaction(DEADLINE));
        aborted.await.unwrap().unwrap();
    });
    assert_eq!(report.unwrap().unstable, 0);
    assert_eq!(read(&*source, 1).await.1, [2]);
    soon("commit", source.commit(&[CommitOffset::new(partition, 3)]))
        .await
        .unwrap();
    // Offset 3 is the marker.
    lag_becomes(&*source, "end", |lag| {
        lag.total() == 0 && lag.open_transactions.is_empty()
    })
    .await;
    let tail = soon("tail", log.tail(&everything)).await.unwrap();
    assert_eq!((tail.end[&0], tail.unstable), (4, BTreeMap::new()));
    assert_eq!(verify(&fixture).await.unstable, 0);
    soon("close", source.close(DEADLINE)).await.unwrap();
    let source = fixture.source("group").await;
    lag_becomes(&*source, "start again", |lag| {
        lag.records.get(&0) == Some(&0)
    })
    .await;
}

const COUNT: u64 = 2_000;

/// A member that reads slowly may be overtaken by the retention at any point: each record is delivered, or is part of
/// a gap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_deleted_during_reads_are_delivered_or_a_gap() {
    let one_partition = |options: &mut shop_kafka::KafkaLogOptions| {
        options.partitions = 1;
        options.consumer_queue_bytes = 16 << 10;
    };
    let Some(fixture) = servers::on_broker_with(one_partition).await else {
        return;
    };
    let sink = fixture.log().sink();
    let purchases: Vec<_> = (0..COUNT).map(purchase).collect();
    for purchases in purchases.chunks(200) {
        for published in join_all(purchases.iter().map(|purchase| sink.publish(purchase))).await {
            published.unwrap();
        }
    }
    let source = fixture.source("group").await;
    let mut covered = 0;
    let mut lost = 0;
    while covered < COUNT {
        match next(&*source).await.1 {
            Ok(offsets) => {
                assert_eq!(offsets.first(), Some(&covered), "{lost} lost so far");
                covered += offsets.len() as u64;
            }
            Err(gap) => {
                assert_eq!(gap.from, covered);
                covered = gap.next_offset;
                lost += gap.offset_count();
            }
        }
        if covered < COUNT / 2 {
            let end = RecordPosition::new(fixture.topic().to_owned(), 0, COUNT - 100);
            fixture.delete_before(&end).await;
        }
    }
}
