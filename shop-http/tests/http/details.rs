//! The optional members of a purchase, in and out.

use axum::Router;
use axum::body::Body;
use axum::http::Method;
use futures_util::TryStreamExt as _;
use serde_json::json;
use shop_core::api::RowFormat;
use shop_core::import::{Import, ImportReport};
use shop_core::log::{Batch, LogAdmin as _};
use shop_core::memory::InMemoryLog;
use shop_core::record::decode;
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
        let (log, mut report) = (InMemoryLog::default(), ImportReport::default());
        Import::new(format)
            .run(&log.sink(), rows, &mut report, |_| ())
            .await
            .unwrap();
        let batches: Vec<_> = log.scan().await.unwrap().try_collect().await.unwrap();
        let read = |batch: &Batch| {
            batch
                .records
                .iter()
                .map(|record| decode(record, &batch.partition).unwrap())
                .collect::<Vec<_>>()
        };
        let [mut imported, mut stored] =
            [batches.iter().flat_map(read).collect(), shop.store.all()];
        [&mut imported, &mut stored]
            .into_iter()
            .for_each(|all| all.sort_by_key(|purchase| purchase.id));
        assert_eq!(imported, stored, "{report}");
    }
}

#[tokio::test]
async fn a_purchase_has_the_currency_of_the_shop_or_none() {
    let (none, euro) = (
        Shop::new(),
        Shop::with(HttpOptions::default().currency(Some("EUR".parse().unwrap()))),
    );
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
