//! Guarantees of this log alone: locks between processes, retention, its queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use shop_core::conformance::assert_fails;
use shop_core::log::{
    CommitOffset, CommitOutcome, DeadLetters, LogAdmin, LogGroups as _, LogRecord, LogSource,
    SourceEvent,
};
use shop_core::ports::{PurchaseErase as _, PurchaseQuery as _, PurchaseSink, Receipt, Selector};
use shop_core::{Clock, ErrorKind, Outcome, Purchase, PurchaseId, Timestamp};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::{EmbeddedLog, EmbeddedLogOptions};
use crate::embedded::{EmbeddedStore, EmbeddedStoreOptions, check_integrity};

/// A clock that the test sets.
#[derive(Debug, Default)]
pub(super) struct SetClock(pub(super) AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed)).unwrap()
    }

    fn fresh_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// A log in an empty folder.
async fn fresh_log() -> (TempDir, EmbeddedLog) {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path(), EmbeddedLogOptions::default())
        .await
        .unwrap();
    (folder, log)
}

fn record(bytes: usize) -> LogRecord {
    LogRecord::new(0, Timestamp::MIN, Some(Bytes::from(vec![b'x'; bytes])))
}

fn purchase(number: u128) -> Purchase {
    Purchase::new(
        PurchaseId::from_uuid(Uuid::from_u128(number)),
        "u1".parse().unwrap(),
        "ada".parse().unwrap(),
        "29.99".parse().unwrap(),
        Timestamp::MIN,
    )
}

async fn offsets(source: &dyn LogSource, count: usize) -> (Vec<u64>, CommitOffset) {
    let mut offsets = Vec::new();
    let mut position = None;
    while offsets.len() < count {
        let event = tokio::time::timeout(Duration::from_secs(20), source.next())
            .await
            .unwrap()
            .unwrap();
        let SourceEvent::Batch(batch) = event else {
            panic!("{event:?}")
        };
        offsets.extend(batch.records.iter().map(|record| record.offset));
        position = Some(CommitOffset::new(
            batch.partition,
            offsets[offsets.len() - 1] + 1,
        ));
    }
    (offsets, position.unwrap())
}

#[tokio::test]
async fn a_waiting_consumer_takes_over_from_a_dropped_one() {
    let folder = tempfile::tempdir().unwrap();
    let options = EmbeddedLogOptions::default().poll_interval(Duration::from_secs(3_600));
    let one = EmbeddedLog::open(folder.path(), options).await.unwrap();
    let two = EmbeddedLog::open(folder.path(), EmbeddedLogOptions::default())
        .await
        .unwrap();
    let group = "a group/with: odd ü ".repeat(20);
    for number in 0..10 {
        two.sink().publish(&purchase(number)).await.unwrap();
    }
    let first = one.source(&group).unwrap();
    assert_eq!(offsets(&first, 10).await.0, (1..=10).collect::<Vec<_>>());
    // Opened second, so that the first one has the lock.
    let second = two.source(&group).unwrap();
    second.check().await.expect("a waiting source is healthy");
    drop(first);
    assert_eq!(offsets(&second, 10).await.0, (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_receipts_of_a_batch_name_their_records() {
    let (_folder, log) = fresh_log().await;
    // Two statements of 16 rows, and single rows.
    for (first, count) in [(1, 37), (101, 3), (201, 16)] {
        let batch: Vec<_> = (first..first + count).map(purchase).collect();
        for (purchase, receipt) in batch.iter().zip(log.sink().publish_many(&batch).await) {
            let receipt = receipt.unwrap();
            let position = receipt.position.unwrap();
            let (_, record) = log
                .find(position.partition, position.offset)
                .await
                .unwrap()
                .unwrap();
            let id = record.headers.get("purchase-id").unwrap();
            assert_eq!(
                (receipt.id, id),
                (purchase.id, purchase.id.to_string().as_bytes())
            );
        }
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_commit_of_another_process_notifies_a_source_without_polling() {
    let folder = tempfile::tempdir().unwrap();
    // Each has its own writer and notifier, like a process.
    let options = EmbeddedLogOptions::default().poll_interval(Duration::from_secs(3_600));
    let one = EmbeddedLog::open(folder.path(), options).await.unwrap();
    let two = EmbeddedLog::open(folder.path(), EmbeddedLogOptions::default())
        .await
        .unwrap();
    let source = one.source("group").unwrap();
    for number in 1..=20 {
        // Alternately, because an own commit must not hide one of another process.
        let log = if number % 3 == 0 { &one } else { &two };
        log.sink().publish(&purchase(number)).await.unwrap();
        let offset = u64::try_from(number).unwrap();
        assert_eq!(offsets(&source, 1).await.0, [offset]);
    }
}

#[tokio::test]
async fn a_fenced_consumer_starts_a_new_epoch() {
    let (folder, log) = fresh_log().await;
    log.sink().publish(&purchase(1)).await.unwrap();
    let source = log.source("group").unwrap();
    let (_, position) = offsets(&source, 1).await;
    // As another process does that holds a lock, too, since the lock file was deleted.
    let connection = rusqlite::Connection::open(folder.path().join("shop.db")).unwrap();
    connection
        .execute("UPDATE groups SET epoch = epoch + 1", [])
        .unwrap();
    assert_eq!(
        source
            .commit(std::slice::from_ref(&position))
            .await
            .unwrap(),
        [CommitOutcome::Fenced]
    );
    let (read, again) = offsets(&source, 1).await;
    assert_eq!(
        (read, again.partition.epoch),
        (vec![1], position.partition.epoch + 2)
    );
    assert_eq!(
        source.commit(&[again]).await.unwrap(),
        [CommitOutcome::Committed]
    );
}

#[tokio::test]
async fn a_write_to_a_deleted_file_is_not_acknowledged() {
    for name in ["shop.db", "shop.lock"] {
        let (folder, log) = fresh_log().await;
        let sink = log.sink();
        sink.publish(&purchase(1)).await.unwrap();
        std::fs::rename(folder.path().join(name), folder.path().join("elsewhere")).unwrap();
        let error = sink.publish(&purchase(2)).await.unwrap_err();
        assert_fails(&error, ErrorKind::Unavailable, Outcome::NotApplied);
        assert!(
            error.to_string().contains("restart") && error.to_string().contains(name),
            "{error}"
        );
        assert!(sink.check().await.is_err());
        std::fs::rename(folder.path().join("elsewhere"), folder.path().join(name)).unwrap();
        sink.check().await.expect("the file is back");
    }
}

#[tokio::test]
async fn open_times_out_while_the_lock_is_held() {
    let folder = tempfile::tempdir().unwrap();
    let lock = std::fs::File::create(folder.path().join("shop.lock")).unwrap();
    lock.lock().unwrap();
    tokio::time::pause();
    let error = EmbeddedLog::open(folder.path(), EmbeddedLogOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("another process"), "{error}");
}

#[tokio::test]
async fn old_consumed_records_are_deleted_and_offsets_not_reused() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(SetClock::default());
    let options = EmbeddedLogOptions {
        clock: Arc::clone(&clock) as _,
        retention: Duration::from_secs(10),
        ..EmbeddedLogOptions::default()
    };
    let log = EmbeddedLog::open(folder.path(), options.clone())
        .await
        .unwrap();
    for _ in 0..2_500 {
        log.append(record(500)).await.unwrap();
    }
    let source = log.source("group").unwrap();
    let (read, end) = offsets(&source, 2_500).await;
    assert_eq!(read.len(), 2_500);
    source.commit(&[end]).await.unwrap();
    // Another group has not read them: they stay.
    let behind = log.source("behind").unwrap();
    let (_, somewhere) = offsets(&behind, 1_000).await;
    behind
        .commit(&[CommitOffset::new(somewhere.partition, 2_001)])
        .await
        .unwrap();
    for source in [&source, &behind] {
        source.close(Duration::from_secs(5)).await.unwrap();
    }
    clock.0.store(60_000, Ordering::Relaxed);

    let connection = rusqlite::Connection::open(folder.path().join("shop.db")).unwrap();
    let kept = || {
        connection
            .query_row("SELECT count(*) FROM records", [], |row| {
                row.get::<_, i64>(0)
            })
            .unwrap()
    };
    assert_eq!(kept(), 2_500);
    let source = log.source("group").unwrap();
    let deleted = async {
        while kept() > 500 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), deleted)
        .await
        .unwrap();
    source.close(Duration::from_secs(5)).await.unwrap();
    assert_eq!(kept(), 500, "what one group has not consumed stays");
    let mode: i64 = connection
        .pragma_query_value(None, "auto_vacuum", |row| row.get(0))
        .unwrap();
    assert_eq!(mode, 2, "incremental");
    let free: i64 = connection
        .pragma_query_value(None, "freelist_count", |row| row.get(0))
        .unwrap();
    assert!(free < 100, "{free} pages are free: the file shrinks");

    connection.execute("DELETE FROM records", []).unwrap();
    let position = log.append(record(1)).await.unwrap();
    assert_eq!(position.offset, 2_501);
}

#[tokio::test]
async fn a_full_queue_rejects_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let narrow = EmbeddedLogOptions {
        queue_capacity: 2,
        ..EmbeddedLogOptions::default()
    };
    let log = EmbeddedLog::open(folder.path(), narrow).await.unwrap();
    // Another process holds the write lock.
    let lock = std::fs::File::options()
        .write(true)
        .open(folder.path().join("shop.lock"))
        .unwrap();
    lock.lock().unwrap();
    // The writer takes some before it waits for the lock, and two wait in the queue.
    let mut calls = Vec::new();
    while calls
        .iter()
        .filter(|call: &&JoinHandle<_>| call.is_finished())
        .count()
        < 6
    {
        let log = log.clone();
        calls.push(tokio::spawn(async move { log.append(record(1)).await }));
        tokio::task::yield_now().await;
    }
    lock.unlock().unwrap();
    let mut refused = 0;
    for call in calls {
        if let Err(error) = call.await.unwrap() {
            assert_fails(&error, ErrorKind::Overloaded, Outcome::NotApplied);
            refused += 1;
        }
    }
    assert!(refused >= 6, "{refused} were refused");
}

#[tokio::test]
async fn a_batch_leaves_room_in_the_queue_to_single_purchases() {
    let folder = tempfile::tempdir().unwrap();
    let narrow = EmbeddedLogOptions {
        queue_capacity: 4,
        ..EmbeddedLogOptions::default()
    };
    let sink = EmbeddedLog::open(folder.path(), narrow)
        .await
        .unwrap()
        .sink();
    let batch: Vec<_> = (0..200).map(purchase).collect();
    let single = async {
        for number in 1_000..1_020 {
            sink.publish(&purchase(number)).await.unwrap();
        }
    };
    let (receipts, ()) = tokio::join!(sink.publish_many(&batch), single);
    assert!(receipts.iter().all(Result::is_ok));
}

#[tokio::test]
async fn every_check_fails_without_a_table() {
    let (folder, log) = fresh_log().await;
    let (sink, source, dead_letters) =
        (log.sink(), log.source("group").unwrap(), log.dead_letters());
    let connection = rusqlite::Connection::open(folder.path().join("shop.db")).unwrap();
    connection
        .execute_batch("ALTER TABLE settled_letters RENAME TO lost")
        .unwrap();
    for check in [
        sink.check().await,
        source.check().await,
        DeadLetters::check(&dead_letters).await,
    ] {
        assert_eq!(check.unwrap_err().kind(), ErrorKind::Internal);
    }
    connection
        .execute_batch("ALTER TABLE lost RENAME TO settled_letters")
        .unwrap();
    for check in [
        sink.check().await,
        source.check().await,
        DeadLetters::check(&dead_letters).await,
    ] {
        check.unwrap();
    }
}

#[tokio::test]
async fn a_closed_source_has_released_the_lock_of_its_group() {
    let (folder, log) = fresh_log().await;
    log.sink().publish(&purchase(1)).await.unwrap();
    for _ in 0..10 {
        let source = log.source("group").unwrap();
        assert_eq!(offsets(&source, 1).await.0, [1]);
        let lock = std::fs::File::open(folder.path().join("group.consumer.lock")).unwrap();
        lock.try_lock().unwrap_err();
        source.close(Duration::from_secs(20)).await.unwrap();
        lock.try_lock().unwrap();
    }
}

#[tokio::test]
async fn a_buyer_that_was_removed_or_rolled_back_is_added_again() {
    let (folder, log) = fresh_log().await;
    let sink = log.storing_sink("group").await.unwrap();
    let options = EmbeddedStoreOptions::default();
    // The second has its own writer, like a process.
    let stores = [
        log.store(&options).await.unwrap(),
        EmbeddedStore::open(folder.path(), options).await.unwrap(),
    ];
    let user = "u1".parse().unwrap();
    for (number, store) in (1..).zip(&stores) {
        sink.publish(&purchase(number)).await.unwrap();
        assert_eq!(store.erase(&user, 10).await.unwrap(), 1);
    }
    // While another process holds the lock, the writes are collected into one group, of which the
    // last one fails.
    let lock = std::fs::File::open(folder.path().join("shop.lock")).unwrap();
    lock.lock().unwrap();
    let published =
        tokio::spawn(async move { sink.publish_many(&[purchase(3), purchase(4)]).await });
    tokio::task::yield_now().await;
    let failed = log
        .shared
        .writer
        .write(|_| Err::<(), _>(rusqlite::Error::QueryReturnedNoRows));
    let (failed, ()) = tokio::join!(failed, async { lock.unlock().unwrap() });
    failed.unwrap_err();
    assert!(published.await.unwrap().iter().all(Result::is_ok));
    assert_eq!(
        stores[0]
            .summary(&Selector::User(user))
            .await
            .unwrap()
            .count,
        2
    );
}

#[tokio::test]
async fn a_row_that_the_database_rejects_rejects_no_other() {
    let (_folder, log) = fresh_log().await;
    let reject = "CREATE TRIGGER reject BEFORE INSERT ON records WHEN new.key = x'7533'
                  BEGIN SELECT RAISE(ABORT, 'on purpose'); END";
    log.shared
        .writer
        .write(|connection| connection.execute_batch(reject))
        .await
        .unwrap();
    let mut purchases: Vec<_> = (0..10).map(purchase).collect();
    purchases[3].user_id = "u3".parse().unwrap();
    let receipts = log
        .storing_sink("group")
        .await
        .unwrap()
        .publish_many(&purchases)
        .await;
    let rejected: Vec<_> = (0..10)
        .filter(|number| receipts[*number].is_err())
        .collect();
    assert_eq!(rejected, [3]);
    assert_eq!(
        receipts[3].as_ref().unwrap_err().outcome(),
        Outcome::NotApplied
    );
    assert_eq!(log.usage().await.unwrap().next_offset, 10);
}

/// A storing sink on a new log, with its store.
async fn storing() -> (tempfile::TempDir, EmbeddedLog, EmbeddedStore) {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path(), EmbeddedLogOptions::default())
        .await
        .unwrap();
    let store = log.store(&EmbeddedStoreOptions::default()).await.unwrap();
    (folder, log, store)
}

/// Purchases of seven users, in no order of them.
fn purchases_of_users(count: u128) -> Vec<Purchase> {
    let of_user = |number: u128| {
        let mut purchase = purchase(number);
        purchase.user_id = format!("u{}", number % 7).parse().unwrap();
        purchase
    };
    (0..count).map(of_user).collect()
}

#[tokio::test]
async fn a_large_batch_has_one_result_per_purchase_in_their_order() {
    let (folder, log, store) = storing().await;
    let sink = log.storing_sink("group").await.unwrap();
    let mut batch = purchases_of_users(3_000);
    let first = batch[5].clone();
    sink.publish(&first).await.unwrap();
    let mut conflicting = batch[6].clone();
    conflicting.price = "1".parse().unwrap();
    batch.push(conflicting);

    let results = sink.publish_many(&batch).await;
    assert_eq!(results.len(), batch.len());
    for (index, (purchase, result)) in batch.iter().zip(&results).enumerate() {
        match result {
            Ok(receipt) => {
                assert_eq!(receipt.id, purchase.id);
                assert_eq!(receipt.is_duplicate, index == 5);
            }
            Err(error) => assert_eq!((index, error.kind()), (3_000, ErrorKind::Conflict)),
        }
    }
    assert_eq!(store.summary(&Selector::All).await.unwrap().count, 3_000);
    let damage = check_integrity(folder.path().join("shop.db")).await;
    assert_eq!(damage.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_write_goes_between_the_parts_of_a_large_batch() {
    let (_folder, log, store) = storing().await;
    let sink = log.storing_sink("group").await.unwrap();
    let batch = purchases_of_users(5_000);
    let alone = purchase(1 << 64);
    let (results, receipt) = tokio::join!(sink.publish_many(&batch), sink.publish(&alone));
    let offset = |receipt: &Receipt| receipt.position.as_ref().unwrap().offset;
    let offsets = results
        .iter()
        .map(|result| offset(result.as_ref().unwrap()));
    assert!(offset(&receipt.unwrap()) < offsets.max().unwrap());
    assert_eq!(store.summary(&Selector::All).await.unwrap().count, 5_001);
}
