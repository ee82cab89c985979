//! Administrative access: scans, verification, and replayed or discarded dead letters.

use shop_core::log::{DeadLetter, DeadLetterState, LogExt as _, Reason, RecordType, Resolution};
use shop_core::record::Record as _;

use crate::embedded::fixture::*;

const OF: RecordType = Purchase::TYPE;
const ADA: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

fn record(value: &str) -> LogRecord {
    LogRecord::new(0, Timestamp::MIN, Some(value.to_owned().into())).with_key(Some("u1".into()))
}

/// The records of the log, each as a dead letter.
async fn scanned(log: &EmbeddedLog) -> Vec<DeadLetter> {
    let batches: Vec<_> = log.scan_all().await.unwrap().try_collect().await.unwrap();
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
    log.put_dead_letters(&letters).await.unwrap();
    let replay = || log.resolve(&letters, OF, Resolution::Replayed);
    let (one, two) = tokio::join!(replay(), replay());
    assert_eq!((one.unwrap(), two.unwrap()), (1, 0));
    assert_eq!(scanned(&log).await.len(), 2);
}

const DAY: i64 = 24 * 3_600_000;

/// A log whose records are kept for ten seconds.
struct OldLog {
    folder: TempDir,
    clock: Arc<SetClock>,
    log: EmbeddedLog,
}

impl OldLog {
    async fn of_records(count: usize) -> Self {
        let folder = fresh_folder();
        let clock = Arc::new(SetClock::default());
        let options = EmbeddedLogOptions::default()
            .clock(Arc::clone(&clock) as _)
            .retention(Duration::from_secs(10));
        let log = open_log_with(&folder, options).await;
        for _ in 0..count {
            log.append(record("poison")).await.unwrap();
        }
        Self { folder, clock, log }
    }

    /// Makes a group that has consumed the records before `next`.
    async fn consume(&self, next: u64) {
        self.log.register("group").await.unwrap();
        self.log.reset("group", next).await.unwrap();
    }

    /// Sets the time, which another process has seen as well.
    fn set_time(&self, millis: i64) {
        self.clock.0.store(millis, Ordering::Relaxed);
        let seen = "UPDATE clock SET seen = ?1";
        connect(&self.folder).execute(seen, [millis]).unwrap();
    }
}

#[tokio::test]
async fn a_clock_that_is_ahead_deletes_no_record() {
    let old = OldLog::of_records(3).await;
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
async fn dead_letters_stay_unless_they_are_old_conflicts_or_resolved() {
    let old = OldLog::of_records(5).await;
    let mut letters = scanned(&old.log).await;
    // The others are conflicts.
    letters[1].reason = Reason::parked("by hand");
    letters[3].reason = Reason::parked("by hand");
    old.log.put_dead_letters(&letters).await.unwrap();
    let dropped = old.log.resolve(&letters[2..4], OF, Resolution::Dropped);
    dropped.await.unwrap();
    old.consume(5).await;
    old.set_time(31 * DAY);
    let _source = old.log.source("group").unwrap();
    until(async || scanned(&old.log).await.len() == 1).await;
    until(async || !has_resolved(&old.log).await).await;
    let stay = [letters[1].clone(), letters[4].clone()];
    until(async || pending(&old.log).await.len() == 2).await;
    assert_eq!(
        pending(&old.log).await,
        stay,
        "a conflict stays as long as its record, other dead letters until they are resolved"
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
    let assert_nothing_is_in = async |folder: &Path| {
        let log = EmbeddedLog::open(folder, existing()).await;
        let options = EmbeddedStoreOptions::default().create(false);
        let store = EmbeddedStore::open(folder, options).await;
        for error in [log.unwrap_err(), store.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            let text = error.to_string();
            assert!(text.contains("there is nothing here"), "{text}");
        }
    };
    assert_nothing_is_in(folder.path()).await;
    assert_nothing_is_in(&folder.path().join("mistyped")).await;
    fs::write(folder.path().join("shop.db"), "").unwrap();
    assert_nothing_is_in(folder.path()).await;
    assert_eq!(names(&folder), ["shop.db"]);

    let log = open_log(&folder).await;
    log.append(record(ADA)).await.unwrap();
    log.put_dead_letters(&scanned(&log).await).await.unwrap();
    close(log).await;
    // Like a backup, without the files of running processes.
    fs::remove_file(folder.path().join("shop.lock")).unwrap();
    let log = open_log_with(&folder, existing()).await;
    let letters = pending(&log).await;
    assert_eq!(letters.len(), 1);
    log.check().await.unwrap();
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
