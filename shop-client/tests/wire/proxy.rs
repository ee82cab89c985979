//! A network that cuts, delays and duplicates connections between the client and facing, under many buys.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use shop_client::shop_core::id_from_key;
use shop_client::{NewPurchase, Outcome, PurchaseId, RetryPolicy, ShopClient};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::shop::{Shop, served};

const CALLS: u64 = 10_000;
const USERS: u64 = 7;

/// Counts of the proxy's actions.
#[derive(Debug, Default)]
struct Done {
    cut: AtomicUsize,
    delayed: AtomicUsize,
    doubled: AtomicUsize,
}

/// The action for the bytes that were read.
enum Action {
    Pass,
    /// Drops them and the connection.
    Cut,
    /// Forwards half of them, then drops the connection.
    CutAfterHalf,
    /// Forwards them after the client has timed out.
    Delay,
}

/// Longer than [`CLIENT_TIMEOUT`].
const DELAY: Duration = Duration::from_millis(400);
/// The client's time-out for one attempt.
const CLIENT_TIMEOUT: Duration = Duration::from_millis(250);

#[derive(Clone)]
struct Proxy {
    facing: SocketAddr,
    done: Arc<Done>,
    count: Arc<AtomicU64>,
}

impl Proxy {
    /// The next of a pseudo-random sequence that is the same in each run: splitmix64,
    /// <https://prng.di.unimi.it/splitmix64.c>.
    fn number(&self) -> u64 {
        let state = self
            .count
            .fetch_add(1, Ordering::Relaxed)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn action(&self) -> Action {
        match self.number() % 200 {
            0..=3 => Action::Cut,
            4..=7 => Action::CutAfterHalf,
            8 => Action::Delay,
            _ => Action::Pass,
        }
    }

    /// The address of the proxy.
    async fn listen(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(self.clone().forward(client));
            }
        });
        url
    }

    async fn forward(self, client: TcpStream) -> std::io::Result<()> {
        let (from_client, to_client) = client.into_split();
        let (from_facing, to_facing) = TcpStream::connect(self.facing).await?.into_split();
        let mut upstream = vec![to_facing];
        // Every request of a duplicated connection reaches facing twice.
        if self.number().is_multiple_of(4) {
            self.done.doubled.fetch_add(1, Ordering::Relaxed);
            let (mut answers, second) = TcpStream::connect(self.facing).await?.into_split();
            tokio::spawn(async move { copy(&mut answers, &mut sink()).await });
            upstream.push(second);
        }
        // The direction that ends first ends the other.
        tokio::select! {
            end = self.pump(from_client, upstream) => end,
            end = self.pump(from_facing, vec![to_client]) => end,
        }
    }

    async fn pump(
        &self,
        mut from: OwnedReadHalf,
        mut to: Vec<OwnedWriteHalf>,
    ) -> std::io::Result<()> {
        let mut bytes = vec![0; 16 << 10];
        loop {
            let mut count = from.read(&mut bytes).await?;
            if count == 0 {
                return Ok(());
            }
            let action = self.action();
            match action {
                Action::Pass => {}
                Action::Delay => {
                    self.done.delayed.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(DELAY).await;
                }
                Action::Cut | Action::CutAfterHalf => {
                    self.done.cut.fetch_add(1, Ordering::Relaxed);
                    count = if matches!(action, Action::Cut) {
                        0
                    } else {
                        count / 2
                    };
                }
            }
            for to in &mut to {
                to.write_all(&bytes[..count]).await?;
            }
            if matches!(action, Action::Cut | Action::CutAfterHalf) {
                return Ok(());
            }
        }
    }
}

/// The results of the callers.
#[derive(Debug, Default)]
struct Results {
    bought: BTreeSet<PurchaseId>,
    unknown: BTreeSet<PurchaseId>,
    not_bought: usize,
}

/// Every other purchase has its own key.
fn purchase(number: u64) -> NewPurchase {
    let user = format!("user-{}", number % USERS);
    let new = NewPurchase::for_user(user)
        .with_user_name("ada")
        .with_price(format!("{number}.25"))
        .unwrap();
    if number.is_multiple_of(2) {
        new.with_key(format!("order-{number}")).unwrap()
    } else {
        new
    }
}

async fn buy_all(client: &ShopClient, numbers: impl Iterator<Item = u64>) -> Results {
    let calls = futures_util::stream::iter(numbers.map(|number| async move {
        let new = purchase(number);
        (new.user_id.clone(), client.buy(new).await)
    }));
    let mut results = Results::default();
    let mut answers = calls.buffer_unordered(32);
    while let Some((user, answer)) = answers.next().await {
        match answer {
            Ok(bought) => assert!(
                results.bought.insert(bought.purchase.id),
                "acknowledged twice"
            ),
            Err(error) if error.outcome() == Outcome::Unknown => {
                results
                    .unknown
                    .insert(id_from_key(&user, error.idempotency_key().unwrap()));
            }
            Err(_) => results.not_bought += 1,
        }
    }
    results
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_purchase_is_stored_once() {
    let shop = Shop::new();
    let facing = served(shop.router.clone()).await;
    let done = Arc::new(Done::default());
    let address = facing.trim_start_matches("http://").parse().unwrap();
    let proxy = Proxy {
        facing: address,
        done: Arc::clone(&done),
        count: Arc::default(),
    };
    let url = proxy.listen().await;
    let pause = Duration::from_millis(1);
    let client = |retries| {
        ShopClient::builder(&url)
            .buy_timeout(CLIENT_TIMEOUT)
            .retries(retries)
            .build()
            .unwrap()
    };
    let patient = client(
        RetryPolicy::default()
            .budget(1_000, 1.0)
            .backoff(pause, pause * 100),
    );
    let impatient = client(RetryPolicy::none());
    let (most, few) = tokio::join!(
        buy_all(&patient, (0..CALLS).filter(|number| number % 10 != 0)),
        buy_all(&impatient, (0..CALLS).filter(|number| number % 10 == 0)),
    );
    println!("{done:?}");
    for (name, results) in [("with retries", &most), ("without", &few)] {
        let bought = results.bought.len();
        let unknown = results.unknown.len();
        println!(
            "{name}: {bought} bought, {unknown} unknown, {} not bought",
            results.not_bought
        );
    }
    assert!(
        [&done.cut, &done.delayed, &done.doubled]
            .iter()
            .all(|count| count.load(Ordering::Relaxed) > 0)
    );
    assert!(
        !few.unknown.is_empty(),
        "without unknown outcomes, the test shows nothing"
    );
    assert!(
        most.bought.len() > most.unknown.len() * 100,
        "retries hardly help"
    );

    shop.ingest();
    let direct = ShopClient::builder(facing).build().unwrap();
    let mark = direct.buy(purchase(CALLS)).await.unwrap();
    shop.stored_up_to(&mark.receipt).await;
    let stored = shop.store.all();
    let (bought, unknown) = (&most.bought | &few.bought, &most.unknown | &few.unknown);
    let there: BTreeSet<_> = stored
        .iter()
        .map(|purchase| purchase.id)
        .filter(|id| *id != mark.purchase.id)
        .collect();
    println!(
        "{} are stored, {} of them of unknown outcome",
        there.len(),
        there.difference(&bought).count()
    );
    assert_eq!((&bought - &there).len(), 0, "bought and not stored");
    assert_eq!(
        (&there - &(&bought | &unknown)).len(),
        0,
        "stored, and reported to no caller"
    );
    // All prices differ: one purchase under two ids would show.
    let prices: BTreeSet<_> = stored
        .iter()
        .map(|purchase| purchase.price.to_string())
        .collect();
    assert_eq!(prices.len(), stored.len(), "no purchase twice");
}
