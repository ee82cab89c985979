//! Files damaged by a failing disk.

use shop_core::ports::Deletion;

use super::fixture::*;

#[path = "../../tests/support/damage.rs"]
mod damage;

async fn open(folder: &Path) -> Result<EmbeddedStore> {
    EmbeddedStore::open(folder, EmbeddedStoreOptions::default()).await
}

/// Opens the store, and returns the result of its check; waits until it is closed.
async fn check(folder: &Path) -> Result<()> {
    let store = open(folder).await?;
    let checked = (store.check().await, store.check_reads().await);
    let closed = store.closed();
    drop(store);
    closed.await;
    assert_eq!(checked.0.is_ok(), checked.1.is_ok(), "{checked:?}");
    checked.0
}

#[tokio::test]
async fn check_detects_damage_in_every_table_and_index() {
    damage::assert_damage_is_detected("shop", check).await;
}

#[tokio::test]
async fn a_write_ahead_log_without_its_file_is_refused() {
    let folder = fresh_folder();
    let log = folder.path().join("shop.db-wal");
    fs::write(&log, "what the file had").unwrap();
    let refused = open(folder.path()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    assert_eq!(fs::read(&log).unwrap(), b"what the file had");
    fs::write(&log, "").unwrap();
    open(folder.path()).await.unwrap();
}

#[tokio::test]
async fn a_changed_record_of_a_topic_of_events_is_named() {
    let folder = fresh_folder();
    let log = open_log_with(&folder, EmbeddedLogOptions::for_events("order_created")).await;
    let sink = log.sink();
    sink.publish(&purchase(1)).await.unwrap();
    let file = folder.path().join("log-order_created.db");
    assert_eq!(check_integrity(&file).await.unwrap(), [""; 0]);
    let changed = Connection::open(&file).unwrap();
    let count = changed.execute("UPDATE records SET time = time + 1", []);
    assert_eq!(count, Ok(1));
    let damage = check_integrity(&file).await.unwrap();
    assert!(damage[0].starts_with("record 1: "), "{damage:?}");
}

#[tokio::test]
async fn rows_that_cannot_be_removed_are_counted_and_named() {
    let folder = fresh_folder();
    let store = open_store(&folder).await;
    store.insert(purchases(0..30)).await.unwrap();
    let closed = store.closed();
    drop(store);
    closed.await;
    // The index of times has other prices than the rows of three purchases, so that SQLite does not
    // find the entries that it must delete with the rows.
    let connection = connect(&folder);
    let sql = "SELECT sql FROM sqlite_schema WHERE name = 'by_time'";
    let definition: String = connection.query_row(sql, [], |row| row.get(0)).unwrap();
    let root = number(
        &connection,
        "SELECT rootpage FROM sqlite_schema WHERE name = 'by_time'",
    );
    connection
        .execute_batch(
            "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name = 'by_time';",
        )
        .unwrap();
    drop(connection);
    let connection = connect(&folder);
    let damage = "UPDATE purchases SET price = '1' WHERE substr(id, 17) IN (x'01', x'0a', x'0b')";
    assert_eq!(connection.execute(damage, []).unwrap(), 3);
    connection
        .execute_batch("PRAGMA writable_schema = ON")
        .unwrap();
    let restore = "INSERT INTO sqlite_schema VALUES ('index', 'by_time', 'purchases', ?1, ?2)";
    connection.execute(restore, (root, definition)).unwrap();
    drop(connection);

    let store = open_store(&folder).await;
    let user = "u1".parse().unwrap();
    let mut erased = 0;
    let left = loop {
        let removed = store.erase(&user, 10).await.unwrap();
        erased += removed.count;
        if removed.count == 0 {
            break removed.left;
        }
    };
    assert_eq!((erased, left.count), (27, 3), "{left}");
    assert!(left.named[0].id.ends_with("01'"), "{left}");
    let removed = store
        .delete_before(at(1), 2, Deletion::Delete)
        .await
        .unwrap();
    assert_eq!((removed.count, removed.left.count), (0, 3));
}
