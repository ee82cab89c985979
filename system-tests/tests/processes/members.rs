//! Several managements share a topic: one is killed, all are restarted in turn, under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use futures_util::future::join_all;
use shop_client::{NewPurchase, PurchaseId, ShopClient};
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;

use crate::history::{History, Outcome};
use crate::kafka::start;
use crate::process::{Binary, Process, pause, plain, soon, until};
use crate::servers::Servers;

/// Enough for purchases in each of the five partitions.
const USERS: u64 = 40;
const CALLERS: u64 = 4;
/// The maximum number of records in flight, which may be redelivered after an unclean end of a member.
const IN_FLIGHT: u64 = 8 * 1_000;

fn purchase(number: u64) -> NewPurchase {
    let user = format!("user-{}", number % USERS);
    let new = NewPurchase::for_user(user)
        .with_user_name("ada")
        .with_price("2.50")
        .unwrap();
    new.with_key(format!("order-{number}")).unwrap()
}

/// Callers that buy until they are stopped, and repeat each purchase until it is acknowledged.
#[derive(Default)]
struct Load {
    http: reqwest::Client,
    /// The current URL of facing.
    url: RwLock<String>,
    stop: CancellationToken,
    next: AtomicU64,
    history: History,
}

impl Load {
    async fn buy_one(&self) -> PurchaseId {
        let new = purchase(self.next.fetch_add(1, Ordering::Relaxed));
        let bought = async {
            loop {
                let client = ShopClient::builder(self.url.read().await.clone())
                    .http_client(self.http.clone())
                    .build()
                    .unwrap();
                match self.history.buy(&client, new.clone()).await {
                    Outcome::Bought { id, .. } => return id,
                    _ => pause().await,
                }
            }
        };
        soon("buy", bought).await
    }

    async fn buy(self: Arc<Self>) {
        while !self.stop.is_cancelled() {
            self.buy_one().await;
            // Load enough for each partition; more takes the processor from the members.
            pause().await;
        }
    }

    /// Buys once for every user, and waits until all purchases are stored.
    async fn all_partitions_are_written(&self, by: &Process) {
        let ids = join_all((0..USERS).map(|_| self.buy_one())).await;
        let client = by.client();
        for id in ids {
            until("store it", async || {
                matches!(client.get(&id).await, Ok(Some(_)))
            })
            .await;
        }
    }
}

/// A counter of the ingest of a management.
async fn counter(management: &Process, of_what: &str) -> u64 {
    management.ingest().await[of_what].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rebalances_lose_no_purchase() {
    let Some(servers) = Servers::shared(&["kafka", "mongo"]).await else {
        return;
    };
    let mut members = Vec::new();
    for _ in 0..3 {
        members.push(start(Binary::Management, &servers, &[]).await);
    }
    let mut facing = start(
        Binary::Facing,
        &servers,
        &[("MANAGEMENT_URL", &members[2].url)],
    )
    .await;
    let load = Arc::new(Load {
        http: plain(),
        url: RwLock::new(facing.url.clone()),
        ..Load::default()
    });
    load.all_partitions_are_written(&members[2]).await;
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| tokio::spawn(Arc::clone(&load).buy()))
        .collect();

    for member in &members {
        let before = counter(member, "inserted").await;
        until("have partitions", async || {
            counter(member, "inserted").await > before + 20
        })
        .await;
    }
    members.remove(0).kill().await;
    let killed = Instant::now();
    load.all_partitions_are_written(&members[1]).await;
    println!(
        "one of three killed: its partitions are ingested again after {:?}",
        killed.elapsed()
    );

    // Rolling restart: each new process starts before the next one stops.
    for _ in 0..members.len() {
        let old = members.remove(0);
        members.push(start(Binary::Management, &servers, &[]).await);
        load.all_partitions_are_written(&old).await;
        old.stop().await;
        load.all_partitions_are_written(&members[0]).await;
    }
    let mut again = 0;
    for member in &members {
        again += counter(member, "duplicates").await;
    }
    println!("all restarted in turn: {again} records were redelivered");
    assert!(again <= IN_FLIGHT, "{again}");
    facing.stop().await;
    facing = start(
        Binary::Facing,
        &servers,
        &[("MANAGEMENT_URL", &members[0].url)],
    )
    .await;
    load.url.write().await.clone_from(&facing.url);
    load.all_partitions_are_written(&members[0]).await;

    // The only management is killed.
    members.remove(1).terminate().await;
    members.remove(0).kill().await;
    let killed = Instant::now();
    let management = start(Binary::Management, &servers, &[]).await;
    load.all_partitions_are_written(&management).await;
    println!(
        "the only one killed, and started again: all partitions are ingested after {:?}",
        killed.elapsed()
    );

    load.stop.cancel();
    join_all(callers).await;
    load.history.settle(&management.client()).await.unwrap();
}
