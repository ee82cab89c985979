//! The optional members of a purchase, in and out.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Method;
use serde_json::json;
use shop_core::Purchase;
use shop_core::api::RowFormat;
use shop_core::import::{Import, ImportReport};
use shop_core::memory::InMemoryStore;
use shop_core::ports::{Durability, StoreSink};
use shop_http::HttpOptions;

use crate::shop::{Shop, TestResponse, get, post, request, send};

/// Buys with these members besides the required ones.
async fn buy(service: &Router, path: &str, details: &str) -> TestResponse {
    let body = r#"{"username":"ada","userid":"u1","price":5.80,"timestamp":"2024-01-01T00:00:00Z""#;
    post(service, path, format!("{body}{details}}}")).await
}

#[tokio::test]
async fn members_are_found_by_reference_exported_and_imported() {
    let shop = Shop::new();
    let tea = r#","item":"=tea, \"hot\"","quantity":"2","reference":"'order-7""#;
    for details in [
        tea,
        r#","quantity":3,"reference":"order-8","item":null"#,
        "",
    ] {
        assert_eq!(
            buy(&shop.management, "/v1/purchases", details).await.status,
            201
        );
    }
    for (query, count) in [
        ("userid=u1", 3),
        ("reference='order-7&userid=u1", 1),
        ("reference=order", 0),
    ] {
        get(&shop.management, &format!("/v1/summary?{query}"))
            .await
            .has(200, &json!({"count": count}));
    }
    for (format, accept) in [
        (RowFormat::Csv, "text/csv"),
        (RowFormat::Ndjson, "application/x-ndjson"),
    ] {
        let export = request(
            Method::GET,
            "/v1/purchases?everyone=true",
            &[("accept", accept)],
            Body::empty(),
        );
        let rows = std::io::Cursor::new(send(&shop.management, export).await.text.into_bytes());
        let store = InMemoryStore::new();
        let sink = StoreSink::new(Arc::new(store.clone()), Durability::Memory);
        let mut report = ImportReport::default();
        Import::new(format)
            .run(&sink, &store, rows, &mut report, |_| ())
            .await
            .unwrap();
        let by_id = |mut all: Vec<Purchase>| {
            all.sort_by_key(|purchase| purchase.id);
            all
        };
        assert_eq!(by_id(store.all()), by_id(shop.store.all()), "{report}");
    }
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
