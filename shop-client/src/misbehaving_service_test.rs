//! Responses of services that misbehave, or that are not purchase tracking.

use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use tokio::net::TcpListener;

use crate::{Error, ErrorKind, NewPurchase, Outcome, RetryPolicy, ShopClient};

/// A client of a service with one response to everything.
async fn client_of<A>(answer: A) -> ShopClient
where
    A: IntoResponse + Clone + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(move || async move { answer.clone() });
    tokio::spawn(async move { axum::serve(listener, router).await });
    ShopClient::builder(format!("http://{address}")).retries(RetryPolicy::none()).build().unwrap()
}

fn purchase() -> NewPurchase {
    NewPurchase::of("u1").named("ada").priced("1").unwrap()
}

async fn refusal(answer: impl IntoResponse + Clone + Send + Sync + 'static) -> Error {
    client_of(answer).await.buy(purchase()).await.unwrap_err()
}

#[tokio::test]
async fn a_foreign_success_has_an_unknown_outcome() {
    for status in [StatusCode::OK, StatusCode::ACCEPTED, StatusCode::NO_CONTENT, StatusCode::CREATED] {
        let error = refusal((status, "{}")).await;
        assert_eq!(error.outcome(), Outcome::Unknown, "{status}: {error}");
    }
    assert_eq!(refusal(StatusCode::NOT_FOUND).await.outcome(), Outcome::NotApplied);
}

#[tokio::test]
async fn an_error_without_a_given_key_has_the_generated_one() {
    let lost = refusal(StatusCode::BAD_GATEWAY).await;
    assert_eq!((lost.is_retryable(), lost.outcome()), (false, Outcome::Unknown));
    assert!(lost.idempotency_key().is_some() && lost.to_string().contains("idempotency_key"), "{lost}");

    let not_sent = [(header::CONTENT_TYPE, "application/problem+json")];
    let not_sent = refusal((StatusCode::SERVICE_UNAVAILABLE, not_sent, r#"{"outcome":"not_sent"}"#)).await;
    assert_eq!((not_sent.is_retryable(), not_sent.outcome()), (true, Outcome::NotApplied));

    let with_key = purchase().with_key("order-7").unwrap();
    let error = client_of(StatusCode::BAD_GATEWAY).await.buy(with_key).await.unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(error.idempotency_key().unwrap().as_str(), "order-7");
}

#[tokio::test]
async fn a_response_with_another_purchase_is_an_error() {
    let other = r#"{"purchase":{"id":"00000000-0000-0000-0000-000000000001","username":"ada","userid":"u1",
        "price":1,"timestamp":"2026-03-01T09:00:00Z"},
        "receipt":{"id":"00000000-0000-0000-0000-000000000001","durability":"memory"}}"#;
    let error = refusal((StatusCode::CREATED, other)).await;
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Unsupported, Outcome::Unknown), "{error}");
}

#[tokio::test]
async fn check_requires_a_readiness_response() {
    let ready = client_of(r#"{"status":"ready","mongo":"up"}"#).await;
    ready.check().await.unwrap();
    for body in ["", "ok", "<html>", r#"{"status":"alive"}"#, "{}"] {
        assert!(client_of(body).await.check().await.is_err(), "{body}");
    }
}

#[tokio::test]
async fn retry_after_is_capped() {
    let mut headers = HeaderMap::new();
    headers.insert(header::RETRY_AFTER, "999999999".parse().unwrap());
    let with_key = purchase().with_key("order-7").unwrap();
    let client = client_of((StatusCode::SERVICE_UNAVAILABLE, headers)).await;
    let error = client.buy(with_key).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(60)));
}
