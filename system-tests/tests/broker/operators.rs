//! Administrative access: verification, and dead letters.

use std::sync::Arc;
use std::time::Duration;

use shop_core::conformance::LogFixture as _;
use shop_core::ingest::{Ingest, IngestOptions};
use shop_core::log::{
    DeadLetterFilter, DeadLetters as _, LogAdmin, LogAdminExt as _, RecordPosition, Resolution,
};
use shop_core::memory::InMemoryStore;
use shop_core::verify::{Verify, VerifyOptions, VerifyReport};
use shop_kafka::KafkaLog;

use crate::fixture::KafkaFixture;
use crate::servers;
use crate::support::{OF, dead_letter_states, record, scanned, soon};

const ADA: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

async fn verify(log: &KafkaLog, store: &InMemoryStore) -> VerifyReport {
    let mut options = VerifyOptions::default();
    options.quiet_period = Duration::ZERO;
    let verify = Verify::new(Arc::new(store.clone()), options);
    soon("verify", verify.run(log, |_| ())).await.unwrap()
}

/// Runs ingest until no record is missing.
async fn ingest_all(fixture: &KafkaFixture, store: &InMemoryStore) {
    let source = fixture.source("group").await;
    let dead = fixture.dead_letters().await;
    let ingest = Ingest::new(
        source,
        Arc::new(store.clone()),
        dead,
        IngestOptions::default(),
    );
    let until = Box::pin(async { while verify(fixture.log(), store).await.missing.count > 0 {} });
    soon("ingest", Box::pin(ingest.run(until))).await.unwrap();
}

async fn verify_compares_log_and_store(fixture: &KafkaFixture) {
    let log = fixture.log();
    let store = InMemoryStore::new();
    for value in [ADA, ADA, "poison", ADA] {
        log.append(record(Some("u1"), value)).await.unwrap();
    }
    assert_eq!(verify(log, &store).await.missing.count, 4);
    ingest_all(fixture, &store).await;
    let verified = verify(log, &store).await;
    assert_eq!(verified.to_string(), "missing 0, twice 0, dead-lettered 1");
    assert!(
        verified.is_clean() && store.all().len() == 3,
        "{verified:?}"
    );
    // A replay that fails again is dead-lettered again; a stored record is not duplicated.
    let mut letters = dead_letter_states(log).await.0;
    let stored = scanned(log).await.swap_remove(0);
    letters.push(stored);
    assert_eq!(
        log.resolve(&letters, OF, Resolution::Replayed)
            .await
            .unwrap(),
        2
    );
    ingest_all(fixture, &store).await;
    let verified = verify(log, &store).await;
    assert!(
        verified.is_clean() && store.all().len() == 3,
        "{verified:?}"
    );
    assert_eq!(
        (verified.dead_lettered, verified.resolved),
        (1, 2),
        "{verified:?}"
    );
}

/// An operator may have given the topic of dead letters a retention.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_broker_deleted_dead_letters_are_not_listed() {
    let Some(fixture) = servers::on_broker().await else {
        return;
    };
    let log = fixture.log();
    for value in ["poison 1", "poison 2", "poison 3"] {
        log.append(record(Some("u1"), value)).await.unwrap();
    }
    let letters = scanned(log).await;
    log.dead_letters().put(&letters).await.unwrap();
    let page = async || {
        LogAdmin::dead_letters(log, &DeadLetterFilter::default(), 10)
            .await
            .unwrap()
    };
    assert_eq!(page().await, letters);
    let dead_letter_topic = format!("{}.dlq", letters[0].partition.topic);
    fixture
        .delete_before(&RecordPosition::new(dead_letter_topic, 0, 1))
        .await;
    assert_eq!(page().await, letters[1..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_broker_verify_compares_log_and_store() {
    let Some(fixture) = servers::on_broker().await else {
        return;
    };
    verify_compares_log_and_store(&fixture).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_dead_letter_that_is_too_large_the_head_is_kept() {
    let Some(fixture) = servers::on_broker().await else {
        return;
    };
    let log = fixture.log();
    log.append(record(Some("u1"), "poison")).await.unwrap();
    let mut letters = [scanned(log).await.remove(0), scanned(log).await.remove(0)];
    letters[1].record.offset += 1;
    letters[1].record.value = Some(vec![0; 20 << 20].into());
    log.dead_letters().put(&letters).await.unwrap();
    let kept = soon("list", log.pending_dead_letters()).await.unwrap();
    assert_eq!((&kept[0], kept.len()), (&letters[0], 2));
    assert_eq!(
        kept[1].record.value.as_ref().map(shop_core::Bytes::len),
        Some(64 << 10)
    );
    assert!(
        kept[1].reason.detail().contains("; of its 2097"),
        "{}",
        kept[1].reason.detail()
    );
    assert!(
        log.resolve(&kept[..1], OF, Resolution::Replayed)
            .await
            .is_ok()
            && log
                .resolve(&kept[1..], OF, Resolution::Replayed)
                .await
                .is_err()
    );
}
