//! A server that is killed, paused, full, or unavailable at the start.

use futures_util::future::join_all;
use shop_core::ports::PurchaseQueryExt as _;

use super::fixture::cluster;
use super::fixture::server::Cluster;
use super::{PostgresStore, PostgresStoreOptions};
use crate::server_fixture::*;

/// A cluster on its own small disk.
fn cluster_on_disk() -> Option<Cluster> {
    let required = environment("SHOP_TEST_REQUIRE");
    let started = Cluster::start_on_disk(128);
    started
        .inspect_err(|(missing, why)| skip(missing, required.as_deref(), why))
        .ok()
}

/// A store whose calls take at most so many seconds.
pub(super) async fn store(url: &str, seconds: u64) -> PostgresStore {
    let timeout = Duration::from_secs(seconds);
    let options = PostgresStoreOptions::new(url)
        .insert_timeout(timeout)
        .query_timeout(timeout);
    PostgresStore::open(options).await.unwrap()
}

/// Inserts until all outcomes are known. Returns the number of errors.
pub(super) async fn insert(store: &PostgresStore, batch: &[Purchase]) -> usize {
    let mut errors = 0;
    loop {
        match store.apply(batch.into()).await {
            Ok(outcomes) => {
                assert_stored(&outcomes);
                return errors;
            }
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                errors += 1;
                sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// Inserts each of the `parts` at the same time, in batches of `size`. Returns the number of errors.
pub(super) async fn insert_parts(
    store: &PostgresStore,
    parts: impl IntoIterator<Item = &[Purchase]>,
    size: usize,
) -> usize {
    let insert_part = async |part: &[Purchase]| {
        let mut errors = 0;
        for batch in part.chunks(size) {
            errors += insert(store, batch).await;
        }
        errors
    };
    let all = join_all(parts.into_iter().map(insert_part));
    let errors = timeout(Duration::from_secs(240), all).await.unwrap();
    errors.into_iter().sum()
}

/// Kills the server and starts it again.
fn restart(cluster: &Cluster) {
    cluster.ctl("kill");
    cluster.ctl("start");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_the_server_lose_and_duplicate_nothing() {
    let Some(cluster) = cluster() else { return };
    let store = store(&cluster.url(), 5).await;
    let killer = tokio::spawn(async move {
        for kill in 0..6 {
            sleep(Duration::from_millis(50 + kill * 137 % 400)).await;
            tokio::task::block_in_place(|| restart(&cluster));
        }
        cluster
    });

    let mut all = Vec::new();
    let mut errors = 0;
    while !killer.is_finished() {
        let more = purchases(1_000);
        // Nearly each purchase is inserted twice: one of the inserts is a duplicate of the other.
        let parts = [0, 200, 400, 600].map(|start| &more[start..][..400]);
        errors += insert_parts(&store, parts, 50).await;
        all.extend(more);
    }
    println!("{} purchases, {errors} errors of inserts", all.len());
    let _cluster = killer.await.unwrap();
    let missing = "an acknowledged purchase is missing or duplicated";
    assert_eq!(count(&store).await, all.len() as u64, "{missing}");
}

#[tokio::test]
async fn a_restart_fails_no_query() {
    let Some(cluster) = cluster() else { return };
    let store = store(&cluster.url(), 5).await;
    let all = purchases(8);
    store.apply(all.clone().into()).await.unwrap();
    for purchase in &all {
        // Several idle connections.
        for found in join_all((0..6).map(|_| store.get(&purchase.id))).await {
            assert_eq!(found.unwrap().as_ref(), Some(purchase));
        }
        restart(&cluster);
    }
    assert!(matches!(
        store.apply(all.into()).await.unwrap()[..],
        [InsertOutcome::Duplicate, ..]
    ));
}

#[tokio::test]
async fn a_store_opens_while_the_server_is_unavailable() {
    let Some(cluster) = cluster() else { return };
    cluster.ctl("kill");
    let store = store(&cluster.url(), 5).await;
    let error = store.apply(purchases(1).into()).await.unwrap_err();
    assert_fails(&error, ErrorKind::Unavailable, Outcome::NotApplied);
    cluster.ctl("start");
    timeout(A_MINUTE, store.wait_for_schema()).await.unwrap();
    assert!(matches!(
        store.apply(purchases(1).into()).await.unwrap()[..],
        [InsertOutcome::Inserted]
    ));
}

#[tokio::test]
async fn a_paused_server_leaves_outcomes_unknown() {
    let Some(cluster) = cluster() else { return };
    let options = PostgresStoreOptions::new(cluster.url())
        .insert_timeout(Duration::from_secs(1))
        .max_connections(4);
    let store = PostgresStore::open(options).await.unwrap();
    store.wait_for_schema().await;
    let all = purchases(6);
    cluster.ctl("pause");
    for (number, batch) in all.chunks(2).enumerate() {
        let error = store.apply(batch.into()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error:?}");
        // The first one was sent. For the others there is no connection.
        let outcome = if number == 0 {
            Outcome::Unknown
        } else {
            Outcome::NotApplied
        };
        assert_eq!(error.outcome(), outcome, "{error:?}");
    }
    cluster.ctl("resume");
    timeout(A_MINUTE, insert(&store, &all)).await.unwrap();
    assert_eq!(count(&store).await, 6);
}

#[tokio::test]
async fn a_full_disk_is_waited_for() {
    let Some(cluster) = cluster_on_disk() else {
        return;
    };
    let store = store(&cluster.url(), 5).await;
    let all = purchases(30_000);
    let batches: Vec<_> = all.chunks(500).collect();
    insert(&store, batches[0]).await;
    cluster.ctl("fill");
    // There is room in the pages that exist.
    let mut stored = 1;
    let error = loop {
        match store.apply(batches[stored].into()).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert_fails(&error, ErrorKind::Unavailable, Outcome::NotApplied);
    let text = error.chain().to_string();
    assert!(
        text.contains("disk is full") && text.contains("53100"),
        "{text}"
    );
    assert_eq!(
        count(&store).await,
        stored as u64 * 500,
        "a whole batch or nothing"
    );
    cluster.ctl("free");
    insert(&store, &all).await;
    assert_eq!(count(&store).await, 30_000);
}
