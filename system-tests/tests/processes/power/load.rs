//! The load while the power is cut: purchases, users and orders, recorded in a history.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use shop_client::{PurchaseId, UserId};
use shop_faults::history::{Outcome, Sees};

use crate::entities::ledger::Ledger;
use crate::history::ClientHistory;
use crate::prelude::*;

/// Concurrent buyers. Each has another user in each round.
const BUYERS: u64 = 8;

/// Both services.
pub(super) struct Services {
    pub(super) facing: Process,
    pub(super) management: Process,
}

/// Calls to the services over all boots of a disk.
#[derive(Default)]
pub(super) struct Load {
    pub(super) history: Arc<ClientHistory>,
    pub(super) ledger: Ledger,
    /// The services of this boot have ended.
    is_over: AtomicBool,
    pub(super) users: AtomicU64,
    pub(super) orders: AtomicU64,
    http: reqwest::Client,
}

impl Load {
    pub(super) fn new() -> Self {
        let history = Arc::<ClientHistory>::default();
        Self {
            ledger: Ledger::of(Arc::clone(&history)),
            history,
            http: plain(),
            ..Self::default()
        }
    }

    pub(super) fn client(&self, service: &Process) -> ShopClient {
        let builder = ShopClient::builder(&service.url).http_client(self.http.clone());
        builder.retries(RetryPolicy::none()).build().unwrap()
    }

    /// The users that buy in a round.
    pub(super) fn users(round: u64) -> impl Iterator<Item = UserId> {
        (0..BUYERS).map(move |buyer| format!("user-{round}-{buyer}").parse().unwrap())
    }

    /// Starts the calls of a round. They end after [`stop`](Self::stop), when the services have ended.
    pub(super) fn start(self: &Arc<Self>, round: u64, services: &Services) -> JoinSet<()> {
        self.is_over.store(false, Ordering::SeqCst);
        let mut calls = JoinSet::new();
        for user in Self::users(round) {
            calls.spawn(Arc::clone(self).buy(user, self.client(&services.facing)));
        }
        calls.spawn(Arc::clone(self).look(round, self.client(&services.management)));
        calls.spawn(Arc::clone(self).insert_rows());
        calls
    }

    pub(super) fn stop(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Buys sequentially, and reads the purchases.
    async fn buy(self: Arc<Self>, user: UserId, client: ShopClient) {
        for number in 1_u64.. {
            if self.is_over() {
                return;
            }
            let price = format!("{}.{:02}", number % 90, number % 97);
            let Some(id) = self.send(&client, &user, &price).await else {
                pause().await;
                continue;
            };
            if number.is_multiple_of(4) {
                self.history.sum(&client, &user, Sees::Own(id)).await;
            }
            if number.is_multiple_of(16) {
                self.history.list(&client, &user, Sees::Own(id)).await;
            }
        }
    }

    /// Buys with one attempt and a key that is the id. `None` if it was not acknowledged.
    async fn send(&self, client: &ShopClient, user: &UserId, price: &str) -> Option<PurchaseId> {
        let new = NewPurchase::for_user(user.clone())
            .with_user_name("ada")
            .with_price(price)
            .unwrap();
        let new = new.with_key(uuid::Uuid::new_v4().to_string()).unwrap();
        match self.history.buy(client, new).await {
            Outcome::Bought(acknowledgement) => Some(acknowledgement.id),
            _ => None,
        }
    }

    /// Reads purchases of others, from a service that does not wait for them.
    async fn look(self: Arc<Self>, round: u64, client: ShopClient) {
        for user in Self::users(round).collect::<Vec<_>>().iter().cycle() {
            if self.is_over() {
                return;
            }
            self.history.list(&client, user, Sees::Earlier).await;
            self.history.sum(&client, user, Sees::Earlier).await;
            pause().await;
        }
    }

    /// Registers a user and places an order in turn, each until it is acknowledged.
    async fn insert_rows(self: Arc<Self>) {
        while !self.is_over() {
            if !self.insert_user_and_order().await {
                pause().await;
            }
        }
    }

    /// Returns whether both were acknowledged.
    async fn insert_user_and_order(&self) -> bool {
        let user = self.users.load(Ordering::Relaxed);
        let is_registered = self.ledger.register(user).await;
        self.users
            .fetch_add(u64::from(is_registered), Ordering::Relaxed);

        let order = self.orders.load(Ordering::Relaxed);
        let is_placed = self.ledger.place(order).await;
        self.orders
            .fetch_add(u64::from(is_placed), Ordering::Relaxed);
        is_registered && is_placed
    }

    /// Repeats the registration and the order that may have got no response before the last cut.
    pub(super) async fn finish_rows(&self) {
        while !self.insert_user_and_order().await {
            pause().await;
        }
    }

    /// Buys once more, and waits until the purchase is stored.
    pub(super) async fn buy_last(&self, client: &ShopClient) {
        let user = "last".parse().unwrap();
        loop {
            if let Some(id) = self.send(client, &user, "1").await {
                let sum = self.history.sum(client, &user, Sees::Own(id)).await;
                if sum.is_some() {
                    return;
                }
            }
            pause().await;
        }
    }
}
