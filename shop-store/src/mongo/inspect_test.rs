//! Collections that lose or reject documents, and missing rights: each inspection names what is
//! wrong.

use bson::{Document, doc};

use super::faults_test::Faulty;
use super::faulty_server::Fault;
use super::fixture::{ConnectionString, MongoFixture};
use super::{MongoStore, MongoStoreOptions};
use crate::server_fixture::*;

/// A reply of the server in place of its own.
fn reply(document: Document) -> [Fault; 1] {
    [Fault::Refused(document)]
}

/// The reply to `listCollections` or `listIndexes`, or of a query, with one document.
fn one(document: Document) -> [Fault; 1] {
    let cursor = doc! { "id": 0_i64, "ns": "test.purchases", "firstBatch": [document] };
    reply(doc! { "ok": 1.0, "cursor": cursor })
}

/// The reply to a command for which a right is missing.
fn unauthorized() -> [Fault; 1] {
    let message = "not authorized on test to execute command";
    reply(doc! { "ok": 0.0, "errmsg": message, "code": 13, "codeName": "Unauthorized" })
}

/// The reply to `listCollections` with a collection of purchases with these options.
fn purchases_with(options: Document) -> [Fault; 1] {
    one(doc! { "name": "purchases", "type": "collection", "options": options })
}

/// The text of what is wrong with a store.
async fn fault_of(store: &MongoStore) -> String {
    let inspection = store.inspect().await.unwrap();
    inspection.check_writable().unwrap_err().to_string()
}

#[tokio::test]
async fn a_collection_of_this_store_has_no_fault() {
    let Some(faulty) = Faulty::start(A_MINUTE).await else {
        return;
    };
    faulty.store.insert(purchases(3).into()).await.unwrap();
    let inspection = faulty.store.inspect().await.unwrap();
    inspection.check_writable().unwrap();
    assert!(inspection.exists);
    assert!(inspection.warnings.is_empty(), "{inspection:?}");

    let direct = faulty.direct.mongo();
    direct.connection.collection.drop().await.unwrap();
    assert!(!faulty.store.inspect().await.unwrap().exists);
}

#[tokio::test]
async fn a_collection_that_loses_or_rejects_documents_is_refused() {
    let Some(faulty) = Faulty::start(A_MINUTE).await else {
        return;
    };
    let server = &faulty.server;
    server.next(
        "listCollections",
        purchases_with(doc! { "capped": true, "size": 4096 }),
    );
    let text = fault_of(&faulty.store).await;
    assert!(
        text.contains("capped") && text.contains("collection=purchases"),
        "{text}"
    );

    server.next(
        "listIndexes",
        one(doc! { "key": { "timestamp": 1 }, "name": "old", "expireAfterSeconds": 60 }),
    );
    let text = fault_of(&faulty.store).await;
    assert!(text.contains("index=old"), "{text}");

    // Each of the two collections is looked at.
    let waiting =
        doc! { "name": "purchases_waiting", "type": "view", "options": { "viewOn": "x" } };
    server.next("listCollections", purchases_with(doc! {}));
    server.next("listCollections", one(waiting));
    let text = fault_of(&faulty.store).await;
    assert!(
        text.contains("view") && text.contains("collection=purchases_waiting"),
        "{text}"
    );
}

/// As far as the server has the options of collections: the stand-in has few.
#[tokio::test]
async fn collections_that_were_created_with_options_are_refused() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let database = fixture.mongo().connection.database.clone();
    let validator = doc! { "userid": { "$type": "string" } };
    for (name, options, fault) in [
        ("capped", doc! { "capped": true, "size": 4096 }, "capped"),
        (
            "view",
            doc! { "viewOn": "purchases", "pipeline": [] },
            "view",
        ),
        (
            "collated",
            doc! { "collation": { "locale": "en", "strength": 2 } },
            "collation",
        ),
        (
            "validated",
            doc! { "validator": validator },
            "the marks of erased purchases",
        ),
        ("indexed", doc! {}, "index=old"),
    ] {
        let mut create = doc! { "create": name };
        create.extend(options.clone());
        if let Err(error) = database.run_command(create).await {
            println!("{name}: not checked, the server has no such option: {error}");
            continue;
        }
        if name == "indexed" {
            let unique =
                doc! { "key": { "userid": 1, "timestamp": 1 }, "name": "old", "unique": true };
            let indexes = doc! { "createIndexes": name, "indexes": [unique] };
            database.run_command(indexes).await.unwrap();
        }

        let store_options = MongoStoreOptions::new(fixture.uri())
            .database(Some(fixture.database.clone()))
            .collection(name)
            .create_indexes(false);
        let store = MongoStore::open(store_options).await.unwrap();
        let inspection = store.inspect().await.unwrap();
        let mut findings = inspection.warnings.clone();
        findings.extend(inspection.faults.iter().map(ToString::to_string));
        let text = findings.join("; ");
        assert!(text.contains(fault), "{name}: {text}");
    }
}

#[tokio::test]
async fn a_validator_is_tested_with_each_form_of_document() {
    let Some(faulty) = Faulty::start(A_MINUTE).await else {
        return;
    };
    let validator = || doc! { "validator": { "userid": { "$type": "string" } } };
    // The server answers which samples the validator accepts.
    let accepted = [
        "0190163d-8694-739b-aea5-966c26f8ad91",
        "0190163d-8694-739b-aea5-966c26f8ad92",
        "0190163d-8694-739b-aea5-966c26f8ad93",
    ];
    let found: Vec<Document> = accepted.iter().map(|id| doc! { "_id": *id }).collect();
    let cursor = doc! { "id": 0_i64, "ns": "test.purchases", "firstBatch": found };
    faulty
        .server
        .next("listCollections", purchases_with(validator()));
    faulty
        .server
        .next("aggregate", reply(doc! { "ok": 1.0, "cursor": cursor }));
    let text = fault_of(&faulty.store).await;
    assert!(
        text.contains("rejects the marks of erased purchases"),
        "{text}"
    );
    assert!(
        text.contains("the currency") && !text.contains("refunds"),
        "{text}"
    );

    faulty
        .server
        .next("listCollections", purchases_with(validator()));
    faulty.server.next("aggregate", unauthorized());
    let inspection = faulty.store.inspect().await.unwrap();
    inspection.check_writable().unwrap();
    let warning = &inspection.warnings[0];
    assert!(
        warning.contains("cannot be tested") && warning.contains("marks"),
        "{warning}"
    );
}

#[tokio::test]
async fn what_the_user_may_not_look_at_is_a_warning() {
    let Some(faulty) = Faulty::start(A_MINUTE).await else {
        return;
    };
    let store = store_with_login(&faulty).await;
    faulty
        .server
        .next("listCollections", [unauthorized(), unauthorized()].concat());
    let inspection = store.inspect().await.unwrap();
    inspection.check_writable().unwrap();
    assert!(inspection.exists, "it is assumed to exist");
    assert_eq!(inspection.warnings.len(), 2, "{inspection:?}");
    assert!(
        inspection.warnings[0].contains("may not list collections"),
        "{inspection:?}"
    );

    faulty
        .server
        .next("listCollections", purchases_with(doc! {}));
    faulty.server.next("listIndexes", unauthorized());
    let inspection = store.inspect().await.unwrap();
    assert!(inspection.warnings[0].contains("indexes of the collection purchases are not known"));
}

/// A store whose URI seems to have a login: without one, the error of a missing right asks for it.
async fn store_with_login(faulty: &Faulty) -> MongoStore {
    let uri = ConnectionString::new(&faulty.server.uri).with_option("appName", "authMechanism");
    let options = MongoStoreOptions::new(uri.to_string())
        .database(Some(faulty.direct.database.clone()))
        .create_indexes(false);
    MongoStore::open(options).await.unwrap()
}

/// Ingest looks for the refunds that wait for each purchase, so it needs their collection too.
#[tokio::test]
async fn rights_are_needed_on_each_collection() {
    let Some(faulty) = Faulty::start(A_MINUTE).await else {
        return;
    };
    let database = &faulty.direct.database;
    let status = |privileges: Vec<Document>| {
        let user = doc! { "user": "shop", "db": "admin" };
        let information =
            doc! { "authenticatedUsers": [user], "authenticatedUserPrivileges": privileges };
        reply(doc! { "ok": 1.0, "authInfo": information })
    };
    let all = ["find", "insert", "update", "remove", "createIndex"];
    let resource = |collection: &str| doc! { "db": database, "collection": collection };

    let of_purchases = doc! { "resource": resource("purchases"), "actions": all.to_vec() };
    faulty
        .server
        .next("connectionStatus", status(vec![of_purchases.clone()]));
    let inspection = faulty.store.inspect().await.unwrap();
    let error = inspection.write_error.as_ref().unwrap();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let text = error.to_string();
    assert!(
        text.contains("grant the role readWrite") && text.contains("insert on purchases_waiting"),
        "{text}"
    );
    assert!(
        inspection.faults.is_empty(),
        "the right may be granted while a service runs"
    );

    let to_read = doc! { "resource": resource("purchases_waiting"), "actions": ["find"] };
    faulty
        .server
        .next("connectionStatus", status(vec![of_purchases, to_read]));
    let text = fault_of(&faulty.store).await;
    assert!(
        !text.contains("find on") && text.contains("remove on purchases_waiting"),
        "{text}"
    );

    // Without a login, or on a server that does not tell the rights.
    faulty.server.next("connectionStatus", status(Vec::new()));
    faulty
        .store
        .inspect()
        .await
        .unwrap()
        .check_writable()
        .unwrap();

    let of_all_databases =
        doc! { "resource": { "db": "", "collection": "" }, "actions": all.to_vec() };
    for privilege in [
        doc! { "resource": resource(""), "actions": all.to_vec() },
        of_all_databases,
        doc! { "resource": { "anyResource": true }, "actions": ["anyAction"] },
    ] {
        faulty
            .server
            .next("connectionStatus", status(vec![privilege]));
        faulty
            .store
            .inspect()
            .await
            .unwrap()
            .check_writable()
            .unwrap();
    }
}

/// A right that is missing on the refunds that wait is an error of each call that needs them,
/// and not taken for a collection without refunds.
#[tokio::test]
async fn an_erasure_that_may_not_read_the_waiting_refunds_fails() {
    let Some(faulty) = Faulty::start(A_MINUTE).await else {
        return;
    };
    let user = "u1".parse().unwrap();
    // No purchase is found, then the waiting refunds may not be read.
    let nothing =
        doc! { "ok": 1.0, "cursor": { "id": 0_i64, "ns": "test.purchases", "firstBatch": [] } };
    faulty.server.next("find", reply(nothing));
    faulty.server.next("find", unauthorized());
    let error = faulty.store.erase(&user, 10).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
}
