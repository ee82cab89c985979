//! Events in transactions of an embedder.

use crate::prelude::*;
use futures_util::TryStreamExt as _;
use futures_util::future::{join, join_all};
use shop_accounts::outbox::{Relay, RelayOptions};
use shop_core::log::LogAdmin as _;
use shop_core::memory::InMemoryLog;
use shop_core::{Bytes, Result};
use shop_store::postgres::tokio_postgres::{Client, Transaction};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout;

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
    for record in batches.into_iter().flat_map(|batch| batch.records) {
        let of_key = published.entry(record.key).or_default();
        // A killed relay may have published an event, and not deleted it.
        if !of_key.contains(&record.value) {
            of_key.push(record.value);
        }
    }
    let mut committed = BTreeMap::<_, Vec<Option<Bytes>>>::new();
    let in_order = "select key, name from history order by key, number";
    for row in client.query(in_order, &[]).await.unwrap() {
        let record = event(row.get(0), row.get(1)).encode().unwrap();
        committed.entry(record.key).or_default().push(record.value);
    }
    assert_eq!(committed.values().map(Vec::len).sum::<usize>(), 160);
    assert_eq!(published, committed);
}

/// Writes `event` and ends the transaction, which holds its locks until then.
async fn write_and_end(transaction: Transaction<'_>, event: User) -> Result<()> {
    let written = PostgresOutbox::insert_event(&transaction, &event).await;
    match written {
        Ok(_) => transaction.commit().await.unwrap(),
        Err(_) => transaction.rollback().await.unwrap(),
    }
    written
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
    for (transaction, first_event) in [(&one, event(1, "one")), (&other, event(2, "other"))] {
        let written = PostgresOutbox::insert_event(transaction, &first_event).await;
        written.unwrap();
    }
    let first = write_and_end(one, event(2, "one"));
    let second = write_and_end(other, event(1, "other"));
    let (first, second) = join(first, second).await;
    let error = first.and(second).unwrap_err();
    assert_fails(&error, ErrorKind::Unavailable, Outcome::NotApplied);
    assert!(error.is_retryable());
    let pending = own.outbox.pending(10).await.unwrap();
    assert_eq!(pending.len(), 2, "those of the other transaction");
}

#[tokio::test]
async fn only_a_durable_commit_publishes() {
    let Some(own) = OwnTable::on_test_server().await else {
        return;
    };
    let mut client = session(own.url()).await;
    let is_durable = "select current_setting('synchronous_commit') = 'on'";
    let relaxed = "set synchronous_commit = off";
    client.batch_execute(relaxed).await.unwrap();
    let transaction = client.transaction().await.unwrap();
    let ada = event(1, "ada");
    PostgresOutbox::insert_event(&transaction, &ada)
        .await
        .unwrap();
    let shown = transaction.query_one(is_durable, &[]).await.unwrap();
    assert!(shown.get::<_, bool>(0));
    transaction.rollback().await.unwrap();
    assert_eq!(own.outbox.pending(1).await.unwrap(), []);
    let shown = client.query_one(is_durable, &[]).await.unwrap();
    assert!(!shown.get::<_, bool>(0), "the session is unchanged");

    // A savepoint that is rolled back takes its event, and the lock of the key, with it.
    let mut transaction = client.transaction().await.unwrap();
    let savepoint = transaction.transaction().await.unwrap();
    PostgresOutbox::insert_event(&savepoint, &ada)
        .await
        .unwrap();
    savepoint.rollback().await.unwrap();
    let written = own.write().await;
    transaction.commit().await.unwrap();
    let pending = own.outbox.pending(10).await.unwrap();
    let values = pending.into_iter().map(|entry| entry.record.value);
    assert!(values.eq([written.value]));
}

/// `takeover.rs` has the tables of another program.
#[tokio::test]
async fn the_documented_table_is_an_outbox_and_a_table_with_other_columns_is_not() {
    let Some(server) = TestServer::find().await else {
        return;
    };
    let url = fresh_schema(&server.url).await;
    let options = || PostgresStoreOptions::new(url.as_str()).create_schema(false);
    let missing = PostgresOutbox::open(options()).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Unavailable, "{missing:?}");

    let documentation = include_str!("../../src/postgres/outbox.rs");
    let (_, table) = documentation.split_once("/// ```sql").unwrap();
    let (table, _) = table.split_once("/// ```").unwrap();
    let mut client = session(&url).await;
    let create = table.replace("///", "");
    client.batch_execute(&create).await.unwrap();
    let outbox = PostgresOutbox::open(options()).await.unwrap();
    let transaction = client.transaction().await.unwrap();
    let ada = event(1, "ada");
    PostgresOutbox::insert_event(&transaction, &ada)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    let pending = outbox.pending(10).await.unwrap();
    outbox.delete(&[pending[0].id]).await.unwrap();

    let adopting = options().create_schema(true).adopt_tables(true);
    PostgresOutbox::open(adopting).await.unwrap();
    let other_columns = "alter table outbox drop headers";
    client.batch_execute(other_columns).await.unwrap();
    let other = PostgresOutbox::open(options().create_schema(true)).await;
    assert_eq!(other.unwrap_err().kind(), ErrorKind::Unsupported);
}
