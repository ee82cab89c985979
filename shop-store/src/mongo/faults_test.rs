//! A server that is slow, steps down or loses connections: nothing is lost, duplicated, or
//! dead-lettered.

use std::collections::BTreeMap;

use bson::{Document, doc};
use mongodb::options::ReadPreference;
use shop_core::ingest::{Ingest, IngestOptions};
use shop_core::memory::{InMemoryLog, InMemoryLogOptions};
use shop_core::ports::PurchaseSink as _;

use super::faulty_server::{Fault, FaultyServer};
use super::fixture::{MongoFixture, with_options};
use super::indexes::ListingIndexes;
use super::insert::MAX_DOCUMENTS;
use super::{MongoStore, MongoStoreOptions};
use crate::server_fixture::*;

/// A store behind a faulty proxy, and another with a direct connection.
pub(super) struct Faulty {
    pub(super) server: FaultyServer,
    pub(super) store: MongoStore,
    pub(super) direct: MongoFixture,
}

impl Faulty {
    /// Starts a store with the default timeouts, which a busy machine does not exceed.
    pub(super) async fn start() -> Option<Self> {
        Self::start_with(|_options| ()).await
    }

    /// Starts a store whose inserts time out after a second, for faults that last longer.
    async fn start_with_short_timeout() -> Option<Self> {
        Self::start_with(|options| options.insert_timeout = Duration::from_secs(1)).await
    }

    async fn start_with(change: impl FnOnce(&mut MongoStoreOptions)) -> Option<Self> {
        let direct = MongoFixture::on_test_server().await?;
        let server = FaultyServer::before(direct.uri()).await;
        let mut options =
            MongoStoreOptions::new(server.uri.clone()).database(Some(direct.database()));
        change(&mut options);
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
    let Some(faulty) = Faulty::start_with_short_timeout().await else {
        return;
    };
    let log = InMemoryLog::new(InMemoryLogOptions::default().batch_records(10));
    let all = purchases(500);
    let sink = log.sink();
    for purchase in &all {
        sink.publish(purchase).await.unwrap();
    }
    faulty.server.next("insert", faults());
    let options = IngestOptions::default().max_backoff(Duration::from_millis(200));
    let source = Arc::new(log.source("group"));
    let letters = Arc::new(log.dead_letters());
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
    assert!(faulty.server.left().is_empty(), "each fault occurred");
    assert_eq!(tally.dead_lettered, 0);
    assert!(tally.duplicates > 0, "unconfirmed inserts are repeated");
    let store = faulty.direct.mongo();
    assert_eq!(count(&store).await, 500);
    for purchase in &all {
        assert_eq!(
            store.get(&purchase.id).await.unwrap().as_ref(),
            Some(purchase)
        );
    }
}

#[tokio::test]
async fn an_unconfirmed_write_has_an_unknown_outcome() {
    let Some(faulty) = Faulty::start_with_short_timeout().await else {
        return;
    };
    let batch: Arc<[Purchase]> = purchases(3).into();
    faulty
        .server
        .next("insert", [Fault::Late(Duration::from_secs(5))]);
    let late = faulty.store.insert(Arc::clone(&batch)).await.unwrap_err();
    assert_fails(&late, ErrorKind::DeadlineExceeded, Outcome::Unknown);
    let direct = faulty.direct.mongo();
    let again = direct.insert(Arc::clone(&batch)).await.unwrap();
    assert!(
        again
            .iter()
            .all(|outcome| matches!(outcome, InsertOutcome::Duplicate)),
        "{again:?}"
    );
}

#[tokio::test]
async fn a_rejected_document_does_not_affect_the_others() {
    let Some(faulty) = Faulty::start().await else {
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
    let Some(faulty) = Faulty::start().await else {
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
    assert!(faulty.server.left().is_empty(), "each fault occurred");

    // Permanent errors are returned at once, transient ones at the timeout.
    for (fault, repeated, kind) in [
        (refused(13, "Unauthorized"), 1, ErrorKind::Denied),
        (refused(0, "WithoutNumber"), 20, ErrorKind::Unavailable),
    ] {
        faulty.server.next("find", vec![fault; repeated]);
        let found = faulty.store.get(&page.items[0].id).await;
        assert_eq!(found.unwrap_err().kind(), kind);
        assert!(faulty.server.left().is_empty() || repeated > 1);
    }
}

#[tokio::test]
async fn a_batch_above_the_command_limit_has_all_outcomes() {
    let Some(fixture) = MongoFixture::on_test_server().await else {
        return;
    };
    let store = fixture.mongo();
    let all = purchases(MAX_DOCUMENTS as u64 + 50);
    let stored = [3, MAX_DOCUMENTS - 1, MAX_DOCUMENTS, MAX_DOCUMENTS + 7];
    let first = stored.map(|index| all[index].clone());
    store.insert(first.into()).await.unwrap();
    let outcomes = store.insert(all.into()).await.unwrap();
    let again = outcomes
        .iter()
        .enumerate()
        .filter(|(_, outcome)| matches!(outcome, InsertOutcome::Duplicate));
    assert_eq!(again.map(|(index, _)| index).collect::<Vec<_>>(), stored);
    assert_eq!(outcomes.len(), MAX_DOCUMENTS + 50);
}

#[tokio::test]
async fn duplicate_checks_read_from_the_primary() {
    let uri = "mongodb://127.0.0.1:1/shop?replicaSet=rs&readPreference=secondary&w=0";
    let store = MongoStore::open(MongoStoreOptions::new(uri).create_indexes(false))
        .await
        .unwrap();
    let connection = &store.connection;
    let primary = ReadPreference::Primary.into();
    assert_eq!(connection.database.selection_criteria(), Some(&primary));
    assert_eq!(connection.on_primary().selection_criteria(), Some(&primary));
    assert_eq!(
        connection
            .database
            .collection::<Document>("users")
            .selection_criteria(),
        Some(&primary)
    );
    assert_ne!(
        connection.collection.selection_criteria(),
        Some(&primary),
        "listings may be older"
    );
}

#[tokio::test]
async fn a_write_concern_of_the_uri_rejects_no_query() {
    let Some(direct) = MongoFixture::on_test_server().await else {
        return;
    };
    let uri = with_options(direct.uri(), "w=0");
    let options = MongoStoreOptions::new(uri).database(Some(direct.database()));
    let store = MongoStore::open(options).await.unwrap();
    assert_eq!(count(&store).await, 0);
}

#[tokio::test]
async fn a_check_writes_and_leaves_nothing() {
    let Some(faulty) = Faulty::start().await else {
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
async fn a_page_and_a_slice_of_a_migration_are_one_command_each() {
    let Some(faulty) = Faulty::start().await else {
        return;
    };
    let old = (0..300)
        .map(|number| doc! { "username": "ada", "userid": "u1", "price": number, "timestamp": "" });
    faulty.direct.insert_documents(old).await;
    let passed = Fault::Late(Duration::ZERO);
    faulty.server.next("getMore", [passed.clone()]);
    faulty.server.next("update", [passed.clone(), passed]);
    assert_eq!(faulty.store.migrate(|_| ()).await.unwrap().migrated, 300);
    let request = PageRequest::first(ListOrder::NewestFirst, PageLimit::MAX);
    let page = faulty.store.page(&Selector::All, &request).await.unwrap();
    assert_eq!(page.items.len(), 300);
    let left = BTreeMap::from([("getMore", 1), ("update", 1)]);
    assert_eq!(faulty.server.left(), left);
}

#[tokio::test]
async fn an_error_is_shown_without_what_the_driver_prints_for_debugging() {
    let Some(faulty) = Faulty::start().await else {
        return;
    };
    let has_login = faulty.direct.uri().contains('@');
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
    while collection
        .list_index_names()
        .await
        .unwrap_or_default()
        .len()
        < 5
    {
        tokio::task::yield_now().await;
    }
}
