//! Users and orders: a request gets one row, a number belongs to one row, and an acknowledged row is found unchanged.

use std::collections::BTreeMap;
use std::fmt;

use shop_accounts::client::AccountsClient as _;
use shop_accounts::entity::{Entity as _, Insertion};
use shop_accounts::orders::{NewOrder, Order, OrderNumber};
use shop_accounts::users::{NewUser, User, UserNumber};
use shop_client::ShopClient;

use super::History;

/// The acknowledged rows of a kind.
#[derive(Debug)]
pub(super) struct Rows<T> {
    /// The number of the row of each request, by the request's key.
    numbers: BTreeMap<String, i64>,
    rows: BTreeMap<i64, T>,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self {
            numbers: BTreeMap::new(),
            rows: BTreeMap::new(),
        }
    }
}

impl<T: Clone + fmt::Debug + PartialEq> Rows<T> {
    fn acknowledge(&mut self, key: &str, number: i64, row: &T) {
        let first = *self.numbers.entry(key.to_owned()).or_insert(number);
        assert_eq!(first, number, "{key} was acknowledged with two numbers");
        let first = self.rows.entry(number).or_insert_with(|| row.clone());
        assert_eq!(first, row, "number {number} was acknowledged twice");
    }

    /// Asserts that a read found the row that was acknowledged before, if there is one.
    fn assert_found(acknowledged: Option<&T>, found: Option<&T>) {
        if acknowledged.is_some() {
            assert_eq!(found, acknowledged, "an acknowledged row is not found so");
        }
    }
}

impl History {
    /// Registers with one attempt. `None` if it was not acknowledged.
    pub(crate) async fn register(&self, client: &ShopClient, new: NewUser) -> Option<UserNumber> {
        let registered = client.users().insert(&new).await;
        self.calls.lock().unwrap().ended += 1;
        let user = match registered.ok()? {
            Insertion::Inserted(user) | Insertion::AlreadyInserted(user) => user,
            other => panic!("{new:?} has become {other:?}"),
        };
        assert_eq!(user, User::with_number(&new, user.id));
        let mut users = self.users.lock().unwrap();
        users.acknowledge(new.key.as_str(), user.id.get(), &user);
        Some(user.id)
    }

    /// Places with one attempt. `None` if it was not acknowledged, such as while the user is not known.
    pub(crate) async fn place(&self, client: &ShopClient, new: NewOrder) -> Option<OrderNumber> {
        let placed = client.orders().insert(&new).await;
        self.calls.lock().unwrap().ended += 1;
        let order = match placed.ok()? {
            Insertion::Inserted(order) | Insertion::AlreadyInserted(order) => order,
            Insertion::Refused => return None,
            other => panic!("{new:?} has become {other:?}"),
        };
        assert_eq!(order, Order::with_number(&new, order.id));
        let mut orders = self.orders.lock().unwrap();
        orders.acknowledge(new.key.as_str(), order.id.get(), &order);
        Some(order.id)
    }

    /// Reads a user. Returns whether the service has answered.
    pub(crate) async fn find_user(&self, client: &ShopClient, id: UserNumber) -> bool {
        let acknowledged = self.registered().remove(&id.get());
        let found = client.users().get(id).await;
        found.is_ok_and(|found| {
            Rows::assert_found(acknowledged.as_ref(), found.as_ref());
            true
        })
    }

    /// Reads an order. Returns whether the service has answered.
    pub(crate) async fn find_order(&self, client: &ShopClient, id: OrderNumber) -> bool {
        let acknowledged = self.placed().remove(&id.get());
        let found = client.orders().get(id).await;
        found.is_ok_and(|found| {
            Rows::assert_found(acknowledged.as_ref(), found.as_ref());
            true
        })
    }

    /// The acknowledged users, by number.
    pub(crate) fn registered(&self) -> BTreeMap<i64, User> {
        self.users.lock().unwrap().rows.clone()
    }

    /// The acknowledged orders, by number.
    pub(crate) fn placed(&self) -> BTreeMap<i64, Order> {
        self.orders.lock().unwrap().rows.clone()
    }
}
