//! The currency of a purchase.

use axum::Router;
use shop_http::HttpOptions;

use crate::shop::{Shop, TestResponse, post};

/// Buys with these members besides the required ones.
async fn buy(service: &Router, path: &str, details: &str) -> TestResponse {
    let body = r#"{"username":"ada","userid":"u1","price":5.80,"timestamp":"2024-01-01T00:00:00Z""#;
    post(service, path, format!("{body}{details}}}")).await
}

#[tokio::test]
async fn a_purchase_has_the_currency_of_the_shop_or_none() {
    let none = Shop::new();
    let euro = Shop::with(HttpOptions::default().currency(Some("EUR".parse().unwrap())));
    for (shop, details, place, detail) in [
        (
            &none,
            r#","currency":"EUR""#,
            "#/currency",
            "set SHOP_CURRENCY",
        ),
        (
            &euro,
            r#","currency":"USD""#,
            "#/currency",
            "currency must be EUR",
        ),
        (
            &euro,
            r#","currency":"eur""#,
            "#/currency",
            "currency must be three upper-case letters",
        ),
        (
            &euro,
            r#","quantity":0"#,
            "#/quantity",
            "must be a whole number from 1 to 1000000",
        ),
        (
            &euro,
            ",\"reference\":\"a\u{202e}b\"",
            "#/reference",
            "must not contain invisible",
        ),
    ] {
        let refused = buy(&shop.facing, "/v1/purchases", details).await;
        assert_eq!(
            (refused.status.as_u16(), refused.places()),
            (422, vec![place.to_owned()])
        );
        assert!(refused.text.contains(detail), "{refused:?}");
    }
    for details in ["", r#","currency":"EUR""#] {
        assert_eq!(
            buy(&euro.facing, "/v1/purchases", details).await.json()["purchase"]["currency"],
            "EUR"
        );
    }
    // Clients of the replaced systems see the members that they know.
    let legacy = buy(&euro.facing, "/buy", r#","currency":"USD""#).await;
    assert!(
        legacy.status.is_success() && !legacy.text.contains("EUR"),
        "{legacy:?}"
    );
}
