//! Faults of the brokers in all combinations. Each asserts that the outcomes of publishes, readiness and `verify` are
//! right.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use futures_util::future::join_all;
use shop_core::conformance::LogFixture as _;
use shop_core::ingest::{Ingest, IngestOptions};
use shop_core::log::{Batch, LogAdmin as _, LogRecord, RecordPosition};
use shop_core::memory::InMemoryStore;
use shop_core::ports::PurchaseSink as _;
use shop_core::record::decode;
use shop_core::verify::{Verify, VerifyOptions, VerifyReport};
use shop_core::{Outcome, PurchaseId, Timestamp};

use crate::fixture::{InProcessCluster, KafkaFixture};
use crate::support::{purchase, soon};

/// Concurrent faults.
#[derive(Debug, Clone, Copy)]
struct Faults {
    /// Two writes are stored, with errors as their responses.
    appended: bool,
    /// A write gets an error that ends the producer.
    fatal: bool,
    /// One of five partitions has no leader.
    leaderless: bool,
    /// Records are deleted before they are read.
    truncated: bool,
}

impl Faults {
    fn all() -> impl Iterator<Item = Self> {
        let is = |number: u8, bit: u8| number & bit != 0;
        (0..16).map(move |number| Self {
            appended: is(number, 1),
            fatal: is(number, 2),
            leaderless: is(number, 4),
            truncated: is(number, 8),
        })
    }

    fn inject(self, cluster: &InProcessCluster, topic: &str) {
        match (self.appended, self.fatal) {
            (true, true) => cluster.write_and_fail_producers(2),
            (true, false) => cluster.write_and_return_errors(2),
            (false, true) => cluster.fail_producers(1),
            (false, false) => {}
        }
        if self.leaderless {
            cluster.take_leader(topic, 0);
        }
    }
}

/// The ids of all purchases in the log.
async fn in_log(fixture: &KafkaFixture) -> BTreeSet<PurchaseId> {
    let batches: Vec<Batch> = soon("scan", fixture.log().scan().await.unwrap().try_collect())
        .await
        .unwrap();
    let ids = batches.iter().flat_map(
        |Batch {
             records, partition, ..
         }| {
            records
                .iter()
                .map(move |record| decode(record, partition).unwrap().id)
        },
    );
    ids.collect()
}

async fn verify(fixture: &KafkaFixture, store: &InMemoryStore) -> VerifyReport {
    let mut options = VerifyOptions::default();
    options.quiet_period = Duration::ZERO;
    let verify = Verify::new(Arc::new(store.clone()), options);
    soon("verify", verify.run(fixture.log(), |_| ()))
        .await
        .unwrap()
}

/// Runs ingest until all remaining records are stored, and deleted ones are reported.
async fn ingest_all(fixture: &KafkaFixture, store: &InMemoryStore, is_truncated: bool) {
    let source = fixture.source("group").await;
    let dead = fixture.dead_letters().await;
    let ingest = Ingest::new(
        source,
        Arc::new(store.clone()),
        dead,
        IngestOptions::default(),
    );
    let monitor = ingest.monitor();
    let until = async move {
        while verify(fixture, store).await.missing.count > 0
            || is_truncated && monitor.status().counters.lost == 0
        {}
    };
    soon("ingest", Box::pin(ingest.run(Box::pin(until))))
        .await
        .unwrap();
}

/// Fills the partition of one user beyond the capacity of a partition of this cluster.
async fn overfill(fixture: &KafkaFixture) {
    let value = format!(
        r#"{{"username":"ada","userid":"u1","price":1,"more":"{}"}}"#,
        "x".repeat(900_000)
    );
    for _ in 0..8 {
        let record = LogRecord::new(0, Timestamp::MIN, Some(value.clone().into()));
        fixture
            .log()
            .append(record.with_key(Some("user-1".into())))
            .await
            .unwrap();
    }
}

async fn survive(faults: Faults) {
    let fixture = KafkaFixture::in_process_with(|options| {
        options.publish_timeout = Duration::from_secs(4);
        options.batch_bytes = 4 << 20;
    })
    .await;
    let sink = fixture.log().sink();
    let store = InMemoryStore::new();
    for number in 0..14 {
        soon("publish", sink.publish(&purchase(number)))
            .await
            .unwrap();
    }
    ingest_all(&fixture, &store, false).await;

    let cluster = fixture.cluster().unwrap();
    faults.inject(cluster, fixture.topic());
    let purchases: Vec<_> = (0..21).map(purchase).collect();
    let published = join_all(purchases.iter().map(|purchase| sink.publish(purchase)));
    let published = soon("publish", published).await;
    // Neither one partition of five nor a replaced producer makes the log unavailable.
    let ready = async { while sink.check().await.is_err() {} };
    soon("be ready", ready).await;
    if faults.leaderless {
        cluster.give_leader(fixture.topic(), 0, 1);
    }
    let held = in_log(&fixture).await;
    let mut acknowledged = Vec::<(PurchaseId, RecordPosition)>::new();
    let mut failed = 0;
    for (purchase, result) in purchases.iter().zip(published) {
        match result {
            Ok(receipt) => {
                assert!(
                    held.contains(&purchase.id),
                    "{faults:?}: an acknowledged purchase is missing"
                );
                acknowledged.push((purchase.id, receipt.position.unwrap()));
            }
            Err(error) => {
                failed += 1;
                let is_right =
                    error.outcome() != Outcome::NotApplied || !held.contains(&purchase.id);
                assert!(is_right, "{faults:?}: {error} is in the log");
            }
        }
    }
    assert!(
        failed == 0 || faults.fatal || faults.leaderless,
        "{faults:?}: {failed} failed"
    );

    if faults.truncated {
        overfill(&fixture).await;
    }
    ingest_all(&fixture, &store, faults.truncated).await;
    let report = verify(&fixture, &store).await;
    assert_eq!(
        (
            report.missing.count,
            report.duplicates.count,
            report.mismatched.count
        ),
        (0, 0, 0),
        "{faults:?}"
    );
    assert_eq!(
        (report.is_clean(), report.gaps.count > 0),
        (!faults.truncated, faults.truncated),
        "{faults:?}"
    );
    let stored: BTreeSet<_> = store
        .all()
        .into_iter()
        .map(|purchase| purchase.id)
        .collect();
    for (id, position) in acknowledged {
        let is_lost = report.gaps.samples.iter().any(|gap| {
            gap.partition.index == position.partition
                && (gap.from..gap.to).contains(&position.offset)
        });
        assert!(
            stored.contains(&id) || is_lost,
            "{faults:?}: {position} is neither stored nor in a gap"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_readiness_and_verify_are_right_under_all_faults() {
    let all: Vec<_> = Faults::all().collect();
    for faults in all.chunks(4) {
        join_all(faults.iter().map(|faults| Box::pin(survive(*faults)))).await;
    }
}
