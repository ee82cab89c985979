//! Registers users and places orders, and counts the acknowledged ones at the end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

use shop_accounts::orders::{NewOrder, Order, OrderNumber};
use shop_accounts::users::{NewUser, User, UserNumber};
use tokio::sync::RwLock;

use super::backends::{Place, Views};
use crate::history::History;
use crate::prelude::*;

/// One of as many rows is read after it was acknowledged.
const READ: u64 = 8;

/// Requests for users and orders, recorded in a history.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) history: Arc<History>,
    /// The highest user number.
    users: AtomicI64,
    /// The current URLs of users and orders.
    urls: RwLock<(String, String)>,
    http: reqwest::Client,
}

impl Ledger {
    /// A ledger that records its calls in `history`.
    pub(crate) fn of(history: Arc<History>) -> Self {
        Self {
            history,
            http: plain(),
            ..Self::default()
        }
    }

    pub(crate) async fn moved(&self, users: &Process, orders: &Process) {
        *self.urls.write().await = (users.url.clone(), orders.url.clone());
    }

    fn client(&self, url: &str) -> ShopClient {
        // A restarted process has another address.
        let builder = ShopClient::builder(url).http_client(self.http.clone());
        builder.retries(RetryPolicy::none()).build().unwrap()
    }

    /// Registers user `number` with one attempt; returns whether it was acknowledged. Some are read afterwards.
    pub(crate) async fn register(&self, number: u64) -> bool {
        let email = format!("user-{number}@example.com").parse().unwrap();
        let new = NewUser::new(
            format!("user-{number}").parse().unwrap(),
            email,
            "Ada".parse().unwrap(),
        );
        let client = self.client(&self.urls.read().await.0);
        let Some(id) = self.history.register(&client, new).await else {
            return false;
        };
        self.users.fetch_max(id.get(), Ordering::Relaxed);
        if number.is_multiple_of(READ) {
            self.history.find_user(&client, id).await;
        }
        true
    }

    /// Places order `number` of one of the first ten users with one attempt; returns whether it was acknowledged.
    /// Some are read afterwards, also from the users' role.
    pub(crate) async fn place(&self, number: u64) -> bool {
        let wanted = i64::try_from(1 + number % 10).unwrap();
        if self.users.load(Ordering::Relaxed) < wanted {
            return false;
        }
        let product = format!("Notebook {number}").parse().unwrap();
        let price = format!("{number}.50").parse().unwrap();
        let key = format!("order-{number}").parse().unwrap();
        let user = UserNumber::new(wanted);
        let (users, orders) = self.urls.read().await.clone();
        let orders = self.client(&orders);
        let new = NewOrder::new(key, user, product, 2, price);
        let Some(id) = self.history.place(&orders, new).await else {
            return false;
        };
        if number.is_multiple_of(READ) {
            self.history.find_order(&orders, id).await;
            self.history.find_user(&self.client(&users), user).await;
        }
        true
    }

    /// Asserts that every acknowledged row exists unchanged, and that its event was published and consumed.
    pub(crate) async fn count(
        &self,
        place: &Place<'_>,
        users: &Process,
        orders: &Process,
    ) -> Views {
        let registered = self.history.registered();
        let placed = self.history.placed();
        let of_users = self.client(&users.url);
        let of_orders = self.client(&orders.url);
        for id in registered.keys().copied().map(UserNumber::new) {
            until("read a user", async || {
                self.history.find_user(&of_users, id).await
            })
            .await;
        }
        for id in placed.keys().copied().map(OrderNumber::new) {
            until("read an order", async || {
                self.history.find_order(&of_orders, id).await
            })
            .await;
        }
        self.history.assert_correct();
        for (process, role) in [(users, "users"), (orders, "orders")] {
            until("publish everything", async || {
                outbox(process, role).await == Some(0)
            })
            .await;
        }
        let users: Vec<User> = place.published().await;
        let orders: Vec<Order> = place.published().await;
        println!(
            "{} users, {} orders: all there, none twice; {} and {} events",
            registered.len(),
            placed.len(),
            users.len(),
            orders.len()
        );
        let users = users.into_iter().map(|user| (user.id.get(), user));
        assert_eq!(users.collect::<BTreeMap<_, _>>(), registered);
        let orders = orders.into_iter().map(|order| (order.id.get(), order));
        assert_eq!(orders.collect::<BTreeMap<_, _>>(), placed);
        let expected = Views {
            known_users: registered.into_keys().collect(),
            orders_of_users: placed
                .into_iter()
                .map(|(number, order)| (number, order.user_id.get()))
                .collect(),
        };
        until("consume everything", async || {
            place.views().await == expected
        })
        .await;
        expected
    }
}

/// The number of pending events of a role.
pub(crate) async fn outbox(process: &Process, role: &str) -> Option<u64> {
    get(&process.path("/health")).await.1[role]["outbox"].as_u64()
}
