//! Sample purchases.

use std::ops::Range;

use bytes::Bytes;
use uuid::Uuid;

use crate::log::{Headers, LogRecord};
use crate::{Details, Price, Purchase, PurchaseId, Timestamp, UserId};

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

pub(super) fn user(text: &str) -> UserId {
    text.parse().unwrap()
}

/// Returns purchase `number` of `user`, made this many milliseconds after the first.
pub(super) fn purchase_of(user: &str, number: u64) -> Purchase {
    let millis = i64::try_from(number).unwrap();
    let cents = price(&format!("{}.{:02}", number / 100, number % 100));
    let name = format!("name of {user}").parse().unwrap();
    let purchase = Purchase::new(id(number), self::user(user), name, cents, at(millis));
    if number % 4 != 1 {
        return purchase;
    }
    let mut details = Details::NONE;
    details.item = Some("Käffchen \"groß\"".parse().unwrap());
    details.quantity = Some(2_i32.try_into().unwrap());
    details.reference = Some(format!("order-{number}").parse().unwrap());
    purchase.with_details(details)
}

/// Returns purchase `number` of one of five users.
pub(super) fn purchase(number: u64) -> Purchase {
    purchase_of(&format!("user-{}", number % 5), number)
}

pub(super) fn purchases(numbers: Range<u64>) -> Vec<Purchase> {
    numbers.map(purchase).collect()
}

/// Returns the purchases with these numbers, all of `user`.
pub(super) fn purchases_of(user: &str, numbers: Range<u64>) -> Vec<Purchase> {
    numbers.map(|number| purchase_of(user, number)).collect()
}

/// Returns `purchase` with the same id and another price.
pub(super) fn contradicting(purchase: &Purchase) -> Purchase {
    let is_free = purchase.price == Price::ZERO;
    Purchase {
        price: if is_free { price("1") } else { Price::ZERO },
        ..purchase.clone()
    }
}

/// Returns the raw record of another producer for purchase `number` of `user`: without an id, and every
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

/// Returns records of one binary key, with headers and a value that are binary, empty or absent.
pub(super) fn odd_records() -> [LogRecord; 3] {
    let headers = Headers::builder()
        .with("odd", Some(b"\xff\x00"))
        .with("none", None)
        .with("odd", Some(b""))
        .build();
    let binary = Bytes::from_static(b"\x00\xff\xfe not text");
    [
        LogRecord::new(0, at(0), Some(binary.clone())).with_headers(headers),
        LogRecord::new(1, at(0), Some(Bytes::new())),
        LogRecord::new(2, at(0), None),
    ]
    .map(|record| record.with_key(Some(binary.clone())))
}
