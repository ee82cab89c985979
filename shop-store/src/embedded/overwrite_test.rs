//! Files that another program has overwritten or copied: purchases that would be lost are refused,
//! and a copy is checked before it counts as sound.

use std::fs::File;
use std::time::SystemTime;

use super::fixture::*;

/// More purchases than fit into the write-ahead log before it is copied.
const MANY: u64 = 3_000;

/// Replaces the content of a file and keeps its inode, as `cp` does.
fn overwrite(folder: &TempDir, name: &str, content: &[u8]) {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    // The clock of a file system may be too coarse to tell two writes in a row.
    let file = File::options().write(true).open(&path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    file.set_modified(modified + Duration::from_secs(10))
        .unwrap();
}

fn read(folder: &TempDir, name: &str) -> Vec<u8> {
    fs::read(folder.path().join(name)).unwrap()
}

/// Asserts that `log` refuses purchases and says why.
async fn assert_refuses(log: &EmbeddedLog, number: u64) {
    let sink = log.sink();
    let refused = sink.publish(&purchase(number)).await.unwrap_err();
    assert_fails(&refused, ErrorKind::Unavailable, Outcome::NotApplied);
    assert!(refused.to_string().contains("overwritten"), "{refused}");
    assert!(sink.check().await.is_err());
    let faults = sink.info().faults.files;
    assert!(faults[0].contains("overwritten"), "{faults:?}");
}

/// A folder with a purchase, and the content of its closed file.
async fn closed_folder() -> (TempDir, Vec<u8>) {
    let (folder, log) = fresh_log().await;
    log.sink().publish(&purchase(1)).await.unwrap();
    close(log).await;
    let content = read(&folder, "shop.db");
    (folder, content)
}

async fn close(log: EmbeddedLog) {
    let closed = log.closed();
    drop(log);
    closed.await;
}

/// Waits until no file of the log has a fault any more, or the fault is another one than a running
/// check. Returns it.
async fn checked_fault(log: &EmbeddedLog) -> Option<String> {
    let sink = log.sink();
    let is_checked = async || {
        let files = sink.info().faults.files;
        files
            .first()
            .is_none_or(|fault| !fault.contains("being checked"))
    };
    until(is_checked).await;
    sink.info().faults.files.pop()
}

#[tokio::test]
async fn after_an_old_file_was_copied_over_the_open_one_every_process_refuses_purchases() {
    let (folder, old) = closed_folder().await;
    let [first, second, idle] = [
        open_log(&folder).await,
        open_log(&folder).await,
        open_log(&folder).await,
    ];
    first.sink().publish(&purchase(2)).await.unwrap();
    second.sink().publish(&purchase(3)).await.unwrap();

    overwrite(&folder, "shop.db", &old);
    assert_refuses(&first, 4).await;
    assert_refuses(&second, 4).await;
    close(first).await;
    close(second).await;

    // A restart ends the refusal in the process that was restarted, and not in the others.
    let restarted = open_log(&folder).await;
    let checked = checked_fault(&restarted).await;
    restarted.sink().publish(&purchase(5)).await.unwrap();
    assert_refuses(&idle, 6).await;
    assert_eq!(checked, None, "the log has what the old file lacks");
}

#[tokio::test]
async fn a_log_that_was_copied_over_the_open_one_is_noticed() {
    let (folder, log) = fresh_log().await;
    log.sink().publish(&purchase(1)).await.unwrap();
    let of_this_generation = read(&folder, "shop.db-wal");
    let all: Vec<Purchase> = (2..MANY).map(purchase).collect();
    let published = log.sink().publish_many(&all).await;
    assert!(published.iter().all(Result::is_ok));
    let of_an_earlier_generation = read(&folder, "shop.db-wal");
    // The log begins again, at least with the second one.
    for number in MANY..MANY + 20 {
        log.sink().publish(&purchase(number)).await.unwrap();
    }
    overwrite(&folder, "shop.db-wal", &of_an_earlier_generation);
    assert_refuses(&log, MANY + 20).await;
    close(log).await;

    let (folder, log) = fresh_log().await;
    log.sink().publish(&purchase(1)).await.unwrap();
    log.sink().publish(&purchase(2)).await.unwrap();
    overwrite(&folder, "shop.db-wal", &of_this_generation);
    assert_refuses(&log, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_programs_write_and_copy_the_log_without_being_taken_for_others() {
    let folder = fresh_folder();
    let logs = [open_log(&folder).await, open_log(&folder).await];
    let store = open_store(&folder).await;
    let publish = async |log: &EmbeddedLog, numbers: Range<u64>| {
        let sink = log.storing_sink("purchase-group").await.unwrap();
        for part in purchases(numbers).chunks(1_500) {
            let published = sink.publish_many(part).await;
            assert!(published.iter().all(Result::is_ok), "{published:?}");
        }
    };
    let single = async {
        for number in 3 * MANY..3 * MANY + 100 {
            store.insert_one(purchase(number)).await.unwrap();
        }
    };
    tokio::join!(
        publish(&logs[0], 0..MANY),
        publish(&logs[1], MANY..2 * MANY),
        single
    );
    super::vacuum(folder.path()).await.unwrap();
    publish(&logs[0], 2 * MANY..2 * MANY + 10).await;
    publish(&logs[1], 2 * MANY + 10..2 * MANY + 20).await;
    assert_eq!(count(&store).await, 2 * MANY + 120);
    assert_eq!(logs[0].sink().info().faults.files, [""; 0]);
}

#[tokio::test]
async fn a_process_that_died_before_it_recorded_its_write_does_not_stop_the_others() {
    let (folder, log) = fresh_log().await;
    let sink = log.storing_sink("purchase-group").await.unwrap();
    sink.publish(&purchase(1)).await.unwrap();
    let before_a_commit = read(&folder, "shop.lock");
    sink.publish(&purchase(2)).await.unwrap();
    fs::write(folder.path().join("shop.lock"), &before_a_commit).unwrap();
    sink.publish(&purchase(3)).await.unwrap();

    // During a checkpoint, the record says that the file changes.
    let settled = String::from_utf8(read(&folder, "shop.lock")).unwrap();
    let copying = settled.replace("settled", "copying");
    fs::write(folder.path().join("shop.lock"), copying).unwrap();
    let file = File::options()
        .write(true)
        .open(folder.path().join("shop.db"));
    file.unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    sink.publish(&purchase(4)).await.unwrap();
    assert_eq!(sink.info().faults.files, [""; 0]);
}

#[tokio::test]
async fn a_record_that_is_older_than_the_log_does_not_stop_the_next_start() {
    let (folder, log) = fresh_log().await;
    log.sink().publish(&purchase(1)).await.unwrap();
    let record = String::from_utf8(read(&folder, "shop.lock")).unwrap();
    // As after a power cut, the write-ahead log stays, and the record is the one of a log before.
    let connection = connect(&folder);
    connection
        .query_row("SELECT 1 FROM records", [], |_| Ok(()))
        .unwrap();
    let keep_log = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    connection.set_db_config(keep_log, true).unwrap();
    close(log).await;
    drop(connection);
    let mut words: Vec<&str> = record.split(' ').collect();
    let other_salt = (words[8].parse::<u32>().unwrap().wrapping_add(1)).to_string();
    (words[7], words[8]) = ("1", &other_salt);
    fs::write(folder.path().join("shop.lock"), words.join(" ")).unwrap();

    let log = open_log(&folder).await;
    log.sink().publish(&purchase(2)).await.unwrap();
    assert_eq!(checked_fault(&log).await, None);
    close(log).await;
    let log = open_log(&folder).await;
    assert_eq!(
        log.sink().info().faults.files,
        [""; 0],
        "it is checked once"
    );
}

/// Copies the file and its write-ahead log, as a backup tool does.
fn copy_files(from: &TempDir) -> TempDir {
    let copy = fresh_folder();
    for name in ["shop.db", "shop.db-wal"] {
        if from.path().join(name).exists() {
            fs::copy(from.path().join(name), copy.path().join(name)).unwrap();
        }
    }
    copy
}

#[tokio::test]
async fn a_copy_is_checked_once_and_says_what_is_damaged() {
    let (folder, log) = fresh_log().await;
    let sink = log.storing_sink("purchase-group").await.unwrap();
    sink.publish_many(&purchases(0..10)).await;
    assert_eq!(
        sink.info().faults.files,
        [""; 0],
        "a new file needs no check"
    );

    let copy = copy_files(&folder);
    let copied = open_log(&copy).await;
    assert_eq!(checked_fault(&copied).await, None);
    close(copied).await;
    let record = read(&copy, "shop.lock");
    assert!(String::from_utf8(record).unwrap().contains(" checked "));
    let copied = open_log(&copy).await;
    assert_eq!(
        copied.sink().info().faults.files,
        [""; 0],
        "not a second time"
    );
    close(copied).await;

    let copy = copy_files(&folder);
    connect(&copy)
        .execute_batch("UPDATE buyers SET count = count + 1")
        .unwrap();
    for _ in 0..2 {
        let damaged = open_log(&copy).await;
        let fault = checked_fault(&damaged).await.unwrap();
        assert!(fault.contains("damaged pages or rows"), "{fault}");
        damaged.sink().publish(&purchase(20)).await.unwrap();
        close(damaged).await;
    }
}

#[tokio::test]
async fn a_restored_folder_is_not_checked_again() {
    let (folder, log) = fresh_log().await;
    log.sink().publish(&purchase(1)).await.unwrap();
    let [saved, restored] = [fresh_folder(), fresh_folder()];
    backup(folder.path(), saved.path()).await.unwrap();
    super::restore(saved.path(), restored.path()).await.unwrap();
    let log = open_log(&restored).await;
    assert_eq!(log.sink().info().faults.files, [""; 0]);
}
