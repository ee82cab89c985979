//! What surrounds every route: unknown paths, wrong methods, request ids, CORS.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use serde_json::json;
use shop_core::log::{LogSource, SourceEvent};
use shop_core::record::header;
use shop_http::{CorsOrigins, HttpOptions};

use crate::shop::{JSON, Shop, ask, get, request};

const BUY: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

#[tokio::test]
async fn what_is_not_there_is_said_as_json() {
    let shop = Shop::new();
    for service in [&shop.facing, &shop.management] {
        for path in ["/nowhere", "/getAllUserBuys", "/getAllUserBuys/a/b", "/buy/x", "/%00"] {
            let answer = get(service, path).await;
            assert_eq!(
                (answer.status, answer.json()),
                (StatusCode::NOT_FOUND, json!({"error": "Not Found"})),
                "{path}"
            );
        }
        let answer = get(service, "/v1/nowhere").await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (StatusCode::NOT_FOUND, Some("application/problem+json"))
        );
        let answer = ask(service, request(Method::DELETE, "/healthz", &[], Body::empty())).await;
        assert_eq!(
            (answer.status, answer.json()),
            (StatusCode::METHOD_NOT_ALLOWED, json!({"error": "Method Not Allowed"}))
        );
        assert!(answer.header("allow").unwrap().contains("GET"));
    }
    assert_eq!(get(&shop.facing, "/buy").await.status, StatusCode::METHOD_NOT_ALLOWED);
    let head = ask(&shop.facing, request(Method::HEAD, "/getAllUserBuys/u1", &[], Body::empty())).await;
    assert_eq!((head.status, head.text.as_str()), (StatusCode::OK, ""));
}

#[tokio::test]
async fn every_answer_has_a_request_id() {
    let shop = Shop::new();
    let with = |id: &'static str| request(Method::GET, "/healthz", &[("x-request-id", id)], Body::empty());
    assert_eq!(ask(&shop.facing, with("mine-7")).await.header("x-request-id"), Some("mine-7"));
    let long: &'static str = Box::leak("x".repeat(129).into_boxed_str());
    for odd in ["with space", "", long] {
        let id = ask(&shop.facing, with(odd)).await.header("x-request-id").unwrap().to_owned();
        assert_eq!(id.len(), 36, "{odd:?} is replaced");
    }
    assert_eq!(get(&shop.facing, "/nowhere").await.header("x-request-id").unwrap().len(), 36);
}

#[tokio::test]
async fn correlation_ids_are_repeated_and_are_request_ids_without_another() {
    let shop = Shop::new();
    let ids = async |headers: &[(&str, &str)]| {
        let answer = ask(&shop.facing, request(Method::GET, "/healthz", headers, Body::empty())).await;
        ["x-request-id", "x-correlation-id"].map(|name| answer.header(name).map(str::to_owned))
    };
    let is = |ids: [&str; 2]| ids.map(|id| Some(id.to_owned()));
    assert_eq!(ids(&[("x-correlation-id", "c-1")]).await, is(["c-1", "c-1"]));
    assert_eq!(ids(&[("x-correlation-id", "c-1"), ("x-request-id", "r-1")]).await, is(["r-1", "c-1"]));
    let [fresh, repeated] = ids(&[("x-correlation-id", "with space")]).await;
    assert_eq!((fresh.unwrap().len(), repeated), (36, None));
    // It is kept with the purchase.
    let answer =
        ask(&shop.facing, request(Method::POST, "/buy", &[JSON, ("x-correlation-id", "c-2")], BUY)).await;
    assert_eq!(answer.header("x-correlation-id"), Some("c-2"));
    let SourceEvent::Batch(batch) = shop.log.source("g").next().await.unwrap() else { panic!("a batch") };
    assert_eq!(batch.records[0].headers.get(header::REQUEST_ID), Some(&b"c-2"[..]));
}

#[tokio::test]
async fn pages_of_other_origins_may_call_facing() {
    let shop = Shop::new();
    let origin = ("origin", "https://shop.example");
    let preflight = [
        origin,
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    let answer = ask(&shop.facing, request(Method::OPTIONS, "/buy", &preflight, Body::empty())).await;
    assert!(answer.status.is_success());
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let error = ask(&shop.facing, request(Method::POST, "/buy", &[origin], "rubbish")).await;
    assert_eq!(
        (error.status, error.header("access-control-allow-origin")),
        (StatusCode::BAD_REQUEST, Some("*"))
    );
    assert!(error.header("access-control-expose-headers").unwrap().contains("x-purchase-id"));

    let mut options = HttpOptions::default();
    options.cors = "https://shop.example".parse::<CorsOrigins>().unwrap();
    let shop = Shop::with(options);
    for (from, allowed) in [("https://shop.example", true), ("https://evil.example", false)] {
        let answer =
            ask(&shop.facing, request(Method::GET, "/healthz", &[("origin", from)], Body::empty())).await;
        assert_eq!(answer.header("access-control-allow-origin").is_some(), allowed, "{from}");
    }
}
