//! `migrate`, also while services list the documents and while connections break.

use std::sync::Arc;
use std::time::Duration;

use bson::oid::ObjectId;
use bson::{Bson, DateTime, Decimal128, Document, doc};
use futures_util::FutureExt as _;
use mongodb::{Client, Database};
use shop_compat::ReplacedSystem;
use shop_compat::documents::SystemDocumentDecoder;
use shop_core::ports::{ListOrder, PageRequest, PurchaseQuery as _, Selector};
use shop_store::mongo::MongoStore;
use tokio::sync::Barrier;

use super::faulty_server::{Fault, FaultyServer};
use super::fixture::MongoFixture;
use super::{assert_sums_of_u1, filled, listed, user};

/// Returns the database of a fixture, with connections of its own.
async fn database_of(fixture: &MongoFixture) -> Database {
    let client = Client::with_uri_str(fixture.uri()).await.unwrap();
    client.database(&fixture.database)
}

/// Whether the server distinguishes a number and a Decimal128 of the same value, as MongoDB does. On another one, a
/// migration does not end.
async fn changes_types(database: &Database) -> bool {
    let probes = database.collection::<Document>("probes");
    probes.insert_one(doc! { "price": 1.5 }).await.unwrap();
    let decimal: Decimal128 = "1.5".parse().unwrap();
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
    let database = database_of(&fixture).await;
    let mut reports = Vec::new();
    let migration = store
        .migrate(|progress| reports.push(progress))
        .await
        .unwrap();
    assert_eq!(
        (migration.scanned, migration.migrated, migration.skipped),
        (9, 6, 2)
    );
    assert_eq!(reports.last(), Some(&migration));
    let again = store.migrate(|_| ()).await.unwrap();
    let not_changed = if changes_types(&database).await { 0 } else { 4 };
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
        let purchases = database.collection::<Document>("purchases");
        let with_id = doc! { "_id": ObjectId::from_bytes([number; 12]) };
        purchases.find_one(with_id).await.unwrap().unwrap()
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

/// The documents are converted to the form of each system and back, and are listed as before.
#[tokio::test]
async fn documents_in_the_form_of_a_system_are_listed() {
    for system in [
        ReplacedSystem::ScalableShop,
        ReplacedSystem::UserBuyList,
        ReplacedSystem::PurchaseTracking,
        ReplacedSystem::ShoppingSystem,
    ] {
        let Some(fixture) = filled().await else {
            return;
        };
        let store = fixture.mongo();
        store.migrate(|_| ()).await.unwrap();
        let mut before = listed(&store, ListOrder::OldestFirst, 2).await;
        store.convert_to(&system, |_| ()).await.unwrap();
        assert_sums_of_u1(&store).await;
        let mut converted = listed(&store, ListOrder::OldestFirst, 2).await;
        before.sort_by_key(|purchase| purchase.id);
        converted.sort_by_key(|purchase| purchase.id);
        assert_eq!(converted.len(), before.len(), "{system:?}");
        for (converted, before) in converted.iter().zip(&before) {
            assert!(converted.same_content(before), "{system:?} {converted:?}");
            assert_eq!(converted.timestamp, before.timestamp, "{system:?}");
        }
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

/// A server with [`foreign_documents`], and a store with the decoder behind a faulty proxy before the server.
struct Faulty {
    server: FaultyServer,
    store: MongoStore,
    direct: MongoFixture,
}

impl Faulty {
    async fn start() -> Option<Self> {
        let direct = filled().await?;
        let server = FaultyServer::before(direct.uri()).await?;
        let mut options = direct
            .options()
            .decoder(Some(Arc::new(SystemDocumentDecoder)));
        options.uri = server.uri.clone().into();
        options.insert_timeout = Duration::from_secs(60);
        let store = MongoStore::open(options).await.unwrap();
        store.wait_for_indexes().await;
        Some(Self {
            server,
            store,
            direct,
        })
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
            let Some(faulty) = Faulty::start().await else {
                return;
            };
            let Faulty {
                server,
                store,
                direct,
            } = &faulty;
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

/// The reply to a slice is lost after the server has converted its documents, so the slice is tried
/// again.
#[tokio::test]
async fn a_slice_that_is_tried_again_is_counted_once() {
    let Some(faulty) = Faulty::start().await else {
        return;
    };
    let fault_free = filled().await.unwrap();
    let expected = fault_free.mongo().migrate(|_| ()).await.unwrap();
    assert!(expected.migrated > 1);

    let lost = [Fault::AnswerLost, Fault::AnswerLost];
    faulty.server.next("update", lost);
    let migration = faulty.store.migrate(|_| ()).await.unwrap();
    assert!(faulty.server.has_failed());
    assert_eq!(migration, expected);
}
