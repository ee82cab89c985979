//! Registers users and places orders, and counts the acknowledged ones at the end: a request gets one row, a number belongs
//! to one row, and an acknowledged row is found unchanged.

use std::collections::BTreeMap;
use std::sync::Mutex;

use shop_accounts::client::AccountsClient as _;
use shop_accounts::entity::{Entity, EntityStore, Insertion};
use shop_accounts::orders::{NewOrder, Order};
use shop_accounts::users::{NewUser, User, UserNumber};
use shop_core::IdempotencyKey;
use tokio::sync::RwLock;

use super::backends::{Place, Views};
use crate::history::ClientHistory;
use crate::prelude::*;

/// One of as many rows is read after it was acknowledged.
const READ: u64 = 8;

/// The acknowledged users or orders, by the keys of their requests.
#[derive(Debug)]
struct Rows<E>(Mutex<BTreeMap<IdempotencyKey, E>>);

impl<E> Default for Rows<E> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<E: Entity> Rows<E> {
    fn by_number(&self) -> BTreeMap<i64, E> {
        let rows = self.0.lock().unwrap();
        let by_number: BTreeMap<_, _> = rows
            .values()
            .map(|row| (row.number().into(), row.clone()))
            .collect();
        assert_eq!(
            by_number.len(),
            rows.len(),
            "a number was acknowledged twice"
        );
        by_number
    }

    /// Inserts a row with one attempt. `None` if it was not acknowledged, such as an order while its user is not known.
    async fn insert(&self, service: &impl EntityStore<E>, new: &E::New) -> Option<E::Number> {
        let row = match service.insert(new).await.ok()? {
            Insertion::Inserted(row) | Insertion::AlreadyInserted(row) => row,
            Insertion::Refused => return None,
            other => panic!("{new:?} has become {other:?}"),
        };
        assert_eq!(row, E::with_number(new, row.number()));
        let mut rows = self.0.lock().unwrap();
        let first = rows
            .entry(E::key(new).clone())
            .or_insert_with(|| row.clone());
        assert_eq!(*first, row, "a request was acknowledged with two rows");
        Some(row.number())
    }

    /// Reads a row. Returns whether the service has answered. It must have found the row if that was acknowledged before.
    async fn find(&self, service: &impl EntityStore<E>, number: i64) -> bool {
        let acknowledged = self.by_number().remove(&number);
        let Ok(found) = service.get(number.into()).await else {
            return false;
        };
        assert!(acknowledged.is_none() || acknowledged == found, "{found:?}");
        true
    }

    /// Asserts that every acknowledged row is found, and that the rows of the published events are the acknowledged ones.
    async fn count(&self, service: &impl EntityStore<E>, place: &Place<'_>) -> BTreeMap<i64, E> {
        let acknowledged = self.by_number();
        for number in acknowledged.keys() {
            until("read a row", async || self.find(service, *number).await).await;
        }
        let events: Vec<E> = place.published().await;
        println!("{} rows, {} events", acknowledged.len(), events.len());
        let published = events.into_iter().map(|row| (row.number().into(), row));
        assert_eq!(published.collect::<BTreeMap<_, _>>(), acknowledged);
        acknowledged
    }
}

/// Requests for users and orders, which a history counts.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) history: Arc<ClientHistory>,
    users: Rows<User>,
    orders: Rows<Order>,
    /// The current URLs of users and orders.
    urls: RwLock<(String, String)>,
    http: reqwest::Client,
}

impl Ledger {
    /// A ledger whose calls `history` counts.
    pub(crate) fn of(history: Arc<ClientHistory>) -> Self {
        Self {
            history,
            http: plain(),
            ..Self::default()
        }
    }

    pub(crate) async fn moved(&self, users: &Process, orders: &Process) {
        *self.urls.write().await = (users.url.clone(), orders.url.clone());
    }

    /// Clients of users and orders at their current URLs.
    async fn clients(&self) -> (ShopClient, ShopClient) {
        let client = |url: &str| {
            let builder = ShopClient::builder(url).http_client(self.http.clone());
            builder.retries(RetryPolicy::none()).build().unwrap()
        };
        let (users, orders) = &*self.urls.read().await;
        (client(users), client(orders))
    }

    /// Registers user `number` with one attempt; returns whether it was acknowledged. Some are read afterwards.
    pub(crate) async fn register(&self, number: u64) -> bool {
        let email = format!("user-{number}@example.com").parse().unwrap();
        let key = format!("user-{number}").parse().unwrap();
        let new = NewUser::new(key, email, "Ada".parse().unwrap());
        let users = self.clients().await.0.users();
        let registered = self.users.insert(&users, &new).await;
        self.history.count_call();
        let Some(id) = registered else {
            return false;
        };
        if number.is_multiple_of(READ) {
            self.users.find(&users, id.get()).await;
        }
        true
    }

    /// Places order `number` of one of the first ten users with one attempt; returns whether it was acknowledged.
    /// Some are read afterwards, also from the users' role.
    pub(crate) async fn place(&self, number: u64) -> bool {
        let user = i64::try_from(1 + number % 10).unwrap();
        if !self.users.by_number().contains_key(&user) {
            return false;
        }
        let product = format!("Notebook {number}").parse().unwrap();
        let price = format!("{number}.50").parse().unwrap();
        let key = format!("order-{number}").parse().unwrap();
        let new = NewOrder::new(key, UserNumber::new(user), product, 2, price);
        let (users, orders) = self.clients().await;
        let placed = self.orders.insert(&orders.orders(), &new).await;
        self.history.count_call();
        let Some(id) = placed else {
            return false;
        };
        if number.is_multiple_of(READ) {
            self.orders.find(&orders.orders(), id.get()).await;
            self.users.find(&users.users(), user).await;
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
        for (process, role) in [(users, "users"), (orders, "orders")] {
            until("publish everything", async || {
                outbox(process, role).await == Some(0)
            })
            .await;
        }
        let (users, orders) = self.clients().await;
        let registered = self.users.count(&users.users(), place).await;
        let placed = self.orders.count(&orders.orders(), place).await;
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
