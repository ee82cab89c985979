//! Files damaged by a failing disk.

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
