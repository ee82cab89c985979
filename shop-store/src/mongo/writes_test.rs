//! Writes that the server refuses: each is an error of who can mend it, and no error has a value of
//! a purchase, whatever the server puts into its messages.

use std::fmt::Debug;
use std::path::Path;

use bson::{Document, doc};
use shop_core::domain::Currency;
use shop_core::ports::{
    CurrencyStore as _, ImportedFiles as _, PurchaseQuery as _, PurchaseQueryExt as _,
    WaitingRefunds as _,
};
use shop_core::{Error, PurchaseId, Result, UserId, Uuid};

use super::faults_test::Faulty;
use super::faulty_server::Fault;
use super::fixture::MongoFixture;
use super::refusal::DocumentReport;
use crate::server_fixture::*;

/// The user id, the user name and the price of a purchase, and parts of a session.
const PRIVATE: [&str; 5] = [
    "private-user",
    "Private Name",
    "9876.54",
    "private-session",
    "private-signature",
];

/// The text of a command, as MongoDB prints it into its messages.
fn printed_command() -> String {
    let [user, name, price, session, signature] = PRIVATE;
    format!(
        "{{ insert: \"purchases\", documents: [ {{ _id: \"1\", userid: \"{user}\", username: \
         \"{name}\", price: {price} }} ], lsid: {{ id: UUID(\"{session}\") }}, $clusterTime: {{ \
         signature: {{ hash: \"{signature}\" }} }} }}"
    )
}

/// The document of a purchase, as MongoDB adds it to the details of its errors.
fn rejected_document() -> Document {
    let [user, name, price, ..] = PRIVATE;
    doc! { "userid": user, "username": name, "price": price }
}

/// The responses of a server that refuses the command as a whole.
fn refused_commands() -> Vec<Document> {
    let command = printed_command();
    let refused = |code: i32, name: &str, message: String| {
        doc! { "ok": 0.0, "code": code, "codeName": name, "errmsg": message,
        "errInfo": rejected_document() }
    };
    vec![
        refused(
            13,
            "Unauthorized",
            format!("not authorized on shop to execute command {command}"),
        ),
        refused(8000, "AtlasError", format!("not allowed: {command}")),
        refused(9, "FailedToParse", format!("cannot parse {command}")),
        refused(2, &command, command.clone()),
        refused(11600, "InterruptedAtShutdown", command.clone()),
        refused(424_242, "OfTomorrow", command.clone()),
        doc! { "ok": 0.0, "errmsg": command },
        // Responses that are not valid. The driver quotes values in its errors.
        doc! { "ok": 1.0, "n": PRIVATE[0], "cursor": PRIVATE[1], "writeErrors": PRIVATE[2] },
        doc! { "ok": 1.0, "cursor": { "id": PRIVATE[0], "ns": "a.b", "firstBatch": PRIVATE[1] } },
    ]
}

/// The response of a server that refuses the first document of a write.
fn refused_document(code: i32, message: &str) -> Document {
    let report = doc! { "index": 0, "code": code, "errmsg": message,
    "keyValue": rejected_document(),
    "errInfo": { "details": rejected_document() } };
    doc! { "ok": 1.0, "n": 0, "writeErrors": [report] }
}

/// The message of a duplicate in the index `name`.
fn duplicate_in(name: &str) -> String {
    let [user, ..] = PRIVATE;
    format!(
        "E11000 duplicate key error collection: shop.purchases index: {name} dup key: {{ userid: \"{user}\" }}"
    )
}

/// The responses of a server that refuses a document, or does not confirm it.
fn refused_documents() -> Vec<Document> {
    let command = printed_command();
    let mut responses: Vec<Document> = [2, 9, 13, 121, 8000, 10_107, 424_242]
        .map(|code| refused_document(code, &command))
        .into();
    for index in ["_id_", "userid_1"] {
        responses.push(refused_document(11_000, &duplicate_in(index)));
    }
    let concern = doc! { "code": 64, "codeName": "WriteConcernTimeout", "errmsg": command,
    "errInfo": rejected_document() };
    responses.push(doc! { "ok": 1.0, "n": 1, "writeConcernError": concern });
    responses
}

/// Asserts that no text of `result` has a value of the purchase.
#[track_caller]
fn assert_private<T: Debug>(call: &str, response: &Document, result: &Result<T>) {
    let mut texts = vec![format!("{result:?}")];
    if let Err(error) = result {
        texts.extend([error.to_string(), error.chain().to_string()]);
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            texts.push(format!("{cause} {cause:?} {cause:#?}"));
            source = cause.source();
        }
    }
    for text in texts {
        for value in PRIVATE {
            assert!(!text.contains(value), "{call}, {response}: {text}");
        }
    }
}

/// The documents that this program writes beside purchases, by the call that writes them.
const OWN_WRITES: [&str; 5] = ["erase", "mark", "last seen", "imported file", "currency"];

/// Writes a document that this program writes beside purchases.
async fn write_own(faulty: &Faulty, call: &str) -> Result<()> {
    let store = &faulty.store;
    let user: UserId = "u1".parse().unwrap();
    let currency: Currency = "EUR".parse().unwrap();
    match call {
        "erase" => store.erase(&user, 100).await.map(drop),
        "mark" => store.mark_erased(&[fresh_id()]).await.map(drop),
        "last seen" => store.last_seen(Some(SystemClock.now())).await.map(drop),
        "imported file" => store
            .last_reading(Uuid::from_u128(1), Some("{}"))
            .await
            .map(drop),
        "currency" => store.currency(Some(currency)).await.map(drop),
        _ => unreachable!("{call}"),
    }
}

fn fresh_id() -> PurchaseId {
    purchases(1)[0].id
}

#[tokio::test]
async fn documents_of_this_program_are_written_or_an_error_says_what_to_change() {
    let Some(faulty) = Faulty::start(A_MINUTE).await else {
        return;
    };
    faulty.store.insert(purchases(14).into()).await.unwrap();
    let namespace = faulty.store.namespace();
    for call in OWN_WRITES {
        for (response, kind, advice) in [
            (
                refused_document(11_000, &duplicate_in("userid_1")),
                ErrorKind::Denied,
                format!("the unique index userid_1 of {namespace} is not of this program: drop it"),
            ),
            (
                refused_document(121, "Document failed validation"),
                ErrorKind::Denied,
                format!("change the validator of {namespace}"),
            ),
            (
                refused_document(9, "no"),
                ErrorKind::Internal,
                "report it".to_owned(),
            ),
            (
                refused_document(10_107, "not primary"),
                ErrorKind::Unavailable,
                "cannot write it now".to_owned(),
            ),
        ] {
            faulty.server.next("update", [Fault::Refused(response)]);
            let error = write_own(&faulty, call).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{call}: {error}");
            assert!(error.message().contains(&advice), "{call}: {error}");
        }
    }

    // Another process has written the same mark or currency meanwhile. A value that is set is lost
    // then, so it is written again.
    for call in OWN_WRITES {
        let duplicate = refused_document(11_000, &duplicate_in("_id_"));
        faulty
            .server
            .next("update", [Fault::AnsweredWith(duplicate)]);
        let written = write_own(&faulty, call).await;
        let is_done = ["mark", "currency"].contains(&call);
        assert_eq!(written.is_ok(), is_done, "{call}: {written:?}");
    }
    assert!(faulty.server.has_failed());
}

/// Rules of another program on the same collection that purchases satisfy, and marks do not, as the
/// command that adds the rule and the one that drops it.
fn foreign_rules(collection: &str) -> [(&'static str, Document, Document); 2] {
    let keys = doc! { "userid": 1, "timestamp": 1 };
    let index = doc! { "key": keys, "name": "own", "unique": true };
    [
        (
            "the unique index own of",
            doc! { "createIndexes": collection, "indexes": [index] },
            doc! { "dropIndexes": collection, "index": "own" },
        ),
        (
            "the validator of",
            doc! { "collMod": collection, "validator": { "userid": { "$exists": true } } },
            doc! { "collMod": collection, "validator": {} },
        ),
    ]
}

#[tokio::test]
async fn an_erasure_that_a_rule_of_the_collection_refuses_is_an_error_and_can_be_repeated() {
    for position in 0..2 {
        let Some(fixture) = MongoFixture::on_test_server().await else {
            return;
        };
        let store = fixture.mongo();
        let database = &store.connection.database;
        let name = store.connection.collection.name();
        let (rule, add, drop) = foreign_rules(name)[position].clone();
        let time_of = |number| Timestamp::from_millis(1_772_355_600_000 + number).unwrap();
        let all = purchases_of(7, 2, time_of);
        store.insert(all.clone().into()).await.unwrap();
        let added = database.run_command(add).await;
        let marks = ["probe-1", "probe-2"].map(|id| doc! { "_id": id, "erased": true });
        let documents = database.collection::<Document>(name);
        let probe = documents.insert_many(marks).ordered(false).await;
        if added.is_err() || probe.is_ok() {
            let why = format!("the server of the tests does not enforce {rule} a collection");
            skip("mongo", None, &why);
            continue;
        }

        let user: UserId = "u1".parse().unwrap();
        let selector = Selector::User(user.clone());
        let error = store.erase(&user, 100).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        let named = format!("{rule} {}", store.namespace());
        assert!(error.message().contains(&named), "{error}");
        let left = store.summary(&selector).await.unwrap().count;
        assert!(left > 0, "{rule}");

        database.run_command(drop).await.unwrap();
        assert_eq!(store.erase(&user, 100).await.unwrap().count, left);
        let again = store.insert(all.into()).await.unwrap();
        let erased = again
            .iter()
            .filter(|outcome| matches!(outcome, InsertOutcome::Erased));
        assert_eq!(erased.count(), 2, "{rule}: {again:?}");
    }
}

#[tokio::test]
async fn an_erasure_that_erases_nothing_it_has_found_is_an_error() {
    let Some(faulty) = Faulty::start(A_MINUTE).await else {
        return;
    };
    faulty.store.insert(purchases(14).into()).await.unwrap();
    let user = "u1".parse().unwrap();
    let matches_nothing = Fault::Refused(doc! { "ok": 1.0, "n": 0, "nModified": 0 });
    faulty.server.next("update", vec![matches_nothing; 5]);
    let error = faulty.store.erase(&user, 100).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(faulty.store.erase(&user, 100).await.unwrap().count, 2);
}

#[tokio::test]
async fn no_error_has_a_value_of_a_purchase() {
    let Some(faulty) = Faulty::start(A_MINUTE).await else {
        return;
    };
    let store = &faulty.store;
    let all = purchases(14);
    store.insert(all.clone().into()).await.unwrap();
    let mut refund = all[3].refund(None, SystemClock.now()).unwrap();
    refund.details.of = Some(fresh_id());

    for response in [refused_commands(), refused_documents()].concat() {
        // Queries repeat a transient error.
        let fail = |command| {
            let faults = vec![Fault::Refused(response.clone()); 20];
            faulty.server.next(command, faults);
        };
        let check = |call: &str, result: Result<String>| {
            assert_private(call, &response, &result);
            faulty.server.clear();
        };

        fail("insert");
        check("insert", text(store.apply(purchases(2).into()).await));
        fail("insert");
        check("wait", text(store.apply([refund.clone()].into()).await));
        for call in OWN_WRITES {
            fail("update");
            check(call, text(write_own(&faulty, call).await));
        }
        fail("update");
        check("check", text(store.check().await));
        fail("delete");
        let old = store
            .delete_before(Timestamp::MAX, 100, Deletion::Delete)
            .await;
        check("delete", text(old));
        fail("delete");
        check("remove", text(store.apply_waiting(&[1], 10).await));

        // The other commands have no documents in their errors, but a server may say anything.
        fail("find");
        let page = PageRequest::default();
        check("page", text(store.page(&Selector::All, &page).await));
        fail("find");
        check("get", text(store.get(&fresh_id()).await));
        fail("find");
        check("last seen", text(store.last_seen(None).await));
        fail("aggregate");
        check("sum", text(store.summary(&Selector::All).await));
        fail("aggregate");
        check("waiting", text(store.waiting_summary().await));
        fail("listCollections");
        check("inspect", text(store.inspect().await));
        fail("ping");
        check("ping", text(store.check_reads().await));
    }
}

/// The text of a result, which is private if it is a page or a purchase, but not if it is an error.
fn text<T: Debug>(result: Result<T>) -> Result<String> {
    result.map(|value| format!("{value:?}"))
}

/// The methods of the driver that write documents, and the commands.
const WRITES: [&str; 10] = [
    ".insert_one(",
    ".insert_many(",
    ".update_one(",
    ".update_many(",
    ".replace_one(",
    ".delete_one(",
    ".delete_many(",
    ".find_one_and_",
    ".bulk_write(",
    ".run_raw_command(",
];

/// All rules of writes hold at one place only.
#[test]
fn documents_are_written_at_one_place() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/mongo");
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with("_test.rs") {
            continue;
        }
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let is_write = WRITES.iter().any(|write| line.contains(write));
            // The check of a right matches no document, so it writes none.
            if is_write && !line.contains(".update_one(no_document, ") {
                found.push(name.clone());
            }
        }
    }
    assert_eq!(found, ["write.rs"]);
}

/// A record that the server refuses for ever becomes a dead letter, whose reason is printed.
#[test]
fn a_rejection_has_no_value_of_the_purchase() {
    for response in refused_documents() {
        let Ok(reports) = response.get_array("writeErrors") else {
            continue;
        };
        let report = bson::deserialize_from_bson::<DocumentReport>(reports[0].clone()).unwrap();
        let refusal = super::refusal::Refusal::new(0, &report, "shop.purchases");
        let errors: [Error; 3] = [
            refusal.rejection(),
            refusal.retryable_error(),
            refusal.failure("the currency"),
        ];
        for error in errors {
            assert_private("rejection", &response, &Err::<(), _>(error));
        }
        assert_private("refusal", &response, &Ok(refusal));
    }
}
