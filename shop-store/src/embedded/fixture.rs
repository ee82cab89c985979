//! What the tests of the embedded log and store share.

pub(crate) use std::path::Path;
pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::Ordering;
pub(crate) use std::time::Duration;
pub(crate) use std::{fs, ops::Range};

pub(crate) use futures_util::TryStreamExt as _;
pub(crate) use rusqlite::Connection;
pub(crate) use shop_core::conformance::assert_fails;
pub(crate) use shop_core::log::{
    CommitOffset, Log as _, LogExt as _, LogGroups as _, LogRecord, LogSource, SourceEvent,
};
pub(crate) use shop_core::memory::InMemoryStore;
pub(crate) use shop_core::ports::{
    ListOrder, PageLimit, PageRequest, Period, PurchaseErase as _, PurchaseQuery,
    PurchaseSink as _, PurchaseStore as _, RecordStore as _, Selector, TimeRange, TotalsRequest,
};
pub(crate) use shop_core::{
    Clock, ErrorKind, NewPurchase, Outcome, Purchase, PurchaseId, Result, SystemClock, Timestamp,
};
pub(crate) use tempfile::TempDir;
pub(crate) use uuid::Uuid;

use std::sync::atomic::AtomicI64;

pub(crate) use super::{
    EmbeddedLog, EmbeddedLogOptions, EmbeddedShop, EmbeddedStore, EmbeddedStoreOptions, backup,
    check_integrity,
};

/// A clock that the test sets.
#[derive(Debug, Default)]
pub(crate) struct SetClock(pub(crate) AtomicI64);

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        at(self.0.load(Ordering::Relaxed))
    }

    fn fresh_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

/// Purchase `number`, of the user u1 at the start of 1970.
pub(crate) fn purchase(number: u64) -> Purchase {
    Purchase::new(
        PurchaseId::from_uuid(Uuid::from_u128(number.into())),
        "u1".parse().unwrap(),
        "ada".parse().unwrap(),
        "29.99".parse().unwrap(),
        at(0),
    )
}

pub(crate) fn purchases(numbers: Range<u64>) -> Arc<[Purchase]> {
    numbers.map(purchase).collect()
}

/// A new purchase of the user u1.
pub(crate) fn new_purchase(price: &str) -> NewPurchase {
    NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price(price)
        .unwrap()
}

pub(crate) fn fresh_folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The file of a log and store in `folder`, as another program opens it.
pub(crate) fn connect(folder: impl AsRef<Path>) -> Connection {
    Connection::open(folder.as_ref().join("shop.db")).unwrap()
}

/// The number that is the result of `sql`.
pub(crate) fn number(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

pub(crate) async fn open_log(folder: impl AsRef<Path>) -> EmbeddedLog {
    open_log_with(folder, EmbeddedLogOptions::default()).await
}

pub(crate) async fn open_log_with(
    folder: impl AsRef<Path>,
    options: EmbeddedLogOptions,
) -> EmbeddedLog {
    EmbeddedLog::open(folder.as_ref(), options).await.unwrap()
}

/// A log in an empty folder.
pub(crate) async fn fresh_log() -> (TempDir, EmbeddedLog) {
    let folder = fresh_folder();
    let log = open_log(&folder).await;
    (folder, log)
}

pub(crate) async fn open_store(folder: impl AsRef<Path>) -> EmbeddedStore {
    EmbeddedStore::open(folder.as_ref(), EmbeddedStoreOptions::default())
        .await
        .unwrap()
}

pub(crate) async fn open_shop(folder: impl AsRef<Path>) -> EmbeddedShop {
    EmbeddedShop::open(folder.as_ref()).await.unwrap()
}

pub(crate) async fn count(store: &EmbeddedStore) -> u64 {
    store.summary(&Selector::All).await.unwrap().count
}

/// Takes the lock of writes, as another process does.
pub(crate) fn lock_writes(folder: &TempDir) -> fs::File {
    let lock = fs::File::open(folder.path().join("shop.lock")).unwrap();
    lock.lock().unwrap();
    lock
}

/// Waits until `holds`, for at most a minute.
pub(crate) async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait)
        .await
        .expect("the condition holds");
}
