//! Administrative access: scans, verification, and replayed or discarded dead letters.

use shop_core::log::{
    DeadLetter, DeadLetterState, LogAdminExt as _, Reason, ReasonKind, RecordType, Resolution,
};
use shop_core::record::Record as _;

use crate::embedded::fixture::*;

const OF: RecordType = Purchase::TYPE;
const ADA: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

fn record(value: &str) -> LogRecord {
    LogRecord::new(0, Timestamp::MIN, Some(value.to_owned().into())).with_key(Some("u1".into()))
}

/// The records of the log, each as a dead letter.
async fn scanned(log: &EmbeddedLog) -> Vec<DeadLetter> {
    let batches: Vec<_> = log.scan().await.unwrap().try_collect().await.unwrap();
    let mut letters = Vec::new();
    for batch in batches {
        let partition = batch.partition;
        let letter = |record| DeadLetter::new(record, partition.clone(), Reason::conflict(OF), 1);
        letters.extend(batch.records.into_iter().map(letter));
    }
    letters
}

async fn pending(log: &EmbeddedLog) -> Vec<DeadLetter> {
    log.pending_dead_letters().await.unwrap()
}

async fn has_resolved(log: &EmbeddedLog) -> bool {
    let states = log.scan_dead_letters().await.unwrap();
    let states: Vec<_> = states.try_collect().await.unwrap();
    states
        .iter()
        .any(|state| matches!(state, DeadLetterState::Resolved(_)))
}

#[tokio::test]
async fn concurrent_replays_publish_once() {
    let (_folder, log) = fresh_log().await;
    log.append(record(ADA)).await.unwrap();
    let letters = scanned(&log).await;
    log.dead_letters().put(&letters).await.unwrap();
    let replay = || log.resolve(&letters, OF, Resolution::Replayed);
    let (one, two) = tokio::join!(replay(), replay());
    assert_eq!((one.unwrap(), two.unwrap()), (1, 0));
    assert_eq!(scanned(&log).await.len(), 2);
}

const DAY: i64 = 24 * 3_600_000;

/// A log with three records, which are kept for ten seconds.
struct OldLog {
    folder: TempDir,
    clock: Arc<SetClock>,
    log: EmbeddedLog,
}

impl OldLog {
    async fn of_three_records() -> Self {
        let folder = fresh_folder();
        let clock = Arc::new(SetClock::default());
        let options = EmbeddedLogOptions::default()
            .clock(Arc::clone(&clock) as _)
            .retention(Duration::from_secs(10));
        let log = open_log_with(&folder, options).await;
        for _ in 0..3 {
            log.append(record("poison")).await.unwrap();
        }
        Self { folder, clock, log }
    }

    /// Commits `next` for a group.
    async fn consume(&self, next: u64) {
        let source = self.log.source("group").unwrap();
        let SourceEvent::Batch(batch) = source.next().await.unwrap() else {
            panic!("a batch")
        };
        let position = CommitOffset::new(batch.partition, next);
        source.commit(&[position]).await.unwrap();
        source.close(Duration::from_secs(20)).await.unwrap();
    }

    /// Sets the time, which another process has seen as well.
    fn set_time(&self, millis: i64) {
        self.clock.0.store(millis, Ordering::Relaxed);
        let seen = "UPDATE clock SET seen = ?1";
        connect(&self.folder).execute(seen, [millis]).unwrap();
    }
}

#[tokio::test]
async fn resolutions_are_deleted_with_their_records() {
    let old = OldLog::of_three_records().await;
    let letters = scanned(&old.log).await;
    old.log.dead_letters().put(&letters).await.unwrap();
    let discarded = old.log.resolve(&letters[..2], OF, Resolution::Dropped);
    discarded.await.unwrap();
    old.consume(4).await;
    old.set_time(60_000);
    let _source = old.log.source("group").unwrap();
    until(async || !has_resolved(&old.log).await).await;
    assert_eq!(
        pending(&old.log).await,
        letters[2..],
        "a dead letter stays until it is resolved"
    );
}

#[tokio::test]
async fn a_clock_that_is_ahead_deletes_no_record() {
    let old = OldLog::of_three_records().await;
    old.consume(4).await;
    old.clock.0.store(1_000 * DAY, Ordering::Relaxed);
    let source = old.log.source("group").unwrap();
    for _ in 0..2 {
        // A batch is delivered after the round of the one before.
        old.log.append(record("poison")).await.unwrap();
        source.next().await.unwrap();
    }
    assert_eq!(scanned(&old.log).await.len(), 5);
    source.close(Duration::from_secs(20)).await.unwrap();
    // The clock is right again.
    old.clock.0.store(DAY, Ordering::Relaxed);
    let _source = old.log.source("group").unwrap();
    until(async || scanned(&old.log).await.len() == 2).await;
}

#[tokio::test]
async fn conflicts_are_deleted_after_30_days_and_other_dead_letters_stay() {
    let old = OldLog::of_three_records().await;
    let mut letters = scanned(&old.log).await;
    for letter in &mut letters[..2] {
        letter.reason = Reason::from_parts(ReasonKind::Conflict, String::new());
    }
    old.log.dead_letters().put(&letters).await.unwrap();
    old.consume(2).await;
    old.set_time(31 * DAY);
    let _source = old.log.source("group").unwrap();
    until(async || pending(&old.log).await.len() == 2).await;
    assert_eq!(
        pending(&old.log).await,
        letters[1..],
        "a conflict stays as long as its record, other dead letters for ever"
    );
}

/// The names of the files in the folder.
fn names(folder: &TempDir) -> Vec<String> {
    let files = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

async fn close(log: EmbeddedLog) {
    let closed = log.closed();
    drop(log);
    closed.await;
}

#[tokio::test]
async fn open_without_create_creates_no_file() {
    let folder = fresh_folder();
    let existing = || EmbeddedLogOptions::default().create(false);
    let existing_store = EmbeddedStoreOptions::default().create(false);
    let empty_file = folder.path().join("shop.db");
    for (missing, has_file) in [("", false), ("mistyped", false), ("", true)] {
        if has_file {
            fs::write(&empty_file, "").unwrap();
        }
        let missing = folder.path().join(missing);
        let log = EmbeddedLog::open(&missing, existing()).await;
        let store = EmbeddedStore::open(&missing, existing_store.clone()).await;
        for error in [log.unwrap_err(), store.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            let text = error.to_string();
            assert!(text.contains("there is nothing here"), "{text}");
        }
    }
    fs::remove_file(empty_file).unwrap();
    assert_eq!(names(&folder), [""; 0]);

    let log = open_log(&folder).await;
    log.append(record(ADA)).await.unwrap();
    log.dead_letters().put(&scanned(&log).await).await.unwrap();
    close(log).await;
    // Like a backup, without the files of running processes.
    fs::remove_file(folder.path().join("shop.lock")).unwrap();
    let log = open_log_with(&folder, existing()).await;
    let letters = pending(&log).await;
    assert_eq!(letters.len(), 1);
    log.dead_letters().check().await.unwrap();
    let while_open = names(&folder);
    assert!(
        while_open.iter().all(|name| name.starts_with("shop.db")),
        "{while_open:?}"
    );
    let replayed = log.resolve(&letters, OF, Resolution::Replayed).await;
    assert_eq!(replayed.unwrap(), 1, "a write takes the lock");
    close(log).await;
    assert_eq!(names(&folder), ["shop.db", "shop.lock"]);
}
