//! What surrounds every route: unknown paths, wrong methods, request ids, CORS.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use serde_json::json;
use shop_http::{CorsOrigins, HttpOptions};

use crate::shop::{Shop, ask, get, request};

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
