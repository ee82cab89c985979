//! Middleware: unknown paths, wrong methods, request ids, CORS.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use shop_core::log::{LogSource, SourceEvent};
use shop_core::record::header;
use shop_http::{CorsOrigins, HttpOptions};

use crate::shop::{JSON, Shop, get, request, send};

const BUY: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

#[tokio::test]
async fn every_response_has_a_request_id() {
    let shop = Shop::new();
    let with = |id: &'static str| {
        request(
            Method::GET,
            "/healthz",
            &[("x-request-id", id)],
            Body::empty(),
        )
    };
    assert_eq!(
        send(&shop.facing, with("mine-7"))
            .await
            .header("x-request-id"),
        Some("mine-7")
    );
    let long: &'static str = Box::leak("x".repeat(129).into_boxed_str());
    for misbehaving in ["with space", "", long] {
        let id = send(&shop.facing, with(misbehaving))
            .await
            .header("x-request-id")
            .unwrap()
            .to_owned();
        assert_eq!(id.len(), 36, "{misbehaving:?} is replaced");
    }
    assert_eq!(
        get(&shop.facing, "/nowhere")
            .await
            .header("x-request-id")
            .unwrap()
            .len(),
        36
    );
}

#[tokio::test]
async fn correlation_ids_are_repeated_and_are_request_ids_without_another() {
    let shop = Shop::new();
    let ids = async |headers: &[(&str, &str)]| {
        let response = send(
            &shop.facing,
            request(Method::GET, "/healthz", headers, Body::empty()),
        )
        .await;
        ["x-request-id", "x-correlation-id"].map(|name| response.header(name).map(str::to_owned))
    };
    let is = |ids: [&str; 2]| ids.map(|id| Some(id.to_owned()));
    assert_eq!(
        ids(&[("x-correlation-id", "c-1")]).await,
        is(["c-1", "c-1"])
    );
    assert_eq!(
        ids(&[("x-correlation-id", "c-1"), ("x-request-id", "r-1")]).await,
        is(["r-1", "c-1"])
    );
    let [fresh, repeated] = ids(&[("x-correlation-id", "with space")]).await;
    assert_eq!((fresh.unwrap().len(), repeated), (36, None));
    // The record keeps it.
    let response = send(
        &shop.facing,
        request(
            Method::POST,
            "/buy",
            &[JSON, ("x-correlation-id", "c-2")],
            BUY,
        ),
    )
    .await;
    assert_eq!(response.header("x-correlation-id"), Some("c-2"));
    let SourceEvent::Batch(batch) = shop.log.source("g").next().await.unwrap() else {
        panic!("a batch")
    };
    assert_eq!(
        batch.records[0].headers.get(header::REQUEST_ID),
        Some(&b"c-2"[..])
    );
}

#[tokio::test]
async fn facing_allows_all_origins_by_default() {
    let shop = Shop::new();
    let origin = ("origin", "https://shop.example");
    let preflight = [
        origin,
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    let response = send(
        &shop.facing,
        request(Method::OPTIONS, "/buy", &preflight, Body::empty()),
    )
    .await;
    assert!(response.status.is_success());
    assert_eq!(response.header("access-control-allow-origin"), Some("*"));
    let error = send(
        &shop.facing,
        request(Method::POST, "/buy", &[origin], "rubbish"),
    )
    .await;
    assert_eq!(
        (error.status, error.header("access-control-allow-origin")),
        (StatusCode::BAD_REQUEST, Some("*"))
    );
    assert!(
        error
            .header("access-control-expose-headers")
            .unwrap()
            .contains("x-purchase-id")
    );

    let mut options = HttpOptions::default();
    options.cors = "https://shop.example".parse::<CorsOrigins>().unwrap();
    let shop = Shop::with(options);
    for (from, allowed) in [
        ("https://shop.example", true),
        ("https://evil.example", false),
    ] {
        let response = send(
            &shop.facing,
            request(Method::GET, "/healthz", &[("origin", from)], Body::empty()),
        )
        .await;
        assert_eq!(
            response.header("access-control-allow-origin").is_some(),
            allowed,
            "{from}"
        );
    }
}
