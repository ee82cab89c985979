//! Documents of other programs: a store without a decoder skips and counts them, and a store with
//! one lists those that it decodes.

use std::collections::BTreeMap;

use bson::oid::ObjectId;
use bson::{Bson, DateTime, Decimal128, Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt as _;
use shop_core::PurchaseId;
use shop_core::ports::{PurchaseQueryExt as _, ScanBatch};

use super::decoder_fixture::Cents;
use super::faulty_server::FaultyServer;
use super::fixture::MongoFixture;
use super::reader::DocumentReader;
use super::{DocumentFormat, MongoStore, MongoStoreOptions};
use crate::server_fixture::*;

fn user(id: &str) -> Selector {
    Selector::User(id.parse().unwrap())
}

fn price(text: &str) -> Decimal128 {
    text.parse().unwrap()
}

/// The document of a purchase of user 7, as this store writes it, at so many milliseconds.
fn own_document(id: impl Into<Bson>, millis: i64) -> Document {
    let date = DateTime::from_millis(millis);
    doc! { "_id": id.into(), "userid": "7", "username": "ada", "price": price("1"), "timestamp": date }
}

/// Documents of user 7 that differ from those of this store in one member, which [`Cents`] decodes.
fn documents_to_decode() -> Vec<Document> {
    let changes = [
        doc! { "price": 100_i64 },
        doc! { "timestamp": 3_i64 },
        doc! { "timestamp": "unknown" },
    ];
    let mut documents = Vec::new();
    for (number, change) in (1..).zip(changes) {
        let mut document = own_document(ObjectId::from_bytes([number; 12]), 5);
        document.extend(change);
        documents.push(document);
    }
    documents
}

/// Documents of user 7 with a number as the user id, and as the name. The server of the tests sums them
/// up without a decoder, because it matches numbers by `$regex`, as MongoDB does not.
fn numeric_texts() -> [Document; 2] {
    ["userid", "username"].map(|member| {
        let mut document = own_document(ObjectId::new(), 5);
        document.insert(member, 7_i64);
        document
    })
}

async fn listed(store: &MongoStore, order: ListOrder, limit: u16) -> Vec<Purchase> {
    let store: Arc<dyn PurchaseQuery> = Arc::new(store.clone());
    let first = PageRequest::first(order, PageLimit::new(limit).unwrap());
    let pages: Vec<_> = store.pages(user("7"), first).try_collect().await.unwrap();
    pages.into_iter().flat_map(|page| page.items).collect()
}

fn reported(store: &MongoStore) -> u64 {
    store.unreadable().load(Ordering::Relaxed)
}

#[tokio::test]
async fn a_store_without_a_decoder_reads_its_own_documents_alone() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let store = fixture.mongo();
    let own_id = ObjectId::from_bytes([9; 12]);
    fixture.insert_documents(documents_to_decode()).await;
    fixture.insert_documents([own_document(own_id, 5)]).await;

    for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
        for limit in [1, 2, 1_000] {
            let purchases = listed(&store, order, limit).await;
            let ids: Vec<PurchaseId> = purchases.iter().map(|purchase| purchase.id).collect();
            assert_eq!(ids, [PurchaseId::from_object_id([9; 12])]);
        }
    }
    // The one with a date that the user id selects.
    assert_eq!(reported(&store), 1);
    let of_user = store.summary(&user("7")).await.unwrap();
    assert_eq!(of_user.total_spent.to_string(), "1");
    assert_eq!(reported(&store), 3);
    assert_eq!(count(&store).await, 1);

    let batches = Arc::new(store.clone()).scan_batches();
    let batches: Vec<ScanBatch> = batches.try_collect().await.unwrap();
    let scanned: usize = batches.iter().map(|batch| batch.purchases.len()).sum();
    assert_eq!(scanned, 1);
    let mut reasons: Vec<String> = batches
        .iter()
        .flat_map(|batch| &batch.unreadable)
        .map(|entry| entry.reason.to_string())
        .collect();
    reasons.sort();
    assert_eq!(
        reasons,
        [
            "price has an unsupported type",
            "timestamp is not a time",
            "timestamp is not a time",
        ]
    );
    let undecoded = PurchaseId::from_object_id([1; 12]);
    let error = store.get(&undecoded).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);

    let migration = store.migrate(|_| ()).await.unwrap();
    let counts = (migration.scanned, migration.migrated, migration.skipped);
    assert_eq!(counts, (4, 0, 3));
    let format: &dyn DocumentFormat = &Cents;
    let error = store.convert_to(format, |_| ()).await.unwrap_err();
    assert_fails(&error, ErrorKind::Invalid, Outcome::NotApplied);
    assert_eq!(count(&store).await, 1);
}

#[test]
fn ids_and_names_that_are_numbers_are_read_by_a_decoder_alone() {
    for document in numeric_texts() {
        let document = RawDocumentBuf::try_from(&document).unwrap();
        let strict = DocumentReader::new(None);
        let error = strict.read_purchase(&document).unwrap_err();
        assert!(error.to_string().contains("has an unsupported type"));

        let reader = DocumentReader::new(Some(Arc::new(Cents)));
        let purchase = reader.read_purchase(&document).unwrap();
        assert_eq!(purchase.user_id.as_str(), "7");
    }
}

#[tokio::test]
async fn a_store_with_a_decoder_reads_what_it_decodes() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let store = fixture.open_with_decoder(Cents).await;
    fixture.insert_documents(documents_to_decode()).await;
    fixture.insert_documents(numeric_texts()).await;
    for is_migrated in [false, true] {
        for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
            for limit in [1, 2, 1_000] {
                let purchases = listed(&store, order, limit).await;
                assert_eq!(purchases.len(), 5, "{order:?} {limit} {is_migrated}");
            }
        }
        let of_user = store.summary(&user("7")).await.unwrap();
        assert_eq!((of_user.count, &*of_user.total_spent.to_string()), (5, "5"));
        let by_name = Selector::Name("7".parse().unwrap());
        assert_eq!(store.summary(&by_name).await.unwrap().count, 1);
        assert_eq!(reported(&store), 0);
        // After the migration, a store without the decoder reads the documents too.
        if is_migrated {
            let strict = fixture.mongo();
            assert_eq!(listed(&strict, ListOrder::NewestFirst, 2).await.len(), 5);
            assert_eq!(reported(&strict), 0);
        }
        store.migrate(|_| ()).await.unwrap();
    }

    let erased = store.erase(&"7".parse().unwrap(), 10).await.unwrap();
    assert_eq!(erased.count, 5);
    assert_eq!(count(&store).await, 0);
}

/// Only a decoder makes purchases of documents without a date, which a query of their own lists.
#[tokio::test]
async fn a_page_without_a_decoder_is_one_query() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let Some(server) = FaultyServer::before(fixture.uri()).await else {
        return;
    };
    fixture
        .insert_documents([own_document(ObjectId::new(), 5)])
        .await;
    let options = MongoStoreOptions::new(server.uri.clone())
        .database(Some(fixture.database.clone()))
        .create_indexes(false);
    let with_decoder = options.clone().decoder(Some(Arc::new(Cents)));
    for (options, expected) in [(options, 1), (with_decoder, 2)] {
        let store = MongoStore::open(options).await.unwrap();
        server.take_counts();
        let request = PageRequest::default();
        let page = store.page(&user("7"), &request).await.unwrap();
        assert_eq!(page.items.len(), 1);
        assert_eq!(server.take_counts()["find purchases"], expected);
    }
}

#[tokio::test]
async fn summary_and_listing_cover_the_same_documents() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let store = fixture.mongo();
    let of_u9 = user("u9");
    let assert_sum_is_150 = async |what: &str| {
        let page = store.page(&of_u9, &PageRequest::default()).await.unwrap();
        let summary = store.summary(&of_u9).await.unwrap();
        assert_eq!(summary.total_spent.to_string(), "1.5", "{what}");
        assert_eq!((page.items.len(), summary.count), (1, 1), "{what}");
    };
    let at = DateTime::from_millis(1_772_355_600_000);
    let purchase =
        doc! { "username": "ada", "userid": "u9", "price": price("1.50"), "timestamp": at };
    fixture.insert_documents([purchase]).await;
    assert_sum_is_150("purchases only").await;

    let text = include_str!("no_purchases.json");
    let no_purchases: BTreeMap<String, Document> = serde_json::from_str(text).unwrap();
    for (number, (what, document)) in (1..).zip(&no_purchases) {
        fixture.insert_documents([document.clone()]).await;
        assert_sum_is_150(what).await;
        // A page reports those that it has not reported before.
        assert_eq!(reported(&store), number, "{what}");
    }
    let migration = store.migrate(|_| ()).await.unwrap();
    let counts = (migration.scanned, migration.migrated, migration.skipped);
    assert_eq!(counts, (15, 0, 14));
    assert_sum_is_150("after the migration").await;
}

/// A document that is no purchase has a number as its id, which sorts before texts.
#[tokio::test]
async fn a_page_continues_after_a_foreign_id() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let foreign = (0..100).map(|number| own_document(number, 5));
    let purchases = (1..=3).map(|number| own_document(ObjectId::from_bytes([number; 12]), 5));
    fixture.insert_documents(foreign.chain(purchases)).await;
    for store in [fixture.mongo(), fixture.open_with_decoder(Cents).await] {
        for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
            assert_eq!(listed(&store, order, 2).await.len(), 3, "{order:?}");
        }
    }
}

/// An id in capitals sorts before those of purchases, and no query by its id finds the document.
#[tokio::test]
async fn a_page_continues_after_ids_that_no_purchase_has() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let uuid = |number| format!("0190163d-8694-739b-aea5-96600000000{number:x}");
    let in_capitals = (10..15).map(|number| own_document(uuid(number).to_uppercase(), number));
    let purchases = (1..=5).map(|number| own_document(uuid(number), 7 + number));
    fixture.insert_documents(in_capitals.chain(purchases)).await;

    let oldest_first: Vec<String> = (1..=5).map(uuid).collect();
    let newest_first: Vec<String> = (1..=5).rev().map(uuid).collect();
    let orders = [
        (ListOrder::NewestFirst, newest_first),
        (ListOrder::OldestFirst, oldest_first),
    ];
    for store in [fixture.mongo(), fixture.open_with_decoder(Cents).await] {
        for (order, expected) in &orders {
            for limit in [1, 2, 1_000] {
                let purchases = listed(&store, *order, limit).await;
                let ids: Vec<String> = purchases
                    .iter()
                    .map(|purchase| purchase.id.to_string())
                    .collect();
                assert_eq!(&ids, expected, "{order:?} {limit}");
            }
        }
        assert_eq!(store.summary(&user("7")).await.unwrap().count, 5);
        assert_eq!(reported(&store), 5);
        let scanned = store.scan_batch(None::<&Cursor>).await.unwrap();
        assert_eq!((scanned.purchases.len(), scanned.unreadable.len()), (5, 5));
        let text = scanned.unreadable[0].reason.to_string();
        assert!(text.contains("small letters"), "{text}");
        for number in 10..15 {
            let id = uuid(number).parse().unwrap();
            assert_eq!(store.get(&id).await.unwrap(), None, "{id}");
        }
    }
}
