//! Faults of the brokers in every combination of three. Each asserts that the outcomes of publishes, readiness and `verify` are
//! right.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rdkafka::types::RDKafkaApiKey;
use rdkafka::types::RDKafkaRespErr::{
    RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND as WRITTEN_WITH_AN_ERROR,
    RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER as FATAL,
};
use shop_core::ingest::{Ingest, IngestOptions};
use shop_core::log::{LogRecord, RecordPosition};
use shop_core::memory::InMemoryStore;
use shop_core::record::decode;
use shop_core::verify::{Verify, VerifyOptions, VerifyReport};
use shop_core::{Outcome, PurchaseId, Timestamp};

use crate::prelude::*;

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
    /// Every combination of any three of the faults.
    fn combinations() -> impl Iterator<Item = Self> {
        let is = |number: u8, bit: u8| number & bit != 0;
        (0..8).map(move |number| {
            let (appended, fatal, leaderless) = (is(number, 1), is(number, 2), is(number, 4));
            Self {
                appended,
                fatal,
                leaderless,
                truncated: appended ^ fatal ^ leaderless,
            }
        })
    }

    fn inject(self, cluster: &InProcessCluster, topic: &str) {
        let mut errors = Vec::new();
        if self.appended {
            errors.extend([WRITTEN_WITH_AN_ERROR; 2]);
        }
        if self.fatal {
            errors.push(FATAL);
        }
        cluster.fail_next(RDKafkaApiKey::Produce, errors);
        if self.leaderless {
            cluster.set_leader(topic, 0, None);
        }
    }
}

/// The ids of all purchases in the log.
async fn in_log(fixture: &KafkaFixture) -> BTreeSet<PurchaseId> {
    let letters = scanned(fixture.log()).await;
    let ids = letters
        .iter()
        .map(|letter| decode(&letter.record, &letter.partition).unwrap().id);
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
    let before: Vec<_> = (0..14).map(purchase).collect();
    let published = join_all(before.iter().map(|purchase| sink.publish(purchase)));
    for receipt in soon("publish", published).await {
        receipt.unwrap();
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
        cluster.set_leader(fixture.topic(), 0, Some(1));
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
async fn outcomes_readiness_and_verify_are_right_under_combined_faults() {
    join_all(Faults::combinations().map(|faults| Box::pin(survive(faults)))).await;
}
