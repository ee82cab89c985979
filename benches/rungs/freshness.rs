//! How long after its 201 a purchase is in a listing, at half of the highest rate that is kept up with, beside the
//! sum of its parts measured alone: one insert, and one listing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::hot_path::two_threads;
use crate::load::{Connection, Load, Loaded, buy, get};
use crate::purchases;
use crate::row::{Goal, Row, thousands};
use crate::run::Run;
use crate::scale::{self, Scale};
use crate::server::{Log, Served, Server, Store, alone};
use crate::usage::{median, quantile};

/// One insert after the other, each of one purchase, into a store of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Inserts {
    store: Store,
    count: u64,
}

impl Inserts {
    /// How long each took, in milliseconds.
    #[must_use]
    pub fn run(&self) -> Vec<f64> {
        two_threads().block_on(async {
            let (store, _) = self.store.clone().open().await;
            let mut times = Vec::new();
            for purchase in purchases(self.count) {
                let batch = Arc::from([purchase]);
                let start = Instant::now();
                store.insert(batch).await.unwrap();
                times.push(milliseconds(start.elapsed()));
            }
            times
        })
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// Where it is measured: what is served, and a store of the same kind for inserts alone.
struct Place {
    served: Served,
    beside: Store,
}

/// How long, how often.
#[derive(Clone, Copy)]
struct Size {
    load: Duration,
    probes: usize,
}

/// As many wait for an answer at a time.
const CONNECTIONS: usize = 64;

/// What one run found, in milliseconds.
struct Fresh {
    rate: f64,
    seen: (f64, f64),
    insert: f64,
    listing: f64,
}

impl Fresh {
    fn parts(&self) -> f64 {
        self.insert + self.listing
    }
}

fn measure(place: Place, size: Size) -> Fresh {
    let inserts = Run::Inserts(Inserts { store: place.beside, count: size.probes as u64 });
    let mut inserts: Vec<f64> = inserts.in_own_process();
    let server = Server::start(place.served);
    let probes = two_threads();
    let mut listing = probes.block_on(listings_alone(&server, size.probes));
    let rate = (probes.block_on(highest_rate(&server, size)) / 2.0).max(1.0);
    let load = Run::Load(Load {
        address: server.address(),
        connections: CONNECTIONS,
        // Longer than the probes take: it is ended when they are through.
        time: Duration::from_secs(3_600),
        rate: Some(rate),
    });
    let mut load = load.command().stdout(std::process::Stdio::null()).spawn().unwrap();
    let mut seen = probes.block_on(probe(&server, size.probes));
    load.kill().unwrap();
    load.wait().unwrap();
    let p99 = quantile(&mut seen, 0.99);
    Fresh {
        rate,
        seen: (median(&mut seen), p99),
        insert: median(&mut inserts),
        listing: median(&mut listing),
    }
}

/// Listings of a user who has bought once, from a server that has nothing else to do.
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

/// The purchases in a second that are taken, and stored as well before the time is over.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
async fn highest_rate(server: &Server, size: Size) -> f64 {
    let mut connection = Connection::open(server.address()).await;
    let (before, start) = (stored(&mut connection).await, Instant::now());
    let load = Load { address: server.address(), connections: CONNECTIONS, time: size.load, rate: None };
    let taken: Loaded = tokio::task::spawn_blocking(|| Run::Load(load).in_own_process()).await.unwrap();
    let after = stored(&mut connection).await;
    let rate = ((after - before) as f64 / start.elapsed().as_secs_f64()).min(taken.per_second);
    // What is still to be stored is not part of what follows.
    while stored(&mut connection).await < before + taken.answered {}
    rate
}

/// How many purchases are stored.
async fn stored(connection: &mut Connection) -> u64 {
    let mut count = 0;
    // Each connection buys for a user of its own.
    for user in 0..CONNECTIONS {
        let answer = connection.send(&get(&format!("/v1/summary?userid=user-{user:05}"))).await;
        let summary: Value = serde_json::from_slice(answer.body).unwrap();
        count += summary["count"].as_u64().unwrap();
    }
    count
}

/// Buys, and looks until the purchase is in the listing; again and again. How long after the 201 that was.
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

/// On the embedded log and store, and on Kafka and MongoDB where there are any.
pub fn rows(scale: Scale, tell: &mut dyn FnMut(Row)) {
    let size = Size {
        load: Duration::from_millis(scale.pick(100, 1_000, 3_000)),
        probes: scale.pick(20, 300, 2_000),
    };
    let runs = if scale == Scale::Full { scale.pairs().min(5) } else { 1 };
    let embedded = (0..runs).map(|_| {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let beside = Store::Embedded(other.path().to_owned());
        measure(Place { served: alone(folder.path()), beside }, size)
    });
    of_runs("embedded", &embedded.collect::<Vec<_>>(), tell);
    let (Some(brokers), Some(uri)) = (scale::kafka(), scale::mongodb()) else {
        eprintln!(
            "freshness on Kafka and MongoDB: skipped, SHOP_TEST_KAFKA and SHOP_TEST_MONGODB_URI name none"
        );
        return;
    };
    if !two_threads().block_on(Store::has_plans(&uri)) {
        eprintln!(
            "freshness on Kafka and MongoDB: skipped, this server explains no plans: without indexes each look takes \
             as long as everything else"
        );
        return;
    }
    let on_servers = (0..runs).map(|_| {
        let name = format!("bench-{}", uuid::Uuid::now_v7().simple());
        let store = |name: String| Store::MongoDb(uri.clone(), name);
        let (kept, beside) = (store(name.clone()), store(format!("{name}-alone")));
        let served = Served::Facing { log: Log::Kafka(brokers.clone(), name), store: Some(kept.clone()) };
        let fresh = measure(Place { served, beside: beside.clone() }, size);
        two_threads().block_on(async {
            kept.wipe().await;
            beside.wipe().await;
        });
        fresh
    });
    of_runs("Kafka and MongoDB", &on_servers.collect::<Vec<_>>(), tell);
}

fn of_runs(place: &str, runs: &[Fresh], tell: &mut dyn FnMut(Row)) {
    let of = |part: fn(&Fresh) -> f64| runs.iter().map(part).collect::<Vec<_>>();
    let middle = |part: fn(&Fresh) -> f64| median(&mut of(part));
    let beside = format!(
        "one insert {:.2} ms and one listing {:.2} ms, medians, alone",
        middle(|run| run.insert),
        middle(|run| run.listing)
    );
    let what = |which| {
        let rate = thousands(middle(|run| run.rate));
        format!("201 → in a listing, {place}, {which}, at half the highest rate: {rate}/s")
    };
    let parts = of(Fresh::parts);
    let row = |which, seen: fn(&Fresh) -> f64, most| {
        Row::ratios(what(which), &of(seen), &parts)
            .with_goal(Goal::AtMost(most))
            .saying(format!("{:.2} ms", middle(seen)), beside.clone())
    };
    tell(row("p50", |run| run.seen.0, 2.0));
    tell(row("p99", |run| run.seen.1, 5.0));
}
