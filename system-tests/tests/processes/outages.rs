//! Long outages of the store or the broker: memory is bounded, and no purchase is lost.
//!
//! `SHOP_TEST_OUTAGE_SECONDS` sets the length (default 5).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use shop_client::NewPurchase;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::history::History;
use crate::kafka::start_both;
use crate::process::{Process, get, plain, until};
use crate::servers::Servers;

const CALLERS: u64 = 16;

#[expect(clippy::disallowed_methods, reason = "the length of a long run")]
fn length() -> Duration {
    let seconds = std::env::var("SHOP_TEST_OUTAGE_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(5))
}

/// The pause of each caller between two purchases: the store can catch up during this load,
/// on any machine.
const PACE: Duration = Duration::from_millis(64);

/// Callers that buy until they are stopped, and accept only documented responses.
#[derive(Default)]
struct Load {
    stop: CancellationToken,
    history: History,
    refused: AtomicU64,
}

impl Load {
    async fn buy(self: Arc<Self>, caller: u64, url: String) {
        let http = plain();
        let user = format!("user-{caller}");
        let mut pace = tokio::time::interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0_u64.. {
            pace.tick().await;
            if self.stop.is_cancelled() {
                return;
            }
            let price = format!("{}.99", number % 90);
            let new = NewPurchase::for_user(user.clone())
                .with_user_name("ada")
                .with_price(price)
                .unwrap();
            let begun = Instant::now();
            let (status, headers, body) = self.history.post(&http, &url, &new).await.unwrap();
            match status {
                201 => {}
                503 => {
                    assert!(headers.contains_key("retry-after"));
                    assert!(
                        body.contains("outcome") && body.contains("idempotency_key"),
                        "{body}"
                    );
                    // The timeout is 5 s; a slower response ignores it.
                    assert!(
                        begun.elapsed() < Duration::from_secs(30),
                        "{:?}",
                        begun.elapsed()
                    );
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
                status => panic!("{status}: {body}"),
            }
        }
    }
}

/// Samples of the memory of `process`, in MiB, for this time.
async fn memory_during(process: &Process, length: Duration) -> Vec<u64> {
    let mut curve = Vec::new();
    for _ in 0..5 {
        tokio::time::sleep(length / 5).await;
        curve.push(process.memory());
    }
    curve
}

/// The number of records that ingest has inserted, with duplicates. Cheaper for the store than a sum.
async fn ingested(management: &Process) -> u64 {
    let ingest = management.ingest().await;
    ingest["inserted"].as_u64().unwrap() + ingest["duplicates"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_outage_of_store_or_broker_loses_no_purchase() {
    let Some(servers) = Servers::start(&["kafka", "mongo"]).await else {
        return;
    };
    let (management, facing) = start_both(&servers).await;
    until("be ready", async || {
        get(&facing.path("/-/ready")).await.0 == 200
    })
    .await;
    let load = Arc::new(Load::default());
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| tokio::spawn(Arc::clone(&load).buy(caller, facing.url.clone())))
        .collect();
    until("store something", async || {
        ingested(&management).await > 100
    })
    .await;

    servers.ctl("kill", "mongo").await;
    let before = load.history.bought();
    let curve = memory_during(&management, length()).await;
    let bought = load.history.bought() - before;
    println!(
        "store unavailable for {:?}: {bought} bought meanwhile, {curve:?} MiB of memory",
        length()
    );
    servers.ctl("start", "mongo").await;
    let back = Instant::now();
    until("catch up", async || {
        ingested(&management).await + 500 > load.history.bought() as u64
    })
    .await;
    println!("caught up after {:?}, under load", back.elapsed());

    let refused = load.refused.load(Ordering::Relaxed);
    servers.ctl("kill", "kafka").await;
    let curve = memory_during(&facing, length()).await;
    until("be refused", async || {
        load.refused.load(Ordering::Relaxed) > refused
    })
    .await;
    servers.ctl("start", "kafka").await;
    let bought = load.history.bought();
    until("accept purchases again", async || {
        load.history.bought() > bought + 100
    })
    .await;
    println!(
        "broker unavailable for {:?}: {curve:?} MiB of memory in facing",
        length()
    );

    load.stop.cancel();
    for caller in join_all(callers).await {
        caller.unwrap();
    }
    let bought = load.history.bought();
    until("store everything", async || {
        ingested(&management).await >= bought as u64
    })
    .await;
    println!("{} were refused", load.refused.load(Ordering::Relaxed));
    load.history.settle(&management.client()).await.unwrap();
    assert_eq!(management.ingest().await["dead_lettered"], 0);
}
