//! A server that is slow, steps down or loses connections: nothing is lost, duplicated, or
//! dead-lettered.

use bson::{Document, doc};
use mongodb::options::ReadPreference;
use shop_core::ingest::{Ingest, IngestOptions};
use shop_core::memory::{InMemoryLog, InMemoryLogOptions};
use shop_core::ports::{PurchaseQueryExt as _, PurchaseSink as _};

use super::faulty_server::{Fault, FaultyServer};
use super::fixture::{ConnectionString, MongoFixture};
use super::indexes::ListingIndexes;
use super::write::MAX_STATEMENTS;
use super::{MongoStore, MongoStoreOptions};
use crate::server_fixture::*;

/// A timeout that a busy machine may exceed, for faults that last longer.
const A_SECOND: Duration = Duration::from_secs(1);

/// A store behind a faulty proxy, and another with a direct connection.
pub(super) struct Faulty {
    pub(super) server: FaultyServer,
    pub(super) store: MongoStore,
    pub(super) direct: MongoFixture,
}

impl Faulty {
    /// Starts a store whose inserts time out after `insert_timeout`.
    pub(super) async fn start(insert_timeout: Duration) -> Option<Self> {
        let direct = MongoFixture::on_test_server().await?;
        let server = FaultyServer::before(direct.uri()).await?;
        let options = MongoStoreOptions::new(server.uri.clone())
            .database(Some(direct.database.clone()))
            .insert_timeout(insert_timeout);
        let store = MongoStore::open(options).await.unwrap();
        store.wait_for_indexes().await;
        Some(Self {
            server,
            store,
            direct,
        })
    }
}

/// The response to a failed command.
fn failed(code: i32, name: &str) -> Document {
    doc! { "ok": 0.0, "errmsg": "on purpose", "code": code, "codeName": name }
}

/// The response to an insert whose first document was rejected.
fn first_rejected(code: i32) -> Document {
    doc! { "ok": 1.0, "n": 0, "writeErrors": [{ "index": 0, "code": code, "errmsg": "on purpose" }] }
}

/// The response to an insert without a confirmed durability.
fn not_durable(code: i32) -> Document {
    doc! { "ok": 1.0, "n": 1, "writeConcernError": { "code": code, "errmsg": "on purpose" } }
}

/// The possible faults of a server that steps down, stops, or is overloaded.
fn faults() -> Vec<Fault> {
    vec![
        Fault::Refused(failed(10107, "NotWritablePrimary")),
        Fault::Refused(failed(189, "PrimarySteppedDown")),
        Fault::Refused(failed(11602, "InterruptedDueToReplStateChange")),
        Fault::Refused(failed(91, "ShutdownInProgress")),
        Fault::Refused(failed(13, "Unauthorized")),
        Fault::Refused(failed(14031, "OutOfDiskSpace")),
        Fault::Refused(failed(424_242, "OfTomorrow")),
        Fault::Refused(doc! { "ok": 0.0, "errmsg": "without a code" }),
        Fault::AnsweredWith(first_rejected(13)),
        Fault::AnsweredWith(failed(11600, "InterruptedAtShutdown")),
        Fault::AnsweredWith(not_durable(64)),
        Fault::AnsweredWith(not_durable(189)),
        Fault::AnswerLost,
        Fault::NotArrived,
        Fault::Late(Duration::from_millis(100)),
        Fault::Late(Duration::from_millis(1_500)),
    ]
}

#[tokio::test]
async fn server_faults_lose_duplicate_and_dead_letter_nothing() {
    let Some(faulty) = Faulty::start(A_SECOND).await else {
        return;
    };
    let log = InMemoryLog::new(InMemoryLogOptions::default().batch_records(10));
    let sink = log.sink();
    for purchase in purchases(500) {
        sink.publish(&purchase).await.unwrap();
    }
    faulty.server.next("insert", faults());
    let options = IngestOptions::default().max_backoff(Duration::from_millis(200));
    let source = Arc::new(log.source("group"));
    let letters = Arc::new(log.clone());
    let ingest = Ingest::new(source, Arc::new(faulty.store.clone()), letters, options);
    let monitor = ingest.monitor();
    let done = async {
        drop(
            monitor
                .wait_for(|status| status.counters.inserted + status.counters.duplicates >= 500)
                .await,
        );
    };
    let tally = timeout(A_MINUTE, ingest.run(done)).await.unwrap().unwrap();
    assert!(faulty.server.has_failed(), "each fault occurred");
    assert_eq!(tally.dead_lettered, 0);
    assert!(tally.duplicates > 0, "unconfirmed inserts are repeated");
    assert_eq!(count(&faulty.direct.mongo()).await, 500);
}

#[tokio::test]
async fn an_unconfirmed_write_has_an_unknown_outcome() {
    let Some(faulty) = Faulty::start(A_SECOND).await else {
        return;
    };
    let late = Fault::Late(Duration::from_secs(5));
    faulty.server.next("insert", [late]);
    let error = faulty.store.insert(purchases(3).into()).await.unwrap_err();
    assert_fails(&error, ErrorKind::DeadlineExceeded, Outcome::Unknown);
    assert_eq!(count(&faulty.direct.mongo()).await, 3);
}

#[tokio::test]
async fn a_rejected_document_does_not_affect_the_others() {
    let Some(faulty) = Faulty::start(A_MINUTE).await else {
        return;
    };
    let batch: Arc<[Purchase]> = purchases(2).into();
    // DocumentValidationFailure.
    faulty
        .server
        .next("insert", [Fault::AnsweredWith(first_rejected(121))]);
    let outcomes = faulty.store.insert(batch).await.unwrap();
    assert!(
        matches!(
            outcomes[..],
            [InsertOutcome::Rejected(_), InsertOutcome::Inserted]
        ),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn queries_are_retried_after_transient_errors() {
    let Some(faulty) = Faulty::start(A_MINUTE).await else {
        return;
    };
    faulty.store.insert(purchases(14).into()).await.unwrap();
    let user = Selector::User("u1".parse().unwrap());
    let refused = |code, name| Fault::Refused(failed(code, name));
    faulty.server.next(
        "find",
        [
            refused(0, "WithoutNumber"),
            refused(262, "ExceededTimeLimit"),
        ],
    );
    let page = faulty
        .store
        .page(&user, &PageRequest::default())
        .await
        .unwrap();
    assert_eq!(page.items.len(), 2);
    faulty
        .server
        .next("aggregate", [refused(11600, "InterruptedAtShutdown")]);
    assert_eq!(faulty.store.summary(&user).await.unwrap().count, 2);
    assert!(faulty.server.has_failed(), "each fault occurred");

    // Permanent errors are returned at once, transient ones at the timeout.
    for (fault, repeated, kind) in [
        (refused(13, "Unauthorized"), 1, ErrorKind::Denied),
        (refused(0, "WithoutNumber"), 20, ErrorKind::Unavailable),
    ] {
        faulty.server.next("find", vec![fault; repeated]);
        let found = faulty.store.get(&page.items[0].id).await;
        assert_eq!(found.unwrap_err().kind(), kind);
        assert!(faulty.server.has_failed() || repeated > 1);
    }
}

#[tokio::test]
async fn a_batch_above_the_command_limit_has_all_outcomes() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let store = fixture.mongo();
    let all = purchases(MAX_STATEMENTS as u64 + 50);
    let stored = [3, MAX_STATEMENTS - 1, MAX_STATEMENTS, MAX_STATEMENTS + 7];
    let first = stored.map(|index| all[index].clone());
    store.insert(first.into()).await.unwrap();
    let outcomes = store.insert(all.into()).await.unwrap();
    let again = outcomes
        .iter()
        .enumerate()
        .filter(|(_, outcome)| matches!(outcome, InsertOutcome::Duplicate));
    assert_eq!(again.map(|(index, _)| index).collect::<Vec<_>>(), stored);
    assert_eq!(outcomes.len(), MAX_STATEMENTS + 50);
}

/// Listings may be older than what the primary has.
#[tokio::test]
async fn whatever_the_uri_says_queries_succeed_and_duplicate_checks_read_from_the_primary() {
    let Some(direct) = MongoFixture::on_test_server().await else {
        return;
    };
    let uri = ConnectionString::new(direct.uri())
        .with_option("w", "0")
        .with_option("readPreference", "secondaryPreferred");
    let options = MongoStoreOptions::new(uri.to_string()).database(Some(direct.database.clone()));
    let store = MongoStore::open(options).await.unwrap();
    assert_eq!(count(&store).await, 0);

    let connection = &store.connection;
    let users = connection.database.collection::<Document>("users");
    let primary = ReadPreference::Primary.into();
    for criteria in [
        connection.database.selection_criteria(),
        connection.on_primary().selection_criteria(),
        users.selection_criteria(),
    ] {
        assert_eq!(criteria, Some(&primary));
    }
    assert_ne!(connection.collection.selection_criteria(), Some(&primary));
}

#[tokio::test]
async fn a_check_writes_and_leaves_nothing() {
    let Some(faulty) = Faulty::start(A_MINUTE).await else {
        return;
    };
    let direct = faulty.direct.mongo();
    let fail = async |command, faults: Vec<Fault>, kind| {
        faulty.server.next(command, faults);
        let checked = faulty.store.check().await;
        assert_eq!(checked.unwrap_err().kind(), kind, "{command}");
    };
    faulty.store.check().await.unwrap();
    assert_eq!(count(&direct).await, 0);
    let denied = Fault::Refused(failed(13, "Unauthorized"));
    fail("update", vec![denied], ErrorKind::Denied).await;
    // As a server without decimals does.
    let not_arrived = |times| vec![Fault::NotArrived; times];
    fail("update", not_arrived(2), ErrorKind::Unavailable).await;

    // Without the collection too.
    direct.connection.collection.drop().await.unwrap();
    faulty.store.check().await.unwrap();
    let exists = direct.connection.exists(Duration::from_secs(5)).await;
    assert!(!exists.unwrap());
    fail("find", not_arrived(20), ErrorKind::Unavailable).await;
}

#[tokio::test]
async fn an_error_is_shown_without_what_the_driver_prints_for_debugging() {
    let Some(faulty) = Faulty::start(A_MINUTE).await else {
        return;
    };
    let has_login = ConnectionString::new(faulty.direct.uri()).has_login();
    for fault in faults() {
        faulty.server.next("ping", [fault.clone()]);
        let Err(error) = faulty.store.check_reads().await else {
            continue;
        };
        let text = error.chain().to_string();
        let is_plain = ["RawDocumentBuf", "labels:", "Kind:", "Some("]
            .iter()
            .all(|dump| !text.contains(dump));
        assert!(is_plain, "{fault:?}: {text}");
        if error.kind() == ErrorKind::Denied {
            assert_eq!(text.contains("requires a login"), !has_login, "{text}");
        }
    }
}

#[tokio::test]
async fn a_closed_store_makes_no_calls() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let store = fixture.mongo();
    store.check_reads().await.unwrap();
    store.clone().close().await;
    assert_eq!(
        store.check_reads().await.unwrap_err().kind(),
        ErrorKind::Closed
    );
}

#[tokio::test]
async fn a_collection_that_was_dropped_has_its_indexes_again() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let collection = fixture.mongo().connection.collection.clone();
    let _indexes = ListingIndexes::new(collection.clone(), Duration::from_millis(10));
    collection.drop().await.unwrap();
    let has_indexes = async || {
        let names = collection.list_index_names().await;
        names.is_ok_and(|names| names.len() == 5)
    };
    while !has_indexes().await {
        tokio::task::yield_now().await;
    }
}
