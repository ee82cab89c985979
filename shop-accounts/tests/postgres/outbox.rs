//! Events in transactions of an embedder.

use crate::postgres::skip_rows;
use crate::prelude::*;

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

    // A trigger may skip the row of the event.
    skip_rows(&client, "insert", "outbox", "true").await;
    let transaction = client.transaction().await.unwrap();
    PostgresOutbox::insert_event(&transaction, &ada)
        .await
        .unwrap_err();
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
