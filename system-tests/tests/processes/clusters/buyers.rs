//! Buyers and a reader, and what they see of a fault.

use std::sync::Mutex;
use std::time::Instant;

use tokio::task::JoinHandle;
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

/// Buyers that repeat each purchase with its key until it is acknowledged, and a reader that lists those of one user.
pub(super) struct Load {
    stop: CancellationToken,
    buys: Arc<Mutex<Seen>>,
    listings: Arc<Mutex<Seen>>,
    /// When facing's `/health` was degraded, after the start of the load.
    degraded: Arc<Mutex<Vec<Duration>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    pub(super) fn start(facing: &Process) -> Self {
        let stop = CancellationToken::new();
        let buys = Arc::<Mutex<Seen>>::default();
        let listings = Arc::<Mutex<Seen>>::default();
        let degraded = Arc::<Mutex<Vec<Duration>>>::default();
        let mut tasks = Vec::new();
        for buyer in 0..BUYERS {
            let url = facing.path(PURCHASES);
            let buyer = buy_until_stopped(buyer, url, stop.clone(), Arc::clone(&buys));
            tasks.push(tokio::spawn(buyer));
        }
        let url = facing.path("/v1/purchases?userid=u0");
        let listed = Arc::clone(&listings);
        let listing = poll_until_stopped(url, stop.clone(), move |status, _| {
            if status == 200 {
                listed.lock().unwrap().note_success();
            }
        });
        tasks.push(tokio::spawn(listing));
        let url = facing.path("/health");
        let turned = Arc::clone(&degraded);
        let began = Instant::now();
        let health = poll_until_stopped(url, stop.clone(), move |_, health| {
            if health["status"] == "degraded" {
                turned.lock().unwrap().push(began.elapsed());
            }
        });
        tasks.push(tokio::spawn(health));
        Self {
            stop,
            buys,
            listings,
            degraded,
            tasks,
        }
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.buys.lock().unwrap().successes
    }

    /// Waits for as many further purchases as there are buyers, twice: each partition works.
    pub(super) async fn goes_on(&self) {
        let before = self.acknowledged();
        let enough = before + 2 * BUYERS as u64;
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

    /// Stops the buyers, and returns the number of purchases that were acknowledged.
    pub(super) async fn stop(&mut self) -> u64 {
        self.stop.cancel();
        let tasks = join_all(self.tasks.drain(..));
        for ended in within(RECOVERY, "the last purchases", tasks).await {
            ended.unwrap();
        }
        self.acknowledged()
    }

    /// Stops the buyers, and waits until all that is acknowledged is stored, once.
    pub(super) async fn end(mut self, scene: &str, stored: impl AsyncFn() -> u64) {
        let acknowledged = self.stop().await;
        let ended = Instant::now();
        let mut count = stored().await;
        while count < acknowledged && ended.elapsed() < RECOVERY {
            pause().await;
            count = stored().await;
        }
        self.print(scene, count);
        assert_eq!(count, acknowledged, "{scene}");
    }

    /// Prints what the buyers and the reader saw, beside the number of purchases in the store.
    pub(super) fn print(&self, scene: &str, stored: u64) {
        let acknowledged = self.acknowledged();
        let degraded = self.degraded.lock().unwrap().clone();
        println!(
            "{scene}: acknowledged {acknowledged}, missing {}, twice {}, without a buy {:.1?}, without a listing {:.1?}, degraded {:.1?}",
            acknowledged.saturating_sub(stored),
            stored.saturating_sub(acknowledged),
            self.buys.lock().unwrap().longest_pause,
            self.listings.lock().unwrap().longest_pause,
            degraded.first().zip(degraded.last()),
        );
    }
}

/// Gets a resource again and again, and passes the status and the body on.
async fn poll_until_stopped(
    url: String,
    stop: CancellationToken,
    note: impl Fn(u16, Value) + Send + Sync,
) {
    let http = plain();
    while !stop.is_cancelled() {
        if let Ok(response) = http.get(&url).send().await {
            let status = response.status().as_u16();
            note(status, response.json().await.unwrap_or_default());
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Buys as one user, and notes what is acknowledged.
async fn buy_until_stopped(
    buyer: usize,
    url: String,
    stop: CancellationToken,
    seen: Arc<Mutex<Seen>>,
) {
    for number in 0_u64.. {
        if stop.is_cancelled() {
            return;
        }
        buy(&url, &format!("u{buyer}"), number).await;
        seen.lock().unwrap().note_success();
        // The servers share the processors with the buyers.
        pause().await;
    }
}

/// Buys with one attempt: a user buys once for each price. Returns whether it was acknowledged.
pub(super) async fn buy_once(url: &str, user: &str, price: u64) -> bool {
    let body = format!(r#"{{"username":"ada","userid":"{user}","price":{price}}}"#);
    let request = plain()
        .post(url)
        .header("content-type", "application/json")
        .header("idempotency-key", format!("{user}-{price}"));
    match request.body(body).send().await {
        Ok(response) if response.status().is_success() => true,
        Ok(response) => {
            assert_eq!(response.status(), 503);
            false
        }
        // The service is restarted.
        Err(_) => false,
    }
}

/// Repeats a purchase until it is acknowledged.
pub(super) async fn buy(url: &str, user: &str, price: u64) {
    let bought = async {
        while !buy_once(url, user, price).await {
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
    let mut random = Random::new(seed);
    let mut steps = Vec::new();
    for _fault in 0..count {
        let chosen = usize::try_from(random.below(faults.len() as u64)).unwrap();
        let (fault, mend) = faults[chosen];
        let away = random.below(seconds);
        let back = random.below(seconds);
        steps.push(format!("{fault}, wait {away}, {mend}, wait {back}"));
    }
    steps.join(", ")
}
