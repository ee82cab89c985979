//! Events in transactions of an embedder.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use futures_util::future::{join, join_all};
use shop_accounts::conformance::OutboxFixture as _;
use shop_accounts::outbox::{Outbox as _, Relay, RelayOptions};
use shop_accounts::postgres::PostgresOutbox;
use shop_core::log::LogAdmin as _;
use shop_core::memory::InMemoryLog;
use shop_core::record::Event as _;
use shop_core::{Bytes, ErrorKind, Outcome};
use shop_store::postgres::PostgresStoreOptions;
use shop_store::postgres::tokio_postgres::Client;
use tokio::time::timeout;

use crate::fixture::{OwnTable, event};
use crate::postgres::{fresh_schema, session};

/// Writes an event first, and then its place in the order of the commits, which fails if another
/// transaction of the key is open.
async fn write(client: &mut Client, key: i64, name: &str) {
    let transaction = client.transaction().await.unwrap();
    PostgresOutbox::insert_event(&transaction, &event(key, name))
        .await
        .unwrap();
    let next = "insert into history select $1, coalesce(max(number), 0) + 1, $2 from history where key = $1";
    transaction.execute(next, &[&key, &name]).await.unwrap();
    transaction.commit().await.unwrap();
}

/// Relays until `is_over` and nothing is pending. Each relay is killed when it has published,
/// before or after it deletes.
async fn relay(own: &OwnTable, log: &InMemoryLog, is_over: &AtomicBool) {
    while !is_over.load(Ordering::SeqCst) || !own.outbox.pending(1).await.unwrap().is_empty() {
        let outbox = Arc::new(own.outbox.clone());
        let relay = Relay::new(
            outbox,
            Arc::new(log.clone()),
            RelayOptions::default().batch_size(7),
        );
        let monitor = relay.monitor();
        let relay = tokio::spawn(relay.run(std::future::pending()));
        let published = async {
            while monitor.status().published == 0 {
                tokio::task::yield_now().await;
            }
        };
        drop(timeout(Duration::from_millis(100), published).await);
        relay.abort();
        drop(relay.await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_relays_publish_racing_transactions_in_the_order_of_their_commits() {
    let Some(own) = OwnTable::on_test_server().await else {
        return;
    };
    let client = session(own.url()).await;
    let history =
        "create table history (key bigint, number bigint, name text, primary key (key, number))";
    client.batch_execute(history).await.unwrap();
    let log = InMemoryLog::default();
    let is_over = AtomicBool::new(false);
    let writers = async {
        let own = &own;
        let writer = |writer: i64| async move {
            let mut client = session(own.url()).await;
            for number in 0..40 {
                write(
                    &mut client,
                    (writer + number) % 3,
                    &format!("w{writer}-{number}"),
                )
                .await;
                own.outbox.notify_relay();
            }
        };
        join_all((0..4).map(writer)).await;
        is_over.store(true, Ordering::SeqCst);
    };
    join(writers, relay(&own, &log, &is_over)).await;

    let mut published = BTreeMap::<_, Vec<Option<Bytes>>>::new();
    let batches: Vec<_> = log.scan().await.unwrap().try_collect().await.unwrap();
    let mut repeated = 0;
    for record in batches.into_iter().flat_map(|batch| batch.records) {
        let of_key = published.entry(record.key).or_default();
        if of_key.contains(&record.value) {
            repeated += 1;
        } else {
            of_key.push(record.value);
        }
    }
    println!("{repeated} events were published again");
    let mut committed = BTreeMap::<_, Vec<Option<Bytes>>>::new();
    for row in client
        .query("select key, name from history order by key, number", &[])
        .await
        .unwrap()
    {
        let record = event(row.get(0), row.get(1)).encode().unwrap();
        committed.entry(record.key).or_default().push(record.value);
    }
    assert_eq!(committed.values().map(Vec::len).sum::<usize>(), 160);
    assert_eq!(published, committed);
}

#[tokio::test]
async fn events_of_two_keys_in_two_orders_are_a_deadlock_of_one_transaction() {
    let Some(own) = OwnTable::on_test_server().await else {
        return;
    };
    let mut one = session(own.url()).await;
    let mut other = session(own.url()).await;
    let one = one.transaction().await.unwrap();
    let other = other.transaction().await.unwrap();
    PostgresOutbox::insert_event(&one, &event(1, "one"))
        .await
        .unwrap();
    PostgresOutbox::insert_event(&other, &event(2, "other"))
        .await
        .unwrap();
    let of_one = event(2, "one");
    let of_other = event(1, "other");
    let first = async {
        let written = PostgresOutbox::insert_event(&one, &of_one).await;
        // It holds its locks until it ends.
        if written.is_ok() {
            one.commit().await.unwrap();
        } else {
            one.rollback().await.unwrap();
        }
        written
    };
    let second = async {
        let written = PostgresOutbox::insert_event(&other, &of_other).await;
        if written.is_ok() {
            other.commit().await.unwrap();
        } else {
            other.rollback().await.unwrap();
        }
        written
    };
    let (first, second) = join(first, second).await;
    let error = first.and(second).unwrap_err();
    assert_eq!(
        (error.kind(), error.outcome()),
        (ErrorKind::Unavailable, Outcome::NotApplied),
        "{error:?}"
    );
    assert!(error.is_retryable());
    assert_eq!(
        own.outbox.pending(10).await.unwrap().len(),
        2,
        "those of the other transaction"
    );
}

#[tokio::test]
async fn only_a_durable_commit_publishes() {
    let Some(own) = OwnTable::on_test_server().await else {
        return;
    };
    let mut client = session(own.url()).await;
    client
        .batch_execute("set synchronous_commit = off")
        .await
        .unwrap();
    let transaction = client.transaction().await.unwrap();
    PostgresOutbox::insert_event(&transaction, &event(1, "ada"))
        .await
        .unwrap();
    let shown = transaction
        .query_one("show synchronous_commit", &[])
        .await
        .unwrap();
    assert_eq!(shown.get::<_, &str>(0), "on");
    transaction.rollback().await.unwrap();
    assert_eq!(own.outbox.pending(1).await.unwrap(), []);
    let shown = client
        .query_one("show synchronous_commit", &[])
        .await
        .unwrap();
    assert_eq!(shown.get::<_, &str>(0), "off", "the session is unchanged");
    // A savepoint that is rolled back takes its event, and the lock of the key, with it.
    let mut transaction = client.transaction().await.unwrap();
    let savepoint = transaction.transaction().await.unwrap();
    PostgresOutbox::insert_event(&savepoint, &event(1, "ada"))
        .await
        .unwrap();
    savepoint.rollback().await.unwrap();
    let written = own.write().await;
    transaction.commit().await.unwrap();
    let found = own.outbox.pending(10).await.unwrap();
    assert_eq!(
        found
            .into_iter()
            .map(|entry| entry.record.value)
            .collect::<Vec<_>>(),
        [written.value]
    );
}

#[tokio::test]
async fn a_table_of_another_program_is_used_only_on_request() {
    let Some(own) = OwnTable::on_test_server().await else {
        return;
    };
    let url = fresh_schema(own.server_url()).await;
    let options = || PostgresStoreOptions::new(url.as_str());
    let missing = PostgresOutbox::open(options().create_schema(false))
        .await
        .unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Unavailable, "{missing:?}");
    let mut client = session(&url).await;
    // As the documentation of the type has it.
    let table = include_str!("../../src/postgres/outbox.rs")
        .split("/// ```sql")
        .nth(1)
        .unwrap()
        .split("/// ```")
        .next()
        .unwrap();
    client
        .batch_execute(&table.replace("///", ""))
        .await
        .unwrap();
    let foreign = PostgresOutbox::open(options()).await.unwrap_err();
    assert_eq!(
        (foreign.kind(), foreign.context("tables")),
        (ErrorKind::Denied, Some("outbox"))
    );
    for options in [options().create_schema(false), options().adopt_tables(true)] {
        let outbox = PostgresOutbox::open(options).await.unwrap();
        let transaction = client.transaction().await.unwrap();
        PostgresOutbox::insert_event(&transaction, &event(1, "ada"))
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        let found = outbox.pending(10).await.unwrap();
        outbox.delete(&[found[0].id]).await.unwrap();
    }
    client
        .batch_execute("alter table outbox drop headers")
        .await
        .unwrap();
    let other = PostgresOutbox::open(options()).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Unsupported, "{other:?}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_reported() {
    let absent = PostgresStoreOptions::new("postgresql://localhost:1/absent");
    let error = PostgresOutbox::open(absent).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    let invalid =
        PostgresOutbox::open(PostgresStoreOptions::new("postgresql://localhost:port/")).await;
    assert_eq!(invalid.unwrap_err().kind(), ErrorKind::Invalid);
}
