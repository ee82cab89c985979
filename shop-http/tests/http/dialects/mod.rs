//! What the clients of each replaced system are answered, word by word.

mod by_path;
mod purchase_tracking;
mod scalable_shop;
mod shopping_system;
mod user_buy_list;

use axum::Router;
use serde_json::Value;
use shop_core::fault::{Call, Fault};
use shop_core::{Purchase, PurchaseId};
use shop_http::{Dialect, HttpOptions};
use uuid::Uuid;

use crate::shop::{Answer, Shop, get, post};

pub(crate) const BUY: &str =
    r#"{"username":"joe","userid":"005","price":"1195.30","timestamp":"2024-01-15T13:45:00.5Z"}"#;

pub(crate) fn speaking(name: &str) -> Shop {
    let mut options = HttpOptions::default();
    options.dialect = Dialect::from_name(name).unwrap();
    Shop::with(options)
}

/// A purchase of joe's that was made at this millisecond of 2026.
pub(crate) fn of_joe(number: u128, price: &str, millis: i64) -> Purchase {
    let id = PurchaseId::from_uuid(Uuid::from_u128(number));
    let at = shop_core::Timestamp::from_millis(1_767_225_600_000 + millis).unwrap();
    Purchase::new(id, "005".parse().unwrap(), "joe".parse().unwrap(), price.parse().unwrap(), at)
}

/// Two purchases: an older one of 10.50, and a newer one of 0.1.
pub(crate) fn two() -> [Purchase; 2] {
    [of_joe(1, "10.50", 250), of_joe(2, "0.1", 1_000)]
}

pub(crate) fn is(answer: &Answer, status: u16, body: &Value) {
    assert_eq!((answer.status.as_u16(), &answer.json()), (status, body));
}

/// Bodies that are refused, and with which status and text.
pub(crate) async fn refuses(shop: &Shop, path: &str, cases: &[(&str, u16, Value)]) {
    for (body, status, expected) in cases {
        let answer = post(&shop.facing, path, (*body).to_owned()).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (*status, expected.clone()), "{body}");
        assert!(answer.header("x-purchase-id").is_none());
    }
    assert_eq!(shop.published().await, 0);
}

/// What a buy is answered while the log is away, without what it can be repeated with.
pub(crate) async fn log_away(shop: &Shop, router: &Router, path: &str) -> (u16, Value) {
    for call in [Call::Publish, Call::Insert] {
        shop.faults.always(call, Fault::unavailable());
    }
    let answer = post(router, path, BUY).await;
    let mut body = answer.json();
    let members = body.as_object_mut().unwrap();
    assert_eq!(members.remove("outcome").unwrap(), "not_sent");
    assert_eq!(members.remove("idempotency_key").unwrap(), answer.header("idempotency-key").unwrap());
    (answer.status.as_u16(), body)
}

/// What a listing is answered while the store is away.
pub(crate) async fn store_away(shop: &Shop, router: &Router, path: &str) -> (u16, Value) {
    shop.faults.always(Call::Query, Fault::unavailable());
    let answer = get(router, path).await;
    shop.faults.clear(Call::Query);
    (answer.status.as_u16(), answer.json())
}
