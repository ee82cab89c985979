//! Two processes on one database at a time.

use std::time::Duration;

use futures_util::future::join_all;
use shop_core::Uuid;
use shop_core::conformance::EntityStores;
use shop_core::orders::{NewOrder, OrderStore, Placement};
use shop_core::outbox::Outbox;
use shop_core::ports::RecordStore;
use shop_core::users::{NewUser, Registration, User, UserNumber, UserStore};

use crate::mongo::fixture::MongoAccounts;
use crate::mongo::{MongoEntityOptions, MongoOrders, MongoUsers};

/// As many rows are added through each of the two.
const EACH: usize = 30;

fn new_user(name: &str) -> NewUser {
    let email = format!("{name}@example.com").parse().unwrap();
    NewUser::new(Uuid::now_v7().into(), email, name.parse().unwrap())
}

fn options(accounts: &MongoAccounts, namespace: &str) -> MongoEntityOptions {
    let options = MongoEntityOptions::new(accounts.uri(), namespace.split('.').next().unwrap());
    // Many tests at a time, on a server of two processors perhaps.
    MongoEntityOptions { insert_timeout: Duration::from_secs(30), ..options }
}

async fn pending(outbox: &dyn Outbox) -> Vec<i64> {
    outbox.pending(1_000).await.unwrap().into_iter().map(|entry| entry.id).collect()
}

fn up_to(last: usize) -> Vec<i64> {
    (1..=i64::try_from(last).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_registrations_have_no_gap_and_unique_emails() {
    let Some(accounts) = MongoAccounts::on_test_server().await else { return };
    let one = accounts.user_store().clone();
    let other = MongoUsers::open(options(&accounts, &one.namespace())).await.unwrap();
    let register = |(users, whose): (MongoUsers, &str), number: usize| {
        // Each third address is one that the other process has, too.
        let whose = if number.is_multiple_of(3) { "both" } else { whose };
        let new = new_user(&format!("{whose}-{number}"));
        tokio::spawn(async move { users.register(&new).await.unwrap() })
    };
    let all = (0..EACH).flat_map(|number| {
        [(one.clone(), "one"), (other.clone(), "other")].map(|whose| register(whose, number))
    });
    let (mut numbers, mut taken) = (Vec::new(), 0);
    for registration in join_all(all).await {
        match registration.unwrap() {
            Registration::Registered(user) => numbers.push(user.id.get()),
            Registration::EmailTaken => taken += 1,
            unexpected => panic!("{unexpected:?}"),
        }
    }
    numbers.sort_unstable();
    assert_eq!(taken, EACH.div_ceil(3));
    assert_eq!(numbers, up_to(2 * EACH - taken));
    assert_eq!(pending(&other).await, numbers, "each is told of");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_in_two_processes_places_one_order() {
    let Some(accounts) = MongoAccounts::on_test_server().await else { return };
    let one = accounts.order_store().clone();
    let other = MongoOrders::open(options(&accounts, &one.namespace())).await.unwrap();
    let ada = User::new(UserNumber::new(1), "ada@example.com".parse().unwrap(), "Ada".parse().unwrap());
    other.apply([ada].into()).await.unwrap();
    let place =
        |orders: MongoOrders, new: NewOrder| tokio::spawn(async move { orders.place(&new).await.unwrap() });
    let all = (0..EACH).flat_map(|_| {
        let (key, price) = (Uuid::now_v7().into(), "50.00".parse().unwrap());
        let new = NewOrder::new(key, UserNumber::new(1), "Notebook".parse().unwrap(), 2, price);
        [place(one.clone(), new.clone()), place(other.clone(), new)]
    });
    let (mut placed, mut repeated) = (Vec::new(), Vec::new());
    for placement in join_all(all).await {
        match placement.unwrap() {
            Placement::Placed(order) => placed.push(order.id.get()),
            Placement::AlreadyPlaced(order) => repeated.push(order.id.get()),
            unexpected => panic!("{unexpected:?}"),
        }
    }
    placed.sort_unstable();
    repeated.sort_unstable();
    assert_eq!((&placed, &repeated), (&up_to(EACH), &placed));
    assert_eq!(pending(&one).await, placed, "each is told of once");
}
