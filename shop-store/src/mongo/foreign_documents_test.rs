//! Documents of other programs: listed correctly before and after `migrate`.

use std::collections::BTreeMap;

use bson::oid::ObjectId;
use bson::{Bson, DateTime, Document, RawDocumentBuf, doc};
use futures_util::{FutureExt as _, TryStreamExt as _};
use shop_core::PurchaseId;
use shop_core::ports::PurchaseQueryExt as _;
use tokio::sync::Barrier;

use super::MongoStore;
use super::faults_test::Faulty;
use super::faulty_server::Fault;
use super::fixture::MongoFixture;
use crate::server_fixture::*;

impl MongoFixture {
    /// Inserts documents as another program does.
    pub(super) async fn insert_documents(&self, documents: impl IntoIterator<Item = Document>) {
        let raw = documents
            .into_iter()
            .map(|document| RawDocumentBuf::try_from(&document).unwrap());
        let collection = self.mongo().connection.collection.clone();
        let inserted = collection.insert_many(raw.collect::<Vec<_>>()).await;
        inserted.unwrap();
    }
}

fn old_id(number: u8) -> ObjectId {
    ObjectId::from_bytes([number; 12])
}

/// The documents in a part of `foreign_documents.json`, by what is special about each of them.
fn documents(part: &str) -> BTreeMap<String, Document> {
    let text = include_str!("foreign_documents.json");
    let mut parts: BTreeMap<String, _> = serde_json::from_str(text).unwrap();
    parts.remove(part).unwrap()
}

/// Documents as other programs write them, all at 2026-03-01T09:00:00Z and some seconds. Six of them are purchases of u1.
fn of_other_programs() -> impl Iterator<Item = Document> {
    documents("of other programs").into_values()
}

async fn filled() -> Option<MongoFixture> {
    let fixture = MongoFixture::on_test_server().await?;
    fixture.insert_documents(of_other_programs()).await;
    Some(fixture)
}

async fn listed(store: &MongoStore, order: ListOrder, limit: u16) -> Vec<Purchase> {
    let store: Arc<dyn PurchaseQuery> = Arc::new(store.clone());
    let first = PageRequest::first(order, PageLimit::new(limit).unwrap());
    let pages: Vec<_> = store.pages(user("u1"), first).try_collect().await.unwrap();
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

fn user(id: &str) -> Selector {
    Selector::User(id.parse().unwrap())
}

/// Asserts the sums of the readable documents of `u1`.
async fn assert_sums_of_u1(store: &MongoStore) {
    let summary = store.summary(&user("u1")).await.unwrap();
    let total = summary.total_spent.to_string();
    assert_eq!((summary.count, &*total), (6, "1247.59"));
}

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
}

#[tokio::test]
async fn summary_and_listing_cover_the_same_documents() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
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

    let no_purchases = documents("no purchases");
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

/// Whether the server distinguishes a number and a Decimal128 of the same value, as MongoDB does. On another one, a
/// migration does not end.
async fn changes_types(store: &MongoStore) -> bool {
    let probes = store.connection.database.collection::<Document>("probes");
    probes.insert_one(doc! { "price": 1.5 }).await.unwrap();
    let decimal: bson::Decimal128 = "1.5".parse().unwrap();
    let change = doc! { "$set": { "price": decimal } };
    probes.update_one(doc! {}, change).await.unwrap();
    let probe = probes.find_one(doc! {}).await.unwrap().unwrap();
    probe.get_decimal128("price").is_ok()
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
    assert_sums_of_u1(&store).await;
    let raw = async |number| {
        let found = store
            .connection
            .collection
            .find_one(doc! { "_id": old_id(number) })
            .await
            .unwrap();
        Document::try_from(&found.unwrap()).unwrap()
    };
    let text = |text: &str| Bson::String(text.to_owned());
    let time = DateTime::from_millis(1_772_355_601_000);
    for (number, member, expected) in [
        (1, "price", Bson::Decimal128("1195.30".parse().unwrap())),
        (1, "timestamp", Bson::DateTime(time)),
        // Other members stay.
        (3, "__v", Bson::Int32(0)),
        // An unreadable time is kept, and numbers as names become text.
        (9, "timestamp_before", text("yesterday")),
        (9, "userid", text("42")),
    ] {
        assert_eq!(raw(number).await.get(member), Some(&expected), "{member}");
    }
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
        user("u1"),
        Selector::Name("ada".parse().unwrap()),
        Selector::All,
    ];
    for (selector, call) in all
        .iter()
        .flat_map(|selector| [(selector, "find"), (selector, "aggregate")])
    {
        for earlier in 0..3 {
            let Some(faulty) = Faulty::start(A_MINUTE).await else {
                return;
            };
            let Faulty {
                server,
                store,
                direct,
            } = &faulty;
            direct.insert_documents(of_other_programs()).await;
            let direct = direct.mongo();
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
            let found = tokio::select! { count = count(store, selector, call) => count, count = migration => count };
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
    let document = |id: Bson| doc! { "_id": id, "username": "ada", "userid": "u1", "price": 1, "timestamp": DateTime::from_millis(5) };
    let foreign = (0..100).map(|number| document(number.into()));
    let purchases = (1..=3).map(|number| document(old_id(number).into()));
    fixture.insert_documents(foreign.chain(purchases)).await;
    for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
        assert_eq!(listed(&store, order, 2).await.len(), 3, "{order:?}");
    }
}

/// An id in capitals sorts before those of purchases, and no query by its id finds the document.
#[tokio::test]
async fn a_page_continues_after_ids_that_no_purchase_has() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let store = fixture.mongo();
    let document = |id: String, millis| doc! { "_id": id, "username": "ada", "userid": "u1", "price": 1, "timestamp": DateTime::from_millis(millis) };
    let uuid = |number| format!("0190163d-8694-739b-aea5-96600000000{number:x}");
    let in_capitals = (10..15).map(|number| document(uuid(number).to_uppercase(), number));
    let purchases = (1..=5).map(|number| document(uuid(number), 7 + number));
    fixture.insert_documents(in_capitals.chain(purchases)).await;

    for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
        for limit in [1, 2, 1_000] {
            let ids: Vec<String> = listed(&store, order, limit)
                .await
                .iter()
                .map(|purchase| purchase.id.to_string())
                .collect();
            let mut expected: Vec<String> = (1..=5).map(uuid).collect();
            if order == ListOrder::NewestFirst {
                expected.reverse();
            }
            assert_eq!(ids, expected, "{order:?} {limit}");
        }
    }
    assert_eq!(store.summary(&user("u1")).await.unwrap().count, 5);
    assert_eq!(store.unreadable().load(Ordering::Relaxed), 5);
    let scanned = store.scan_batch(None::<&Cursor>).await.unwrap();
    assert_eq!((scanned.purchases.len(), scanned.unreadable.len()), (5, 5));
    let text = scanned.unreadable[0].reason.to_string();
    assert!(text.contains("small letters"), "{text}");
    for number in 10..15 {
        let id = uuid(number).parse().unwrap();
        assert_eq!(store.get(&id).await.unwrap(), None, "{id}");
    }
}

/// The reply to a slice is lost after the server has converted its documents, so the slice is tried
/// again.
#[tokio::test]
async fn a_slice_that_is_tried_again_is_counted_once() {
    let Some(faulty) = Faulty::start(A_MINUTE).await else {
        return;
    };
    let all: Vec<_> = of_other_programs().collect();
    faulty.direct.insert_documents(all).await;
    let fault_free = MongoFixture::on_test_server().await.unwrap();
    fault_free.insert_documents(of_other_programs()).await;
    let expected = fault_free.mongo().migrate(|_| ()).await.unwrap();
    assert!(expected.migrated > 1);

    let lost = [Fault::AnswerLost, Fault::AnswerLost];
    faulty.server.next("update", lost);
    let migration = faulty.store.migrate(|_| ()).await.unwrap();
    assert!(faulty.server.has_failed());
    assert_eq!(migration, expected);
}
