//! A primary that is killed, and its standby that is promoted: with synchronous replication and
//! without.

use shop_core::async_trait;
use shop_core::conformance::{StoreFixture, durability};
use shop_core::ports::{DescribeStore as _, PurchaseQueryExt as _, PurchaseStore};

use super::fixture::server::Cluster;
use super::fixture::{cluster_with_standby, session, until};
use super::outage_test::{insert, insert_parts, store};
use super::{PostgresStore, PostgresStoreOptions};
use crate::server_fixture::*;

/// A primary with a standby that streams from it, and the store on whichever is writable.
async fn with_standby(is_synchronous: bool) -> Option<(Cluster, PostgresStore)> {
    let cluster = cluster_with_standby(is_synchronous).await?;
    let store = store(&cluster.url_of_both(), 5).await;
    store.wait_for_schema().await;
    Some((cluster, store))
}

/// Runs commands of the cluster.
fn control(cluster: &Cluster, commands: &[&str]) {
    tokio::task::block_in_place(|| commands.iter().for_each(|command| cluster.ctl(command)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_synchronous_standby_has_all_acknowledged_purchases() {
    let Some((cluster, store)) = with_standby(true).await else {
        return;
    };
    let all: Arc<[Purchase]> = purchases(8_000).into();
    let inserts = tokio::spawn({
        let store = store.clone();
        let all = Arc::clone(&all);
        // What is acknowledged is not inserted again.
        async move { insert_parts(&store, all.chunks(2_000), 20).await }
    });
    until(async || count(&store).await > 1_000).await;
    control(&cluster, &["promote"]);
    println!("{} errors of inserts", inserts.await.unwrap());
    let missing = "an acknowledged purchase is missing or duplicated";
    assert_eq!(count(&store).await, 8_000, "{missing}");
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
    control(&cluster, &["kill_standby"]);
    let impatient = super::outage_test::store(&cluster.url_of_both(), 2).await;
    for function in ["pg_terminate_backend", "pg_cancel_backend"] {
        let store = impatient.clone();
        let batch = all.clone();
        let insert = tokio::spawn(async move { store.apply(batch.into()).await });
        end_waits(&primary, function).await;
        let error = insert.await.unwrap().unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{function}: {error:?}");
    }
    // The rows can be seen now, and are on no standby.
    assert_eq!(count(&impatient).await, 20);
    impatient.look_up(&all[0].id).await.unwrap_err();
    // A mark likewise.
    let erased = purchases(21)[20].id;
    impatient.mark_erased(&[erased]).await.unwrap_err();
    end_waits(&primary, "pg_cancel_backend").await;
    let marks = "select from purchases where \"timestamp\" is null";
    until(async || primary.query(marks, &[]).await.unwrap().len() == 1).await;
    impatient.look_up(&erased).await.unwrap_err();
    impatient.mark_erased(&[erased]).await.unwrap_err();
    let error = impatient.apply(all.clone().into()).await.unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown, "{error:?}");

    control(&cluster, &["promote"]);
    until(async || store.check().await.is_ok()).await;
    assert_eq!(count(&store).await, 0, "nothing was acknowledged");
    insert(&store, &all).await;
    assert_eq!(count(&store).await, 20);
}

/// A primary with a synchronous standby, which can be killed before it gets the writes.
#[derive(Debug)]
struct StandbyFixture {
    cluster: Cluster,
    store: PostgresStore,
}

#[async_trait]
impl StoreFixture for StandbyFixture {
    async fn store(&self) -> Arc<dyn PurchaseStore> {
        Arc::new(self.store.clone())
    }

    async fn query(&self) -> Arc<dyn PurchaseQuery> {
        Arc::new(self.store.clone())
    }

    async fn hold_back_writes(&self) -> bool {
        let primary = session(&self.cluster.url()).await;
        control(&self.cluster, &["kill_standby"]);
        // The primary shows a row whose wait for the standby was interrupted. The task ends with the primary.
        let sql =
            "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'";
        tokio::spawn(async move {
            while primary.query(sql, &[]).await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        });
        true
    }

    async fn fail_over(&self) {
        control(&self.cluster, &["promote"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_on_the_synchronous_standby() {
    let Some((cluster, store)) = with_standby(true).await else {
        return;
    };
    let fixture = StandbyFixture { cluster, store };
    durability::a_fail_over_keeps_what_was_acknowledged(&fixture).await;
}

/// Without a synchronous standby, what the server has flushed is durable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_up_of_a_flushed_row_writes_nothing() {
    let Some((cluster, store)) = with_standby(false).await else {
        return;
    };
    let all = purchases(10);
    insert(&store, &all).await;
    let primary = session(&cluster.url()).await;
    let next_transaction = async || -> String {
        let sql = "select pg_snapshot_xmax(pg_current_snapshot())::text";
        primary.query_one(sql, &[]).await.unwrap().get(0)
    };
    // The server also writes on its own, so a round may see another transaction, or a log that is not flushed.
    until(async || {
        let before = next_transaction().await;
        for purchase in &all {
            let found = store.look_up(&purchase.id).await.unwrap();
            assert_eq!(found.stored().as_ref(), Some(purchase));
        }
        next_transaction().await == before
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_comes_back_after_a_promotion_gets_no_writes() {
    let Some((cluster, store)) = with_standby(false).await else {
        return;
    };
    let all = purchases(60);
    insert(&store, &all[..20]).await;
    // The fold of the sums asks the servers at any time, so the promotion may be known at once.
    let takeovers = store.info().takeovers;
    // The sessions of the pools stay open, and nothing answers.
    control(&cluster, &["pause", "promote_beside"]);
    insert(&store, &all[20..40]).await;
    assert!(store.info().takeovers > takeovers);
    control(&cluster, &["resume"]);
    insert(&store, &all[40..]).await;
    assert_eq!(count(&store).await, 60);
    let old = PostgresStore::open(PostgresStoreOptions::new(cluster.url()))
        .await
        .unwrap();
    let late = old.get(&all[50].id).await.unwrap();
    assert_eq!(late, None, "the old primary got none after it came back");

    // A new store prefers the promoted server, although the old one comes first.
    let new = super::outage_test::store(&cluster.url_of_both(), 5).await;
    assert_eq!(count(&new).await, 60);
}
