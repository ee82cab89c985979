//! What a database cannot hold: rows that triggers skip are never reported as stored, and encodings
//! are refused.

use super::fixture::{PostgresFixture, session, skip_rows};
use super::{PostgresStore, PostgresStoreOptions};
use crate::server_fixture::*;

#[tokio::test]
async fn a_skipped_purchase_is_not_stored_and_the_others_are() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    skip_rows(
        &session(fixture.url()).await,
        "insert",
        "purchases",
        "new.price in (3.5, 7.5)",
    )
    .await;
    let store = fixture.postgres();
    let all = purchases(20);
    // Both statements: the one that expects no repetitions, and the one that looks for them.
    for range in [0..10, 0..20] {
        let outcomes = store.apply(Arc::from(&all[range])).await.unwrap();
        for (number, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                InsertOutcome::Unknown(error) if [3, 7].contains(&number) => {
                    let text = error.message();
                    assert!(text.contains("a trigger has skipped it"), "{error}");
                }
                outcome => {
                    assert!(![3, 7].contains(&number), "{number}: {outcome:?}");
                    assert_stored(&[outcome]);
                }
            }
        }
    }
    assert_eq!(count(&store).await, 18);
}

#[tokio::test]
async fn a_skipped_erasure_is_an_error() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let store = fixture.postgres();
    let all = purchases(10);
    let client = session(fixture.url()).await;
    store.apply(Arc::from(&all[..5])).await.unwrap();
    skip_rows(&client, "insert", "purchases", "new.userid is null").await;
    let ids: Vec<_> = all.iter().map(|purchase| purchase.id).collect();
    let error = store.mark_erased(&ids).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(
        store.mark_erased(&ids[..5]).await.unwrap(),
        0,
        "they are stored"
    );
    client
        .batch_execute("drop trigger skip on purchases")
        .await
        .unwrap();
    skip_rows(&client, "update", "purchases", "true").await;
    store.erase(&all[1].user_id, 100).await.unwrap_err();
    skip_rows(&client, "delete", "purchases", "true").await;
    store
        .delete_before(SystemClock.now(), 100)
        .await
        .unwrap_err();
    assert_eq!(count(&store).await, 5);
}

#[tokio::test]
async fn an_encoding_that_cannot_hold_every_name_is_refused() {
    let Some(fixture) = PostgresFixture::on_test_server().await else {
        return;
    };
    let client = session(fixture.url()).await;
    for (encoding, is_refused) in [("LATIN1", true), ("SQL_ASCII", false)] {
        let name = format!("encoded_{}", SystemClock.fresh_id().simple());
        let create =
            format!("create database {name} encoding '{encoding}' locale 'C' template template0");
        client.batch_execute(&create).await.unwrap();
        let server = fixture.server_url().split('?').next().unwrap();
        let (server, _database) = server.rsplit_once('/').unwrap();
        let options = PostgresStoreOptions::new(format!("{server}/{name}")).create_schema(false);
        let store = PostgresStore::open(options).await.unwrap();
        let inspected = store.inspect().await;
        let refused = inspected
            .as_ref()
            .err()
            .and_then(|error| error.context("encoding"));
        assert_eq!(refused, is_refused.then_some(encoding), "{inspected:?}");
        drop(store);
        client
            .batch_execute(&format!("drop database {name} with (force)"))
            .await
            .unwrap();
    }
}
