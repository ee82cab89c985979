//! `publish` into the embedded log, alone and with its store, with concurrent callers, compared with a bare group-commit
//! loop that writes the same rows.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use shop_core::Purchase;
use shop_core::ports::PurchaseSink;
use shop_core::record::encode;
use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions, EmbeddedStore, EmbeddedStoreOptions};
use tokio::sync::{mpsc, oneshot};

use super::hot_path::BareInserts;
use super::two_threads;
use crate::row::{Goal, Row};
use crate::run::{Pairs, Run};
use crate::sample::purchases;
use crate::scale::Scale;
use crate::usage::{Cost, processor_time};

/// The name of a publisher in a child process.
pub(crate) const RUN: &str = "publish";

/// Records published by concurrent callers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Publish {
    is_bare: bool,
    /// Whether the purchases are stored in the same commit.
    stores: bool,
    callers: usize,
    records: u64,
}

/// `callers` tasks share `all`. Each waits for its acknowledgement before the next publish.
async fn in_turns<F, Fut>(all: &[Purchase], callers: usize, call: F) -> Duration
where
    F: Fn(Purchase) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let start = Instant::now();
    let share = |part: &[Purchase]| {
        let (part, call) = (part.to_vec(), call.clone());
        tokio::spawn(async move {
            for purchase in part {
                call(purchase).await;
            }
        })
    };
    let tasks: Vec<_> = all.chunks(all.len().div_ceil(callers)).map(share).collect();
    for task in tasks {
        task.await.unwrap();
    }
    start.elapsed()
}

/// The group whose position moves with each commit that stores.
const GROUP: &str = "group";

/// An embedded log in `folder`, with its store.
async fn opened(folder: &Path) -> (EmbeddedLog, EmbeddedStore) {
    let log = EmbeddedLog::open(folder, EmbeddedLogOptions::default())
        .await
        .unwrap();
    let store = log.store(&EmbeddedStoreOptions::default()).await.unwrap();
    log.register(GROUP).await.unwrap();
    (log, store)
}

/// Through the sink of the embedded log.
async fn through_the_sink(all: &[Purchase], callers: usize, stores: bool) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let (log, _store) = opened(folder.path()).await;
    let sink = Arc::new(if stores {
        log.storing_sink(GROUP).await.unwrap()
    } else {
        log.sink()
    });
    let publish = move |purchase: Purchase| {
        let sink = Arc::clone(&sink);
        async move { drop(sink.publish(&purchase).await.unwrap()) }
    };
    in_turns(all, callers, publish).await
}

type Waiting = (Purchase, oneshot::Sender<()>);

/// The ceiling: one thread, one channel, prepared statements, all queued records in one transaction.
fn write_groups(connection: &Connection, stores: bool, mut waiting: mpsc::Receiver<Waiting>) {
    let mut group = Vec::new();
    while waiting.blocking_recv_many(&mut group, 1_024) > 0 {
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        let sql =
            "INSERT INTO records (time, key, headers, value, checksum) VALUES (?1, ?2, ?3, ?4, 0)";
        let mut statement = connection.prepare_cached(sql).unwrap();
        let mut store = BareInserts::new(connection);
        for (purchase, _) in &group {
            let encoded = encode(purchase).unwrap();
            let (key, headers, value) = (
                encoded.key.as_deref(),
                &encoded.headers.as_bytes()[..],
                encoded.value.as_deref(),
            );
            statement
                .execute(params![purchase.timestamp.as_millis(), key, headers, value])
                .unwrap();
            if stores {
                store.insert(purchase);
            }
        }
        if stores {
            let sql = "UPDATE groups SET next = ?1 WHERE name = ?2";
            connection
                .prepare_cached(sql)
                .unwrap()
                .execute(params![connection.last_insert_rowid(), GROUP])
                .unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
        for (_, reply) in group.drain(..) {
            reply.send(()).unwrap();
        }
    }
}

/// With a bare group-commit loop.
async fn bare(all: &[Purchase], callers: usize, stores: bool) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    // The tables of log and store.
    drop(opened(folder.path()).await);
    let connection = Connection::open(folder.path().join("shop.db")).unwrap();
    connection
        .pragma_update(None, "synchronous", "full")
        .unwrap();
    let (sender, waiting) = mpsc::channel(10_000);
    let writer = std::thread::spawn(move || write_groups(&connection, stores, waiting));
    let publish = move |purchase: Purchase| {
        let sender = sender.clone();
        async move {
            let (reply, answer) = oneshot::channel();
            sender.send((purchase, reply)).await.unwrap();
            answer.await.unwrap();
        }
    };
    let spent = in_turns(all, callers, publish).await;
    writer.join().unwrap();
    spent
}

impl Publish {
    /// The cost.
    #[must_use]
    pub fn measure(&self) -> Cost {
        let all = purchases(self.records);
        two_threads().block_on(async {
            let before = processor_time();
            let time = if self.is_bare {
                bare(&all, self.callers, self.stores).await
            } else {
                through_the_sink(&all, self.callers, self.stores).await
            };
            Cost::new(self.records, time, processor_time() - before)
        })
    }
}

/// Measures the log alone with 1 and 128 callers, and with its store with 64.
pub fn rows(scale: Scale, emit: &mut dyn FnMut(Row)) {
    for (stores, callers, records) in [
        (false, 1, scale.pick(100, 1_000, 3_000)),
        (false, 128, scale.pick(1_000, 50_000, 200_000)),
        (true, 64, scale.pick(1_000, 20_000, 100_000)),
    ] {
        let run = |is_bare| {
            Run::new(
                RUN,
                &Publish {
                    is_bare,
                    stores,
                    callers,
                    records,
                },
            )
        };
        let pairs: Pairs<Cost> = Pairs::from_runs(scale.pairs(), &run(false), &run(true));
        let into = if stores { "log and store" } else { "log" };
        let what = format!("publish into the embedded {into}, {callers} waiting callers");
        let row = pairs.row(what, |cost| cost.rate, "bare group commit", Cost::medians);
        emit(row.with_goal((callers > 1).then_some(Goal::AtLeast(0.8))));
    }
}
