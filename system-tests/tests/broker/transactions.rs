//! Offsets without a record: markers and aborted records are no gap, an open transaction is reported.

use std::collections::BTreeMap;
use std::sync::Arc;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use shop_core::ingest::{Ingest, IngestCounters, IngestOptions};
use shop_core::log::Lag;
use shop_core::memory::InMemoryStore;
use shop_core::verify::{Verify, VerifyOptions, VerifyReport};

use crate::prelude::*;

const DEADLINE: Duration = Duration::from_secs(10);

/// A purchase of a producer that writes in transactions.
const PURCHASE: &str = r#"{"userid": "u1", "username": "ada", "price": 1.5}"#;

/// A producer of records in transactions.
struct Transactions {
    producer: BaseProducer,
    topic: String,
}

impl Transactions {
    fn new(fixture: &KafkaFixture) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", fixture.addresses())
            .set("transactional.id", fixture.topic());
        let producer: BaseProducer = config.create().unwrap();
        producer.init_transactions(DEADLINE).unwrap();
        Self {
            producer,
            topic: fixture.topic().to_owned(),
        }
    }

    /// Writes a record in a transaction that stays open.
    fn begin(&self) {
        self.producer.begin_transaction().unwrap();
        let record = BaseRecord::<str, str>::to(&self.topic).partition(0);
        let sent = self.producer.send(record.payload(PURCHASE));
        sent.map_err(|(error, _)| error).unwrap();
        self.producer.flush(DEADLINE).unwrap();
    }

    fn commit(&self) {
        self.producer.commit_transaction(DEADLINE).unwrap();
    }

    fn abort(&self) {
        self.producer.abort_transaction(DEADLINE).unwrap();
    }
}

/// Reads the offsets of the next records, or those of a gap, behind a committed `position`. Leaves the group.
async fn read_from(fixture: &KafkaFixture, position: u64, count: usize) -> Vec<u64> {
    let source = fixture.source("group").await;
    let mut offsets = Vec::new();
    loop {
        let partition = match soon("next", source.next()).await.unwrap() {
            SourceEvent::Batch(batch) => {
                offsets.extend(batch.records.iter().map(|record| record.offset));
                batch.partition
            }
            SourceEvent::Gap(gap) => {
                offsets.extend([gap.from, gap.to]);
                gap.partition
            }
            other => panic!("{other:?}"),
        };
        if offsets.len() >= count {
            let position = [CommitOffset::new(partition, position)];
            soon("commit", source.commit(&position)).await.unwrap();
            soon("close", source.close(DEADLINE)).await.unwrap();
            return offsets;
        }
    }
}

/// Waits until `source` reports a lag that `is_expected`.
async fn lag_becomes(source: &dyn LogSource, is_expected: impl Fn(&Lag) -> bool + Sync) {
    let reported = async {
        while !is_expected(&source.lag().await.unwrap()) {
            tokio::task::yield_now().await;
        }
    };
    soon("report the lag", reported).await;
}

async fn verify(fixture: &KafkaFixture) -> VerifyReport {
    let mut options = VerifyOptions::default();
    options.quiet_period = Duration::ZERO;
    let verify = Verify::new(Arc::new(InMemoryStore::new()), options);
    let report = verify.run(fixture.log(), |_| ());
    soon("verify", report).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_leave_no_gap() {
    let Some(fixture) = on_broker_with(|options| options.partitions = 1).await else {
        return;
    };
    assert!(fixture.log().exists().await.unwrap());
    let transactions = Transactions::new(&fixture);
    tokio::task::block_in_place(|| {
        for number in 0..5 {
            transactions.begin();
            match number {
                3 => transactions.abort(),
                _ => transactions.commit(),
            }
        }
    });
    // Each transaction ends with a marker. The position is that of a marker, then before a marker and an aborted record.
    assert_eq!(read_from(&fixture, 1, 4).await, [0, 2, 4, 8]);
    assert_eq!(read_from(&fixture, 5, 3).await, [2, 4, 8]);
    assert_eq!(read_from(&fixture, 3, 1).await, [8]);
    assert_eq!(verify(&fixture).await.compacted, 0);
    // Deleted records are a gap.
    let deleted = RecordPosition::new(fixture.topic().to_owned(), 0, 5);
    fixture.delete_before(&deleted).await;
    assert_eq!(read_from(&fixture, 9, 3).await, [3, 5, 8]);

    // Only what is before an open transaction is stable.
    tokio::task::block_in_place(|| transactions.begin());
    let source = fixture.source("group").await;
    lag_becomes(&*source, |lag| lag.open_transactions.contains_key(&0)).await;
    let everything = BTreeMap::new();
    let tail = soon("tail", fixture.log().scan(&everything, ScanEnd::Never))
        .await
        .unwrap();
    assert_eq!((tail.end[&0], tail.unstable), (10, [(0, 1)].into()));
    let report = verify(&fixture).await;
    assert_eq!((report.unstable, report.is_clean()), (1, false));

    soon("close", source.close(DEADLINE)).await.unwrap();

    // A marker is no lag.
    tokio::task::block_in_place(|| {
        transactions.abort();
        transactions.begin();
        transactions.commit();
    });
    assert_eq!(verify(&fixture).await.unstable, 0);
    assert_eq!(read_from(&fixture, 13, 1).await, [12]);
    let source = fixture.source("group").await;
    lag_becomes(&*source, |lag| {
        lag.records.get(&0) == Some(&0) && lag.open_transactions.is_empty()
    })
    .await;
}

/// Ingests what `group` has not read into a store in memory, until the position of the group in
/// partition 0 is `expected`. Returns what was ingested.
async fn ingest_up_to(fixture: &KafkaFixture, group: &str, expected: u64) -> IngestCounters {
    let source = fixture.source(group).await;
    let store = Arc::new(InMemoryStore::new());
    let log = Arc::new(fixture.log().clone());
    let ingest = Ingest::new(source, store, log, IngestOptions::default());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(ingest.run(async move { drop(stopped.await) }));

    // What `management status` and tools for groups compare with the end.
    let group = fixture.group(group);
    let is_committed = async || {
        let positions = fixture.log().positions(&group).await;
        positions.is_ok_and(|positions| positions.get(&0) == Some(&expected))
    };
    let committed = async {
        while !is_committed().await {
            tokio::task::yield_now().await;
        }
    };
    soon("commit the end", committed).await;
    drop(stop);
    soon("stop", running).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingest_passes_what_transactions_leave_at_the_end() {
    let Some(fixture) = on_broker_with(|options| options.partitions = 1).await else {
        return;
    };
    assert!(fixture.log().exists().await.unwrap());
    let transactions = Transactions::new(&fixture);
    // A marker at offset 1, an aborted record at 2, and its marker at 3.
    tokio::task::block_in_place(|| {
        transactions.begin();
        transactions.commit();
        transactions.begin();
        transactions.abort();
    });
    let counters = ingest_up_to(&fixture, "group", 4).await;
    assert_eq!((counters.inserted, counters.lost), (1, 0));

    // Everything was read, so its deletion loses nothing. Only markers follow.
    let end = RecordPosition::new(fixture.topic().to_owned(), 0, 4);
    fixture.delete_before(&end).await;
    tokio::task::block_in_place(|| {
        transactions.begin();
        transactions.abort();
    });
    let counters = ingest_up_to(&fixture, "group", 6).await;
    assert_eq!(counters, IngestCounters::default());

    // A new group finds no record either.
    let counters = ingest_up_to(&fixture, "new group", 6).await;
    assert_eq!(counters, IngestCounters::default());
    let report = verify(&fixture).await;
    assert_eq!((report.lost, report.compacted), (0, 0));
}
