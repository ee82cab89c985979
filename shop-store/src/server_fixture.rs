//! What the tests of the stores on servers share.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

pub(crate) use std::sync::Arc;
pub(crate) use std::sync::atomic::Ordering;
pub(crate) use std::time::Duration;

pub(crate) use shop_core::conformance::{assert_fails, skip};
pub(crate) use shop_core::ports::{
    Cursor, Deletion, InsertOutcome, ListOrder, PageLimit, PageRequest, PurchaseErase as _,
    PurchaseQuery, PurchaseStore as _, RecordStore as _, Selector, TimeRange, TotalsRequest,
};
pub(crate) use shop_core::{
    Clock as _, ErrorKind, NewPurchase, Outcome, Purchase, SystemClock, Timestamp,
};
pub(crate) use tokio::time::{sleep, timeout};

pub(crate) use crate::container::environment;

pub(crate) const A_MINUTE: Duration = Duration::from_secs(60);

/// New purchases of seven users, of which number 7 has the price 7.5.
pub(crate) fn purchases(count: u64) -> Vec<Purchase> {
    let purchase = |number| {
        let user = format!("u{}", number % 7);
        let new = NewPurchase::for_user(user)
            .with_user_name("ada")
            .with_price(format!("{number}.5"))
            .unwrap();
        new.into_purchase(SystemClock.now(), || SystemClock.fresh_id())
    };
    (0..count).map(purchase).collect()
}

/// The refund of each of `purchases`.
pub(crate) fn refunds_of(purchases: &[Purchase]) -> Vec<Purchase> {
    let now = SystemClock.now();
    let refund_of = |purchase: &Purchase| purchase.refund(None, now).unwrap();
    purchases.iter().map(refund_of).collect()
}

/// Purchases of so many users, each with a name and a reference of its own, made at `time_of` their number.
pub(crate) fn purchases_of(
    users: i64,
    purchases_of_a_user: i64,
    time_of: impl Fn(i64) -> Timestamp,
) -> Vec<Purchase> {
    let purchase = |number| {
        let user = number % users;
        let new = NewPurchase::for_user(format!("u{user}"))
            .with_user_name(format!("name {user}"))
            .with_reference(format!("r{user}"))
            .with_price("1.5")
            .unwrap();
        new.into_purchase(time_of(number), || SystemClock.fresh_id())
    };
    (0..users * purchases_of_a_user).map(purchase).collect()
}

pub(crate) async fn count(store: &impl PurchaseQuery) -> u64 {
    store.summary(&Selector::All).await.unwrap().count
}

/// Asserts that each of the records is in the store now.
pub(crate) fn assert_stored(outcomes: &[InsertOutcome]) {
    let are_stored = outcomes
        .iter()
        .all(|outcome| matches!(outcome, InsertOutcome::Inserted | InsertOutcome::Duplicate));
    assert!(are_stored, "{outcomes:?}");
}
