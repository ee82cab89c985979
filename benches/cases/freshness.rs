//! The time from a 201 to the purchase appearing in a listing, at half of the maximum sustained rate, compared with the
//! sum of its parts measured separately: one insert and one listing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mongodb::bson::doc;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shop_core::ports::PurchaseStore;
use shop_store::embedded::{EmbeddedStore, EmbeddedStoreOptions};

use super::collection::{DATABASE, drop_collection, open_collection};
use super::two_threads;
use crate::load::{self, Connection, Load, Loaded, buy, get};
use crate::row::{Goal, Row, Unit, thousands};
use crate::run::Run;
use crate::sample::purchases;
use crate::scale::{self, Scale};
use crate::server::Server;
use crate::usage::{as_f64, median, quantile};

/// The name of sequential inserts in a child process.
pub(crate) const RUN: &str = "inserts";

/// The store of purchases.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Store {
    /// An embedded store in this folder.
    Embedded(PathBuf),
    /// A MongoDB collection.
    MongoDb(String, String),
}

impl Store {
    async fn open(self) -> Arc<dyn PurchaseStore> {
        match self {
            Self::Embedded(folder) => Arc::new(
                EmbeddedStore::open(folder, EmbeddedStoreOptions::default())
                    .await
                    .unwrap(),
            ),
            Self::MongoDb(uri, collection) => Arc::new(open_collection(uri, collection).await),
        }
    }
}

/// The duration of each of `count` sequential inserts of one purchase, in milliseconds.
#[must_use]
pub fn inserts(store: Store, count: u64) -> Vec<f64> {
    two_threads().block_on(async {
        let store = store.open().await;
        let mut times = Vec::new();
        for purchase in purchases(count) {
            let batch = Arc::from([purchase]);
            let start = Instant::now();
            store.insert(batch).await.unwrap();
            times.push(milliseconds(start.elapsed()));
        }
        times
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// The duration and the number of probes.
#[derive(Clone, Copy)]
struct Size {
    load: Duration,
    probes: usize,
}

/// The number of concurrent requests.
const CONNECTIONS: usize = 64;

/// The result of one run, in milliseconds.
struct Fresh {
    rate: f64,
    /// The median and the 99th percentile.
    seen: [f64; 2],
    insert: f64,
    listing: f64,
}

/// Measures a server that `start` starts, and a store of the same kind for inserts alone.
fn measure(alone: Store, start: impl FnOnce() -> Server, size: Size) -> Fresh {
    let inserts: Vec<f64> = Run::new(RUN, &(alone, size.probes as u64)).in_own_process();
    let (server, probes) = (start(), two_threads());
    let listing = probes.block_on(listings_alone(&server, size.probes));
    let rate = (probes.block_on(highest_rate(&server, size)) / 2.0).max(1.0);
    // Longer than the probes take. The load is stopped when they are done.
    let time = Duration::from_secs(3_600);
    let load = Load {
        address: server.address(),
        connections: CONNECTIONS,
        time,
        batch: 1,
        rate: Some(rate),
        users: 0,
    };
    let mut load = Run::new(load::RUN, &load)
        .command()
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let seen = probes.block_on(probe(&server, size.probes));
    load.kill().unwrap();
    load.wait().unwrap();
    let (p50, p99) = (median(seen.clone()), quantile(seen, 0.99));
    Fresh {
        rate,
        seen: [p50, p99],
        insert: median(inserts),
        listing: median(listing),
    }
}

/// Listings of a user with one purchase, on an otherwise idle server.
async fn listings_alone(server: &Server, count: usize) -> Vec<f64> {
    let mut connection = Connection::open(server.address()).await;
    connection.send(&buy("alone")).await;
    let request = get("/getAllUserBuys/alone?limit=50");
    let mut times = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        assert_eq!(connection.send(&request).await.status, 200);
        times.push(milliseconds(start.elapsed()));
    }
    times
}

/// The rate of purchases that are accepted and stored within the time.
async fn highest_rate(server: &Server, size: Size) -> f64 {
    let mut connection = Connection::open(server.address()).await;
    let (before, start) = (stored(&mut connection).await, Instant::now());
    let load = Load {
        address: server.address(),
        connections: CONNECTIONS,
        time: size.load,
        batch: 1,
        rate: None,
        users: 0,
    };
    let taken: Loaded =
        tokio::task::spawn_blocking(move || Run::new(load::RUN, &load).in_own_process())
            .await
            .unwrap();
    let after = stored(&mut connection).await;
    let rate = (as_f64(after - before) / start.elapsed().as_secs_f64()).min(taken.per_second);
    // Purchases that are still to be stored must not affect the next measurement.
    while stored(&mut connection).await < before + taken.answered {}
    rate
}

/// The number of stored purchases.
async fn stored(connection: &mut Connection) -> u64 {
    let mut count = 0;
    // Each connection has its own user.
    for user in 0..CONNECTIONS {
        let answer = connection
            .send(&get(&format!("/v1/summary?userid=user-{user:05}")))
            .await;
        let summary: Value = serde_json::from_slice(answer.body).unwrap();
        count += summary["count"].as_u64().unwrap();
    }
    count
}

/// Buys and polls until the purchase is listed, repeatedly. Returns the times since the 201.
async fn probe(server: &Server, count: usize) -> Vec<f64> {
    let mut connection = Connection::open(server.address()).await;
    let mut times = Vec::new();
    for number in 0..count {
        let user = format!("probe-{number}");
        let listing = get(&format!("/getAllUserBuys/{user}?limit=50"));
        assert_eq!(connection.send(&buy(&user)).await.status, 201);
        let start = Instant::now();
        loop {
            let answer = connection.send(&listing).await;
            let listing: Value = serde_json::from_slice(answer.body).unwrap();
            if listing["count"] == 1 {
                break;
            }
        }
        times.push(milliseconds(start.elapsed()));
    }
    times
}

/// Measures the embedded log and store, and Kafka and MongoDB if available.
pub fn rows(scale: Scale, emit: &mut dyn FnMut(Row)) {
    let size = Size {
        load: Duration::from_millis(scale.pick(100, 1_000, 3_000)),
        probes: scale.pick(20, 300, 2_000),
    };
    let on_embedded = |folder: &Path| {
        let alone = Store::Embedded(folder.join("alone"));
        measure(alone, || Server::facing(folder, &[]), size)
    };
    from_runs("embedded", scale, on_embedded, emit);
    let (Some(brokers), Some(uri)) = (scale::kafka(), scale::mongodb()) else {
        eprintln!(
            "freshness on Kafka and MongoDB: skipped, SHOP_TEST_KAFKA and SHOP_TEST_MONGODB_URI are not set"
        );
        return;
    };
    if !two_threads().block_on(has_plans(&uri)) {
        eprintln!(
            "freshness on Kafka and MongoDB: skipped, this server explains no plans: without indexes each look takes \
             as long as everything else"
        );
        return;
    }
    let on_servers = |folder: &Path| {
        let name = format!("bench-{}", uuid::Uuid::now_v7().simple());
        let settings = [
            ("KAFKA_BOOTSTRAP_SERVERS", &*brokers),
            ("KAFKA_TOPIC", &*name),
            // A new group: a group would wait for the killed member of the previous run.
            ("KAFKA_GROUP_ID", &*name),
            ("MONGODB_URI", &*uri),
            ("MONGODB_DATABASE", DATABASE),
            ("MONGODB_COLLECTION", &*name),
        ];
        let alone = format!("{name}-alone");
        let store = Store::MongoDb(uri.clone(), alone.clone());
        let fresh = measure(store, || Server::facing(folder, &settings), size);
        for name in [&name, &alone] {
            two_threads().block_on(drop_collection(&uri, name));
        }
        fresh
    };
    from_runs("Kafka and MongoDB", scale, on_servers, emit);
}

/// Whether a query uses an index. A server that cannot explain plans scans all documents each time.
async fn has_plans(uri: &str) -> bool {
    let client = mongodb::Client::with_uri_str(uri).await.unwrap();
    let question = doc! { "explain": { "find": "nothing", "filter": {} } };
    client
        .database(DATABASE)
        .run_command(question)
        .await
        .is_ok()
}

fn from_runs(place: &str, scale: Scale, run: impl Fn(&Path) -> Fresh, emit: &mut dyn FnMut(Row)) {
    let runs: Vec<_> = (0..scale.long_runs())
        .map(|_| run(tempfile::tempdir().unwrap().path()))
        .collect();
    let middle = |part: &dyn Fn(&Fresh) -> f64| median(runs.iter().map(part).collect());
    let (insert, listing) = (middle(&|run| run.insert), middle(&|run| run.listing));
    let rate = thousands(middle(&|run| run.rate));
    for (place_in, which, most) in [(0, "p50", 2.0), (1, "p99", 5.0)] {
        let what =
            format!("201 → in a listing, {place}, {which}, at half the highest rate: {rate}/s");
        let ratio = |run: &Fresh| run.seen[place_in] / (run.insert + run.listing);
        let ours = format!("{:.2} ms", middle(&|run| run.seen[place_in]));
        let row = Row::new(what, runs.iter().map(ratio).collect(), Unit::Ratio, ours);
        let baseline =
            format!("one insert {insert:.2} ms and one listing {listing:.2} ms, medians, alone");
        emit(Row {
            baseline,
            ..row.with_goal(Goal::AtMost(most))
        });
    }
}
