//! What the server of the tests refuses and how it fails, which the other tests rely on.
//!
//! MongoDB passes these tests, so that a server in its place does not accept what MongoDB rejects.

use std::time::{Duration, Instant};

use bson::{Document, doc};
use mongodb::Database;
use mongodb::error::{ErrorKind as DriverErrorKind, Result as DriverResult};

use super::fail_points::FailPoints;
use super::fixture::{MongoFixture, error_code, skipped};

/// The result of each command, as its code: that of the command, else of the first rejected document, else 0.
async fn code_of(database: &Database, command: Document) -> i32 {
    match database.run_command(command).await {
        Ok(reply) => reply
            .get_array("writeErrors")
            .ok()
            .and_then(|errors| errors[0].as_document())
            .map_or(0, |error| error.get_i32("code").unwrap()),
        Err(error) => error_code(&error).unwrap(),
    }
}

async fn major_version(database: &Database) -> i32 {
    let info = database.run_command(doc! { "buildInfo": 1 }).await.unwrap();
    let version = info.get_array("versionArray").unwrap();
    version[0].as_i32().unwrap()
}

/// The empty database of a fixture on a server that is as strict as MongoDB.
async fn strict_database() -> Option<(MongoFixture, Database)> {
    let fixture = MongoFixture::on_test_server().await?;
    let database = fixture.mongo().connection.database.clone();
    let empty_batch = doc! { "insert": "strict", "documents": [] };
    if code_of(&database, empty_batch).await == 0 {
        skipped(
            "strict",
            "the server of the tests accepts what MongoDB rejects",
        );
        return None;
    }
    Some((fixture, database))
}

#[tokio::test]
async fn malformed_commands_are_rejected() {
    let Some((_fixture, database)) = strict_database().await else {
        return;
    };
    let no_elements: [Document; 0] = [];
    // InvalidLength 16, the unknown and the missing field of a type 40415 and 40414, InvalidOptions 72, BadValue 2,
    // FailedToParse 9, InvalidIndexSpecificationOption 197, NamespaceNotFound 26.
    for (command, codes) in [
        (doc! { "insert": "c", "documents": &no_elements }, &[16][..]),
        (doc! { "update": "c", "updates": &no_elements }, &[16]),
        (doc! { "delete": "c", "deletes": &no_elements }, &[16]),
        (doc! { "delete": "c" }, &[40414]),
        (
            doc! { "insert": "c", "documents": [{}], "odd": 1 },
            &[40415],
        ),
        (
            doc! { "update": "c", "updates": [{ "q": {}, "u": { "$set": { "a": 1 } }, "odd": 1 }] },
            &[40415],
        ),
        (
            doc! { "delete": "c", "deletes": [{ "q": {}, "limit": 1, "odd": 1 }] },
            &[40415],
        ),
        (doc! { "find": "c", "odd": 1 }, &[40415, 9]),
        (
            doc! { "aggregate": "c", "pipeline": &no_elements, "cursor": {}, "odd": 1 },
            &[40415],
        ),
        (doc! { "find": "c", "maxTimeMS": -1 }, &[2, 51024]),
        (doc! { "find": "c", "maxTimeMS": "1" }, &[2, 14]),
        (
            doc! { "find": "c", "writeConcern": { "w": 1 } },
            &[72, 9, 40415],
        ),
        (
            doc! { "insert": "c", "documents": [{}], "readConcern": { "level": "majority" } },
            &[72],
        ),
        (doc! { "createIndexes": "c", "indexes": &no_elements }, &[2]),
        (
            doc! { "createIndexes": "c", "indexes": [{ "key": { "a": 1 }, "name": "a_1", "odd": 1 }] },
            &[197],
        ),
        (doc! { "listIndexes": "missing" }, &[26]),
    ] {
        let code = code_of(&database, command.clone()).await;
        assert!(codes.contains(&code), "{command}: {code}");
    }
}

#[tokio::test]
async fn a_unique_index_has_one_document_without_its_members() {
    let Some((_fixture, database)) = strict_database().await else {
        return;
    };
    let unique = |collection: &str| {
        let index =
            doc! { "key": { "userid": 1, "timestamp": 1 }, "name": "foreign", "unique": true };
        doc! { "createIndexes": collection, "indexes": [index] }
    };
    let insert =
        |collection: &str, id: i32| doc! { "insert": collection, "documents": [{ "_id": id }] };
    let upsert =
        |id: i32| doc! { "q": { "_id": id }, "u": { "$set": { "erased": 1 } }, "upsert": true };
    let remove_user = doc! { "q": { "_id": 2 }, "u": { "$unset": { "userid": 1 } } };
    let with_user = doc! { "insert": "c", "documents": [{ "_id": 2, "userid": "u" }] };

    for (command, code) in [
        (unique("c"), 0),
        (insert("c", 1), 0),
        (insert("c", 3), 11000),
        (doc! { "update": "c", "updates": [upsert(3)] }, 11000),
        (doc! { "update": "c", "updates": [upsert(1)] }, 0),
        (with_user, 0),
        (doc! { "update": "c", "updates": [remove_user] }, 11000),
        (insert("built", 1), 0),
        (insert("built", 2), 0),
        (unique("built"), 11000),
    ] {
        assert_eq!(code_of(&database, command.clone()).await, code, "{command}");
    }
}

#[tokio::test]
async fn collections_and_indexes_are_listed_with_their_options() {
    let Some((_fixture, database)) = strict_database().await else {
        return;
    };
    for command in [
        doc! { "create": "capped", "capped": true, "size": 4096, "max": 2 },
        doc! { "create": "validated", "validator": { "price": { "$exists": true } } },
        doc! { "create": "view", "viewOn": "capped", "pipeline": [] },
        doc! { "create": "folded", "collation": { "locale": "en", "strength": 2 } },
        doc! { "createIndexes": "folded", "indexes": [
            { "key": { "at": 1 }, "name": "ttl", "expireAfterSeconds": 60 },
            { "key": { "a": 1 }, "name": "part", "partialFilterExpression": { "a": { "$exists": true } } },
        ] },
    ] {
        assert_eq!(code_of(&database, command.clone()).await, 0, "{command}");
    }

    let listed = async |name: &str| {
        let filter = doc! { "name": name };
        let reply = database.run_command(doc! { "listCollections": 1, "filter": filter });
        let reply = reply.await.unwrap();
        let batch = reply.get_document("cursor").unwrap();
        let batch = batch.get_array("firstBatch").unwrap();
        assert_eq!(batch.len(), 1, "{name}");
        batch[0].as_document().unwrap().clone()
    };
    let options = async |name: &str| listed(name).await.get_document("options").unwrap().clone();
    assert_eq!(options("capped").await.get("capped"), Some(&true.into()));
    assert!(options("validated").await.contains_key("validator"));
    assert_eq!(options("view").await.get_str("viewOn").unwrap(), "capped");
    assert_eq!(listed("view").await.get_str("type").unwrap(), "view");
    let collation = options("folded").await;
    let collation = collation.get_document("collation").unwrap();
    assert_eq!(collation.get("strength"), Some(&2.into()));

    let indexes = database.run_command(doc! { "listIndexes": "folded" });
    let indexes = indexes.await.unwrap().to_string();
    for option in ["expireAfterSeconds", "partialFilterExpression", "collation"] {
        assert!(indexes.contains(option), "{option}: {indexes}");
    }

    // CommandNotSupportedOnView, DocumentValidationFailure, IndexOptionsConflict, IndexKeySpecsConflict.
    for (command, code) in [
        (doc! { "insert": "view", "documents": [{}] }, 166),
        (doc! { "insert": "validated", "documents": [{}] }, 121),
        (
            doc! { "createIndexes": "folded", "indexes": [{ "key": { "at": 1 }, "name": "other" }] },
            85,
        ),
        (
            doc! { "createIndexes": "folded", "indexes": [{ "key": { "b": 1 }, "name": "ttl" }] },
            86,
        ),
    ] {
        assert_eq!(code_of(&database, command.clone()).await, code, "{command}");
    }

    for id in 1..=3 {
        let insert = doc! { "insert": "capped", "documents": [{ "_id": id }] };
        assert_eq!(code_of(&database, insert).await, 0);
    }
    let capped = database.collection::<Document>("capped");
    assert_eq!(capped.count_documents(doc! {}).await.unwrap(), 2);
    assert_eq!(capped.find_one(doc! { "_id": 1 }).await.unwrap(), None);
}

#[tokio::test]
async fn the_collation_of_a_collection_compares_unless_the_command_has_its_own() {
    let Some((_fixture, database)) = strict_database().await else {
        return;
    };
    let users = [
        doc! { "_id": 1, "userid": "u1" },
        doc! { "_id": 2, "userid": "U1" },
    ];
    for command in [
        doc! { "create": "folded", "collation": { "locale": "en", "strength": 2 } },
        doc! { "insert": "folded", "documents": &users },
    ] {
        assert_eq!(code_of(&database, command.clone()).await, 0, "{command}");
    }
    let matched = async |mut command: Document, collation: Option<Document>| {
        command.extend(collation.map(|collation| ("collation".to_owned(), collation.into())));
        let reply = database.run_command(command).await.unwrap();
        let cursor = reply.get_document("cursor").unwrap();
        cursor.get_array("firstBatch").unwrap().len()
    };
    let filter = doc! { "userid": "u1" };
    for command in [
        doc! { "find": "folded", "filter": &filter },
        doc! { "aggregate": "folded", "pipeline": [{ "$match": &filter }], "cursor": {} },
        doc! { "find": "folded", "filter": { "userid": { "$in": ["u1", "u2"] } } },
    ] {
        assert_eq!(matched(command.clone(), None).await, 2, "{command}");
        let simple = Some(doc! { "locale": "simple" });
        assert_eq!(matched(command.clone(), simple).await, 1, "{command}");
    }
    let delete = doc! { "delete": "folded", "deletes": [{ "q": &filter, "limit": 0 }] };
    let reply = database.run_command(delete).await.unwrap();
    assert_eq!(reply.get("n"), Some(&2.into()));
}

#[tokio::test]
async fn fail_points_fail_as_configured() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let Some(points) = FailPoints::new(&fixture).await else {
        return;
    };
    let database = fixture.mongo().connection.database.clone();
    let find = doc! { "find": "purchases" };

    points
        .fail_commands("find", 2, doc! { "errorCode": 10107 })
        .await;
    for code in [10107, 10107, 0] {
        assert_eq!(code_of(&database, find.clone()).await, code);
    }

    let block = doc! { "blockConnection": true, "blockTimeMS": 200 };
    points.fail_commands("find", 1, block).await;
    let limited = doc! { "find": "purchases", "maxTimeMS": 100 };
    let started = Instant::now();
    // MaxTimeMSExpired. MongoDB 4.4 does not count the time of a fail point.
    let code = if major_version(&database).await < 5 {
        0
    } else {
        50
    };
    assert_eq!(code_of(&database, limited).await, code);
    assert!(started.elapsed() >= Duration::from_millis(200));

    points
        .fail_commands("find", 1, doc! { "closeConnection": true })
        .await;
    let closed: DriverResult<Document> = database.run_command(find).await;
    let closed = *closed.unwrap_err().kind;
    assert!(matches!(closed, DriverErrorKind::Io(_)), "{closed:?}");

    let error = doc! { "code": 91, "errmsg": "on purpose" };
    points
        .fail_commands("insert", 1, doc! { "writeConcernError": &error })
        .await;
    let insert = doc! { "insert": "purchases", "documents": [{ "_id": "stored" }] };
    let reply = database.run_command(insert).await.unwrap();
    assert_eq!(reply.get_document("writeConcernError").unwrap(), &error);
    let stored = database.collection::<Document>("purchases");
    let stored = stored.find_one(doc! { "_id": "stored" }).await.unwrap();
    assert!(stored.is_some(), "the write is applied");
}

#[tokio::test]
async fn what_no_majority_has_is_read_locally_until_a_fail_over() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let Some(points) = FailPoints::new(&fixture).await else {
        return;
    };
    let database = fixture.mongo().connection.database.clone();
    let insert = async |id: &str| {
        let concern = doc! { "w": "majority", "wtimeout": 200 };
        let insert = doc! { "insert": "c", "documents": [{ "_id": id }], "writeConcern": concern };
        let reply = database.run_command(insert).await.unwrap();
        let error = reply.get_document("writeConcernError").ok();
        error.map(|error| error.get_i32("code").unwrap())
    };
    let counts = async || {
        let mut counts = Vec::new();
        for level in ["local", "majority"] {
            let find = doc! { "find": "c", "readConcern": { "level": level } };
            let reply = database.run_command(find).await.unwrap();
            let cursor = reply.get_document("cursor").unwrap();
            counts.push(cursor.get_array("firstBatch").unwrap().len());
        }
        counts
    };

    assert_eq!(insert("replicated").await, None);
    points.hold_majority().await;
    let held = insert("held back").await;
    if held.is_none() {
        points.release_majority().await;
        let why = "the server of the tests is no replica set, so it has no majority to hold back";
        return skipped("failpoints", why);
    }
    // WriteConcernFailed.
    assert_eq!(held, Some(64));
    assert_eq!(counts().await, [2, 1]);

    points.release_majority().await;
    assert_eq!(insert("caught up").await, None);
    assert_eq!(counts().await, [3, 3]);

    points.hold_majority().await;
    insert("lost").await;
    assert_eq!(counts().await, [4, 3]);
    if points.fail_over().await {
        assert_eq!(counts().await, [3, 3]);
    }
    points.release_majority().await;
}
