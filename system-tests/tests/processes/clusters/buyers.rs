//! Buyers and a reader, and what they see of a fault.

use std::sync::Mutex;
use std::time::Instant;

use fastrand::Rng;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::prelude::*;

pub(super) const BUYERS: usize = 16;
pub(super) const PURCHASES: &str = "/v1/purchases";
/// Longer than the session of a broker, the election after it, and the time of a publish.
pub(super) const RECOVERY: Duration = Duration::from_secs(120);

/// The successes of the buyers, or of the reader.
#[derive(Default)]
struct Seen {
    successes: u64,
    last_success: Option<Instant>,
    longest_pause: Duration,
}

impl Seen {
    fn note_success(&mut self) {
        self.successes += 1;
        let before = self.last_success.replace(Instant::now());
        let pause = before.map_or(Duration::ZERO, |before| before.elapsed());
        self.longest_pause = self.longest_pause.max(pause);
    }
}

/// What is seen of facing.
#[derive(Default)]
struct Observed {
    buys: Seen,
    listings: Seen,
    /// When facing's `/health` was first and last degraded, after the start of the load.
    degraded: Option<(Duration, Duration)>,
}

/// Buyers that repeat each purchase with its key until it is acknowledged, and a reader that lists those of one user.
pub(super) struct Load {
    stop: CancellationToken,
    observed: Arc<Mutex<Observed>>,
    tasks: JoinSet<()>,
}

impl Load {
    pub(super) fn start(facing: &Process) -> Self {
        let stop = CancellationToken::new();
        let observed = Arc::<Mutex<Observed>>::default();
        let mut tasks = JoinSet::new();
        for buyer in 0..BUYERS {
            let url = facing.path(PURCHASES);
            tasks.spawn(buy_until_stopped(
                buyer,
                url,
                stop.clone(),
                Arc::clone(&observed),
            ));
        }
        let url = facing.url.clone();
        tasks.spawn(look_until_stopped(url, stop.clone(), Arc::clone(&observed)));
        Self {
            stop,
            observed,
            tasks,
        }
    }

    fn acknowledged(&self) -> u64 {
        self.observed.lock().unwrap().buys.successes
    }

    /// Waits for as many further purchases as there are buyers, twice: each partition works.
    pub(super) async fn goes_on(&self) {
        let enough = self.acknowledged() + 2 * BUYERS as u64;
        let wait = async {
            while self.acknowledged() < enough {
                pause().await;
            }
        };
        within(RECOVERY, "buys go on", wait).await;
    }

    /// Carries out a step of a scene that is `buy` or `wait SECONDS`. Returns whether it is one.
    pub(super) async fn buys_or_waits(&self, step: &str) -> bool {
        if step == "buy" {
            self.goes_on().await;
            return true;
        }
        let Some(seconds) = step.strip_prefix("wait ") else {
            return false;
        };
        sleep(Duration::from_secs(seconds.parse().unwrap())).await;
        true
    }

    /// Stops the buyers, waits until all that is acknowledged is stored, once, and prints what they have seen.
    pub(super) async fn end(mut self, scene: &str, stored: impl AsyncFn() -> u64) {
        self.stop.cancel();
        let ended = async { while self.tasks.join_next().await.transpose().unwrap().is_some() {} };
        within(RECOVERY, "the last purchases", ended).await;
        let acknowledged = self.acknowledged();
        let ended = Instant::now();
        let mut count = stored().await;
        while count < acknowledged && ended.elapsed() < RECOVERY {
            pause().await;
            count = stored().await;
        }
        let observed = self.observed.lock().unwrap();
        println!(
            "{scene}: acknowledged {acknowledged}, missing {}, twice {}, without a buy {:.1?}, without a listing {:.1?}, degraded {:.1?}",
            acknowledged.saturating_sub(count),
            count.saturating_sub(acknowledged),
            observed.buys.longest_pause,
            observed.listings.longest_pause,
            observed.degraded,
        );
        assert_eq!(count, acknowledged, "{scene}");
    }
}

/// Lists purchases, and asks for the health, again and again.
async fn look_until_stopped(url: String, stop: CancellationToken, observed: Arc<Mutex<Observed>>) {
    let http = plain();
    let began = Instant::now();
    while !stop.is_cancelled() {
        let list = http.get(format!("{url}{PURCHASES}?userid=u0")).send();
        let health = http.get(format!("{url}/health")).send();
        let (listed, health) = tokio::join!(list, health);
        let is_listed = listed.is_ok_and(|response| response.status() == 200);
        let health: Value = match health {
            Ok(response) => response.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        };
        {
            let mut observed = observed.lock().unwrap();
            if is_listed {
                observed.listings.note_success();
            }
            if health["status"] == "degraded" {
                let now = began.elapsed();
                observed.degraded.get_or_insert((now, now)).1 = now;
            }
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Buys as one user, and notes what is acknowledged.
async fn buy_until_stopped(
    buyer: usize,
    url: String,
    stop: CancellationToken,
    observed: Arc<Mutex<Observed>>,
) {
    for number in 0_u64.. {
        if stop.is_cancelled() {
            return;
        }
        buy(&url, &format!("u{buyer}"), number).await;
        observed.lock().unwrap().buys.note_success();
        // The servers share the processors with the buyers.
        pause().await;
    }
}

/// Repeats a purchase until it is acknowledged: a user buys once for each price.
async fn buy(url: &str, user: &str, price: u64) {
    let body = json!({"username": "ada", "userid": user, "price": price});
    let request = || {
        let request = plain().post(url).json(&body);
        request.header("idempotency-key", format!("{user}-{price}"))
    };
    let bought = async {
        loop {
            match request().send().await {
                Ok(response) if response.status().is_success() => return,
                Ok(response) => assert_eq!(response.status(), 503),
                // The service is restarted.
                Err(_) => {}
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    within(RECOVERY, "a purchase", bought).await;
}

/// Buys for these prices, one after the other.
pub(super) async fn buy_all(url: &str, prices: std::ops::Range<u64>) {
    for price in prices {
        buy(url, "u1", price).await;
    }
}

/// Chooses `count` of the faults, one after the other, each with what ends it after less than `seconds`, and with a pause of
/// less than `seconds`. Returns the steps.
pub(super) fn faults_by_chance(count: u64, seconds: u64, faults: &[(&str, &str)]) -> String {
    let seed = seed();
    println!("SHOP_TEST_SEED={seed} replays the faults");
    let mut random = Rng::with_seed(seed);
    let mut steps = Vec::new();
    for _fault in 0..count {
        let (fault, mend) = faults[random.usize(..faults.len())];
        let away = random.u64(..seconds);
        let back = random.u64(..seconds);
        steps.push(format!("{fault}, wait {away}, {mend}, wait {back}"));
    }
    steps.join(", ")
}
