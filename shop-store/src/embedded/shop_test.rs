//! A shop in the files of a folder.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{TryStreamExt, stream};
use shop_core::log::{CommitOffset, LogGroups as _, LogSource as _, SourceEvent};
use shop_core::memory::InMemoryStore;
use shop_core::ports::{
    IdempotentSink, Period, PurchaseErase as _, PurchasePublisher as _, PurchaseSink as _,
    UtcOffset,
};
use shop_core::verify::{Verify, VerifyOptions};
use shop_core::{
    Clock as _, ErrorKind, NewPurchase, Outcome, Purchase, Shop, SystemClock, Timestamp,
};
use tempfile::TempDir;

use super::{
    EmbeddedLog, EmbeddedLogOptions, EmbeddedShop, EmbeddedShopOptions, EmbeddedStoreOptions,
};

const TIMEOUT: Duration = Duration::from_secs(20);

fn new(price: &str) -> NewPurchase {
    NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price(price)
        .unwrap()
}

fn with_id(new: NewPurchase) -> Purchase {
    new.into_purchase(SystemClock.now(), || SystemClock.fresh_id())
}

async fn count(shop: &Shop) -> u64 {
    shop.user("u1").summary().await.unwrap().count
}

/// A log in an empty folder.
async fn fresh_log() -> (TempDir, EmbeddedLog) {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path(), EmbeddedLogOptions::default())
        .await
        .unwrap();
    (folder, log)
}

fn has(folder: &Path, file: &str) -> bool {
    folder.join(file).exists()
}

#[tokio::test]
async fn purchases_survive_close_and_open() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("data");
    let embedded = EmbeddedShop::open(&folder).await.unwrap();
    let shop = embedded.shop();
    let bought = shop.buy(new("29.99")).await.unwrap();
    let user = shop.user("u1").wait_for(&bought.receipt);
    assert_eq!(
        user.purchases().try_collect::<Vec<_>>().await.unwrap(),
        std::slice::from_ref(&bought.purchase)
    );
    assert_eq!(
        embedded.monitor().status().counters.inserted,
        0,
        "stored on publish"
    );
    shop.check().await.unwrap();
    embedded.close(TIMEOUT).await.unwrap();
    assert!(!has(&folder, "shop.db-wal"), "the file is closed");

    let again = EmbeddedShop::open(&folder).await.unwrap();
    assert_eq!(
        again.shop().get(&bought.receipt.id).await.unwrap(),
        Some(bought.purchase)
    );
    again.close(TIMEOUT).await.unwrap();
}

#[tokio::test]
async fn a_drop_without_close_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedShop::open(folder.path()).await.unwrap();
    let orders = stream::iter((0..200).map(|_| new("1")));
    let bought: Vec<_> = embedded
        .shop()
        .buy_all(orders, 64)
        .try_collect()
        .await
        .unwrap();
    drop(embedded);

    let again = EmbeddedShop::open(folder.path()).await.unwrap();
    for bought in &bought {
        let user = again.shop().user("u1").wait_for(&bought.receipt);
        user.summary().await.unwrap();
    }
    assert_eq!(count(&again.shop()).await, 200);
    again.close(TIMEOUT).await.unwrap();
}

#[tokio::test]
async fn a_folder_is_open_once() {
    let folder = tempfile::tempdir().unwrap();
    let first = EmbeddedShop::open(folder.path()).await.unwrap();
    let error = EmbeddedShop::open(folder.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error
            .to_string()
            .contains("another EmbeddedShop has this folder open"),
        "{error}"
    );
    first.shop().buy(new("1")).await.unwrap();
    first.close(TIMEOUT).await.unwrap();
    drop(EmbeddedShop::open(folder.path()).await.unwrap());
}

#[tokio::test]
async fn closing_a_shop_in_use_closes_its_clones() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedShop::open_with(folder.path(), EmbeddedShopOptions::default())
        .await
        .unwrap();
    let shop = embedded.shop();
    let log = embedded.log().clone();
    let bought = shop.buy(new("1")).await.unwrap();
    let user = shop.user("u1");
    let mut listing = user.purchases();
    let source = log.source("other").unwrap();
    embedded.close(TIMEOUT).await.unwrap();
    assert!(!has(folder.path(), "shop.db-wal"), "the file is closed");

    let refused = [
        shop.buy(new("1")).await.unwrap_err(),
        shop.get(&bought.receipt.id).await.unwrap_err(),
        shop.check().await.unwrap_err(),
        user.totals(Period::Day, UtcOffset::UTC).await.unwrap_err(),
        listing.try_next().await.unwrap_err(),
        log.usage().await.unwrap_err(),
        source.check().await.unwrap_err(),
        log.sink().publish(&with_id(new("1"))).await.unwrap_err(),
    ];
    assert!(
        refused
            .iter()
            .all(|error| error.kind() == ErrorKind::Closed),
        "{refused:?}"
    );
    assert!(matches!(source.next().await, Ok(SourceEvent::Closed)));
    // Another process can open it beside the clones.
    let again = EmbeddedShop::open(folder.path()).await.unwrap();
    assert_eq!(count(&again.shop()).await, 1);
    again.close(TIMEOUT).await.unwrap();
}

#[tokio::test]
async fn the_position_passes_records_stored_on_append() {
    let (folder, log) = fresh_log().await;
    let storing = log.storing_sink("group").await.unwrap();
    let appending = log.sink();
    let position = async || log.usage().await.unwrap().groups[0].next_offset;
    storing.publish(&with_id(new("1"))).await.unwrap();
    assert_eq!(position().await, 2);
    appending.publish(&with_id(new("2"))).await.unwrap();
    let again = with_id(new("3"));
    for is_duplicate in [false, true] {
        let receipt = storing.publish(&again).await.unwrap();
        assert_eq!(
            receipt.is_duplicate, is_duplicate,
            "the second is not appended"
        );
    }
    assert_eq!(position().await, 2, "the record in between is not stored");

    let source = log.source("group").unwrap();
    let SourceEvent::Batch(batch) = source.next().await.unwrap() else {
        panic!("no batch")
    };
    let offsets: Vec<u64> = batch.records.iter().map(|record| record.offset).collect();
    assert_eq!(offsets, [2, 3]);
    source
        .commit(&[CommitOffset::new(batch.partition.clone(), 3)])
        .await
        .unwrap();
    assert_eq!(position().await, 4, "the end of the stored records");
    storing.publish(&with_id(new("4"))).await.unwrap();
    assert_eq!(position().await, 5);

    source.close(TIMEOUT).await.unwrap();
    let other = EmbeddedLogOptions::default().feeds("mongodb://db/shop".to_owned());
    let other = EmbeddedLog::open(folder.path(), other).await.unwrap();
    let refused = other.source("group").unwrap().next().await;
    assert!(refused.is_err_and(|error| error.to_string().contains("`management groups forget")));
}

#[tokio::test]
async fn a_reset_takes_the_lock_of_a_group_without_a_consumer() {
    let (folder, log) = fresh_log().await;
    log.register("group").await.unwrap();
    assert!(log.reset("group", 1).await.unwrap());
    assert!(has(folder.path(), "group.consumer.lock"));
}

#[tokio::test]
async fn a_key_is_checked_in_the_transaction_without_a_lookup() {
    let (_folder, log) = fresh_log().await;
    let store = log.store(&EmbeddedStoreOptions::default()).await.unwrap();
    let keyed = |price, millis| {
        let time = Timestamp::from_millis(millis).unwrap();
        new(price).with_key("order-7").unwrap().with_timestamp(time)
    };
    // Each is a process with an empty cache, whose lookups find nothing.
    let publish = async |new| {
        let sink = log.storing_sink("group").await.unwrap();
        IdempotentSink::new(sink, Arc::new(InMemoryStore::new()))
            .publish_new(new, None)
            .await
    };
    let first = publish(keyed("1.50", 5)).await.unwrap();
    let again = publish(keyed("1.5", 6)).await.unwrap();
    assert_eq!((again.replayed, &again.purchase), (true, &first.purchase));
    assert_eq!(again.purchase.price.to_string(), "1.50", "as it was stored");
    assert_eq!(
        publish(keyed("2", 5)).await.unwrap_err().kind(),
        ErrorKind::Conflict
    );
    store.erase(&first.purchase.user_id, 10).await.unwrap();
    for price in ["1.50", "2"] {
        let error = publish(keyed(price, 5)).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.outcome()),
            (ErrorKind::Erased, Outcome::NotApplied)
        );
    }
    assert_eq!(
        log.usage().await.unwrap().next_offset,
        2,
        "one record was appended"
    );
}

#[tokio::test]
async fn an_erased_purchase_of_a_shop_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedShop::open(folder.path()).await.unwrap();
    let bought = embedded.shop().buy(new("1")).await.unwrap();
    assert_eq!(
        embedded
            .store()
            .erase(&bought.purchase.user_id, 10)
            .await
            .unwrap(),
        1
    );
    let verify = Verify::new(Arc::new(embedded.store().clone()), VerifyOptions::default());
    let report = verify.run(embedded.log(), |_| ()).await.unwrap();
    assert_eq!((report.erased, report.is_clean()), (1, true), "{report:?}");
}
