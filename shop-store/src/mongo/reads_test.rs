//! Every read is of a majority and compares texts byte by byte, and one error of a server that stays up stalls none.

use bson::{Document, doc};
use mongodb::options::{Collation, CollationStrength, ReadConcern};
use shop_core::Uuid;
use shop_core::conformance::StoreFixture;
use shop_core::ports::{
    CurrencyStore as _, ImportedFiles as _, Lookup, Period, PurchaseQueryExt as _, UserNames as _,
    WaitingRefunds as _,
};

use super::faults_test::Faulty;
use super::faulty_server::{Fault, FaultyServer};
use super::fixture::{ConnectionString, MongoFixture, skipped};
use super::{MongoStore, MongoStoreOptions};
use crate::server_fixture::*;

fn user(id: &str) -> Selector {
    Selector::User(id.parse().unwrap())
}

/// A refund of `purchase`.
fn refund_of(purchase: &Purchase) -> Purchase {
    purchase.refund(None, SystemClock.now()).unwrap()
}

/// Calls every function of the ports that reads, on a store with `stored`.
async fn read_everything(store: &MongoStore, stored: &[Purchase]) {
    let first = &stored[0];
    for selector in [
        user("u1"),
        Selector::Name("ada".parse().unwrap()),
        Selector::Reference("r3".parse().unwrap(), None),
        Selector::All,
    ] {
        for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
            let mut request = PageRequest::first(order, PageLimit::new(1).unwrap());
            let page = store.page(&selector, &request).await.unwrap();
            if let Some(next) = page.next {
                request = request.with_cursor(next);
                store.page(&selector, &request).await.unwrap();
            }
        }
        let per_day = TotalsRequest::new(TimeRange::ALL, Period::Day);
        store.totals(&selector, &per_day).await.unwrap();
        store.summary(&selector).await.unwrap();
    }
    store.get(&first.id).await.unwrap();
    store.look_up(&refund_of(first).id).await.unwrap();
    store.wait_for(&first.id, Duration::ZERO).await.unwrap();
    store.next_name("a").await.unwrap();
    let batches = Arc::new(store.clone()).scan_batches();
    let batches: Vec<_> = futures_util::TryStreamExt::try_collect(batches)
        .await
        .unwrap();
    assert!(!batches.is_empty());
    store.last_reading(Uuid::nil(), None).await.unwrap();

    // A write reads what it has not written, and what waits for it.
    store.apply(stored.to_vec().into()).await.unwrap();
    let unknown = purchases(1).remove(0);
    let refunds = [refund_of(first), refund_of(&unknown)];
    store.apply(refunds.clone().into()).await.unwrap();
    store.apply(refunds.into()).await.unwrap();
    store.waiting_summary().await.unwrap();
    store.apply_waiting(&[], 10).await.unwrap();
    store.apply([unknown].into()).await.unwrap();
    store.currency(Some("EUR".parse().unwrap())).await.unwrap();

    let now = SystemClock.now();
    store.last_seen(None).await.unwrap();
    store
        .delete_before(now, 10, Deletion::DryRun)
        .await
        .unwrap();
    store
        .delete_before(Timestamp::from_millis(0).unwrap(), 10, Deletion::Delete)
        .await
        .unwrap();
    store.mark_erased(&[purchases(1)[0].id]).await.unwrap();
    store.erase(&"u1".parse().unwrap(), 10).await.unwrap();
    store.migrate(|_| ()).await.unwrap();
    store.check().await.unwrap();
}

/// Whether all conditions of a filter are about `_id`, whose index has the collation of the collection.
fn is_by_id(filter: &Document) -> bool {
    filter.keys().all(|member| member == "_id")
}

#[tokio::test]
async fn every_read_is_of_a_majority_and_compares_bytes() {
    let Some(direct) = MongoFixture::on_test_server().await else {
        return;
    };
    for (of_uri, level) in [
        ("readConcernLevel=local", "majority"),
        ("readConcernLevel=available", "majority"),
        ("readConcernLevel=snapshot", "majority"),
        ("readConcernLevel=linearizable", "linearizable"),
        ("readPreference=secondaryPreferred", "majority"),
    ] {
        let Some(server) = FaultyServer::before(direct.uri()).await else {
            return;
        };
        let database = format!("{}_{}", direct.database, of_uri.len());
        let (name, value) = of_uri.split_once('=').unwrap();
        let uri = ConnectionString::new(&server.uri).with_option(name, value);
        let options = MongoStoreOptions::new(uri.to_string());
        let store = MongoStore::open(options.database(database)).await.unwrap();
        store.wait_for_indexes().await;
        let stored = purchases_of(7, 3, |number| {
            Timestamp::from_millis(1_772_355_600_000 + number).unwrap()
        });
        store.apply(stored.clone().into()).await.unwrap();
        read_everything(&store, &stored).await;

        let mut reads = 0;
        for name in ["find", "aggregate", "count", "distinct"] {
            for command in server.take_commands(name) {
                let concern = command.get_document("readConcern").unwrap();
                assert_eq!(concern.get_str("level").unwrap(), level, "{command}");
                let is_by_id = command.get_document("filter").is_ok_and(is_by_id);
                let simple = (!is_by_id).then(|| doc! { "locale": "simple" });
                let collation = command.get_document("collation").ok().cloned();
                assert_eq!(collation, simple, "{of_uri}: {command}");
                reads += 1;
            }
        }
        assert!(reads > 50, "{reads} reads");
        store.connection.database.drop().await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_refuses_collations_is_read_without() {
    for (code, message) in [
        (303, "option collation is currently not supported."),
        (8000, "collation not allowed in this atlas tier"),
    ] {
        let Some(faulty) = Faulty::start(A_MINUTE).await else {
            return;
        };
        let Faulty { server, store, .. } = &faulty;
        store.apply(purchases(14).into()).await.unwrap();
        let refusal = doc! { "ok": 0.0, "errmsg": message, "code": code };
        server.next("find", [Fault::Refused(refusal)]);
        let page = store
            .page(&user("u1"), &PageRequest::default())
            .await
            .unwrap();
        assert_eq!(page.items.len(), 2);
        server.take_commands("find");
        assert_eq!(store.summary(&user("u1")).await.unwrap().count, 2);
        store
            .page(&user("u1"), &PageRequest::default())
            .await
            .unwrap();
        for name in ["find", "aggregate"] {
            let commands = server.take_commands(name);
            let has_collation = |command: &Document| command.contains_key("collation");
            assert!(
                !commands.is_empty() && !commands.iter().any(has_collation),
                "{commands:?}"
            );
        }
    }
    // MongoDB's error of a missing right contains the command.
    let Some(faulty) = Faulty::start(A_MINUTE).await else {
        return;
    };
    let message =
        r#"not authorized to execute command { find: "x", collation: { locale: "simple" } }"#;
    let denied = doc! { "ok": 0.0, "errmsg": message, "code": 13 };
    faulty.server.next("find", [Fault::Refused(denied)]);
    let request = PageRequest::default();
    faulty.store.page(&user("u1"), &request).await.unwrap_err();
    faulty.server.take_commands("find");
    faulty.store.page(&user("u1"), &request).await.unwrap();
    let commands = faulty.server.take_commands("find");
    assert!(
        commands
            .iter()
            .any(|command| command.contains_key("collation"))
    );
}

/// What the reads of a store return about a purchase.
#[derive(Debug, PartialEq)]
struct Shown {
    found: Option<Purchase>,
    looked_up: Lookup,
    has_appeared: bool,
    sum: shop_core::ports::Summary,
    page: Vec<Purchase>,
    scanned: Vec<Purchase>,
}

impl Shown {
    async fn read(store: &MongoStore, purchase: &Purchase) -> Self {
        let of_user = Selector::User(purchase.user_id.clone());
        let appeared = store
            .wait_for(&purchase.id, Duration::from_millis(100))
            .await;
        Self {
            found: store.get(&purchase.id).await.unwrap(),
            looked_up: store.look_up(&purchase.id).await.unwrap(),
            has_appeared: appeared.unwrap(),
            sum: store.summary(&of_user).await.unwrap(),
            page: store
                .page(&of_user, &PageRequest::default())
                .await
                .unwrap()
                .items,
            scanned: store.scan_batch(None::<&Cursor>).await.unwrap().purchases,
        }
    }
}

#[tokio::test]
async fn a_fail_over_takes_nothing_away_that_a_read_has_shown() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let store = fixture.mongo();
    let mut stored = purchases(15);
    let held_back = stored.pop().unwrap();
    store.apply(stored.into()).await.unwrap();
    if !fixture.hold_back_writes().await {
        return;
    }
    let writer = store.clone();
    let batch = [held_back.clone()];
    let insert = tokio::spawn(async move { writer.apply(batch.into()).await });
    let on_primary = async || {
        let filter = doc! { "_id": held_back.id.to_string() };
        let find = store.connection.collection.find_one(filter);
        find.read_concern(ReadConcern::local()).await.unwrap()
    };
    let seen = async {
        while on_primary().await.is_none() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(A_MINUTE, seen).await.unwrap();

    let before = Shown::read(&store, &held_back).await;
    fixture.fail_over().await;
    assert!(on_primary().await.is_none(), "the fail-over takes it away");
    let after = Shown::read(&store, &held_back).await;
    assert_eq!(before, after);
    assert_eq!(before.sum.count, 2);
    let acknowledged = insert.await.unwrap().is_ok_and(|outcomes| {
        outcomes
            .iter()
            .any(|outcome| !matches!(outcome, InsertOutcome::Unknown(_)))
    });
    assert!(!acknowledged);
}

/// ShutdownInProgress and InterruptedAtShutdown, as of one operation that was interrupted: the server answers the next.
#[tokio::test]
async fn one_error_of_a_server_that_stays_up_stalls_no_read() {
    let Some(direct) = MongoFixture::on_test_server().await else {
        return;
    };
    for code in [91, 11600] {
        let Some(server) = FaultyServer::streaming_before(direct.uri()).await else {
            return;
        };
        let options = MongoStoreOptions::new(server.uri.clone());
        let store = MongoStore::open(options.database(direct.database.clone()))
            .await
            .unwrap();
        store.summary(&Selector::All).await.unwrap();
        let error = doc! { "ok": 0.0, "errmsg": "on purpose", "code": code };
        server.next("find", [Fault::Refused(error)]);
        // A stalled read fails after its timeout of 5 s: the next heartbeat would come after 10 s.
        for _ in 0..5 {
            store
                .page(&user("u1"), &PageRequest::default())
                .await
                .unwrap();
        }
        assert!(server.has_failed());
    }
}

/// Only MongoDB compares by the collation of a collection.
#[tokio::test]
async fn a_collation_that_ignores_case_mixes_no_users() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let store = fixture.mongo();
    let database = &store.connection.database;
    let name = store.connection.collection.name();
    store.connection.collection.drop().await.unwrap();
    let mut collation = Collation::builder().locale("en").build();
    collation.strength = Some(CollationStrength::Secondary);
    if let Err(error) = database.create_collection(name).collation(collation).await {
        let why = format!("the server of the tests has no collations: {}", error.kind);
        return skipped("collations", &why);
    }
    let mut all = purchases(14);
    for purchase in &mut all {
        if purchase.user_id.as_str() == "u2" {
            purchase.user_id = "U1".parse().unwrap();
        }
    }
    store.apply(all.clone().into()).await.unwrap();
    let found = store
        .connection
        .collection
        .count_documents(doc! { "userid": "u1" })
        .await
        .unwrap();
    if found == 2 {
        return skipped("collations", "the server of the tests ignores collations");
    }
    for id in ["u1", "U1"] {
        let page = store
            .page(&user(id), &PageRequest::default())
            .await
            .unwrap();
        let users: Vec<&str> = page
            .items
            .iter()
            .map(|purchase| purchase.user_id.as_str())
            .collect();
        assert_eq!(users, [id, id]);
        assert_eq!(store.summary(&user(id)).await.unwrap().count, 2);
    }
    for purchase in &all {
        assert_eq!(
            store.get(&purchase.id).await.unwrap().as_ref(),
            Some(purchase)
        );
    }
    let scanned = store.scan_batch(None::<&Cursor>).await.unwrap();
    assert_eq!(scanned.purchases.len(), 14);
}
