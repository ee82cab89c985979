//! Files damaged by a failing disk.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use rusqlite::Connection;
use shop_core::ports::{PurchaseQuery, RecordStore as _};
use shop_core::{ErrorKind, Result};

use super::{EmbeddedStore, EmbeddedStoreOptions};
#[cfg(feature = "accounts")]
use {
    super::{EmbeddedOrders, EmbeddedUsers},
    shop_core::entity::EntityStore,
};

const FILES: &[&str] = if cfg!(feature = "accounts") {
    &["shop", "users", "orders"]
} else {
    &["shop"]
};

/// Every table and every index of a file, with the number of its first page.
fn trees(file: &Path) -> Vec<(String, u32)> {
    let connection = Connection::open(file).unwrap();
    let mut query = connection
        .prepare("SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0")
        .unwrap();
    let rows = query
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}

fn damage(file: &Path, page: u32) {
    let connection = Connection::open(file).unwrap();
    let size: u32 = connection
        .pragma_query_value(None, "page_size", |row| row.get(0))
        .unwrap();
    drop(connection);
    let mut file = OpenOptions::new().write(true).open(file).unwrap();
    file.seek(SeekFrom::Start(u64::from(page - 1) * u64::from(size)))
        .unwrap();
    file.write_all(&vec![0xff; size as usize]).unwrap();
}

async fn open_store(folder: &Path) -> Result<EmbeddedStore> {
    EmbeddedStore::open(folder, EmbeddedStoreOptions::default()).await
}

/// Opens the file of this name, and returns the result of its check; waits until it is closed.
async fn check(folder: &Path, name: &str) -> Result<()> {
    match name {
        "shop" => {
            let store = open_store(folder).await?;
            let checked = (store.check().await, store.check_reads().await);
            let closed = store.closed();
            drop(store);
            closed.await;
            assert_eq!(checked.0.is_ok(), checked.1.is_ok(), "{checked:?}");
            checked.0
        }
        #[cfg(feature = "accounts")]
        "users" => {
            EntityStore::check(&EmbeddedUsers::open(folder, Default::default()).await?).await
        }
        #[cfg(feature = "accounts")]
        "orders" => {
            EntityStore::check(&EmbeddedOrders::open(folder, Default::default()).await?).await
        }
        _ => panic!("no such file: {name}"),
    }
}

#[tokio::test]
async fn check_detects_damage_in_every_table_and_index() {
    for name in FILES {
        let sound = tempfile::tempdir().unwrap();
        check(sound.path(), name).await.unwrap();
        let file = format!("{name}.db");
        // Checkpoints the write-ahead log of a file that is not closed yet.
        let connection = Connection::open(sound.path().join(&file)).unwrap();
        connection
            .pragma_update_and_check(None, "wal_checkpoint", "truncate", |_| Ok(()))
            .unwrap();
        drop(connection);
        for (tree, page) in trees(&sound.path().join(&file)) {
            let folder = tempfile::tempdir().unwrap();
            let copy = folder.path().join(&file);
            std::fs::copy(sound.path().join(&file), &copy).unwrap();
            damage(&copy, page);
            let error = check(folder.path(), name).await.expect_err(&tree);
            assert_eq!(
                error.kind(),
                ErrorKind::Corrupt,
                "{name} {tree}: {}",
                error.chain()
            );
        }
    }
}

#[tokio::test]
async fn a_write_ahead_log_without_its_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("shop.db-wal");
    std::fs::write(&log, "what the file had").unwrap();
    let refused = open_store(folder.path()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
    assert_eq!(std::fs::read(&log).unwrap(), b"what the file had");
    std::fs::write(&log, "").unwrap();
    open_store(folder.path()).await.unwrap();
}
