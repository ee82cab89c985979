//! The acknowledged users and orders, and their count at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{StreamExt, stream};
use shop_client::{RetryPolicy, ShopClient};
use shop_core::orders::{NewOrder, Order, Placement};
use shop_core::users::{NewUser, Registration, User, UserNumber};
use tokio::sync::{Mutex, RwLock};

use super::backends::{Place, Views};
use crate::process::{Process, get, plain, until};

/// The registered users and the placed orders, as acknowledged.
#[derive(Default)]
pub(crate) struct Ledger {
    users: Mutex<BTreeMap<i64, User>>,
    orders: Mutex<BTreeMap<i64, Order>>,
    /// Where users and where orders are to be found now.
    urls: RwLock<(String, String)>,
    /// Calls that were answered in any way.
    pub(crate) calls: AtomicU64,
    http: reqwest::Client,
}

impl Ledger {
    pub(crate) fn new(users: &Process, orders: &Process) -> Self {
        Self {
            users: Mutex::default(),
            orders: Mutex::default(),
            urls: RwLock::new((users.url.clone(), orders.url.clone())),
            calls: AtomicU64::new(0),
            http: plain(),
        }
    }

    pub(crate) async fn moved(&self, users: &Process, orders: &Process) {
        *self.urls.write().await = (users.url.clone(), orders.url.clone());
    }

    fn client(&self, url: &str) -> ShopClient {
        // Who is started anew is somewhere else.
        let builder = ShopClient::builder(url).http_client(self.http.clone());
        builder.retries(RetryPolicy::none()).build().unwrap()
    }

    /// Registers user `number`, once; answers whether that was acknowledged.
    pub(crate) async fn register(&self, number: u64) -> bool {
        let email = format!("user-{number}@example.com").parse().unwrap();
        let new = NewUser::new(format!("user-{number}").parse().unwrap(), email, "Ada".parse().unwrap());
        let client = self.client(&self.urls.read().await.0);
        let registered = client.users().register(&new).await;
        self.calls.fetch_add(1, Ordering::Relaxed);
        let user = match registered {
            Ok(Registration::Registered(user) | Registration::AlreadyRegistered(user)) => user,
            Ok(other) => panic!("user {number}: {other:?}"),
            Err(_away) => return false,
        };
        assert_eq!(user, new.with_id(user.id));
        let first = self.users.lock().await.insert(user.id.get(), user.clone());
        assert!(first.is_none_or(|first| first == user), "a number was given out twice: {user:?}");
        true
    }

    /// Places order `number` of one of those who are registered, once; answers whether that was acknowledged.
    pub(crate) async fn place(&self, number: u64) -> bool {
        let Some(user) = self.some_user(number).await else { return false };
        let product = format!("Notebook {number}").parse().unwrap();
        let price = format!("{number}.50").parse().unwrap();
        let new = NewOrder::new(format!("order-{number}").parse().unwrap(), user, product, 2, price);
        let client = self.client(&self.urls.read().await.1);
        let placed = client.orders().place(&new).await;
        self.calls.fetch_add(1, Ordering::Relaxed);
        let order = match placed {
            Ok(Placement::Placed(order) | Placement::AlreadyPlaced(order)) => order,
            // The user's event is not consumed yet, or the service is unavailable.
            Ok(Placement::UnknownUser) | Err(_) => return false,
            Ok(other) => panic!("order {number}: {other:?}"),
        };
        assert_eq!(order, new.with_id(order.id));
        let first = self.orders.lock().await.insert(order.id.get(), order.clone());
        assert!(first.is_none_or(|first| first == order), "a number was given out twice: {order:?}");
        true
    }

    /// One of the first ten who were acknowledged by then, the same for each number from then on.
    async fn some_user(&self, number: u64) -> Option<UserNumber> {
        let wanted = i64::try_from(1 + number % 10).unwrap();
        let users = self.users.lock().await;
        users.contains_key(&wanted).then_some(UserNumber::new(wanted))
    }

    /// Everything that was acknowledged is there, as it was; and its event was published and consumed.
    pub(crate) async fn count(&self, place: &Place<'_>, users: &Process, orders: &Process) -> Views {
        let (registered, placed) = (self.users.lock().await.clone(), self.orders.lock().await.clone());
        assert_without_gaps(&registered);
        assert_without_gaps(&placed);
        let (of_users, of_orders) = (self.client(&users.url), self.client(&orders.url));
        let found = async |user: &User| {
            assert_eq!(of_users.users().get(user.id).await.unwrap().as_ref(), Some(user));
        };
        stream::iter(registered.values()).map(found).buffer_unordered(8).collect::<()>().await;
        let found = async |order: &Order| {
            assert_eq!(of_orders.orders().get(order.id).await.unwrap().as_ref(), Some(order));
        };
        stream::iter(placed.values()).map(found).buffer_unordered(8).collect::<()>().await;

        until("show everything", async || outbox(users, "users").await == Some(0)).await;
        until("show everything", async || outbox(orders, "orders").await == Some(0)).await;
        let published: Vec<User> = place.published().await;
        assert_eq!(
            published.iter().map(|user| (user.id.get(), user.clone())).collect::<BTreeMap<_, _>>(),
            registered
        );
        let of_users = published.len() - registered.len();
        let published: Vec<Order> = place.published().await;
        assert_eq!(
            published.iter().map(|order| (order.id.get(), order.clone())).collect::<BTreeMap<_, _>>(),
            placed
        );
        let of_orders = published.len() - placed.len();
        let expected = Views {
            known_users: registered.keys().copied().collect::<BTreeSet<_>>(),
            orders_of_users: placed.values().map(|order| (order.id.get(), order.user_id.get())).collect(),
        };
        until("consume everything", async || place.views().await == expected).await;
        println!(
            "{} users, {} orders: all there, none twice; published twice: {of_users} users, {of_orders} orders",
            registered.len(),
            placed.len()
        );
        expected
    }
}

/// Numbers from 1, none left out.
fn assert_without_gaps<T>(rows: &BTreeMap<i64, T>) {
    let count = i64::try_from(rows.len()).unwrap();
    assert!(rows.keys().copied().eq(1..=count), "{:?}", rows.keys());
}

/// How many events a role has still to tell.
pub(crate) async fn outbox(process: &Process, role: &str) -> Option<u64> {
    get(&process.path("/health")).await.1[role]["outbox"].as_u64()
}
