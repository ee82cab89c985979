//! Kills and pauses at random points under load: every acknowledged purchase is stored once.
//!
//! `SHOP_TEST_ROUNDS` sets the number of rounds, `SHOP_TEST_SEED` repeats the points of another run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::TryStreamExt;
use rustix::process::Signal;
use serde_json::Value;
use shop_client::{NewPurchase, Purchase, PurchaseId, RetryPolicy, ShopClient, UserId};
use shop_core::Timestamp;
use shop_core::log::{LogAdmin, LogAdminExt as _};
use shop_kafka::KafkaLog;
use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions};
use tokio::sync::{Mutex, RwLock};

use crate::history::{History, Outcome, Sees};
use crate::postgres_server::Cluster;
use crate::process::{Binary, Process, borrow_settings, pause, plain, until};
use crate::servers::Servers;

const PURCHASES: u64 = 500;
const CALLERS: u64 = 16;
const USERS: u64 = 7;
/// The maximum time without an acknowledged purchase after the last hit of a round. The time of a
/// whole round depends on the machine.
const STALL: Duration = Duration::from_secs(60);

/// Reproducible random numbers: splitmix64, <https://prng.di.unimi.it/splitmix64.c>.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// A number from the environment.
#[expect(
    clippy::disallowed_methods,
    reason = "a failure is replayed by the seed that it has printed"
)]
pub(crate) fn chosen(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// `SHOP_TEST_SEED`, or a random seed.
#[expect(clippy::disallowed_methods, reason = "a random seed")]
pub(crate) fn seed() -> u64 {
    let nanos = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .subsec_nanos()
    };
    chosen("SHOP_TEST_SEED").unwrap_or_else(|| u64::from(nanos()))
}

/// Both services on one log and store, either of which may be killed and restarted.
struct Pair {
    folder: PathBuf,
    settings: Vec<(&'static str, String)>,
    facing: Mutex<Option<Process>>,
    management: Mutex<Option<Process>>,
    /// The current URL of facing.
    url: RwLock<String>,
    http: reqwest::Client,
}

async fn start(binary: Binary, folder: &Path, settings: &[(&'static str, String)]) -> Process {
    Process::start(binary, folder, &borrow_settings(settings)).await
}

impl Pair {
    async fn start(folder: &Path, settings: Vec<(&'static str, String)>) -> Self {
        let facing = start(Binary::Facing, folder, &settings).await;
        let management = start(Binary::Management, folder, &settings).await;
        Self {
            folder: folder.to_owned(),
            settings,
            url: RwLock::new(facing.url.clone()),
            facing: Mutex::new(Some(facing)),
            management: Mutex::new(Some(management)),
            http: plain(),
        }
    }

    const fn slot(&self, binary: Binary) -> &Mutex<Option<Process>> {
        match binary {
            Binary::Facing => &self.facing,
            Binary::Management => &self.management,
        }
    }

    async fn kill_and_start(&self, binary: Binary) {
        let mut slot = self.slot(binary).lock().await;
        slot.take().unwrap().kill().await;
        let process = start(binary, &self.folder, &self.settings).await;
        if binary == Binary::Facing {
            self.url.write().await.clone_from(&process.url);
        }
        *slot = Some(process);
    }

    async fn pause(&self, binary: Binary, pause: Duration) {
        let slot = self.slot(binary).lock().await;
        let process = slot.as_ref().unwrap();
        process.signal(Signal::STOP);
        tokio::time::sleep(pause).await;
        process.signal(Signal::CONT);
    }

    /// The ingest status of both.
    async fn ingest(&self) -> Vec<Value> {
        let mut printed = Vec::new();
        for binary in [Binary::Facing, Binary::Management] {
            let slot = self.slot(binary).lock().await;
            printed.push(slot.as_ref().unwrap().ingest().await);
        }
        printed
    }

    async fn client(&self) -> ShopClient {
        let builder =
            ShopClient::builder(self.url.read().await.clone()).http_client(self.http.clone());
        // A restarted process has another address.
        builder.retries(RetryPolicy::none()).build().unwrap()
    }
}

/// Every other purchase has a key, and is repeated until it is acknowledged; the others are sent once. Six of ten with a
/// key are refunded, whole or in part. Some reads of the user's purchases follow, including the new one.
async fn buy(pair: &Pair, history: &History, number: u64) {
    let price = format!("{}.{:02}", number % 90, number % 100);
    let user: UserId = format!("user-{}", number % USERS).parse().unwrap();
    let purchase = NewPurchase::for_user(user.clone())
        .with_user_name("ada")
        .with_price(price)
        .unwrap();
    if !number.is_multiple_of(2) {
        let url = pair.url.read().await.clone();
        history.post(&pair.http, &url, &purchase).await;
        return;
    }
    let keyed = purchase.with_key(format!("order-{number}")).unwrap();
    loop {
        match history.buy(&pair.client().await, keyed.clone()).await {
            Outcome::Bought { id, .. } if number.is_multiple_of(64) => {
                history
                    .sum(&pair.client().await, &user, Sees::Own(id))
                    .await;
                return;
            }
            Outcome::Bought { id, .. } if number % 10 < 6 => {
                let amount = (!number.is_multiple_of(4)).then(|| "0.01".parse().unwrap());
                let bought = Purchase::new(id, user, keyed.user_name, keyed.price, Timestamp::MIN);
                // A price of zero cannot be refunded.
                let Ok(refund) = bought.refund(amount, Timestamp::MIN) else {
                    return;
                };
                // It is not found until its purchase is stored.
                let refund = async || history.refund(&pair.client().await, refund.clone()).await;
                while !matches!(refund().await, Outcome::Bought { .. }) {
                    pause().await;
                }
                return;
            }
            Outcome::Bought { .. } => return,
            _ => pause().await,
        }
    }
}

/// The purchases of one caller in a round.
async fn buy_share(pair: Arc<Pair>, history: Arc<History>, round: u64, caller: u64) {
    for number in (0..PURCHASES).filter(|number| number % CALLERS == caller) {
        buy(&pair, &history, round * PURCHASES + number).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_and_duplicate_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // `sim` has the other moments.
    let plan = Plan {
        rounds: 2,
        victims: &SERVICES,
        servers: None,
        postgres: None,
    };
    plan.survive(folder.path(), Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_and_duplicate_nothing_in_postgres() {
    let Some(cluster) = crate::postgres::cluster() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let victims = [SERVICES[0], SERVICES[1], Victim::Server("postgres")];
    let plan = Plan {
        rounds: 3,
        victims: &victims,
        servers: None,
        postgres: Some(&cluster),
    };
    plan.survive(folder.path(), vec![("DATABASE_URL", cluster.url())])
        .await;
}

/// A process or server that is killed or paused.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Victim {
    Service(Binary),
    /// `kafka`, `mongo` or `postgres`.
    Server(&'static str),
}

impl Victim {
    /// The name of the action.
    fn action(self, pause: Option<Duration>) -> &'static str {
        match (self, pause) {
            (_, Some(_)) => "paused",
            (Self::Server("mongo"), None) => "cut off",
            (_, None) => "killed",
        }
    }
}

pub(crate) const SERVICES: [Victim; 2] = [
    Victim::Service(Binary::Facing),
    Victim::Service(Binary::Management),
];

/// Durations of pauses in milliseconds: the maximum is longer than a group session.
const PAUSES: [u64; 4] = [20, 200, 1_000, 8_000];

/// The kills and pauses of a run.
pub(crate) struct Plan<'a> {
    /// The default number of rounds.
    pub(crate) rounds: u64,
    pub(crate) victims: &'a [Victim],
    pub(crate) servers: Option<&'a Servers>,
    pub(crate) postgres: Option<&'a Cluster>,
}

impl Plan<'_> {
    /// Runs rounds of load in which the victims are hit at random points, then counts all purchases. None
    /// becomes a dead letter.
    pub(crate) async fn survive(&self, folder: &Path, settings: Vec<(&'static str, String)>) {
        let seed = seed();
        println!("SHOP_TEST_SEED={seed} replays the points");
        let mut random = Random::new(seed);
        let pair = Arc::new(Pair::start(folder, settings).await);
        let history = Arc::new(History::default());
        let mut hits = BTreeMap::new();
        for round in 0..chosen("SHOP_TEST_ROUNDS").unwrap_or(self.rounds) {
            let before = history.ended();
            let share = |caller| {
                tokio::spawn(buy_share(
                    Arc::clone(&pair),
                    Arc::clone(&history),
                    round,
                    caller,
                ))
            };
            let load: Vec<_> = (0..CALLERS).map(share).collect();
            for _ in 0..=random.below(3) {
                // At a random point of the round, measured in completed calls.
                let at = before + random.below(PURCHASES * 9 / 10);
                until("complete that many calls", async || history.ended() >= at).await;
                // Each of them once, and then any.
                let any =
                    self.victims[usize::try_from(random.below(self.victims.len() as u64)).unwrap()];
                let victim = *self
                    .victims
                    .get(hits.values().sum::<usize>())
                    .unwrap_or(&any);
                let pause = PAUSES[usize::try_from(random.below(PAUSES.len() as u64)).unwrap()];
                let pause = (random.below(3) == 0).then(|| Duration::from_millis(pause));
                self.hit(&pair, victim, pause).await;
                *hits
                    .entry(format!("{victim:?} {}", victim.action(pause)))
                    .or_insert(0) += 1;
            }
            for mut caller in load {
                let mut bought = history.bought();
                let mut ended = tokio::time::timeout(STALL, &mut caller).await;
                while ended.is_err() {
                    let before = std::mem::replace(&mut bought, history.bought());
                    assert_ne!(
                        before,
                        bought,
                        "round {round} stalls: {hits:?}, {:?}",
                        pair.ingest().await
                    );
                    ended = tokio::time::timeout(STALL, &mut caller).await;
                }
                ended.unwrap().unwrap();
            }
        }
        println!("{hits:?}");
        let log = self.log(folder).await;
        if let Err(missing) = history.settle(&pair.client().await).await {
            println!("not stored: {missing:?}; {:?}", pair.ingest().await);
            print_positions(&*log, &missing).await;
            panic!("{} acknowledged purchases are not stored", missing.len());
        }
        assert_eq!(log.pending_dead_letters().await.unwrap().len(), 0);
    }

    /// Opens the log of the services.
    async fn log(&self, folder: &Path) -> Box<dyn LogAdmin> {
        match self.servers {
            Some(servers) => Box::new(KafkaLog::open(servers.log("purchases")).await.unwrap()),
            None => Box::new(
                EmbeddedLog::open(folder, EmbeddedLogOptions::default())
                    .await
                    .unwrap(),
            ),
        }
    }

    async fn hit(&self, pair: &Pair, victim: Victim, pause: Option<Duration>) {
        match (victim, pause) {
            (Victim::Service(binary), None) => pair.kill_and_start(binary).await,
            (Victim::Service(binary), Some(pause)) => pair.pause(binary, pause).await,
            (Victim::Server(name), None) => {
                self.ctl("kill", name).await;
                self.ctl("start", name).await;
            }
            (Victim::Server(name), Some(pause)) => {
                self.ctl("pause", name).await;
                tokio::time::sleep(pause).await;
                self.ctl("resume", name).await;
            }
        }
    }

    async fn ctl(&self, command: &'static str, name: &str) {
        match self.postgres.filter(|_| name == "postgres") {
            Some(cluster) => tokio::task::block_in_place(|| cluster.ctl(command)),
            None => self.servers.unwrap().ctl(command, name).await,
        }
    }
}

/// Prints the positions of these purchases in the log: the store or ingest has lost them.
async fn print_positions(log: &dyn LogAdmin, missing: &BTreeSet<PurchaseId>) {
    let mut batches = log.scan().await.unwrap();
    while let Some(batch) = batches.try_next().await.unwrap() {
        for record in &batch.records {
            let id = record
                .headers
                .get("purchase-id")
                .and_then(|id| str::from_utf8(id).ok()?.parse().ok());
            if id.is_some_and(|id| missing.contains(&id)) {
                println!(
                    "{id:?} is at {}-{}, {}",
                    batch.partition.index, record.offset, record.time
                );
            }
        }
    }
}
