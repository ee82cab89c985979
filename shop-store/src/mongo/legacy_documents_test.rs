//! Documents of the replaced systems: listed correctly before and after `migrate`.

use std::sync::Arc;
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use futures_util::{FutureExt, TryStreamExt};
use shop_core::ports::{
    InsertOutcome, ListOrder, PageLimit, PageRequest, PurchaseQuery, PurchaseQueryExt,
    PurchaseStore, Selector,
};
use shop_core::{Purchase, PurchaseId, Timestamp};
use tokio::sync::Barrier;

use super::faulty_server::{Fault, FaultyServer};
use super::fixture::MongoFixture;
use super::{MongoStore, MongoStoreOptions};

fn old_id(number: u8) -> ObjectId {
    ObjectId::from_bytes([number; 12])
}

/// Documents as each system wrote them, all at 2026-03-01T09:00:00Z and some seconds.
fn documents() -> Vec<Document> {
    let (_id, at) = ("_id", 1_772_355_600);
    vec![
        // 000: everything as the client sent it.
        doc! { _id: old_id(1), "username": "ada", "userid": "u1", "price": "1195.30", "timestamp": "2026-03-01T09:00:01.000Z" },
        doc! { _id: old_id(2), "username": "ada", "userid": "u1", "price": 7, "timestamp": "2026-03-01T10:00:02+01:00" },
        // 001: mongoose.
        doc! { _id: old_id(3), "username": "ada", "userid": "u1", "price": 29.99, "timestamp": DateTime::from_millis((at + 3) * 1_000), "__v": 0 },
        // 003: naive UTC text with microseconds.
        doc! { _id: old_id(4), "username": "ada", "userid": "u1", "price": 0.1, "timestamp": "2026-03-01T09:00:04.123456" },
        // 004: seconds.
        doc! { _id: old_id(5), "username": "ada", "userid": "u1", "price": 15.0, "timestamp": 1_772_355_605.25 },
        // Ours.
        doc! { _id: "0190163d-8694-739b-aea5-966c26f8ad91", "username": "ada", "userid": "u1", "price": "0.20".parse::<bson::Decimal128>().unwrap(), "timestamp": DateTime::from_millis((at + 6) * 1_000) },
        // 000 again: a client that sent numbers, and one that calculated.
        doc! { _id: old_id(9), "username": 42, "userid": 42, "price": 0.1 * 3.0, "timestamp": "yesterday" },
        // No purchase.
        doc! { _id: old_id(7), "username": "ada", "userid": "u1", "price": "much", "timestamp": DateTime::from_millis(at) },
        doc! { _id: old_id(8), "username": "ada", "userid": "u1", "price": f64::NAN, "timestamp": 5 },
    ]
}

async fn filled() -> Option<MongoFixture> {
    let fixture = MongoFixture::on_test_server().await?;
    let store = fixture.mongo();
    let raw = documents()
        .into_iter()
        .map(|document| RawDocumentBuf::try_from(&document).unwrap());
    store
        .connection
        .collection
        .insert_many(raw.collect::<Vec<_>>())
        .await
        .unwrap();
    Some(fixture)
}

async fn listed(store: &MongoStore, order: ListOrder, limit: u16) -> Vec<Purchase> {
    let store: Arc<dyn PurchaseQuery> = Arc::new(store.clone());
    let first = PageRequest::first(order, PageLimit::new(limit).unwrap());
    let pages: Vec<_> = store
        .pages(Selector::User("u1".parse().unwrap()), first)
        .try_collect()
        .await
        .unwrap();
    assert!(
        pages
            .iter()
            .all(|page| !page.items.is_empty() && page.items.len() <= usize::from(limit))
    );
    pages.into_iter().flat_map(|page| page.items).collect()
}

fn id(number: u8) -> PurchaseId {
    PurchaseId::from_object_id([number; 12])
}

#[tokio::test]
async fn legacy_documents_are_read_before_migration() {
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
    let summary = store
        .summary(&Selector::User("u1".parse().unwrap()))
        .await
        .unwrap();
    assert_eq!(
        (summary.count, summary.total_spent.to_string()),
        (6, "1247.59".to_owned())
    );
    let one = store.get(&id(5)).await.unwrap().unwrap();
    assert_eq!(
        one.timestamp,
        "2026-03-01T09:00:05.250Z".parse::<Timestamp>().unwrap()
    );
    assert!(
        store.get(&id(7)).await.is_err(),
        "the document is no purchase"
    );
    let number = Selector::User("42".parse().unwrap());
    let page = store.page(&number, &PageRequest::default()).await.unwrap();
    assert_eq!(
        (page.items[0].id, page.items[0].price.to_string()),
        (id(9), "0.3".to_owned())
    );
    assert_eq!(store.summary(&number).await.unwrap().count, 1);
    // Inserted again, each is a duplicate by its content, and no conflict.
    let again = one.clone();
    let other = Purchase::new(
        id(1),
        one.user_id,
        one.user_name,
        "5".parse().unwrap(),
        one.timestamp,
    );
    let outcomes = store.insert([again, other].into()).await.unwrap();
    assert!(
        matches!(
            outcomes[..],
            [InsertOutcome::Duplicate, InsertOutcome::Conflict]
        ),
        "{outcomes:?}"
    );
}

/// Unusual documents of other writers: of the user u9, with two purchases among them.
fn oddities() -> Vec<Document> {
    let (_id, at) = ("_id", DateTime::from_millis(1_772_355_600_000));
    let decimal = |text: &str| text.parse::<bson::Decimal128>().unwrap();
    let odd = |id: Bson, change: &dyn Fn(&mut Document)| {
        let mut document = doc! { _id: id, "username": "ada", "userid": "u9", "price": decimal("1.50"), "timestamp": at };
        change(&mut document);
        document
    };
    let next = |number: u8| Bson::ObjectId(old_id(100 + number));
    let long = "x".repeat(257);
    vec![
        odd(next(0), &|_| ()),
        odd(next(1), &|old| drop(old.insert("price", 2.25))),
        odd(next(2), &|nan| drop(nan.insert("price", decimal("NaN")))),
        odd(next(3), &|large| {
            large.insert("price", decimal("10000000000000000"));
        }),
        odd(next(4), &|below| drop(below.insert("price", decimal("-1")))),
        odd(next(5), &|control| {
            control.insert("username", "ada\nlovelace");
        }),
        odd(next(6), &|control| {
            control.insert("username", "ada\n");
        }),
        odd(next(7), &|nameless| drop(nameless.remove("username"))),
        odd(next(8), &|blank| drop(blank.insert("username", "\u{2003}"))),
        odd(next(9), &|long_name| {
            long_name.insert("username", &*long);
        }),
        odd(next(10), &|several| {
            several.insert("username", vec!["ada", "eve"]);
        }),
        odd(next(11), &|several| {
            several.insert("userid", vec!["u9", "u8"]);
        }),
        odd("order-17".into(), &|_| ()),
        odd(Bson::Int32(17), &|_| ()),
    ]
}

#[tokio::test]
async fn summary_and_listing_cover_the_same_documents() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let store = fixture.mongo();
    let collection = &store.connection.collection;
    let user = Selector::User("u9".parse().unwrap());
    let found = async || {
        let page = store.page(&user, &PageRequest::default()).await.unwrap();
        let summary = store.summary(&user).await.unwrap();
        (
            page.items.len() as u64,
            summary.count,
            summary.total_spent.to_string(),
        )
    };
    let mut unreadable = 0;
    for document in oddities() {
        let is_one = ["1.50", "2.25"].contains(&&*document.get("price").unwrap().to_string())
            && document.get_str("username").is_ok_and(|name| name == "ada")
            && document.get_str("userid").is_ok_and(|id| id == "u9")
            && matches!(document.get("_id"), Some(Bson::ObjectId(_)));
        collection
            .insert_one(RawDocumentBuf::try_from(&document).unwrap())
            .await
            .unwrap();
        unreadable += u64::from(!is_one);
        let expected = if document.get("_id") == Some(&Bson::ObjectId(old_id(100))) {
            (1, 1, "1.5")
        } else {
            (2, 2, "3.75")
        };
        assert_eq!(
            found().await,
            (expected.0, expected.1, expected.2.to_owned()),
            "{document}"
        );
        // On every scan.
        assert_eq!(
            store
                .unreadable()
                .load(std::sync::atomic::Ordering::Relaxed),
            unreadable,
            "{document}"
        );
    }
    assert_eq!(unreadable, 12);
    let migration = store.migrate(|_| ()).await.unwrap();
    assert_eq!(
        (migration.scanned, migration.migrated, migration.skipped),
        (14, 1, 12)
    );
    assert_eq!(found().await, (2, 2, "3.75".to_owned()));
}

/// Whether the server distinguishes a number and a Decimal128 of the same value, as MongoDB does.
async fn changes_types(store: &MongoStore) -> bool {
    let collection = &store.connection.collection;
    let one = doc! { "_id": "probe", "x": 1.5 };
    collection
        .insert_one(RawDocumentBuf::try_from(&one).unwrap())
        .await
        .unwrap();
    let decimal: bson::Decimal128 = "1.5".parse().unwrap();
    collection
        .update_one(doc! { "_id": "probe" }, doc! { "$set": { "x": decimal } })
        .await
        .unwrap();
    let found = collection
        .find_one_and_delete(doc! { "_id": "probe" })
        .await
        .unwrap()
        .unwrap();
    let changes = matches!(
        found.get("x"),
        Ok(Some(bson::raw::RawBsonRef::Decimal128(_)))
    );
    if !changes {
        eprintln!(
            "this server does not change 1.5 to a Decimal128 of the same value: a migration does not end"
        );
    }
    changes
}

#[tokio::test]
async fn migration_orders_documents_and_keeps_other_members() {
    let Some(fixture) = filled().await else {
        return;
    };
    let store = fixture.mongo();
    let mut told = Vec::new();
    let migration = store.migrate(|progress| told.push(progress)).await.unwrap();
    assert_eq!(
        (migration.scanned, migration.migrated, migration.skipped),
        (9, 6, 2)
    );
    assert_eq!(told.last(), Some(&migration));
    let again = store.migrate(|_| ()).await.unwrap();
    let not_changed = if changes_types(&store).await { 0 } else { 4 };
    assert_eq!(
        (again.migrated, again.skipped),
        (not_changed, 2),
        "nothing is left to do"
    );

    let all = listed(&store, ListOrder::OldestFirst, 2).await;
    let prices: Vec<String> = all
        .iter()
        .map(|purchase| purchase.price.to_string())
        .collect();
    assert_eq!(prices, ["1195.30", "7", "29.99", "0.1", "15", "0.20"]);
    let mut newest = listed(&store, ListOrder::NewestFirst, 2).await;
    newest.reverse();
    assert_eq!(newest, all);
    let summary = store
        .summary(&Selector::User("u1".parse().unwrap()))
        .await
        .unwrap();
    assert_eq!(
        (summary.count, summary.total_spent.to_string()),
        (6, "1247.59".to_owned())
    );
    let raw = async |number| {
        let found = store
            .connection
            .collection
            .find_one(doc! { "_id": old_id(number) })
            .await
            .unwrap();
        Document::try_from(&found.unwrap()).unwrap()
    };
    assert_eq!(
        raw(3).await.get("__v"),
        Some(&Bson::Int32(0)),
        "other members stay"
    );
    let first = raw(1).await;
    assert_eq!(
        first.get("price"),
        Some(&Bson::Decimal128("1195.30".parse().unwrap()))
    );
    assert_eq!(
        first.get("timestamp"),
        Some(&Bson::DateTime(DateTime::from_millis(1_772_355_601_000)))
    );
    // An unreadable time is kept, and numbers as names become text.
    let ninth = raw(9).await;
    assert_eq!(
        ninth.get("timestamp_before"),
        Some(&Bson::String("yesterday".into()))
    );
    assert_eq!(ninth.get("userid"), Some(&Bson::String("42".into())));
}

/// The number of selected purchases, by a page (`find`) or a sum (`aggregate`).
async fn count(store: &MongoStore, selector: &Selector, call: &str) -> u64 {
    match call {
        "find" => store
            .page(selector, &PageRequest::default())
            .await
            .unwrap()
            .items
            .len() as u64,
        _ => store.summary(selector).await.unwrap().count,
    }
}

/// `migrate` runs after the server has responded to one of the queries.
#[tokio::test]
async fn a_document_that_is_migrated_meanwhile_is_listed() {
    let all = [
        Selector::User("u1".parse().unwrap()),
        Selector::Name("ada".parse().unwrap()),
        Selector::All,
    ];
    for (selector, call) in all
        .iter()
        .flat_map(|selector| [(selector, "find"), (selector, "aggregate")])
    {
        for earlier in 0..3 {
            let Some(fixture) = filled().await else {
                return;
            };
            let direct = fixture.mongo();
            let server = FaultyServer::before(fixture.uri()).await;
            let mut options = MongoStoreOptions::new(server.uri.clone());
            options.database = Some(direct.connection.collection.namespace().db);
            options.create_indexes = false;
            let store = MongoStore::open(options).await.unwrap();
            let barrier = Arc::new(Barrier::new(2));
            server.next(call, (0..earlier).map(|_| Fault::Late(Duration::ZERO)));
            server.next(call, [Fault::Held(Arc::clone(&barrier))]);
            let migration = async {
                barrier.wait().await;
                direct.migrate(|_| ()).await.unwrap();
                barrier.wait().await;
            };
            // It may need fewer queries.
            let migration = migration.then(|()| std::future::pending::<u64>());
            let found = tokio::select! { count = count(&store, selector, call) => count, count = migration => count };
            let expected = if *selector == Selector::All { 7 } else { 6 };
            assert_eq!(found, expected, "{selector:?}, {call} {earlier}");
        }
    }
}

/// A document that is no purchase has a number as its id, which sorts before texts.
#[tokio::test]
async fn a_page_continues_after_a_foreign_id() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let store = fixture.mongo();
    let at = DateTime::from_millis(1_772_355_600_000);
    let of = |id: Bson| {
        let price: bson::Decimal128 = "1".parse().unwrap();
        let document =
            doc! { "_id": id, "userid": "u1", "username": "ada", "price": price, "timestamp": at };
        RawDocumentBuf::try_from(&document).unwrap()
    };
    let foreign = (0..100).map(|number| of(Bson::Int32(number)));
    let purchases = (1..=3).map(|number| of(Bson::ObjectId(old_id(number))));
    store
        .connection
        .collection
        .insert_many(foreign.chain(purchases))
        .await
        .unwrap();
    for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
        assert_eq!(listed(&store, order, 2).await.len(), 3, "{order:?}");
    }
}
