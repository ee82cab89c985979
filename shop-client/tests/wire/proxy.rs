//! A network that cuts, delays and doubles connections, between the client and facing, under many buys.

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

/// How often something was done.
#[derive(Debug, Default)]
struct Done {
    cut: AtomicUsize,
    delayed: AtomicUsize,
    doubled: AtomicUsize,
}

/// What happens to the bytes that were read next.
enum Fate {
    Pass,
    /// They and the connection are lost.
    Cut,
    /// Half of them arrive, then the connection is lost.
    CutAfterHalf,
    /// They arrive later than a client waits.
    Delay,
}

/// Longer than [`PATIENCE`].
const DELAY: Duration = Duration::from_millis(400);
/// How long the client waits for one attempt.
const PATIENCE: Duration = Duration::from_millis(250);

#[derive(Clone)]
struct Proxy {
    facing: SocketAddr,
    done: Arc<Done>,
    count: Arc<AtomicU64>,
}

impl Proxy {
    /// The next of a sequence that looks random and is the same each time: splitmix64,
    /// <https://prng.di.unimi.it/splitmix64.c>.
    fn number(&self) -> u64 {
        let state = self.count.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn fate(&self) -> Fate {
        match self.number() % 200 {
            0..=3 => Fate::Cut,
            4..=7 => Fate::CutAfterHalf,
            8 => Fate::Delay,
            _ => Fate::Pass,
        }
    }

    /// Where the client finds facing.
    async fn listen(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(self.clone().carry(client));
            }
        });
        url
    }

    async fn carry(self, client: TcpStream) -> std::io::Result<()> {
        let (from_client, to_client) = client.into_split();
        let (from_facing, to_facing) = TcpStream::connect(self.facing).await?.into_split();
        let mut upstream = vec![to_facing];
        // Every request of a doubled connection comes to facing twice.
        if self.number().is_multiple_of(4) {
            self.done.doubled.fetch_add(1, Ordering::Relaxed);
            let (mut answers, second) = TcpStream::connect(self.facing).await?.into_split();
            tokio::spawn(async move { copy(&mut answers, &mut sink()).await });
            upstream.push(second);
        }
        // Whichever way ends first ends the other.
        tokio::select! {
            end = self.pump(from_client, upstream) => end,
            end = self.pump(from_facing, vec![to_client]) => end,
        }
    }

    async fn pump(&self, mut from: OwnedReadHalf, mut to: Vec<OwnedWriteHalf>) -> std::io::Result<()> {
        let mut bytes = vec![0; 16 << 10];
        loop {
            let mut count = from.read(&mut bytes).await?;
            if count == 0 {
                return Ok(());
            }
            let fate = self.fate();
            match fate {
                Fate::Pass => {}
                Fate::Delay => {
                    self.done.delayed.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(DELAY).await;
                }
                Fate::Cut | Fate::CutAfterHalf => {
                    self.done.cut.fetch_add(1, Ordering::Relaxed);
                    count = if matches!(fate, Fate::Cut) { 0 } else { count / 2 };
                }
            }
            for to in &mut to {
                to.write_all(&bytes[..count]).await?;
            }
            if matches!(fate, Fate::Cut | Fate::CutAfterHalf) {
                return Ok(());
            }
        }
    }
}

/// What the callers were told.
#[derive(Debug, Default)]
struct Told {
    bought: BTreeSet<PurchaseId>,
    unknown: BTreeSet<PurchaseId>,
    not_bought: usize,
}

/// Every other purchase has a key of its own.
fn purchase(number: u64) -> NewPurchase {
    let user = format!("user-{}", number % USERS).parse().unwrap();
    let new = NewPurchase::new(user, "ada".parse().unwrap(), format!("{number}.25").parse().unwrap());
    if number.is_multiple_of(2) { new.with_key(format!("order-{number}").parse().unwrap()) } else { new }
}

async fn buy_all(client: &ShopClient, numbers: impl Iterator<Item = u64>) -> Told {
    let calls = futures_util::stream::iter(numbers.map(|number| async move {
        let new = purchase(number);
        (new.user_id.clone(), client.buy(new).await)
    }));
    let mut told = Told::default();
    let mut answers = calls.buffer_unordered(32);
    while let Some((user, answer)) = answers.next().await {
        match answer {
            Ok(bought) => assert!(told.bought.insert(bought.purchase.id), "given out twice"),
            Err(error) if error.outcome() == Outcome::Unknown => {
                told.unknown.insert(id_from_key(&user, error.idempotency_key().unwrap()));
            }
            Err(_) => told.not_bought += 1,
        }
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_was_bought_or_may_have_been_and_nothing_is_there_twice() {
    let shop = Shop::new();
    let facing = served(shop.router.clone()).await;
    let done = Arc::new(Done::default());
    let address = facing.trim_start_matches("http://").parse().unwrap();
    let proxy = Proxy { facing: address, done: Arc::clone(&done), count: Arc::default() };
    let url = proxy.listen().await;
    let pause = Duration::from_millis(1);
    let client = |retries| ShopClient::builder(&url).buy_timeout(PATIENCE).retries(retries).build().unwrap();
    let patient = client(RetryPolicy::default().budget(1_000, 1.0).backoff(pause, pause * 100));
    let impatient = client(RetryPolicy::none());
    let (most, few) = tokio::join!(
        buy_all(&patient, (0..CALLS).filter(|number| number % 10 != 0)),
        buy_all(&impatient, (0..CALLS).filter(|number| number % 10 == 0)),
    );
    println!("{done:?}");
    for (name, told) in [("with repetitions", &most), ("without", &few)] {
        let (bought, unknown) = (told.bought.len(), told.unknown.len());
        println!("{name}: {bought} bought, {unknown} unknown, {} not bought", told.not_bought);
    }
    assert!([&done.cut, &done.delayed, &done.doubled].iter().all(|count| count.load(Ordering::Relaxed) > 0));
    assert!(!few.unknown.is_empty(), "or nothing was shown");
    assert!(most.bought.len() > most.unknown.len() * 100, "repetition hardly helps");

    shop.ingest();
    let direct = ShopClient::builder(facing).build().unwrap();
    let mark = direct.buy(purchase(CALLS)).await.unwrap();
    shop.carried_to(&mark.receipt).await;
    let stored = shop.store.all();
    let (bought, unknown) = (&most.bought | &few.bought, &most.unknown | &few.unknown);
    let there: BTreeSet<_> =
        stored.iter().map(|purchase| purchase.id).filter(|id| *id != mark.purchase.id).collect();
    println!("{} are stored, {} of them of unknown outcome", there.len(), there.difference(&bought).count());
    assert_eq!((&bought - &there).len(), 0, "bought and not stored");
    assert_eq!((&there - &(&bought | &unknown)).len(), 0, "stored, and nobody was told that it may be");
    // Prices are all different: one purchase under two ids would show.
    let prices: BTreeSet<_> = stored.iter().map(|purchase| purchase.price.to_string()).collect();
    assert_eq!(prices.len(), stored.len(), "no purchase twice");
}
