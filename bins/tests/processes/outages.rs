//! A store that is away for long, a broker that is away: what it costs, and that it costs no purchase.
//!
//! `SHOP_TEST_OUTAGE_SECONDS` says how long; 5 unless set.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use shop_client::NewPurchase;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::history::History;
use crate::kafka::start;
use crate::process::{Binary, Process, get, plain, until};
use crate::servers::Servers;

const CALLERS: u64 = 16;

#[expect(clippy::disallowed_methods, reason = "a long run is asked for so")]
fn length() -> Duration {
    let seconds = std::env::var("SHOP_TEST_OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(5))
}

/// How long each caller rests between two purchases: a load that the store has room to catch up beside,
/// on any machine.
const PACE: Duration = Duration::from_millis(64);

/// Callers who buy until they are stopped; each answer is one of those that a caller can live with.
#[derive(Default)]
struct Load {
    stop: CancellationToken,
    history: History,
    refused: AtomicU64,
}

impl Load {
    async fn buy(self: Arc<Self>, caller: u64, url: String) {
        let (http, user) = (plain(), format!("user-{caller}"));
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0_u64.. {
            pace.tick().await;
            if self.stop.is_cancelled() {
                return;
            }
            let price = format!("{}.99", number % 90);
            let new = NewPurchase::of(user.clone()).named("ada").priced(price).unwrap();
            let begun = Instant::now();
            let (status, headers, body) = self.history.post(&http, &url, &new).await.unwrap();
            match status {
                201 => {}
                503 => {
                    assert!(headers.contains_key("retry-after"));
                    assert!(body.contains("outcome") && body.contains("idempotency_key"), "{body}");
                    // The deadline is 5 s; whatever is slower than this has none.
                    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
                status => panic!("{status}: {body}"),
            }
        }
    }
}

/// The memory of `process` now and then, in MiB, for as long.
async fn memory_during(process: &Process, length: Duration) -> Vec<u64> {
    let mut curve = Vec::new();
    for _ in 0..5 {
        tokio::time::sleep(length / 5).await;
        curve.push(process.memory());
    }
    curve
}

/// How many records were brought to the store, some of them twice. Asks less of the store than a sum does.
async fn carried(management: &Process) -> u64 {
    let ingest = get(&management.path("/health")).await.1["ingest"].clone();
    ingest["inserted"].as_u64().unwrap() + ingest["duplicates"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_outage_of_store_or_broker_loses_no_purchase() {
    let Some(servers) = Servers::start(&["kafka", "mongo"]).await else { return };
    let management = start(Binary::Management, &servers, &[]).await;
    let facing = start(Binary::Facing, &servers, &[("MANAGEMENT_URL", &management.url)]).await;
    until("be ready", async || get(&facing.path("/-/ready")).await.0 == 200).await;
    let load = Arc::new(Load::default());
    let callers: Vec<_> =
        (0..CALLERS).map(|caller| tokio::spawn(Arc::clone(&load).buy(caller, facing.url.clone()))).collect();
    until("store something", async || carried(&management).await > 100).await;

    servers.ctl("kill", "mongo").await;
    let before = load.history.bought();
    let curve = memory_during(&management, length()).await;
    let bought = load.history.bought() - before;
    println!("store away for {:?}: {bought} bought meanwhile, {curve:?} MiB of memory", length());
    servers.ctl("start", "mongo").await;
    let back = Instant::now();
    until("catch up", async || carried(&management).await + 500 > load.history.bought() as u64).await;
    println!("caught up after {:?}, while buying went on", back.elapsed());

    let refused = load.refused.load(Ordering::Relaxed);
    servers.ctl("kill", "kafka").await;
    let curve = memory_during(&facing, length()).await;
    until("be refused", async || load.refused.load(Ordering::Relaxed) > refused).await;
    servers.ctl("start", "kafka").await;
    let bought = load.history.bought();
    until("accept purchases again", async || load.history.bought() > bought + 100).await;
    println!("broker away for {:?}: {curve:?} MiB of memory in facing", length());

    load.stop.cancel();
    for caller in join_all(callers).await {
        caller.unwrap();
    }
    let bought = load.history.bought();
    until("store everything", async || carried(&management).await >= bought as u64).await;
    println!("{} were refused", load.refused.load(Ordering::Relaxed));
    load.history.settle(&management.client()).await.unwrap();
    assert_eq!(get(&management.path("/health")).await.1["ingest"]["dead_lettered"], 0);
}
