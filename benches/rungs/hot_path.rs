//! From the log into the store, through the public pipeline, each rung beside its ceiling.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use shop_core::Purchase;
use shop_core::ingest::{Ingest, IngestOptions};
use shop_core::log::{DeadLetters, LogAdmin as _, LogSource};
use shop_core::memory::{InMemoryLog, InMemoryLogOptions};
use shop_core::ports::{PurchaseSink, PurchaseStore};
use shop_core::record::decode;
use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions, EmbeddedStore, EmbeddedStoreOptions};
use tokio::runtime::{Builder, Runtime};

use crate::row::{Goal, Row, Unit, thousands};
use crate::run::{Run, in_turn};
use crate::scale::Scale;
use crate::usage::{Cost, processor_time};
use crate::{CountingStore, purchases};

/// Records carried, from where and past what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Carry {
    way: Way,
    records: u64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Way {
    /// From a log in memory into a store that counts, on one thread.
    MemoryToCounting,
    /// Its ceiling: the same records, decoded in a loop.
    DecodeOnly,
    /// From the embedded log into the embedded store.
    Embedded,
    /// Its ceiling: the same rows by a prepared statement.
    BareInserts,
}

/// Carries everything from `source` into `store`; answers how long that took.
pub async fn carry(
    source: Arc<dyn LogSource>,
    store: Arc<dyn PurchaseStore>,
    dead_letters: Arc<dyn DeadLetters>,
    records: u64,
) -> Duration {
    let ingest = Ingest::new(source, store, dead_letters, IngestOptions::default());
    let monitor = ingest.monitor();
    let start = Instant::now();
    let all = async move { drop(monitor.wait_for(|status| status.tally.inserted >= records).await) };
    let tally = ingest.run(all).await.unwrap();
    assert_eq!(tally.inserted, records);
    start.elapsed()
}

/// A runtime on this thread.
#[must_use]
pub fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A runtime of two threads.
#[must_use]
pub fn two_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A log in memory that holds `all` and is read in batches of `size`.
pub async fn memory_log(all: &[Purchase], size: usize) -> InMemoryLog {
    let mut options = InMemoryLogOptions::default();
    options.batch_records = size;
    let log = InMemoryLog::new(options);
    let sink = log.sink();
    for purchase in all {
        sink.publish(purchase).await.unwrap();
    }
    log
}

/// From a log in memory into a store that counts, as `group`.
pub async fn memory_to_counting(log: &InMemoryLog, group: &str, records: u64) -> Duration {
    let (source, letters) = (Arc::new(log.source(group)), Arc::new(log.dead_letters()));
    carry(source, Arc::new(CountingStore::default()), letters, records).await
}

/// An embedded log in `folder` that holds `all`.
pub async fn embedded_log(folder: &Path, all: &[Purchase]) -> EmbeddedLog {
    let log = EmbeddedLog::open(folder, EmbeddedLogOptions::default()).await.unwrap();
    let sink = log.sink();
    for few in all.chunks(1_000) {
        for published in join_all(few.iter().map(|purchase| sink.publish(purchase))).await {
            drop(published.unwrap());
        }
    }
    log
}

/// From the embedded log into a fresh embedded store, as `group`.
pub async fn embedded_to_embedded(log: &EmbeddedLog, group: &str, records: u64) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), EmbeddedStoreOptions::default()).await.unwrap();
    let source = Arc::new(log.source(group).unwrap());
    carry(source, Arc::new(store), Arc::new(log.dead_letters()), records).await
}

/// The ceiling of the embedded store: the same rows, from memory, by a prepared statement, in transactions of
/// 1,000, just as durable.
#[must_use]
pub fn bare_inserts(all: &[Purchase]) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    // The store's own tables, so that both write the same rows and indexes.
    two_threads().block_on(async {
        EmbeddedStore::open(folder.path(), EmbeddedStoreOptions::default()).await.unwrap();
    });
    let connection = Connection::open(folder.path().join("store.db")).unwrap();
    connection.pragma_update(None, "synchronous", "full").unwrap();
    let start = Instant::now();
    for batch in all.chunks(1_000) {
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        let sql =
            "INSERT INTO purchases (timestamp, id, userid, username, price) VALUES (?1, ?2, ?3, ?4, ?5)";
        let mut statement = connection.prepare_cached(sql).unwrap();
        for purchase in batch {
            let id = [&[1], &purchase.id.as_uuid().unwrap().as_bytes()[..]].concat();
            let (user, name) = (purchase.user_id.as_str(), purchase.user_name.as_str());
            let row = params![purchase.timestamp.as_millis(), id, user, name, purchase.price.to_string()];
            statement.execute(row).unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
    }
    start.elapsed()
}

impl Carry {
    /// What it costs. Only the carrying counts, not what is made before.
    #[must_use]
    pub fn measure(&self) -> Cost {
        let all = purchases(self.records);
        let count = all.len();
        let cost = |before: Duration, time| Cost::with(count, time, processor_time() - before);
        match self.way {
            Way::MemoryToCounting => one_thread().block_on(async {
                let log = memory_log(&all, 1_000).await;
                let before = processor_time();
                cost(before, memory_to_counting(&log, "group", self.records).await)
            }),
            Way::DecodeOnly => one_thread().block_on(async {
                let log = memory_log(&all, 1_000).await;
                let batches: Vec<_> = log.scan().await.unwrap().collect().await;
                let (before, start) = (processor_time(), Instant::now());
                for batch in &batches {
                    let batch = batch.as_ref().unwrap();
                    let decoded = batch.records.iter().map(|record| decode(record, &batch.partition));
                    black_box(decoded.collect::<Result<Vec<_>, _>>().unwrap());
                }
                cost(before, start.elapsed())
            }),
            Way::Embedded => two_threads().block_on(async {
                let folder = tempfile::tempdir().unwrap();
                let log = embedded_log(folder.path(), &all).await;
                let before = processor_time();
                cost(before, embedded_to_embedded(&log, "group", self.records).await)
            }),
            Way::BareInserts => {
                let before = processor_time();
                cost(before, bare_inserts(&all))
            }
        }
    }
}

fn in_pairs(scale: Scale, records: u64, ours: Way, beside: Way) -> (Vec<Cost>, Vec<Cost>) {
    let run = |way| Run::Carry(Carry { way, records });
    in_turn(scale.pairs(), &run(ours), &run(beside))
}

fn rates(costs: &[Cost]) -> Vec<f64> {
    costs.iter().map(|cost| cost.records_per_second).collect()
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
const fn as_f64(count: u64) -> f64 {
    count as f64
}

/// Memory to a counting store, and embedded to embedded.
pub fn rows(scale: Scale, tell: &mut dyn FnMut(Row)) {
    let records = scale.pick(2_000, 100_000, 500_000);
    let (ours, decoding) = in_pairs(scale, records, Way::MemoryToCounting, Way::DecodeOnly);
    let what = format!("memory → counting store, one thread, {} records", thousands(as_f64(records)));
    let (own, bare) = (Cost::median(&ours), Cost::median(&decoding));
    tell(
        Row::figures(&what, rates(&ours), Unit::PerSecond)
            .with_goal(Goal::AtLeast(2_000_000.0))
            .saying(own.to_string(), ""),
    );
    let beside = format!("decoding alone, {bare}");
    tell(
        Row::ratios(format!("{what}: share of decoding alone"), &rates(&ours), &rates(&decoding))
            .saying(own.to_string(), beside),
    );

    let records = scale.pick(2_000, 50_000, 200_000);
    let (ours, bare) = in_pairs(scale, records, Way::Embedded, Way::BareInserts);
    let what = format!("embedded log → embedded store, {} records", thousands(as_f64(records)));
    let beside = format!("bare prepared inserts, {}", Cost::median(&bare));
    tell(
        Row::ratios(what, &rates(&ours), &rates(&bare))
            .with_goal(Goal::AtLeast(0.7))
            .saying(Cost::median(&ours).to_string(), beside),
    );
}
