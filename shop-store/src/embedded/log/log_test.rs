//! Guarantees of this log alone: locks between processes, retention, its queue.

use futures_util::future::try_join_all;
use shop_core::log::CommitOutcome;
use shop_core::ports::{PurchaseSink, Receipt};
use tokio::task::JoinHandle;

use crate::embedded::fixture::*;

const HOUR: Duration = Duration::from_secs(3_600);

fn record(bytes: usize) -> LogRecord {
    LogRecord::new(0, Timestamp::MIN, Some(vec![b'x'; bytes].into()))
}

/// The offsets of the next `count` records, and the position behind them.
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
        let next = offsets[offsets.len() - 1] + 1;
        position = Some(CommitOffset::new(batch.partition, next));
    }
    (offsets, position.unwrap())
}

/// Two logs on a new folder, each with its own writer and notifier, like a process. The first one does not poll.
async fn two_processes() -> (TempDir, EmbeddedLog, EmbeddedLog) {
    let folder = fresh_folder();
    let options = EmbeddedLogOptions::default().poll_interval(HOUR);
    let one = open_log_with(&folder, options).await;
    let two = open_log(&folder).await;
    (folder, one, two)
}

#[tokio::test]
async fn a_waiting_consumer_takes_over_from_a_dropped_one() {
    let (_folder, one, two) = two_processes().await;
    let group = "a group/with: odd ü ".repeat(20);
    two.sink().publish_many(&purchases(0..10)).await;
    let first = one.source(&group).unwrap();
    assert_eq!(offsets(&first, 10).await.0, (1..=10).collect::<Vec<_>>());
    // Opened second, so that the first one has the lock.
    let second = two.source(&group).unwrap();
    drop(first);
    assert_eq!(offsets(&second, 10).await.0, (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_source_delivers_own_records_without_polling_and_others_by_polling() {
    let (_folder, one, two) = two_processes().await;
    let source = one.source("own").unwrap();
    for number in 1..=20 {
        one.sink().publish(&purchase(number)).await.unwrap();
        assert_eq!(offsets(&source, 1).await.0, [number]);
    }

    let source = two.source("both").unwrap();
    assert_eq!(offsets(&source, 20).await.0.len(), 20);
    for number in 21..=30 {
        // Alternately, because an own commit must not hide one of another process.
        let log = if number % 3 == 0 { &two } else { &one };
        log.sink().publish(&purchase(number)).await.unwrap();
        assert_eq!(offsets(&source, 1).await.0, [number]);
    }
}

#[tokio::test]
async fn a_fenced_consumer_starts_a_new_epoch() {
    let (folder, log) = fresh_log().await;
    log.sink().publish(&purchase(1)).await.unwrap();
    let source = log.source("group").unwrap();
    let (_, position) = offsets(&source, 1).await;
    let epoch = position.partition.epoch;
    // As another process does that holds a lock, too, since the lock file was deleted.
    let takeover = "UPDATE groups SET epoch = epoch + 1";
    connect(&folder).execute(takeover, []).unwrap();
    let committed = source.commit(&[position]).await.unwrap();
    assert_eq!(committed, [CommitOutcome::Fenced]);

    let (read, again) = offsets(&source, 1).await;
    assert_eq!((read, again.partition.epoch), (vec![1], epoch + 2));
    let committed = source.commit(&[again]).await.unwrap();
    assert_eq!(committed, [CommitOutcome::Committed]);
}

#[tokio::test]
async fn old_consumed_records_are_deleted_and_offsets_not_reused() {
    let folder = fresh_folder();
    let clock = Arc::new(SetClock::default());
    let options = EmbeddedLogOptions::default()
        .clock(Arc::clone(&clock) as _)
        .retention(Duration::from_secs(10));
    let log = open_log_with(&folder, options).await;
    let appends = (0..2_500).map(|_| log.append(record(500)));
    try_join_all(appends).await.unwrap();
    // Another group has not read the last records: they stay.
    for (group, next_offset) in [("group", 2_501), ("behind", 2_001)] {
        log.register(group).await.unwrap();
        log.reset(group, next_offset).await.unwrap();
    }

    let connection = connect(&folder);
    let kept = || number(&connection, "SELECT count(*) FROM records");
    clock.0.store(60_000, Ordering::Relaxed);
    assert_eq!(kept(), 2_500);
    let source = log.source("group").unwrap();
    until(async || kept() <= 500).await;
    source.close(Duration::from_secs(5)).await.unwrap();
    assert_eq!(kept(), 500, "what one group has not consumed stays");

    assert_eq!(number(&connection, "PRAGMA auto_vacuum"), 2, "incremental");
    let free = number(&connection, "PRAGMA freelist_count");
    assert!(free < 100, "{free} pages are free: the file shrinks");

    connection.execute("DELETE FROM records", []).unwrap();
    let position = log.append(record(1)).await.unwrap();
    assert_eq!(position.offset, 2_501);
}

#[tokio::test]
async fn a_full_queue_rejects_at_once() {
    let folder = fresh_folder();
    let narrow = EmbeddedLogOptions::default().queue_capacity(2);
    let log = open_log_with(&folder, narrow).await;
    let lock = lock_writes(&folder);
    // The writer takes some before it waits for the lock, and two wait in the queue.
    let mut calls: Vec<JoinHandle<_>> = Vec::new();
    while calls.iter().filter(|call| call.is_finished()).count() < 6 {
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
async fn every_check_fails_without_a_table() {
    let (folder, log) = fresh_log().await;
    let sink = log.sink();
    let lose_table = "ALTER TABLE settled_letters RENAME TO lost";
    connect(&folder).execute_batch(lose_table).unwrap();
    for checked in [sink.check().await, log.check().await] {
        assert_eq!(checked.unwrap_err().kind(), ErrorKind::Internal);
    }
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
    let sink = log.storing_sink("group").await.unwrap();
    assert!(sink.info().is_storing && !log.sink().info().is_storing);
    // Few purchases, and enough for large transactions.
    for numbers in [0..10, 10..1_020] {
        let mut batch = purchases(numbers).to_vec();
        batch[3].user_id = "u3".parse().unwrap();
        for (number, receipt) in sink.publish_many(&batch).await.iter().enumerate() {
            match receipt {
                Ok(_) => assert_ne!(number, 3),
                Err(error) => assert_eq!((number, error.outcome()), (3, Outcome::NotApplied)),
            }
        }
    }
    assert_eq!(log.usage().await.unwrap().next_offset, 1_019);
}

#[tokio::test]
async fn a_log_of_events_has_its_own_file_without_a_store() {
    let events = EmbeddedLogOptions::for_events("user_created");
    let log = open_log_with(&fresh_folder(), events).await;
    assert_eq!(log.backend("orders").topic, "user_created");
    let store = log.store(&EmbeddedStoreOptions::default()).await;
    assert_eq!(store.unwrap_err().kind(), ErrorKind::Invalid);
}

/// Purchases of seven users, in no order of them.
fn purchases_of_users(numbers: Range<u64>) -> Vec<Purchase> {
    let mut batch = purchases(numbers).to_vec();
    for (number, purchase) in batch.iter_mut().enumerate() {
        purchase.user_id = format!("u{}", number % 7).parse().unwrap();
    }
    batch
}

/// Asserts that the record at the position of `receipt` is that of `purchase`.
async fn assert_is_receipt_of(log: &EmbeddedLog, purchase: &Purchase, receipt: &Receipt) {
    assert_eq!(receipt.id, purchase.id);
    let position = receipt.position.as_ref().unwrap();
    let found = log.find(position.partition, position.offset).await;
    let (_, record) = found.unwrap().unwrap();
    let id = record.headers.get("purchase-id").unwrap();
    assert_eq!(id, purchase.id.to_string().as_bytes());
}

#[tokio::test]
async fn a_batch_of_any_size_has_its_results_in_order_and_leaves_room_to_single_purchases() {
    let folder = fresh_folder();
    let narrow = EmbeddedLogOptions::default().queue_capacity(4);
    let log = open_log_with(&folder, narrow).await;
    // Two statements of 16 rows, and single rows.
    for numbers in [10_000..10_037, 20_000..20_003, 30_000..30_016] {
        let batch = purchases(numbers);
        for (purchase, receipt) in batch.iter().zip(log.sink().publish_many(&batch).await) {
            assert_is_receipt_of(&log, purchase, &receipt.unwrap()).await;
        }
    }

    let sink = log.storing_sink("group").await.unwrap();
    let mut batch = purchases_of_users(0..3_000);
    sink.publish(&batch[5]).await.unwrap();
    let mut conflicting = batch[6].clone();
    conflicting.price = "1".parse().unwrap();
    batch.push(conflicting);
    let publish_single = async {
        let mut offsets = Vec::new();
        for number in 40_000..40_020 {
            let receipt = sink.publish(&purchase(number)).await.unwrap();
            offsets.push(receipt.position.unwrap().offset);
        }
        offsets
    };
    let (results, offsets) = tokio::join!(sink.publish_many(&batch), publish_single);
    assert_eq!(results.len(), batch.len());
    let mut last_offset = 0;
    for (index, (purchase, result)) in batch.iter().zip(&results).enumerate() {
        match result {
            Ok(receipt) if receipt.is_duplicate => assert_eq!(index, 5),
            Ok(receipt) => {
                assert_is_receipt_of(&log, purchase, receipt).await;
                last_offset = last_offset.max(receipt.position.as_ref().unwrap().offset);
            }
            Err(error) => assert_eq!((index, error.kind()), (3_000, ErrorKind::Conflict)),
        }
    }
    let is_between = offsets[0] < last_offset;
    assert!(is_between, "single ones go between the parts of the batch");
    let store = log.store(&EmbeddedStoreOptions::default()).await.unwrap();
    assert_eq!(count(&store).await, 3_020);
    let damage = check_integrity(folder.path().join("shop.db")).await;
    assert_eq!(damage.unwrap(), [""; 0]);
}
