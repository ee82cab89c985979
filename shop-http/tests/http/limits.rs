//! What a request may cost: the length of its head, its time, and how many there may be at once.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::json;
use shop_core::fault::{Call, Fault};
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_core::{Clock, Timestamp};
use shop_http::{Dialect, Facing, HttpOptions, facing};
use tower::ServiceExt;

use crate::shop::{JSON, Shop, ask, get, post, purchase, request};

const BUY: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

#[tokio::test]
async fn a_head_that_is_too_long_is_refused_in_each_dialect() {
    for (name, path, member) in [
        ("default", "/getAllUserBuys/", "error"),
        ("scalable-shop", "/getAllUserBuys/", "message"),
        ("default", "/api/v1/getAllUserBuys/", "detail"),
        ("default", "/v1/purchases/", "detail"),
    ] {
        let mut options = HttpOptions::default();
        options.dialect = Dialect::from_name(name).unwrap();
        let shop = Shop::with(options);
        let fits = "x".repeat(8_192 - path.len());
        let answer = get(&shop.facing, &format!("{path}{fits}")).await;
        assert!(matches!(answer.status.as_u16(), 400 | 422), "too long for a name only: {answer:?}");
        let answer = get(&shop.facing, &format!("{path}{fits}x")).await;
        assert_eq!(answer.status, StatusCode::URI_TOO_LONG);
        assert_eq!(answer.json()[member], "Path and query must not have more than 8192 bytes");
        let long =
            "x".repeat(16_384 - "x-long".len() - JSON.0.len() - JSON.1.len() - "x-request-id".len() - 36);
        for (value, is_refused) in [(long.clone(), false), (format!("{long}x"), true)] {
            let answer = ask(
                &shop.facing,
                request(Method::GET, &format!("{path}u1"), &[JSON, ("x-long", &value)], ""),
            )
            .await;
            let refused = answer.status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            assert_eq!(refused, is_refused, "{answer:?}");
            if refused {
                assert_eq!(answer.json()[member], "Headers must not have more than 16384 bytes together");
            }
        }
    }
}

/// A shop in which one write and one read at a time are let in, and the log takes 3 s.
fn narrow() -> Shop {
    let mut options = HttpOptions::default();
    options.max_requests = 1;
    let shop = Shop::with(options);
    shop.faults.always(Call::Publish, Fault::Delay(Duration::from_secs(3)));
    shop
}

#[tokio::test(start_paused = true)]
async fn who_comes_on_top_of_too_many_is_told_to_come_again() {
    let shop = narrow();
    let first = tokio::spawn({
        let router = shop.facing.clone();
        async move { post(&router, "/buy", BUY).await }
    });
    while shop.faults.calls(Call::Publish) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(get(&shop.facing, "/getAllUserBuys/u1").await.status, StatusCode::OK, "a read is no write");
    shop.faults.always(Call::Query, Fault::Delay(Duration::from_secs(3)));
    let before = shop.faults.calls(Call::Query);
    let read = tokio::spawn({
        let router = shop.facing.clone();
        async move { get(&router, "/getAllUserBuys/u1").await }
    });
    while shop.faults.calls(Call::Query) == before {
        tokio::task::yield_now().await;
    }
    let text = "Too many requests at once - please try again";
    for (path, outcome, body) in [
        ("/buy", "not_sent", json!({"error": text, "outcome": "not_sent"})),
        ("/api/v1/buy", "not_sent", json!({"detail": text, "outcome": "not_sent"})),
        (
            "/scalable-shop-cm-server/buy",
            "not_sent",
            json!({"status": "Error", "message": text, "outcome": "not_sent"}),
        ),
    ] {
        let answer = post(&shop.facing, path, BUY).await;
        assert_eq!(
            (answer.status, answer.header("retry-after")),
            (StatusCode::SERVICE_UNAVAILABLE, Some("1"))
        );
        assert_eq!((answer.json(), &answer.json()["outcome"]), (body, &json!(outcome)));
    }
    let problem = get(&shop.facing, "/v1/purchases").await.json();
    assert_eq!((&problem["type"], &problem["outcome"]), (&json!("/problems/overloaded"), &json!(null)));
    for always in
        ["/healthz", "/livez", "/readyz", "/health", "/ready", "/-/ready", "/scalable-shop-cm-server/healthz"]
    {
        assert_eq!(get(&shop.facing, always).await.status, StatusCode::OK, "{always}");
    }
    assert_eq!(get(&shop.facing, "/getAllUserBuys/health").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(first.await.unwrap().status, StatusCode::CREATED);
    assert_eq!(read.await.unwrap().status, StatusCode::OK);
    assert_eq!(get(&shop.facing, "/getAllUserBuys/u1").await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_buy_that_takes_too_long_goes_on() {
    for goes_away in [false, true] {
        let mut options = HttpOptions::default();
        options.request_timeout = Duration::from_secs(1);
        options.max_requests = 1;
        let shop = Shop::with(options);
        shop.faults.always(Call::Publish, Fault::Delay(Duration::from_secs(3)));
        let buy = post(&shop.facing, "/buy", BUY);
        if goes_away {
            // A client that is gone is a future that is dropped.
            assert!(tokio::time::timeout(Duration::from_millis(500), buy).await.is_err());
        } else {
            let answer = buy.await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(answer.json(), json!({"error": "No answer within 1 seconds", "outcome": "unknown"}));
        }
        // It still counts as one, until it has ended.
        assert_eq!(post(&shop.facing, "/buy", BUY).await.status, StatusCode::SERVICE_UNAVAILABLE);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(shop.published().await, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_that_takes_too_long_is_given_up() {
    let mut options = HttpOptions::default();
    options.request_timeout = Duration::from_secs(1);
    let shop = Shop::with(options);
    shop.faults.always(Call::Query, Fault::Delay(Duration::from_secs(3)));
    let answer = get(&shop.facing, "/getAllUserBuys/u1").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        (answer.json(), answer.header("retry-after")),
        (json!({"error": "No answer within 1 seconds"}), Some("1"))
    );
    assert_eq!(
        get(&shop.facing, "/v1/purchases?userid=u1").await.json()["type"],
        "/problems/deadline-exceeded"
    );
}

#[tokio::test(start_paused = true)]
async fn a_listing_counts_until_it_is_read_and_is_sent_as_it_comes() {
    for encoding in ["identity", "gzip"] {
        let shop = narrow();
        shop.stored(&(1..=2_500).map(|number| purchase("u1", number)).collect::<Vec<_>>()).await;
        let headers = [("accept-encoding", encoding)];
        let asked = request(Method::GET, "/getAllUserBuys/u1", &headers, Body::empty());
        let response = shop.facing.clone().oneshot(asked).await.unwrap();
        assert_eq!(response.headers().contains_key("content-encoding"), encoding == "gzip");
        let mut body = response.into_body();
        // The second page takes an hour, more than its deadline: what was there before must have come.
        shop.faults.always(Call::Query, Fault::Delay(Duration::from_secs(3_600)));
        let before = tokio::time::Instant::now();
        let mut first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        if encoding == "gzip" {
            // The header comes by itself.
            assert_eq!(first[..2], [0x1f, 0x8b]);
            if first.len() <= 10 {
                first = body.frame().await.unwrap().unwrap().into_data().unwrap();
            }
        }
        assert!(first.len() > 500, "{encoding}: {} bytes", first.len());
        assert_eq!(before.elapsed(), Duration::ZERO, "{encoding}: it has waited for the next");
        assert_eq!(get(&shop.facing, "/getAllUserBuys/u2").await.status, StatusCode::SERVICE_UNAVAILABLE);
        drop(body);
        shop.faults.clear(Call::Query);
        assert_eq!(get(&shop.facing, "/getAllUserBuys/u2").await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn what_is_read_is_compressed_for_whoever_takes_that() {
    let shop = Shop::new();
    shop.stored(&(1..=100).map(|number| purchase("u1", number)).collect::<Vec<_>>()).await;
    let plain = get(&shop.facing, "/getAllUserBuys/u1").await;
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("accept-encoding")));
    let asked = request(Method::GET, "/getAllUserBuys/u1", &[("accept-encoding", "gzip")], Body::empty());
    let response = shop.facing.clone().oneshot(asked).await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    assert!(bytes.starts_with(&[0x1f, 0x8b]) && bytes.len() * 5 < plain.text.len(), "{} bytes", bytes.len());
    let bought = request(Method::POST, "/buy", &[JSON, ("accept-encoding", "gzip")], BUY);
    assert_eq!(ask(&shop.facing, bought).await.header("content-encoding"), None, "it is short");
}

/// A clock with a defect.
#[derive(Debug)]
struct NoClock;

impl Clock for NoClock {
    fn now(&self) -> Timestamp {
        panic!("a defect with details")
    }

    fn fresh_id(&self) -> uuid::Uuid {
        uuid::Uuid::now_v7()
    }
}

#[tokio::test]
async fn a_defect_of_a_route_is_a_500_with_a_request_id() {
    let mut parts = Facing::new(Arc::new(InMemoryLog::default().sink()), Arc::new(InMemoryStore::new()));
    parts.clock = Arc::new(NoClock);
    let router = facing(parts, HttpOptions::default());
    let mine: Request<Body> = request(Method::POST, "/buy", &[JSON, ("x-request-id", "mine-7")], BUY);
    let answer = ask(&router, mine).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        (answer.json(), answer.header("x-request-id")),
        (json!({"error": "Internal Server Error"}), Some("mine-7"))
    );
}
