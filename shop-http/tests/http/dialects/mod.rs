//! The responses to clients of each replaced system, verbatim.

mod by_path;
mod purchase_tracking;
mod scalable_shop;
mod shopping_system;
mod user_buy_list;

use axum::Router;
use serde_json::Value;
use shop_core::conformance::fault::{Call, Fault};
use shop_core::{Purchase, PurchaseId};
use shop_http::{Dialect, HttpOptions};
use uuid::Uuid;

use crate::shop::{Shop, TestResponse, get, post};

pub(crate) const BUY: &str =
    r#"{"username":"joe","userid":"005","price":"1195.30","timestamp":"2024-01-15T13:45:00.5Z"}"#;

pub(crate) fn shop_in_dialect(name: &str) -> Shop {
    let mut options = HttpOptions::default();
    options.dialect = Dialect::from_name(name).unwrap();
    Shop::with(options)
}

/// A purchase of joe at this millisecond of 2026.
pub(crate) fn of_joe(number: u128, price: &str, millis: i64) -> Purchase {
    let id = PurchaseId::from_uuid(Uuid::from_u128(number));
    let at = shop_core::Timestamp::from_millis(1_767_225_600_000 + millis).unwrap();
    Purchase::new(id, "005".parse().unwrap(), "joe".parse().unwrap(), price.parse().unwrap(), at)
}

/// Two purchases: an older one of 10.50, and a newer one of 0.1.
pub(crate) fn two() -> [Purchase; 2] {
    [of_joe(1, "10.50", 250), of_joe(2, "0.1", 1_000)]
}

pub(crate) fn assert_response(response: &TestResponse, status: u16, body: &Value) {
    assert_eq!((response.status.as_u16(), &response.json()), (status, body));
}

/// Asserts that each body is rejected with this status and error.
pub(crate) async fn assert_rejects(shop: &Shop, path: &str, cases: &[(&str, u16, Value)]) {
    for (body, status, expected) in cases {
        let response = post(&shop.facing, path, (*body).to_owned()).await;
        assert_eq!((response.status.as_u16(), response.json()), (*status, expected.clone()), "{body}");
        assert!(response.header("x-purchase-id").is_none());
    }
    assert_eq!(shop.published().await, 0);
}

/// The response to a buy while the log is unavailable, without outcome and key.
pub(crate) async fn buy_without_log(shop: &Shop, router: &Router, path: &str) -> (u16, Value) {
    for call in [Call::Publish, Call::Insert] {
        shop.faults.always(call, Fault::unavailable());
    }
    let response = post(router, path, BUY).await;
    let mut body = response.json();
    let members = body.as_object_mut().unwrap();
    assert_eq!(members.remove("outcome").unwrap(), "not_sent");
    assert_eq!(members.remove("idempotency_key").unwrap(), response.header("idempotency-key").unwrap());
    (response.status.as_u16(), body)
}

/// The response to a listing while the store is unavailable.
pub(crate) async fn list_without_store(shop: &Shop, router: &Router, path: &str) -> (u16, Value) {
    shop.faults.always(Call::Query, Fault::unavailable());
    let response = get(router, path).await;
    shop.faults.clear(Call::Query);
    (response.status.as_u16(), response.json())
}
