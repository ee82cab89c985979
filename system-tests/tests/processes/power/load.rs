//! The load while the power is cut: purchases, users and orders, recorded in a history.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use shop_client::{NewPurchase, PurchaseId, RetryPolicy, ShopClient, UserId};
use shop_core::ports::PurchaseSink as _;
use shop_core::{Clock, SystemClock, Timestamp};
use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::entities::ledger::Ledger;
use crate::history::{Call, History, Outcome, Sees};
use crate::process::{Process, pause, plain, until};

/// Concurrent buyers. Each has another user in each round.
const BUYERS: u64 = 8;

/// A purchase that is bought by a call, and repeated if the call got no response.
#[derive(Debug, Clone)]
struct Order {
    id: PurchaseId,
    user: UserId,
    number: u64,
}

impl Order {
    fn purchase(&self) -> NewPurchase {
        let price = format!("{}.{:02}", self.number % 90, self.number % 97);
        let new = NewPurchase::for_user(self.user.clone())
            .with_user_name("ada")
            .with_price(price)
            .unwrap();
        new.with_key(self.id.to_string()).unwrap()
    }
}

/// Calls to the services over all boots of a disk.
#[derive(Default)]
pub(super) struct Load {
    pub(super) history: Arc<History>,
    pub(super) ledger: Ledger,
    unanswered: Mutex<Vec<Order>>,
    /// The services of this boot have ended.
    is_over: AtomicBool,
    users: AtomicU64,
    orders: AtomicU64,
    pub(super) conflicts: Mutex<Conflicts>,
    http: reqwest::Client,
}

/// Purchases that can never be stored.
#[derive(Debug, Default)]
pub(super) struct Conflicts {
    pub(super) sent: BTreeSet<PurchaseId>,
    pub(super) acknowledged: BTreeSet<PurchaseId>,
}

/// The URLs of the services.
#[derive(Debug, Clone)]
pub(super) struct Place {
    facing: String,
    management: String,
}

impl Place {
    pub(super) fn new(facing: &Process, management: &Process) -> Self {
        Self {
            facing: facing.url.clone(),
            management: management.url.clone(),
        }
    }
}

impl Load {
    pub(super) fn new() -> Self {
        let history = Arc::<History>::default();
        Self {
            ledger: Ledger::of(Arc::clone(&history)),
            history,
            http: plain(),
            ..Self::default()
        }
    }

    pub(super) fn client(&self, url: &str) -> ShopClient {
        let builder = ShopClient::builder(url).http_client(self.http.clone());
        builder.retries(RetryPolicy::none()).build().unwrap()
    }

    /// The users that buy in a round.
    pub(super) fn users(round: u64) -> impl Iterator<Item = UserId> {
        (0..BUYERS).map(move |buyer| format!("user-{round}-{buyer}").parse().unwrap())
    }

    /// Starts the calls of a round. They end after [`stop`](Self::stop), when the services have ended.
    pub(super) fn start(self: &Arc<Self>, round: u64, place: &Place) -> JoinSet<()> {
        self.is_over.store(false, Ordering::SeqCst);
        let mut calls = JoinSet::new();
        for user in Self::users(round) {
            calls.spawn(Arc::clone(self).buy(user, place.facing.clone()));
        }
        calls.spawn(Arc::clone(self).look(round, place.management.clone()));
        calls.spawn(Arc::clone(self).repeat(place.facing.clone()));
        calls.spawn(Arc::clone(self).register());
        calls.spawn(Arc::clone(self).place());
        calls.spawn(Arc::clone(self).conflict(place.clone()));
        calls
    }

    pub(super) fn stop(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Buys sequentially, and reads the purchases.
    async fn buy(self: Arc<Self>, user: UserId, url: String) {
        let client = self.client(&url);
        let mut number = 0;
        while !self.is_over() {
            number += 1;
            let id = uuid::Uuid::new_v4().into();
            let order = Order {
                id,
                user: user.clone(),
                number,
            };
            if !self.send(&client, order).await {
                continue;
            }
            if number.is_multiple_of(4) {
                self.history.sum(&client, &user, Sees::Own(id)).await;
            }
            if number.is_multiple_of(16) {
                self.history.list(&client, &user, Sees::Own(id)).await;
            }
        }
    }

    async fn send(&self, client: &ShopClient, order: Order) -> bool {
        if let Outcome::Bought { .. } = self.history.buy(client, order.purchase()).await {
            return true;
        }
        self.unanswered.lock().await.push(order);
        pause().await;
        false
    }

    /// Repeats every other purchase that got no response before the power was cut.
    async fn repeat(self: Arc<Self>, url: String) {
        let client = self.client(&url);
        let orders = std::mem::take(&mut *self.unanswered.lock().await);
        for order in orders.into_iter().step_by(2) {
            self.send(&client, order).await;
        }
    }

    /// Reads purchases of others, from a service that does not wait for them.
    async fn look(self: Arc<Self>, round: u64, url: String) {
        let client = self.client(&url);
        for user in Self::users(round).collect::<Vec<_>>().iter().cycle() {
            if self.is_over() {
                return;
            }
            self.history.list(&client, user, Sees::Earlier).await;
            self.history.sum(&client, user, Sees::Earlier).await;
            pause().await;
        }
    }

    /// Registers users sequentially, each until it is acknowledged.
    async fn register(self: Arc<Self>) {
        while !self.is_over() {
            if self
                .ledger
                .register(self.users.load(Ordering::Relaxed))
                .await
            {
                self.users.fetch_add(1, Ordering::Relaxed);
            } else {
                pause().await;
            }
        }
    }

    async fn place(self: Arc<Self>) {
        while !self.is_over() {
            if self.ledger.place(self.orders.load(Ordering::Relaxed)).await {
                self.orders.fetch_add(1, Ordering::Relaxed);
            } else {
                pause().await;
            }
        }
    }

    /// Buys with records older than the retention, which the log deletes once they are stored.
    pub(super) async fn buy_old(&self, folder: &Path) -> Result<(), String> {
        let mut options = EmbeddedLogOptions::default();
        options.clock = Arc::new(LongAgo);
        let log = EmbeddedLog::open(folder, options)
            .await
            .map_err(|error| error.to_string())?;
        let sink = log.sink();
        let buy = async |number: u64| {
            let user = format!("old-{}", number % 4).parse().unwrap();
            let order = Order {
                id: uuid::Uuid::new_v4().into(),
                user,
                number,
            };
            let new = order.purchase();
            let call = Call::Buy {
                id: Some(order.id),
                user: order.user,
                price: new.price,
            };
            let call = self.history.begin(call);
            let bought = sink
                .publish(&new.into_purchase(SystemClock.now(), || SystemClock.fresh_id()))
                .await;
            let bought = bought.map_err(|error| error.to_string())?;
            self.history.end(
                call,
                Outcome::Bought {
                    id: bought.id,
                    position: None,
                },
            );
            Ok(())
        };
        let bought: Vec<_> = stream::iter(0..1_500)
            .map(buy)
            .buffer_unordered(100)
            .collect()
            .await;
        drop((sink, log));
        // The thread of the log closes it.
        until("close the log", async || {
            !folder.join("shop.db-wal").exists()
        })
        .await;
        bought.into_iter().collect()
    }

    /// Buys once more, and waits until the purchase is stored.
    pub(super) async fn buy_last(&self, client: &ShopClient) -> bool {
        let (user, id): (UserId, _) = ("last".parse().unwrap(), uuid::Uuid::new_v4().into());
        let order = Order {
            id,
            user: user.clone(),
            number: 1,
        };
        self.send(client, order).await
            && self
                .history
                .sum(client, &user, Sees::Own(id))
                .await
                .is_some()
    }

    /// The number of registered users and of placed orders.
    pub(super) fn entities(&self) -> (u64, u64) {
        (
            self.users.load(Ordering::Relaxed),
            self.orders.load(Ordering::Relaxed),
        )
    }

    /// Repeats the registration and the order that may have got no response before the last cut.
    pub(super) async fn finish(&self) -> bool {
        let (user, order) = self.entities();
        self.ledger.register(user).await && self.ledger.place(order).await
    }

    /// Buys purchases that can never be stored: the store has another one with their id. A key that is a fresh UUIDv7
    /// is not looked up, so they are accepted.
    async fn conflict(self: Arc<Self>, place: Place) {
        let store = self.client(&place.management);
        let log = self.client(&place.facing);
        while !self.is_over() {
            let id = PurchaseId::from_uuid(uuid::Uuid::now_v7());
            let new = |price: &str| {
                let new = NewPurchase::for_user("twice")
                    .with_user_name("ada")
                    .with_price(price)
                    .unwrap();
                new.with_key(id.to_string()).unwrap()
            };
            self.conflicts.lock().await.sent.insert(id);
            if store.buy(new("1")).await.is_ok() && log.buy(new("2")).await.is_ok() {
                self.conflicts.lock().await.acknowledged.insert(id);
            }
            for _ in 0..5 {
                pause().await;
            }
        }
    }
}

/// A clock that is eight days slow.
#[derive(Debug)]
struct LongAgo;

impl Clock for LongAgo {
    fn now(&self) -> Timestamp {
        SystemClock
            .now()
            .saturating_sub(Duration::from_secs(8 * 24 * 3_600))
    }

    fn fresh_id(&self) -> uuid::Uuid {
        SystemClock.fresh_id()
    }
}
