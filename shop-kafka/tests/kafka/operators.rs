//! Administrative access: scans, verification, and replayed or discarded dead letters.

use std::sync::Arc;
use std::time::Duration;

use crate::fixture::{InProcessCluster, KafkaFixture};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use shop_core::conformance::LogFixture as _;
use shop_core::ingest::{Ingest, IngestOptions};
use shop_core::log::{
    DeadLetter, DeadLetterFilter, DeadLetterState, DeadLetters as _, LogAdmin, LogAdminExt as _, LogRecord,
    Reason, RecordPosition, RecordType, Resolution,
};
use shop_core::memory::InMemoryStore;
use shop_core::ports::PurchaseSink as _;
use shop_core::record::Record as _;
use shop_core::verify::{Verify, VerifyOptions, VerifyReport};
use shop_core::{ErrorKind, Purchase, Timestamp};
use shop_kafka::{KafkaLog, KafkaLogOptions};

use crate::servers;
use crate::support::{purchase, soon};

fn record(key: Option<&str>, value: &str) -> LogRecord {
    LogRecord::new(0, Timestamp::MIN, Some(value.to_owned().into()))
        .with_key(key.map(|key| key.to_owned().into()))
}

const OF: RecordType = Purchase::TYPE;
const ADA: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

/// The records of the log, each as a dead letter.
async fn scanned(log: &KafkaLog) -> Vec<DeadLetter> {
    let batches: Vec<_> = soon("scan", log.scan().await.unwrap().try_collect()).await.unwrap();
    let mut letters: Vec<DeadLetter> = Vec::new();
    for shop_core::log::Batch { partition, records, .. } in batches {
        let letter = |record| DeadLetter::new(record, partition.clone(), Reason::conflict(OF), 1);
        letters.extend(records.into_iter().map(letter));
    }
    letters.sort_by_key(DeadLetter::position);
    letters
}

async fn dead_letter_states(log: &KafkaLog) -> (Vec<DeadLetter>, Vec<Resolution>) {
    let all = async { log.scan_dead_letters().await.unwrap().try_collect::<Vec<_>>().await.unwrap() };
    let (mut pending, mut resolved) = (Vec::new(), Vec::new());
    for dead_letter_states in soon("read dead letters", all).await {
        match dead_letter_states {
            DeadLetterState::Pending(letter) => pending.push(letter),
            DeadLetterState::Resolved(letter) => resolved.push(letter.resolution),
            other => panic!("{other:?}"),
        }
    }
    pending.sort_by_key(DeadLetter::position);
    (pending, resolved)
}

async fn verify(log: &KafkaLog, store: &InMemoryStore) -> VerifyReport {
    let mut options = VerifyOptions::default();
    options.quiet_period = Duration::ZERO;
    let verify = Verify::new(Arc::new(store.clone()), options);
    soon("verify", verify.run(log, |_| ())).await.unwrap()
}

/// Runs ingest until no record is missing.
async fn ingest_all(fixture: &KafkaFixture, store: &InMemoryStore) {
    let (source, dead) = (fixture.source("group").await, fixture.dead_letters().await);
    let ingest = Ingest::new(source, Arc::new(store.clone()), dead, IngestOptions::default());
    let until = Box::pin(async { while verify(fixture.log(), store).await.missing.count > 0 {} });
    soon("ingest", Box::pin(ingest.run(until))).await.unwrap();
}

async fn scan_returns_all_records(fixture: &KafkaFixture) {
    let log = fixture.log();
    assert!(scanned(log).await.is_empty());
    let purchases: Vec<_> = (0..100).map(purchase).collect();
    for purchase in &purchases {
        log.sink().publish(purchase).await.unwrap();
    }
    let begun = log.scan().await.unwrap();
    for number in 0..20 {
        log.append(record(None, &number.to_string())).await.unwrap();
    }
    let batches: Vec<_> = soon("scan", begun.try_collect()).await.unwrap();
    let count: usize = batches.iter().map(|batch: &shop_core::log::Batch| batch.records.len()).sum();
    assert_eq!(count, 100, "later records are excluded");
    assert!(batches.iter().all(|batch| batch.records.len() <= 10));
    let scanned = scanned(log).await;
    assert_eq!(scanned.len(), 120);
    // A dropped scan ends, and does not affect other scans.
    let mut given_up = log.scan().await.unwrap();
    assert!(soon("scan", given_up.next()).await.is_some());
}

async fn dead_letters_are_resolved(fixture: &KafkaFixture) {
    let log = fixture.log();
    for value in ["poison 1", "poison 2", "poison 3", ADA] {
        log.append(record((value != ADA).then_some("u1"), value)).await.unwrap();
    }
    let letters = scanned(log).await;
    let dead = log.dead_letters();
    for _ in 0..2 {
        dead.put(&letters).await.unwrap();
    }
    assert_eq!(dead_letter_states(log).await, (letters.clone(), vec![]), "each once");

    let (ada, others): (Vec<_>, Vec<_>) =
        letters.into_iter().partition(|letter| letter.record.value.as_deref() == Some(ADA.as_bytes()));
    assert_eq!(soon("replay", log.replay(&ada, OF)).await.unwrap(), 1);
    assert_eq!(soon("discard", log.discard(&others[..1], OF)).await.unwrap(), 1);
    let (pending, resolved) = dead_letter_states(log).await;
    assert_eq!(pending, others[1..]);
    assert_eq!(resolved.len(), 2);
    assert!(resolved.contains(&Resolution::Replayed) && resolved.contains(&Resolution::Dropped));
    assert_eq!(log.pending_dead_letters().await.unwrap().len(), 2);
    // The log has it once more, with the id derived from its position.
    let ids = scanned(log).await.into_iter().filter_map(|letter| letter.id(OF));
    assert_eq!(ids.filter(|id| Some(id) == ada[0].id(OF).as_ref()).count(), 2);
    // One that is put again stays resolved.
    dead.put(&ada).await.unwrap();
    assert_eq!(dead_letter_states(log).await.0, others[1..]);
}

async fn verify_compares_log_and_store(fixture: &KafkaFixture) {
    let (log, store) = (fixture.log(), InMemoryStore::new());
    for value in [ADA, ADA, "poison", ADA] {
        log.append(record(Some("u1"), value)).await.unwrap();
    }
    assert_eq!(verify(log, &store).await.missing.count, 4);
    ingest_all(fixture, &store).await;
    let verified = verify(log, &store).await;
    assert_eq!(verified.to_string(), "missing 0, twice 0, dead-lettered 1");
    assert!(verified.is_clean() && store.all().len() == 3, "{verified:?}");
    // A replay that fails again is dead-lettered again; a stored record is not duplicated.
    let mut letters = dead_letter_states(log).await.0;
    let stored = scanned(log).await.swap_remove(0);
    letters.push(stored);
    assert_eq!(log.replay(&letters, OF).await.unwrap(), 2);
    ingest_all(fixture, &store).await;
    let verified = verify(log, &store).await;
    assert!(verified.is_clean() && store.all().len() == 3, "{verified:?}");
    assert_eq!((verified.dead_lettered, verified.resolved), (1, 2), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_process_scan_returns_all_records() {
    scan_returns_all_records(&KafkaFixture::in_process().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_process_dead_letters_are_resolved() {
    dead_letters_are_resolved(&KafkaFixture::in_process().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_process_verify_compares_log_and_store() {
    verify_compares_log_and_store(&KafkaFixture::in_process().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_broker_scan_returns_all_records() {
    let Some(fixture) = servers::on_broker().await else { return };
    scan_returns_all_records(&fixture).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_broker_dead_letters_are_resolved() {
    let Some(fixture) = servers::on_broker().await else { return };
    dead_letters_are_resolved(&fixture).await;
}

/// An operator may have given the topic of dead letters a retention.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_broker_deleted_dead_letters_are_not_listed() {
    let Some(fixture) = servers::on_broker().await else { return };
    let log = fixture.log();
    for value in ["poison 1", "poison 2", "poison 3"] {
        log.append(record(Some("u1"), value)).await.unwrap();
    }
    let letters = scanned(log).await;
    log.dead_letters().put(&letters).await.unwrap();
    let page = async || LogAdmin::dead_letters(log, &DeadLetterFilter::default(), 10).await.unwrap();
    assert_eq!(page().await, letters);
    let dead_letter_topic = format!("{}.dlq", letters[0].partition.topic);
    fixture.delete_before(&RecordPosition::new(dead_letter_topic, 0, 1)).await;
    assert_eq!(page().await, letters[1..]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_broker_verify_compares_log_and_store() {
    let Some(fixture) = servers::on_broker().await else { return };
    verify_compares_log_and_store(&fixture).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_dead_letter_that_is_too_large_the_head_is_kept() {
    let Some(fixture) = servers::on_broker().await else { return };
    let log = fixture.log();
    log.append(record(Some("u1"), "poison")).await.unwrap();
    let mut letters = [scanned(log).await.remove(0), scanned(log).await.remove(0)];
    letters[1].record.offset += 1;
    letters[1].record.value = Some(vec![0; 20 << 20].into());
    log.dead_letters().put(&letters).await.unwrap();
    let kept = soon("list", log.pending_dead_letters()).await.unwrap();
    assert_eq!((&kept[0], kept.len()), (&letters[0], 2));
    assert_eq!(kept[1].record.value.as_ref().map(shop_core::Bytes::len), Some(64 << 10));
    assert!(kept[1].reason.detail().contains("; of its 2097"), "{}", kept[1].reason.detail());
    assert!(log.replay(&kept[..1], OF).await.is_ok() && log.replay(&kept[1..], OF).await.is_err());
}

/// The dead-letter topic may have been created with several partitions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_resolved_in_every_partition() {
    let cluster = InProcessCluster::start(1);
    let options = KafkaFixture::options(&cluster.addresses);
    cluster.create_topic(&options.topic, 1);
    cluster.create_topic(&format!("{}.dlq", options.topic), 4);
    let log = KafkaLog::open(options).await.unwrap();
    let appended = stream::iter(0..40).then(|number| log.append(record(None, &format!("poison {number}"))));
    appended.try_collect::<Vec<_>>().await.unwrap();
    let letters = scanned(&log).await;
    // Without a key the copies go to any partition.
    for _ in 0..2 {
        log.dead_letters().put(&letters).await.unwrap();
    }
    log.discard(&letters[..30], OF).await.unwrap();
    let (pending, resolved) = dead_letter_states(&log).await;
    assert_eq!(pending, letters[30..]);
    assert_eq!(resolved, [Resolution::Dropped; 30]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admin_calls_fail_during_an_outage() {
    let cluster = InProcessCluster::start(1);
    let mut options: KafkaLogOptions = KafkaFixture::options(&cluster.addresses);
    cluster.create_topic(&options.topic, 1);
    cluster.create_topic(&format!("{}.dlq", options.topic), 1);
    options.publish_timeout = Duration::from_secs(3);
    let log = KafkaLog::open(options).await.unwrap();
    log.append(record(None, "poison")).await.unwrap();
    let letters = scanned(&log).await;
    cluster.broker_down(1);
    let mut errors = vec![soon("scan", log.scan()).await.err().unwrap()];
    errors.push(soon("replay", log.replay(&letters, OF)).await.unwrap_err());
    errors.push(soon("discard", log.discard(&letters, OF)).await.unwrap_err());
    for error in errors {
        let kinds = [ErrorKind::Unavailable, ErrorKind::DeadlineExceeded];
        assert!(kinds.contains(&error.kind()), "{error:?}");
    }
}
