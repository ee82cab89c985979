//! Sample purchases.

use bytes::Bytes;
use uuid::Uuid;

use crate::log::LogRecord;
use crate::{Details, Price, Purchase, PurchaseId, Timestamp};

/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000;

pub(super) fn id(number: u64) -> PurchaseId {
    PurchaseId::from_uuid(Uuid::from_u128(
        0x0190_0000_0000_7000_8000_0000_0000_0000 | u128::from(number),
    ))
}

pub(super) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START + millis).unwrap()
}

pub(super) fn price(text: &str) -> Price {
    text.parse().unwrap()
}

/// Purchase `number` of `user`, made this many milliseconds after the first.
pub(super) fn purchase_of(user: &str, number: u64) -> Purchase {
    let millis = i64::try_from(number).unwrap();
    let cents = price(&format!("{}.{:02}", number / 100, number % 100));
    let name = format!("name of {user}").parse().unwrap();
    let purchase = Purchase::new(id(number), user.parse().unwrap(), name, cents, at(millis));
    if number % 4 != 1 {
        return purchase;
    }
    let mut details = Details::NONE;
    details.item = Some("Käffchen \"groß\"".parse().unwrap());
    details.quantity = Some(2_i32.try_into().unwrap());
    details.reference = Some(format!("order-{number}").parse().unwrap());
    purchase.with_details(details)
}

/// Purchase `number` of one of five users.
pub(super) fn purchase(number: u64) -> Purchase {
    purchase_of(&format!("user-{}", number % 5), number)
}

pub(super) fn purchases(numbers: std::ops::Range<u64>) -> Vec<Purchase> {
    numbers.map(purchase).collect()
}

/// The raw record of another producer for purchase `number` of `user`: without an id, and every
/// other one without a time.
pub(super) fn foreign(user: &str, number: u64) -> LogRecord {
    let Purchase {
        user_name,
        price,
        timestamp,
        ..
    } = purchase_of(user, number);
    let time = if number.is_multiple_of(2) {
        String::new()
    } else {
        format!(r#", "timestamp": "{timestamp}""#)
    };
    let value =
        format!(r#"{{"username": "{user_name}", "userid": "{user}", "price": {price}{time}}}"#);
    LogRecord::new(0, at(0), Some(value.into()))
        .with_key(Some(Bytes::copy_from_slice(user.as_bytes())))
}
