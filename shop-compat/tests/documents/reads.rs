//! Listings, sums, look-ups and inserts beside documents that are not migrated.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use bson::{DateTime, Document, doc};
use shop_core::ports::{
    InsertOutcome, ListOrder, PageRequest, PurchaseErase as _, PurchaseQuery as _,
    PurchaseQueryExt as _, PurchaseStore as _,
};

use super::{assert_sums_of_u1, filled, id, listed, user, with_decoder};

#[tokio::test]
async fn foreign_documents_are_read_before_migration() {
    let Some(fixture) = filled().await else {
        return;
    };
    let store = fixture.mongo();
    for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
        for limit in [1, 2, 3, 1_000] {
            let all = listed(&store, order, limit).await;
            let mut ids: Vec<String> = all.iter().map(|purchase| purchase.id.to_string()).collect();
            ids.sort();
            ids.dedup();
            assert_eq!((ids.len(), all.len()), (6, 6), "{order:?} {limit}");
        }
    }
    assert_sums_of_u1(&store).await;
    let one = store.get(&id(5)).await.unwrap().unwrap();
    assert_eq!(one.timestamp.to_string(), "2026-03-01T09:00:05.250Z");
    // The document is no purchase.
    store.get(&id(7)).await.unwrap_err();
    let number = user("42");
    let page = store.page(&number, &PageRequest::default()).await.unwrap();
    assert_eq!(page.items[0].id, id(9));
    assert_eq!(page.items[0].price.to_string(), "0.3");
    assert_eq!(store.summary(&number).await.unwrap().count, 1);
    // Inserted again, each is a duplicate by its content, and no conflict.
    let again = one.clone();
    let mut other = one;
    other.id = id(1);
    other.price = "5".parse().unwrap();
    let outcomes = store.insert([again, other].into()).await.unwrap();
    assert!(
        matches!(
            outcomes[..],
            [InsertOutcome::Duplicate, InsertOutcome::Conflict]
        ),
        "{outcomes:?}"
    );
    // The erasure finds a user whose id is a number.
    let erased = store.erase(&"42".parse().unwrap(), 10).await.unwrap();
    assert_eq!(erased.count, 1);
    assert_eq!(store.get(&id(9)).await.unwrap(), None);
}

#[tokio::test]
async fn summary_and_listing_cover_the_same_documents() {
    let Some(fixture) = with_decoder().await else {
        return;
    };
    let store = fixture.mongo();
    let of_u9 = user("u9");
    let assert_sum_is_375 = async |what: &str| {
        let page = store.page(&of_u9, &PageRequest::default()).await.unwrap();
        let summary = store.summary(&of_u9).await.unwrap();
        assert_eq!(summary.total_spent.to_string(), "3.75", "{what}");
        assert_eq!((page.items.len(), summary.count), (2, 2), "{what}");
    };
    let price: bson::Decimal128 = "1.50".parse().unwrap();
    let at = DateTime::from_millis(1_772_355_600_000);
    let purchase = doc! { "username": "ada", "userid": "u9", "price": price, "timestamp": at };
    let mut not_migrated = purchase.clone();
    not_migrated.insert("price", 2.25);
    fixture.insert_documents([purchase, not_migrated]).await;
    assert_sum_is_375("purchases only").await;

    let text = include_str!("../../../shop-store/src/mongo/no_purchases.json");
    let no_purchases: BTreeMap<String, Document> = serde_json::from_str(text).unwrap();
    for (number, (what, document)) in (1..).zip(&no_purchases) {
        fixture.insert_documents([document.clone()]).await;
        assert_sum_is_375(what).await;
        // A page reports those that it has not reported before.
        let reported = store.unreadable().load(Ordering::Relaxed);
        assert_eq!(reported, number, "{what}");
    }
    let migration = store.migrate(|_| ()).await.unwrap();
    assert_eq!(
        (migration.scanned, migration.migrated, migration.skipped),
        (16, 1, 14)
    );
    assert_sum_is_375("after the migration").await;
}
