//! Kills and pauses at random points under load: every acknowledged purchase is stored once.
//!
//! `SHOP_TEST_ROUNDS` sets the number of rounds, `SHOP_TEST_SEED` repeats the points of another run.

use fastrand::Rng;
use futures_util::{StreamExt as _, stream};
use shop_client::{Purchase, UserId};
use shop_core::Timestamp;
use shop_faults::history::{Outcome, Sees};
use tokio::sync::RwLock;
use uuid::Uuid;

use crate::history::ClientHistory;
use crate::prelude::*;

const PURCHASES: u64 = 300;
const CALLERS: usize = 16;
const USERS: u64 = 7;
const ROUNDS: u64 = 2;
/// The number of kills and pauses in a round. The default number of rounds hits each victim at least once.
const HITS: usize = 2;

/// A number from the environment.
#[expect(
    clippy::disallowed_methods,
    reason = "a failure is replayed by the seed that it has printed"
)]
pub(crate) fn chosen(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// `SHOP_TEST_SEED`, or a random seed.
pub(crate) fn seed() -> u64 {
    chosen("SHOP_TEST_SEED").unwrap_or_else(|| Uuid::now_v7().as_u64_pair().1)
}

/// The callers of facing, which may be killed and restarted.
#[derive(Default)]
struct Buyers {
    /// The current URL of facing.
    url: RwLock<String>,
    http: reqwest::Client,
    history: ClientHistory,
}

impl Buyers {
    async fn client(&self) -> ShopClient {
        // A restarted process has another address.
        ShopClient::builder(self.url.read().await.clone())
            .http_client(self.http.clone())
            .retries(RetryPolicy::none())
            .build()
            .unwrap()
    }

    /// Every other purchase has a key, and is repeated until it is acknowledged; the others are sent once. Six of ten with
    /// a key are refunded, whole or in part. Some reads of the user's purchases follow, including the new one.
    async fn buy(&self, number: u64) {
        let price = format!("{}.{:02}", number % 90, number % 100);
        let user: UserId = format!("user-{}", number % USERS).parse().unwrap();
        let new = NewPurchase::for_user(user.clone())
            .with_user_name("ada")
            .with_price(price)
            .unwrap();
        if !number.is_multiple_of(2) {
            let url = self.url.read().await.clone();
            self.history.post(&self.http, &url, &new).await;
            return;
        }
        let new = new.with_key(format!("order-{number}")).unwrap();
        let id = loop {
            let client = self.client().await;
            match self.history.buy(&client, new.clone()).await {
                Outcome::Bought(acknowledgement) => break acknowledgement.id,
                _ => pause().await,
            }
        };
        if number.is_multiple_of(64) {
            let client = self.client().await;
            self.history.sum(&client, &user, Sees::Own(id)).await;
        } else if number % 10 < 6 {
            let bought = Purchase::new(id, user, new.user_name, new.price, Timestamp::MIN);
            let amount = (!number.is_multiple_of(4)).then(|| "0.01".parse().unwrap());
            // A price of zero cannot be refunded.
            if let Ok(refund) = bought.refund(amount, Timestamp::MIN) {
                self.refund(refund).await;
            }
        }
    }

    /// Refunds a purchase, which is not found until it is stored.
    async fn refund(&self, refund: Purchase) {
        loop {
            let client = self.client().await;
            match self.history.refund(&client, refund.clone()).await {
                Outcome::Bought(_) => return,
                _ => pause().await,
            }
        }
    }

    /// Buys for a round.
    async fn buy_all(self: Arc<Self>, round: u64) {
        let numbers = round * PURCHASES..(round + 1) * PURCHASES;
        let buys = stream::iter(numbers).map(|number| self.buy(number));
        buys.buffer_unordered(CALLERS).collect::<()>().await;
    }
}

/// A process or server that is killed or paused.
#[derive(Clone, Copy)]
pub(crate) enum Victim<'a> {
    Service(Binary),
    /// `kafka` or `mongo`. MongoDB is cut off, not killed.
    Server(&'a Servers, &'static str),
    Postgres(&'a Cluster),
}

/// Both services on one log and store.
struct Services {
    folder: TempDir,
    settings: Vec<(&'static str, String)>,
    /// Facing and management.
    processes: [Option<Process>; 2],
    buyers: Arc<Buyers>,
}

impl Services {
    /// Runs `kill`, `start`, `pause` or `resume` for a process or server.
    async fn ctl(&mut self, what: &'static str, victim: Victim<'_>) {
        let binary = match victim {
            Victim::Service(binary) => binary,
            Victim::Server(servers, name) => return servers.ctl(what, name).await,
            Victim::Postgres(cluster) => return tokio::task::block_in_place(|| cluster.ctl(what)),
        };
        let process = &mut self.processes[binary as usize];
        match what {
            "kill" => process.take().unwrap().kill().await,
            "pause" => process.as_ref().unwrap().signal(Signal::STOP),
            "resume" => process.as_ref().unwrap().signal(Signal::CONT),
            _ => {
                let settings = borrow_settings(&self.settings);
                let started = Process::start(binary, self.folder.path(), &settings).await;
                if binary == Binary::Facing {
                    self.buyers.url.write().await.clone_from(&started.url);
                }
                *process = Some(started);
            }
        }
    }
}

/// Durations of pauses in milliseconds: the maximum is longer than a group session.
const PAUSES: [u64; 4] = [20, 200, 1_000, 8_000];

/// Runs rounds of load on both services in which they, and these servers, are hit at random points, then counts all
/// purchases. None becomes a dead letter.
pub(crate) async fn survive_kills(settings: Vec<(&'static str, String)>, servers: &[Victim<'_>]) {
    let seed = seed();
    println!("SHOP_TEST_SEED={seed} replays the points");
    let mut random = Rng::with_seed(seed);
    let both = [Binary::Facing, Binary::Management].map(Victim::Service);
    let victims = [&both, servers].concat();
    let buyers = Arc::new(Buyers {
        http: plain(),
        ..Buyers::default()
    });
    let mut services = Services {
        folder: tempfile::tempdir().unwrap(),
        settings,
        processes: [None, None],
        buyers: Arc::clone(&buyers),
    };
    for service in both {
        services.ctl("start", service).await;
    }

    let mut hits = 0;
    for round in 0..chosen("SHOP_TEST_ROUNDS").unwrap_or(ROUNDS) {
        let before = buyers.history.ended();
        let buys = tokio::spawn(Arc::clone(&buyers).buy_all(round));
        for _ in 0..HITS {
            // At a random point of the round, measured in completed calls.
            let at = before + random.u64(..PURCHASES * 9 / 10);
            until("complete that many calls", async || {
                buyers.history.ended() >= at
            })
            .await;
            // Each of them once, and then any.
            let any = victims[random.usize(..victims.len())];
            let victim = *victims.get(hits).unwrap_or(&any);
            hits += 1;
            let pause = Duration::from_millis(PAUSES[random.usize(..PAUSES.len())]);
            if random.u64(..3) > 0 {
                services.ctl("kill", victim).await;
                services.ctl("start", victim).await;
            } else {
                services.ctl("pause", victim).await;
                tokio::time::sleep(pause).await;
                services.ctl("resume", victim).await;
            }
        }
        // The time of a round depends on the machine.
        within(10 * PATIENCE, "end the calls", buys).await.unwrap();
    }
    let settled = buyers.history.settle(&buyers.client().await).await;
    settled.unwrap();
    let mut settings = borrow_settings(&services.settings);
    settings.push(("SHOP_DATA_DIR", services.folder.path().to_str().unwrap()));
    let dead_letters = Binary::Management.run(&["dlq", "ls"], &settings).await;
    assert_ended(&dead_letters, 0, "no dead letters");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_and_duplicate_nothing() {
    // `sim` has the other moments.
    survive_kills(Vec::new(), &[]).await;
}
