//! A server that is killed, paused, full, or unavailable at the start.

use tokio::sync::watch;

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

/// Kills the server and starts it again.
fn restart(cluster: &Cluster) {
    cluster.ctl("kill");
    cluster.ctl("start");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_the_server_lose_and_duplicate_nothing() {
    let Some(cluster) = cluster() else { return };
    let cluster = Arc::new(cluster);
    let store = store(&cluster.url(), 5).await;
    let all: Arc<[Purchase]> = purchases(6_000).into();
    let (stop, stopped) = watch::channel(false);
    let killer = {
        let cluster = Arc::clone(&cluster);
        tokio::spawn(async move {
            let mut kills = 0;
            while !*stopped.borrow() || kills < 5 {
                sleep(Duration::from_millis(50 + kills * 137 % 400)).await;
                tokio::task::block_in_place(|| restart(&cluster));
                kills += 1;
            }
            kills
        })
    };
    // Repeatedly, so that the writers outlast several kills.
    let mut writers = Vec::new();
    for writer in 0..4 {
        let store = store.clone();
        let all = Arc::clone(&all);
        writers.push(tokio::spawn(async move {
            let mut errors = 0;
            for batch in all[writer * 1_500..][..1_500].chunks(50) {
                errors += insert(&store, batch).await;
                // Also the purchases of the next writer: each insert is a duplicate of another.
                errors += insert(&store, &all[(writer * 1_500 + 1_400) % 6_000..][..100]).await;
            }
            errors
        }));
    }
    let mut errors = 0;
    for writer in writers {
        errors += timeout(Duration::from_secs(240), writer)
            .await
            .unwrap()
            .unwrap();
    }
    stop.send_replace(true);
    let kills = killer.await.unwrap();
    println!("{kills} kills, {errors} errors of inserts");
    let summary = timeout(A_MINUTE, async {
        loop {
            if let Ok(summary) = store.summary(&Selector::All).await {
                return summary;
            }
        }
    });
    assert_eq!(
        summary.await.unwrap().count,
        6_000,
        "an acknowledged purchase is missing or duplicated"
    );
    for purchase in all.iter().step_by(37) {
        assert_eq!(
            store.get(&purchase.id).await.unwrap().as_ref(),
            Some(purchase)
        );
    }
}

#[tokio::test]
async fn a_restart_fails_no_query() {
    let Some(cluster) = cluster() else { return };
    let store = store(&cluster.url(), 5).await;
    let all = purchases(8);
    store.apply(all.clone().into()).await.unwrap();
    for purchase in &all {
        // Several idle connections.
        let queries = (0..6).map(|_| {
            let store = store.clone();
            let id = purchase.id;
            tokio::spawn(async move { store.get(&id).await })
        });
        for query in queries.collect::<Vec<_>>() {
            assert_eq!(query.await.unwrap().unwrap().as_ref(), Some(purchase));
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
