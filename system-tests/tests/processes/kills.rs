//! Kills and pauses at random points under load: every acknowledged purchase is stored once.
//!
//! `SHOP_TEST_ROUNDS` sets the number of rounds, `SHOP_TEST_SEED` repeats the points of another run.

use std::time::{SystemTime, UNIX_EPOCH};

use shop_client::{Purchase, UserId};
use shop_core::Timestamp;
use tokio::sync::{Mutex, RwLock};

use crate::history::{History, Outcome, Sees};
use crate::prelude::*;

const PURCHASES: u64 = 300;
const CALLERS: u64 = 16;
const USERS: u64 = 7;
const ROUNDS: u64 = 2;
/// The number of kills and pauses in a round. The default number of rounds hits each victim at least once.
const HITS: usize = 2;
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

    pub(crate) fn choose<T: Copy>(&mut self, values: &[T]) -> T {
        let index = self.below(values.len() as u64);
        values[usize::try_from(index).unwrap()]
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
    history: History,
}

impl Pair {
    async fn start(folder: PathBuf, settings: Vec<(&'static str, String)>) -> Self {
        let pair = Self {
            folder,
            settings,
            facing: Mutex::default(),
            management: Mutex::default(),
            url: RwLock::default(),
            http: plain(),
            history: History::default(),
        };
        for binary in [Binary::Facing, Binary::Management] {
            pair.kill_and_start(binary).await;
        }
        pair
    }

    const fn slot(&self, binary: Binary) -> &Mutex<Option<Process>> {
        match binary {
            Binary::Facing => &self.facing,
            Binary::Management => &self.management,
        }
    }

    async fn kill_and_start(&self, binary: Binary) {
        let mut slot = self.slot(binary).lock().await;
        if let Some(process) = slot.take() {
            process.kill().await;
        }
        let settings = borrow_settings(&self.settings);
        let process = Process::start(binary, &self.folder, &settings).await;
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
    async fn ingest(&self) -> [Value; 2] {
        let facing = self.facing.lock().await;
        let management = self.management.lock().await;
        [
            facing.as_ref().unwrap().ingest().await,
            management.as_ref().unwrap().ingest().await,
        ]
    }

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
                Outcome::Bought { id, .. } => break id,
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
            let outcome = self.history.refund(&client, refund.clone()).await;
            if matches!(outcome, Outcome::Bought { .. }) {
                return;
            }
            pause().await;
        }
    }

    /// Starts the callers of a round.
    fn start_load(self: &Arc<Self>, round: u64) -> JoinSet<()> {
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let pair = Arc::clone(self);
            callers.spawn(async move {
                for number in (0..PURCHASES).filter(|number| number % CALLERS == caller) {
                    pair.buy(round * PURCHASES + number).await;
                }
            });
        }
        callers
    }

    /// Waits until all callers have ended. Panics if none of them buys anything for a while.
    async fn join_load(&self, mut callers: JoinSet<()>) {
        loop {
            let before = self.history.bought();
            match tokio::time::timeout(STALL, callers.join_next()).await {
                Ok(None) => return,
                Ok(Some(caller)) => caller.unwrap(),
                Err(_) => {
                    let ingest = self.ingest().await;
                    assert_ne!(before, self.history.bought(), "stalls: {ingest:?}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_and_duplicate_nothing() {
    // `sim` has the other moments.
    let plan = Plan {
        victims: &SERVICES,
        servers: None,
        postgres: None,
    };
    plan.survive(Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_and_duplicate_nothing_in_postgres() {
    let Some(cluster) = cluster() else {
        return;
    };
    let plan = Plan {
        victims: &[SERVICES[0], SERVICES[1], Victim::Server("postgres")],
        servers: None,
        postgres: Some(&cluster),
    };
    plan.survive(vec![("DATABASE_URL", cluster.url())]).await;
}

/// A process or server that is killed or paused.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Victim {
    Service(Binary),
    /// `kafka`, `mongo` or `postgres`. MongoDB is cut off, not killed.
    Server(&'static str),
}

pub(crate) const SERVICES: [Victim; 2] = [
    Victim::Service(Binary::Facing),
    Victim::Service(Binary::Management),
];

/// Durations of pauses in milliseconds: the maximum is longer than a group session.
const PAUSES: [u64; 4] = [20, 200, 1_000, 8_000];

/// The kills and pauses of a run.
pub(crate) struct Plan<'a> {
    pub(crate) victims: &'a [Victim],
    pub(crate) servers: Option<&'a Servers>,
    pub(crate) postgres: Option<&'a Cluster>,
}

impl Plan<'_> {
    /// Runs rounds of load in which the victims are hit at random points, then counts all purchases. None
    /// becomes a dead letter.
    pub(crate) async fn survive(&self, settings: Vec<(&'static str, String)>) {
        let seed = seed();
        println!("SHOP_TEST_SEED={seed} replays the points");
        let mut random = Random::new(seed);
        let folder = tempfile::tempdir().unwrap();
        let pair = Arc::new(Pair::start(folder.path().to_owned(), settings).await);
        let mut hits = Vec::new();
        for round in 0..chosen("SHOP_TEST_ROUNDS").unwrap_or(ROUNDS) {
            let before = pair.history.ended();
            let callers = pair.start_load(round);
            for _ in 0..HITS {
                // At a random point of the round, measured in completed calls.
                let at = before + random.below(PURCHASES * 9 / 10);
                until("complete that many calls", async || {
                    pair.history.ended() >= at
                })
                .await;
                // Each of them once, and then any.
                let any = random.choose(self.victims);
                let victim = *self.victims.get(hits.len()).unwrap_or(&any);
                let pause = Duration::from_millis(random.choose(&PAUSES));
                let pause = (random.below(3) == 0).then_some(pause);
                hits.push((victim, pause));
                self.hit(&pair, victim, pause).await;
            }
            pair.join_load(callers).await;
        }
        println!("{hits:?}");
        if let Err(missing) = pair.history.settle(&pair.client().await).await {
            panic!("not stored: {missing:?}; {:?}", pair.ingest().await);
        }
        let mut settings = borrow_settings(&pair.settings);
        settings.push(("SHOP_DATA_DIR", folder.path().to_str().unwrap()));
        let dead_letters = Binary::Management.run(&["dlq", "ls"], &settings).await;
        assert_ended(&dead_letters, 0, "");
        assert_eq!(text(&dead_letters.stdout), "");
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
