//! The responses to clients of each replaced system, verbatim.

mod by_path;
mod differences;
mod purchase_tracking;
mod scalable_shop;
mod shopping_system;
mod user_buy_list;

use serde_json::{Value, json};
use shop_core::conformance::fault::{Call, Fault};
use shop_core::{Purchase, PurchaseId};
use shop_http::{Dialect, HttpOptions};
use uuid::Uuid;

use crate::shop::{Shop, get, post};

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
    Purchase::new(
        id,
        "005".parse().unwrap(),
        "joe".parse().unwrap(),
        price.parse().unwrap(),
        at,
    )
}

/// Purchases at `1..=count` milliseconds of 2026.
pub(crate) fn many(count: u128) -> Vec<Purchase> {
    (1..=count)
        .map(|number| of_joe(number, "1", i64::try_from(number).unwrap()))
        .collect()
}

/// Two purchases: an older one of 10.50, and a newer one of 0.1.
pub(crate) fn two() -> [Purchase; 2] {
    [of_joe(1, "10.50", 250), of_joe(2, "0.1", 1_000)]
}

const AWAY: &str = "Service unavailable";
const NO_LOG: &str = "Failed to record purchase - messaging system unavailable";

/// Requests while log and store are unavailable: the dialect, the path, and the response.
const OUTAGES: &[(&str, &str, u16, &str, &str)] = &[
    ("purchase-tracking", "/buy", 500, "error", NO_LOG),
    ("purchase-tracking", "/getAllUserBuys/5", 503, "error", AWAY),
    (
        "purchase-tracking",
        "/purchases/5",
        500,
        "error",
        "Database error",
    ),
    ("scalable-shop", "/buy", 503, "message", NO_LOG),
    ("scalable-shop", "/getAllUserBuys/joe", 503, "message", AWAY),
    ("scalable-shop", "/buyList/joe", 503, "message", AWAY),
    (
        "user-buy-list",
        "/buy",
        500,
        "error",
        "Failed to process purchase",
    ),
    (
        "user-buy-list",
        "/purchases",
        500,
        "error",
        "Failed to write purchase",
    ),
    (
        "user-buy-list",
        "/getAllUserBuys/5",
        500,
        "error",
        "Failed to fetch purchases",
    ),
    (
        "user-buy-list",
        "/purchases/5",
        500,
        "error",
        "Failed to fetch purchases",
    ),
    (
        "default",
        "/api/v1/buy",
        503,
        "detail",
        "Service Unavailable",
    ),
    (
        "default",
        "/api/v1/getAllUserBuys/5",
        500,
        "detail",
        "Proxy Error",
    ),
    (
        "default",
        "/api/v1/purchases/5",
        500,
        "detail",
        "Internal Server Error",
    ),
];

/// The error of a dialect with this text in `member`.
fn error(member: &str, text: &str) -> Value {
    match member {
        "message" => json!({"status": "Error", "message": text}),
        _ => json!({member: text}),
    }
}

#[tokio::test]
async fn an_outage_has_the_status_and_the_text_of_the_dialect() {
    for (name, path, status, member, text) in OUTAGES {
        let shop = shop_in_dialect(name);
        for call in [Call::Publish, Call::Insert, Call::Query] {
            shop.faults.always(call, Fault::unavailable());
        }
        let of_management = path.contains("/purchases") || path.starts_with("/buyList");
        let service = if of_management {
            &shop.management
        } else {
            &shop.facing
        };
        let is_write = path.ends_with("buy") || *path == "/purchases";
        let response = if is_write {
            post(service, path, BUY).await
        } else {
            get(service, path).await
        };
        let mut expected = error(member, text);
        if is_write {
            expected["outcome"] = "not_sent".into();
            expected["idempotency_key"] = response.header("idempotency-key").unwrap().into();
        }
        assert_eq!(
            (response.status.as_u16(), response.json()),
            (*status, expected),
            "{name} {path}"
        );
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_errors_of_the_dialect() {
    for (name, path, member) in [
        ("default", "/nowhere", "error"),
        ("user-buy-list", "/nowhere", "error"),
        ("purchase-tracking", "/nowhere", "error"),
        ("scalable-shop", "/nowhere", "message"),
        ("default", "/api/nowhere", "error"),
        ("default", "/api/v1/nowhere", "detail"),
        ("default", "/scalable-shop-cm-server/nowhere", "message"),
        ("user-buy-list", "/buyList/joe", "message"),
    ] {
        let shop = shop_in_dialect(name);
        get(&shop.facing, path)
            .await
            .is(404, &error(member, "Not Found"));
        if path == "/nowhere" {
            get(&shop.facing, "/buy")
                .await
                .is(405, &error(member, "Method Not Allowed"));
        }
    }
}
