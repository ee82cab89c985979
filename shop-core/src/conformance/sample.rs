//! Purchases to test with.

use uuid::Uuid;

use crate::{Price, Purchase, PurchaseId, Timestamp};

/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000;

pub(super) fn id(number: u64) -> PurchaseId {
    PurchaseId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(number)))
}

pub(super) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START + millis).unwrap()
}

pub(super) fn price(text: &str) -> Price {
    text.parse().unwrap()
}

/// Purchase `number` of `user`, made so many milliseconds after the first.
pub(super) fn purchase_of(user: &str, number: u64) -> Purchase {
    let millis = i64::try_from(number).unwrap();
    let cents = price(&format!("{}.{:02}", number / 100, number % 100));
    Purchase::new(
        id(number),
        user.parse().unwrap(),
        format!("name of {user}").parse().unwrap(),
        cents,
        at(millis),
    )
}

/// Purchase `number` of one of five users.
pub(super) fn purchase(number: u64) -> Purchase {
    purchase_of(&format!("user-{}", number % 5), number)
}

pub(super) fn purchases(numbers: std::ops::Range<u64>) -> Vec<Purchase> {
    numbers.map(purchase).collect()
}
