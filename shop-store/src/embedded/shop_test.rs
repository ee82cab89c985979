//! A shop in the files of a folder.

use shop_core::Shop;
use shop_core::ports::{IdempotentSink, PurchasePublisher as _, UtcOffset};

use super::fixture::*;

const TIMEOUT: Duration = Duration::from_secs(20);

async fn count(shop: &Shop) -> u64 {
    shop.user("u1").summary().await.unwrap().count
}

fn has(folder: &Path, file: &str) -> bool {
    folder.join(file).exists()
}

#[tokio::test]
async fn a_folder_is_open_once() {
    let folder = fresh_folder();
    let first = open_shop(folder.path()).await;
    let error = EmbeddedShop::open(folder.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let reason = "another EmbeddedShop has this folder open";
    assert!(error.to_string().contains(reason), "{error}");
    first.shop().buy(new_purchase("1")).await.unwrap();
    first.close(TIMEOUT).await.unwrap();
    drop(open_shop(folder.path()).await);
}

#[tokio::test]
async fn closing_a_shop_in_use_closes_its_clones() {
    let folder = fresh_folder();
    let embedded = open_shop(&folder).await;
    let shop = embedded.shop();
    let log = embedded.log().clone();
    let bought = shop.buy(new_purchase("1")).await.unwrap();
    let user = shop.user("u1");
    let mut listing = user.purchases();
    let source = log.source("other").unwrap();
    embedded.close(TIMEOUT).await.unwrap();
    assert!(!has(folder.path(), "shop.db-wal"), "the file is closed");

    let refused = [
        shop.buy(new_purchase("1")).await.unwrap_err(),
        shop.get(&bought.receipt.id).await.unwrap_err(),
        shop.check().await.unwrap_err(),
        user.totals(Period::Day, UtcOffset::UTC).await.unwrap_err(),
        listing.try_next().await.unwrap_err(),
        log.usage().await.unwrap_err(),
        log.check().await.unwrap_err(),
        log.sink().publish(&purchase(1)).await.unwrap_err(),
    ];
    assert!(
        refused
            .iter()
            .all(|error| error.kind() == ErrorKind::Closed),
        "{refused:?}"
    );
    assert!(matches!(source.next().await, Ok(SourceEvent::Closed)));
    // Another process can open it beside the clones.
    let again = open_shop(folder.path()).await;
    assert_eq!(count(&again.shop()).await, 1);
    again.close(TIMEOUT).await.unwrap();
}

#[tokio::test]
async fn the_position_passes_records_stored_on_append() {
    let (folder, log) = fresh_log().await;
    let storing = log.storing_sink("group").await.unwrap();
    let appending = log.sink();
    let position = async || log.usage().await.unwrap().groups[0].next_offset;
    storing.publish(&purchase(1)).await.unwrap();
    assert_eq!(position().await, 2);
    appending.publish(&purchase(2)).await.unwrap();
    let again = purchase(3);
    for is_duplicate in [false, true] {
        let receipt = storing.publish(&again).await.unwrap();
        assert_eq!(receipt.is_duplicate, is_duplicate);
    }
    assert_eq!(position().await, 2, "the record in between is not stored");

    let source = log.source("group").unwrap();
    let SourceEvent::Batch(batch) = source.next().await.unwrap() else {
        panic!("no batch")
    };
    let offsets: Vec<u64> = batch.records.iter().map(|record| record.offset).collect();
    assert_eq!(offsets, [2, 3]);
    let position_of_source = CommitOffset::new(batch.partition, 3);
    source.commit(&[position_of_source]).await.unwrap();
    assert_eq!(position().await, 4, "the end of the stored records");
    storing.publish(&purchase(4)).await.unwrap();
    assert_eq!(position().await, 5);

    source.close(TIMEOUT).await.unwrap();
    let other = EmbeddedLogOptions::default().feeds("mongodb://db/shop".to_owned());
    let other = EmbeddedLog::open(folder.path(), other).await.unwrap();
    let refused = other.source("group").unwrap().next().await;
    assert!(refused.is_err_and(|error| error.to_string().contains("`management groups forget")));
}

#[tokio::test]
async fn a_key_is_checked_in_the_transaction_without_a_lookup() {
    let (_folder, log) = fresh_log().await;
    let store = log.store(&EmbeddedStoreOptions::default()).await.unwrap();
    let keyed = |price, millis| {
        new_purchase(price)
            .with_key("order-7")
            .unwrap()
            .with_timestamp(at(millis))
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
    assert!(again.replayed);
    assert_eq!(again.purchase, first.purchase);
    assert_eq!(again.purchase.price.to_string(), "1.50", "as it was stored");
    let conflict = publish(keyed("2", 5)).await.unwrap_err();
    assert_eq!(conflict.kind(), ErrorKind::Conflict);
    store.erase(&first.purchase.user_id, 10).await.unwrap();
    for price in ["1.50", "2"] {
        let error = publish(keyed(price, 5)).await.unwrap_err();
        assert_fails(&error, ErrorKind::Erased, Outcome::NotApplied);
    }
    let next_offset = log.usage().await.unwrap().next_offset;
    assert_eq!(next_offset, 2, "one record was appended");
}

#[tokio::test]
async fn a_user_who_was_erased_buys_again() {
    let (folder, log) = fresh_log().await;
    let sink = log.storing_sink("group").await.unwrap();
    let store = log.store(&EmbeddedStoreOptions::default()).await.unwrap();
    // It has a connection of its own, like a store in another process.
    let other_store = open_store(&folder).await;
    let user = "u1".parse().unwrap();
    for (eraser, before, after) in [(&store, 1, 2), (&other_store, 3, 4)] {
        sink.publish(&purchase(before)).await.unwrap();
        assert!(eraser.erase(&user, 10).await.unwrap().count > 0);
        sink.publish(&purchase(after)).await.unwrap();
        let summary = store.summary(&Selector::User(user.clone())).await.unwrap();
        assert_eq!(summary.count, 1);
        assert!(eraser.erase(&user, 10).await.unwrap().count > 0);
    }
}
