//! Administrative access: scans, verification, and replayed or discarded dead letters.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::TryStreamExt;
use shop_core::log::{
    CommitOffset, DeadLetter, DeadLetterState, DeadLetters, LogAdmin, LogAdminExt, LogRecord,
    LogSource, Reason, ReasonKind, RecordId, RecordType, Resolution, SourceEvent,
};
use shop_core::record::Record;
use shop_core::{Purchase, Timestamp};

use super::log_test::SetClock;
use super::{EmbeddedLog, EmbeddedLogOptions};
use crate::embedded::{EmbeddedStore, EmbeddedStoreOptions};

fn record(value: &str) -> LogRecord {
    LogRecord::new(0, Timestamp::MIN, Some(value.to_owned().into())).with_key(Some("u1".into()))
}

const OF: RecordType = Purchase::TYPE;
const ADA: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

async fn open(folder: &tempfile::TempDir, options: EmbeddedLogOptions) -> EmbeddedLog {
    EmbeddedLog::open(folder.path(), options).await.unwrap()
}

/// The records of the log, each as a dead letter.
async fn scanned(log: &EmbeddedLog) -> Vec<DeadLetter> {
    let batches: Vec<_> = log.scan().await.unwrap().try_collect().await.unwrap();
    let letter = |(partition, record)| DeadLetter::new(record, partition, Reason::conflict(OF), 1);
    let records = batches.into_iter().flat_map(|batch| {
        let partition = batch.partition;
        batch
            .records
            .into_iter()
            .map(move |record| (partition.clone(), record))
    });
    records.map(letter).collect()
}

async fn pending(log: &EmbeddedLog) -> Vec<DeadLetter> {
    log.pending_dead_letters().await.unwrap()
}

async fn resolved(log: &EmbeddedLog) -> Vec<(RecordId, Resolution)> {
    let all: Vec<_> = log
        .scan_dead_letters()
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let resolved = all.into_iter().filter_map(|state| match state {
        DeadLetterState::Resolved(letter) => Some((letter.record_id, letter.resolution)),
        _ => None,
    });
    resolved.collect()
}

#[tokio::test]
async fn concurrent_replays_publish_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(&folder, EmbeddedLogOptions::default()).await;
    log.append(record(ADA)).await.unwrap();
    let letters = scanned(&log).await;
    log.dead_letters().put(&letters).await.unwrap();
    let (one, two) = tokio::join!(
        log.resolve(&letters, OF, Resolution::Replayed),
        log.resolve(&letters, OF, Resolution::Replayed)
    );
    assert_eq!(
        (one.unwrap(), two.unwrap(), scanned(&log).await.len()),
        (1, 0, 2)
    );
}

async fn of_three_bad_records(folder: &tempfile::TempDir, clock: &Arc<SetClock>) -> EmbeddedLog {
    let options = EmbeddedLogOptions {
        clock: Arc::clone(clock) as _,
        retention: Duration::from_secs(10),
        ..EmbeddedLogOptions::default()
    };
    let log = open(folder, options).await;
    for _ in 0..3 {
        log.append(record("poison")).await.unwrap();
    }
    log
}

/// Commits `next` for a group.
async fn consume(log: &EmbeddedLog, next: u64) {
    let source = log.source("group").unwrap();
    let SourceEvent::Batch(batch) = source.next().await.unwrap() else {
        panic!("a batch")
    };
    source
        .commit(&[CommitOffset::new(batch.partition, next)])
        .await
        .unwrap();
    source.close(Duration::from_secs(20)).await.unwrap();
}

const DAY: i64 = 24 * 3_600_000;

/// Stores a time seen by another process.
fn see(folder: &tempfile::TempDir, time: i64) {
    let connection = rusqlite::Connection::open(folder.path().join("shop.db")).unwrap();
    connection
        .execute("UPDATE clock SET seen = ?1", [time])
        .unwrap();
}

#[tokio::test]
async fn resolutions_are_deleted_with_their_records() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let log = of_three_bad_records(&folder, &clock).await;
    let letters = scanned(&log).await;
    log.dead_letters().put(&letters).await.unwrap();
    log.resolve(&letters[..2], OF, Resolution::Dropped)
        .await
        .unwrap();
    consume(&log, 4).await;
    clock.0.store(60_000, Ordering::Relaxed);
    let source = log.source("group").unwrap();
    let forgotten = async { while !resolved(&log).await.is_empty() {} };
    tokio::time::timeout(Duration::from_secs(60), forgotten)
        .await
        .unwrap();
    assert_eq!(
        pending(&log).await,
        letters[2..],
        "a dead letter stays until it is resolved"
    );
    drop(source);
}

#[tokio::test]
async fn a_clock_that_is_ahead_deletes_no_record() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let log = of_three_bad_records(&folder, &clock).await;
    consume(&log, 4).await;
    clock.0.store(1_000 * DAY, Ordering::Relaxed);
    let source = log.source("group").unwrap();
    for _ in 0..2 {
        // A batch is delivered after the round of the one before.
        log.append(record("poison")).await.unwrap();
        source.next().await.unwrap();
    }
    assert_eq!(scanned(&log).await.len(), 5);
    source.close(Duration::from_secs(20)).await.unwrap();
    // The clock is right again.
    clock.0.store(DAY, Ordering::Relaxed);
    let source = log.source("group").unwrap();
    let deleted = async { while scanned(&log).await.len() > 2 {} };
    tokio::time::timeout(Duration::from_secs(60), deleted)
        .await
        .unwrap();
    drop(source);
}

#[tokio::test]
async fn conflicts_are_deleted_after_30_days_and_other_dead_letters_stay() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let log = of_three_bad_records(&folder, &clock).await;
    let mut letters = scanned(&log).await;
    for letter in &mut letters[..2] {
        letter.reason = Reason::from_parts(ReasonKind::Conflict, String::new());
    }
    log.dead_letters().put(&letters).await.unwrap();
    consume(&log, 2).await;
    clock.0.store(31 * DAY, Ordering::Relaxed);
    see(&folder, 31 * DAY);
    let source = log.source("group").unwrap();
    let deleted = async { while pending(&log).await.len() > 2 {} };
    tokio::time::timeout(Duration::from_secs(60), deleted)
        .await
        .unwrap();
    assert_eq!(
        pending(&log).await,
        letters[1..],
        "a conflict stays as long as its record, other dead letters for ever"
    );
    drop(source);
}

/// The names of the files in the folder.
fn names(folder: &std::path::Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = files
        .map(|file| file.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn open_without_create_creates_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let existing = || EmbeddedLogOptions {
        create: false,
        ..EmbeddedLogOptions::default()
    };
    let existing_store = || EmbeddedStoreOptions {
        create: false,
        ..EmbeddedStoreOptions::default()
    };
    for missing in [folder.path().to_owned(), folder.path().join("mistyped")] {
        let errors = [
            EmbeddedLog::open(&missing, existing()).await.unwrap_err(),
            EmbeddedStore::open(&missing, existing_store())
                .await
                .unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), shop_core::ErrorKind::Unavailable, "{error}");
            assert!(
                error.to_string().contains("there is nothing here"),
                "{error}"
            );
        }
    }
    std::fs::write(folder.path().join("shop.db"), "").unwrap();
    let error = EmbeddedLog::open(folder.path(), existing())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("there is nothing here"),
        "an empty file is no log: {error}"
    );
    std::fs::remove_file(folder.path().join("shop.db")).unwrap();
    assert_eq!(names(folder.path()), [""; 0]);

    let log = open(&folder, EmbeddedLogOptions::default()).await;
    log.append(record(ADA)).await.unwrap();
    log.dead_letters().put(&scanned(&log).await).await.unwrap();
    let closed = log.closed();
    drop(log);
    closed.await;
    // Like a backup, without the files of running processes.
    std::fs::remove_file(folder.path().join("shop.lock")).unwrap();
    let log = open(&folder, existing()).await;
    let letters = pending(&log).await;
    assert_eq!(letters.len(), 1);
    DeadLetters::check(&log.dead_letters()).await.unwrap();
    let while_open = names(folder.path());
    assert!(
        while_open.iter().all(|name| name.starts_with("shop.db")),
        "{while_open:?}"
    );
    assert_eq!(
        log.resolve(&letters, OF, Resolution::Replayed)
            .await
            .unwrap(),
        1,
        "a write takes the lock"
    );
    let closed = log.closed();
    drop(log);
    closed.await;
    assert_eq!(names(folder.path()), ["shop.db", "shop.lock"]);
}
