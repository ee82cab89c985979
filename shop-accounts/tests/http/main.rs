//! Users and orders over HTTP: responses to clients of the replaced system, and the state for
//! operators.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod absent;
mod documented;
mod entities;
mod measured;
mod outages;
mod repeated;
#[expect(dead_code, reason = "the tests of purchases need the rest")]
#[path = "../../../shop-http/tests/http/shop.rs"]
mod shop;
mod state;
mod v1;
mod waiting;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Method;
use tokio::time::{sleep, timeout};

use crate::shop::{JSON, TestResponse, request, send};

/// The response to the body, sent with this key.
async fn post_with_key(router: &Router, path: &str, key: &str, body: &str) -> TestResponse {
    let headers = [JSON, ("idempotency-key", key)];
    send(
        router,
        request(Method::POST, path, &headers, Body::from(body.to_owned())),
    )
    .await
}

/// Waits until the condition holds.
async fn wait_until(mut holds: impl AsyncFnMut() -> bool) {
    let polling = async {
        while !holds().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        timeout(Duration::from_secs(20), polling).await.is_ok(),
        "the condition does not hold after 20 s"
    );
}

const ADA: &str = r#"{"email":"ada@example.com","name":"Ada"}"#;
const PEN: &str = r#"{"user_id":1,"product":"pen","quantity":2,"total_price":50}"#;

/// The value of one series in the response.
fn value(response: &TestResponse, series: &str) -> Option<f64> {
    let mut lines = response.text.lines();
    let line = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}
