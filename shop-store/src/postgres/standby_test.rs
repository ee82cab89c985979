//! A primary that is killed, and its standby that is promoted: with synchronous replication and
//! without.

use std::sync::Arc;
use std::time::Duration;

use shop_core::ports::{
    Lookup, PurchaseErase as _, PurchaseQuery as _, RecordStore as _, Selector,
};
use shop_core::{Outcome, Purchase};
use tokio::time::timeout;

use super::faults_test::purchases;
use super::fixture::server::Cluster;
use super::fixture::{cluster_with_standby, session, until};
use super::outage_test::{insert, store};
use super::{PostgresStore, PostgresStoreOptions};

/// A primary with a standby that streams from it, and the store on whichever is writable.
async fn with_standby(is_synchronous: bool) -> Option<(Cluster, PostgresStore)> {
    let cluster = cluster_with_standby(is_synchronous).await?;
    let store = store(&cluster.url_of_both()).await;
    store.wait_for_schema().await;
    Some((cluster, store))
}

async fn count(store: &PostgresStore) -> u64 {
    store.summary(&Selector::All).await.unwrap().count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_synchronous_standby_has_all_acknowledged_purchases() {
    let Some((cluster, store)) = with_standby(true).await else {
        return;
    };
    let all: Arc<[Purchase]> = purchases(8_000).into();
    let writers = (0..4).map(|writer: usize| {
        let store = store.clone();
        let all = Arc::clone(&all);
        tokio::spawn(async move {
            let mut errors = 0;
            // What is acknowledged is not inserted again.
            for batch in all[writer * 2_000..][..2_000].chunks(20) {
                errors += insert(&store, batch).await;
            }
            errors
        })
    });
    let writers: Vec<_> = writers.collect();
    until(async || count(&store).await > 1_000).await;
    tokio::task::block_in_place(|| cluster.ctl("promote"));
    let mut errors = 0;
    for writer in writers {
        errors += timeout(Duration::from_secs(120), writer)
            .await
            .unwrap()
            .unwrap();
    }
    println!("{errors} errors of inserts");
    assert_eq!(
        count(&store).await,
        8_000,
        "an acknowledged purchase is missing or duplicated"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_synchronous_standby_acknowledges_nothing() {
    let Some((cluster, store)) = with_standby(true).await else {
        return;
    };
    let all = purchases(40);
    insert(&store, &all[..20]).await;
    tokio::task::block_in_place(|| cluster.ctl("kill_standby"));
    // The receiver of the write-ahead log may outlive the process that started it for a moment.
    let primary = session(&cluster.url()).await;
    let receivers = "select from pg_stat_replication";
    until(async || primary.query(receivers, &[]).await.unwrap().is_empty()).await;
    let mut options = PostgresStoreOptions::new(cluster.url_of_both());
    options.insert_timeout = Duration::from_secs(1);
    let impatient = PostgresStore::open(options).await.unwrap();
    let error = impatient.apply(all[20..].into()).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");
    assert!(error.is_retryable());
    tokio::task::block_in_place(|| cluster.ctl("promote"));
    until(async || store.check().await.is_ok()).await;
    assert_eq!(count(&store).await, 20, "unacknowledged purchases are lost");
    insert(&store, &all).await;
    assert_eq!(count(&store).await, 40);
}

/// The store with a short timeout of inserts.
async fn impatient(cluster: &Cluster) -> PostgresStore {
    let mut options = PostgresStoreOptions::new(cluster.url_of_both());
    options.insert_timeout = Duration::from_secs(2);
    options.query_timeout = Duration::from_secs(2);
    PostgresStore::open(options).await.unwrap()
}

/// Ends the waits for the standby by a function of the server, once there is one.
async fn end_waits(primary: &tokio_postgres::Client, function: &str) {
    let sql = format!("select {function}(pid) from pg_stat_activity where wait_event = 'SyncRep'");
    until(async || !primary.query(&sql, &[]).await.unwrap().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_standby_has_is_not_stored_when_it_is_found() {
    let Some((cluster, store)) = with_standby(true).await else {
        return;
    };
    let all = purchases(20);
    let primary = session(&cluster.url()).await;
    tokio::task::block_in_place(|| cluster.ctl("kill_standby"));
    let impatient = impatient(&cluster).await;
    for function in ["pg_terminate_backend", "pg_cancel_backend"] {
        let store = impatient.clone();
        let batch = all.clone();
        let insert = tokio::spawn(async move { store.apply(batch.into()).await });
        end_waits(&primary, function).await;
        let error = insert.await.unwrap().unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{function}: {error:?}");
    }
    // The rows can be seen now, and are on no standby.
    let found = impatient.look_up(&all[0].id).await.unwrap();
    assert!(matches!(found, Lookup::Stored(_)), "{found:?}");
    impatient.look_up_durable(&all[0].id).await.unwrap_err();
    // A mark likewise.
    let erased = purchases(21)[20].id;
    impatient.mark_erased(&[erased]).await.unwrap_err();
    end_waits(&primary, "pg_cancel_backend").await;
    until(async || matches!(impatient.look_up(&erased).await, Ok(Lookup::Erased))).await;
    impatient.mark_erased(&[erased]).await.unwrap_err();
    let error = impatient.apply(all.clone().into()).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");

    tokio::task::block_in_place(|| cluster.ctl("promote"));
    until(async || store.check().await.is_ok()).await;
    assert_eq!(count(&store).await, 0, "nothing was acknowledged");
    insert(&store, &all).await;
    assert_eq!(count(&store).await, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_comes_back_after_a_promotion_gets_no_writes() {
    let Some((cluster, store)) = with_standby(false).await else {
        return;
    };
    let all = purchases(60);
    insert(&store, &all[..20]).await;
    // The sessions of the pools stay open, and nothing answers.
    tokio::task::block_in_place(|| {
        cluster.ctl("pause");
        cluster.ctl("promote_beside");
    });
    let takeovers = store.takeovers();
    insert(&store, &all[20..40]).await;
    assert!(store.takeovers() > takeovers);
    tokio::task::block_in_place(|| cluster.ctl("resume"));
    insert(&store, &all[40..]).await;
    assert_eq!(count(&store).await, 60);
    let old = PostgresStore::open(PostgresStoreOptions::new(cluster.url()))
        .await
        .unwrap();
    let late = old.get(&all[50].id).await.unwrap();
    assert_eq!(late, None, "the old primary got none after it came back");

    // A new store prefers the promoted server, although the old one comes first.
    let new = super::outage_test::store(&cluster.url_of_both()).await;
    assert_eq!(count(&new).await, 60);
}
