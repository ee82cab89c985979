//! From the log into the store through the public pipeline, each case with its ceiling.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use rusqlite::{CachedStatement, Connection, params};
use serde::{Deserialize, Serialize};
use shop_core::Purchase;
use shop_core::ingest::IngestOptions;
use shop_core::log::LogExt as _;
use shop_core::memory::{InMemoryLog, InMemoryLogOptions};
use shop_core::ports::PurchaseSink;
use shop_core::record::decode;
use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions, EmbeddedStore, EmbeddedStoreOptions};

use super::{one_thread, two_threads};
use crate::row::{Goal, Row, Unit, thousands};
use crate::run::{Pairs, Run};
use crate::sample::{CountingStore, ingest, purchases};
use crate::scale::Scale;
use crate::usage::{Cost, as_f64, processor_time};

/// The name of the pipeline or its ceiling in a child process.
pub(crate) const RUN: &str = "hot-path";

/// The source and the destination of a run.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Way {
    /// From an in-memory log into a counting store, on one thread, in batches of this many records.
    MemoryToCounting(usize),
    /// Its ceiling: the same records decoded in a loop.
    DecodeOnly,
    /// From the embedded log into the embedded store.
    Embedded,
    /// Its ceiling: the same rows with a prepared statement.
    BareInserts,
}

/// An in-memory log with `all`, read in batches of `size`.
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

/// From an in-memory log into a counting store.
pub async fn memory_to_counting(log: &InMemoryLog, records: u64) -> Duration {
    let source = Arc::new(log.source("group"));
    ingest(
        source,
        Arc::new(CountingStore::default()),
        Arc::new(log.clone()),
        records,
        IngestOptions::default(),
    )
    .await
    .whole
}

/// An embedded log in `folder` with `all`.
pub(super) async fn embedded_log(folder: &Path, all: &[Purchase]) -> EmbeddedLog {
    let log = EmbeddedLog::open(folder, EmbeddedLogOptions::default())
        .await
        .unwrap();
    let sink = log.sink();
    for few in all.chunks(1_000) {
        for published in join_all(few.iter().map(|purchase| sink.publish(purchase))).await {
            drop(published.unwrap());
        }
    }
    log
}

/// From the embedded log into a new embedded store.
async fn embedded_to_embedded(log: &EmbeddedLog, records: u64) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path(), EmbeddedStoreOptions::default())
        .await
        .unwrap();
    let source = Arc::new(log.source("group").unwrap());
    ingest(
        source,
        Arc::new(store),
        Arc::new(log.clone()),
        records,
        IngestOptions::default(),
    )
    .await
    .whole
}

/// The statements that store a purchase.
pub(super) struct BareInserts<'a> {
    buyer: CachedStatement<'a>,
    purchase: CachedStatement<'a>,
}

impl<'a> BareInserts<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        let sql = "INSERT OR IGNORE INTO buyers (userid, username) VALUES (?1, ?2)";
        let buyer = connection.prepare_cached(sql).unwrap();
        let sql = "INSERT INTO purchases (buyer, timestamp, id, price, checksum)
                   SELECT buyer, ?3, ?4, ?5, 0 FROM buyers WHERE userid = ?1 AND username = ?2";
        Self {
            buyer,
            purchase: connection.prepare_cached(sql).unwrap(),
        }
    }

    pub(super) fn insert(&mut self, purchase: &Purchase) {
        let id = [&[1], &purchase.id.as_uuid().unwrap().as_bytes()[..]].concat();
        let (user, name) = (purchase.user_id.as_str(), purchase.user_name.as_str());
        self.buyer.execute([user, name]).unwrap();
        let row = params![
            user,
            name,
            purchase.timestamp.as_millis(),
            id,
            purchase.price.to_string()
        ];
        self.purchase.execute(row).unwrap();
    }
}

/// The ceiling of the embedded store: the same rows from memory, with a prepared statement, in transactions of 1,000,
/// with the same durability.
fn bare_inserts(all: &[Purchase]) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    // The store's own tables, so both write the same rows and indexes.
    two_threads().block_on(async {
        EmbeddedStore::open(folder.path(), EmbeddedStoreOptions::default())
            .await
            .unwrap();
    });
    let connection = Connection::open(folder.path().join("shop.db")).unwrap();
    connection
        .pragma_update(None, "synchronous", "full")
        .unwrap();
    let start = Instant::now();
    for batch in all.chunks(1_000) {
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut inserts = BareInserts::new(&connection);
        batch.iter().for_each(|purchase| inserts.insert(purchase));
        connection.execute_batch("COMMIT").unwrap();
    }
    start.elapsed()
}

/// Measures a run with this many records, without the preparation.
#[must_use]
pub fn measure(way: Way, records: u64) -> Cost {
    let all = purchases(records);
    let cost = |before: Duration, time| Cost::new(records, time, processor_time() - before);
    match way {
        Way::MemoryToCounting(size) => one_thread().block_on(async {
            let log = memory_log(&all, size).await;
            let before = processor_time();
            cost(before, memory_to_counting(&log, records).await)
        }),
        Way::DecodeOnly => one_thread().block_on(async {
            let log = memory_log(&all, 1_000).await;
            let batches: Vec<_> = log.scan_all().await.unwrap().collect().await;
            let (before, start) = (processor_time(), Instant::now());
            for batch in &batches {
                let batch = batch.as_ref().unwrap();
                let decoded = batch
                    .records
                    .iter()
                    .map(|record| decode(record, &batch.partition));
                black_box(decoded.collect::<Result<Vec<_>, _>>().unwrap());
            }
            cost(before, start.elapsed())
        }),
        Way::Embedded => two_threads().block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let log = embedded_log(folder.path(), &all).await;
            let before = processor_time();
            cost(before, embedded_to_embedded(&log, records).await)
        }),
        Way::BareInserts => {
            let before = processor_time();
            cost(before, bare_inserts(&all))
        }
    }
}

fn run(way: Way, records: u64) -> Run {
    Run::new(RUN, &(way, records))
}

/// Measures memory to a counting store, and embedded to embedded.
pub fn rows(scale: Scale, emit: &mut dyn FnMut(Row)) {
    for (size, most) in [(1_000, 500_000), (100, 100_000), (1, 50_000)] {
        let records = scale.pick(2_000, most.min(100_000), most);
        let (ours, decoding) = (Way::MemoryToCounting(size), Way::DecodeOnly);
        let pairs: Pairs<Cost> =
            Pairs::from_runs(scale.pairs(), &run(ours, records), &run(decoding, records));
        let batches = if size == 1_000 {
            String::new()
        } else {
            format!(", batches of {size}")
        };
        let what = format!(
            "memory → counting store, one thread{batches}, {} records",
            thousands(as_f64(records))
        );
        let rates = pairs.ours.iter().map(|cost| cost.rate).collect();
        let goal = (size == 1_000).then_some(Goal::AtLeast(2_000_000.0));
        emit(Row::new(&what, rates, Unit::PerSecond, Cost::medians(&pairs.ours)).with_goal(goal));
        let what = format!("{what}: share of decoding alone");
        emit(pairs.row(what, |cost| cost.rate, "decoding alone", Cost::medians));
    }
    let records = scale.pick(2_000, 50_000, 200_000);
    let pairs: Pairs<Cost> = Pairs::from_runs(
        scale.pairs(),
        &run(Way::Embedded, records),
        &run(Way::BareInserts, records),
    );
    let what = format!(
        "embedded log → embedded store, {} records",
        thousands(as_f64(records))
    );
    let row = pairs.row(
        what,
        |cost| cost.rate,
        "bare prepared inserts",
        Cost::medians,
    );
    emit(row.with_goal(Goal::AtLeast(0.7)));
}
