//! A server that is killed, paused, or unavailable at the start, and connections that break.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shop_core::conformance::{assert_fails, skip};
use shop_core::ports::{InsertOutcome, PurchaseQuery, RecordStore as _, Selector};
use shop_core::{ErrorKind, Outcome, Purchase};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::faults_test::purchases;
use super::fixture::server::Cluster;
use super::fixture::{cluster, environment, fresh_schema, session, skipped};
use super::{PostgresStore, PostgresStoreOptions};

/// A cluster on its own small disk.
fn cluster_on_disk() -> Option<Cluster> {
    let required = environment("SHOP_TEST_REQUIRE");
    let started = Cluster::start_on_disk(128);
    started
        .inspect_err(|(missing, why)| skip(missing, required.as_deref(), why))
        .ok()
}

pub(super) async fn store(url: &str) -> PostgresStore {
    let mut options = PostgresStoreOptions::new(url);
    (options.insert_timeout, options.query_timeout) =
        (Duration::from_secs(5), Duration::from_secs(5));
    PostgresStore::open(options).await.unwrap()
}

/// Inserts until all outcomes are known. Returns the number of errors.
pub(super) async fn insert(store: &PostgresStore, batch: &[Purchase]) -> usize {
    let mut errors = 0;
    loop {
        match store.apply(batch.into()).await {
            Ok(outcomes) => {
                let is_stored = |outcome: &InsertOutcome| {
                    matches!(outcome, InsertOutcome::Inserted | InsertOutcome::Duplicate)
                };
                assert!(outcomes.iter().all(is_stored), "{outcomes:?}");
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
    let store = store(&cluster.url()).await;
    let all: Arc<[Purchase]> = purchases(12_000).into();
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
            for batch in all[writer * 3_000..][..3_000].chunks(50) {
                errors += insert(&store, batch).await;
                // Also the purchases of the next writer: each insert is a duplicate of another.
                errors += insert(&store, &all[(writer * 3_000 + 2_900) % 12_000..][..100]).await;
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
    let summary = timeout(Duration::from_secs(60), async {
        loop {
            if let Ok(summary) = store.summary(&Selector::All).await {
                return summary;
            }
        }
    });
    assert_eq!(
        summary.await.unwrap().count,
        12_000,
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
    let store = store(&cluster.url()).await;
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
        cluster.ctl("kill");
        cluster.ctl("start");
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
    let store = store(&cluster.url()).await;
    let error = store.apply(purchases(1).into()).await.unwrap_err();
    assert_fails(&error, ErrorKind::Unavailable, Outcome::NotApplied);
    cluster.ctl("start");
    timeout(Duration::from_secs(60), store.wait_for_schema())
        .await
        .unwrap();
    assert!(matches!(
        store.apply(purchases(1).into()).await.unwrap()[..],
        [InsertOutcome::Inserted]
    ));
}

#[tokio::test]
async fn a_paused_server_leaves_outcomes_unknown() {
    let Some(cluster) = cluster() else { return };
    let mut options = PostgresStoreOptions::new(cluster.url());
    options.insert_timeout = Duration::from_secs(1);
    options.max_connections = 4;
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
    timeout(Duration::from_secs(60), insert(&store, &all))
        .await
        .unwrap();
    assert_eq!(store.summary(&Selector::All).await.unwrap().count, 6);
}

#[tokio::test]
async fn a_full_disk_is_waited_for() {
    let Some(cluster) = cluster_on_disk() else {
        return;
    };
    let store = store(&cluster.url()).await;
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
    let count = async || store.summary(&Selector::All).await.unwrap().count;
    assert_eq!(
        count().await,
        stored as u64 * 500,
        "a whole batch or nothing"
    );
    cluster.ctl("free");
    insert(&store, &all).await;
    assert_eq!(count().await, 30_000);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Break {
    Never,
    BeforeTheServer,
    BeforeTheClient,
}

/// A proxy in front of `socket` that breaks connections.
#[derive(Debug)]
struct Proxy {
    socket: PathBuf,
    how: watch::Sender<Break>,
    /// The number of messages without a response.
    broken: watch::Sender<u64>,
}

impl Proxy {
    /// Returns its port too.
    async fn start(socket: PathBuf) -> (Arc<Self>, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let how = watch::Sender::new(Break::Never);
        let broken = watch::Sender::new(0);
        let proxy = Arc::new(Self {
            socket,
            how,
            broken,
        });
        let accepting = Arc::clone(&proxy);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let proxy = Arc::clone(&accepting);
                tokio::spawn(async move { proxy.relay(client).await });
            }
        });
        (proxy, port)
    }

    async fn relay(&self, client: TcpStream) -> std::io::Result<()> {
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) =
            UnixStream::connect(&self.socket).await?.into_split();
        let mut message = vec![0; 1 << 20];
        let mut answer = vec![0; 1 << 16];
        loop {
            tokio::select! {
                length = from_client.read(&mut message) => {
                    let length = length?;
                    let how = *self.how.borrow();
                    if length == 0 {
                        return Ok(());
                    }
                    if how != Break::BeforeTheServer {
                        to_server.write_all(&message[..length]).await?;
                    }
                    if how != Break::Never {
                        if how == Break::BeforeTheClient {
                            // The server has run the statement.
                            let _length = from_server.read(&mut answer).await?;
                        }
                        self.broken.send_modify(|broken| *broken += 1);
                        return Ok(());
                    }
                }
                length = from_server.read(&mut answer) => match length? {
                    0 => return Ok(()),
                    length => to_client.write_all(&answer[..length]).await?,
                }
            }
        }
    }

    /// Breaks connections until one message has no response.
    async fn break_once(&self, how: Break) {
        let mut broken = self.broken.subscribe();
        self.how.send_replace(how);
        timeout(Duration::from_secs(60), broken.changed())
            .await
            .unwrap()
            .unwrap();
        self.how.send_replace(Break::Never);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_connection_loses_and_duplicates_nothing() {
    let cluster = match Cluster::shared() {
        Ok(cluster) => cluster,
        Err(why) => return skipped(why),
    };
    let direct = fresh_schema(&cluster.url()).await;
    let (proxy, port) = Proxy::start(cluster.socket()).await;
    let query = direct.split_once('?').unwrap().1;
    let store = store(&format!(
        "postgresql://postgres@127.0.0.1:{port}/postgres?{query}&sslmode=disable"
    ))
    .await;
    let all = purchases(400);
    for (number, batch) in all.chunks(20).enumerate() {
        // A connection that is used again.
        assert!(store.get(&batch[0].id).await.unwrap().is_none());
        let how = if number % 2 == 0 {
            Break::BeforeTheServer
        } else {
            Break::BeforeTheClient
        };
        let breaking = proxy.break_once(how);
        let store = store.clone();
        let batch = batch.to_vec();
        let inserting = async move { insert(&store, &batch).await };
        tokio::join!(breaking, timeout(Duration::from_secs(60), inserting))
            .1
            .unwrap();
    }
    assert_eq!(store.summary(&Selector::All).await.unwrap().count, 400);
    let rows = session(&direct)
        .await
        .query("select count(*) from purchases", &[])
        .await
        .unwrap();
    assert_eq!(rows[0].get::<_, i64>(0), 400);
}
