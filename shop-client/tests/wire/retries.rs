//! Which calls are retried and how often, and that a retried purchase is recorded once. Time is paused: it advances
//! only while all tasks wait.

use std::time::Duration;

use axum::http::StatusCode;
use shop_client::{ErrorKind, HttpErrorExt, Outcome, RetryPolicy};
use tokio::time::Instant;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::shop::{Script, Shop, Turn, ada, refusal};

/// The response to a buy: the id is the key.
fn taken(request: &Request) -> ResponseTemplate {
    let id = request.headers["idempotency-key"].to_str().unwrap();
    let body = format!(
        r#"{{"purchase":{{"id":"{id}","username":"ada","userid":"u1","price":29.99,
        "timestamp":"2026-03-01T09:00:00Z"}},"receipt":{{"id":"{id}","durability":"broker","replicas":3,
        "position":{{"topic":"purchases","partition":2,"offset":7}}}}}}"#
    );
    ResponseTemplate::new(201).set_body_raw(body, "application/json")
}

#[tokio::test]
async fn a_503_then_a_201_is_one_purchase() {
    let server = MockServer::start().await;
    let buy = || Mock::given(method("POST")).and(path("/v1/purchases"));
    buy().respond_with(ResponseTemplate::new(503)).up_to_n_times(1).mount(&server).await;
    buy().respond_with(taken).mount(&server).await;
    let client = shop_client::ShopClient::builder(server.uri()).build().unwrap();
    let bought = client.buy(ada("29.99")).await.unwrap();

    let requests = server.received_requests().await.unwrap();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].body, requests[1].body);
    for header in ["idempotency-key", "x-request-id"] {
        assert_eq!(requests[0].headers[header], requests[1].headers[header], "{header}");
    }
    assert_eq!(requests[0].headers["idempotency-key"].to_str().unwrap(), bought.purchase.id.to_string());
    assert_eq!(bought.receipt.id, bought.purchase.id);
    assert_eq!(bought.receipt.position.unwrap().offset, 7);

    // Another call is another purchase.
    let other = client.buy(ada("29.99")).await.unwrap();
    assert_ne!(other.purchase.id, bought.purchase.id);
}

#[tokio::test(start_paused = true)]
async fn a_purchase_stored_before_the_timeout_is_not_repeated() {
    let shop = Shop::new();
    shop.ingest();
    let script = Script::new([Turn::Lose, Turn::Lose]);
    let client = script.before(shop.router.clone()).await.build().unwrap();
    let bought = client.buy(ada("29.99")).await.unwrap();
    assert_eq!(script.seen().len(), 3);
    let seen = client.user("u1").waiting_for(&bought.receipt).summary().await.unwrap();
    assert_eq!(seen.count, 1);
    assert_eq!(shop.store.all()[0].id, bought.purchase.id);
}

#[tokio::test(start_paused = true)]
async fn a_lost_response_without_retries_returns_the_key() {
    let shop = Shop::new();
    let script = Script::new([Turn::Lose]);
    let builder = script.before(shop.router.clone()).await;
    let client = builder.retries(RetryPolicy::none()).build().unwrap();
    let error = client.buy(ada("29.99")).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::DeadlineExceeded, Outcome::Unknown));
    assert!(!error.is_retryable(), "without the key it would be another purchase");
    let again = ada("29.99").with_key(error.idempotency_key().unwrap()).unwrap();
    let bought = client.buy(again).await.unwrap();
    assert_eq!(bought.purchase.id.to_string(), error.idempotency_key().unwrap().as_str());
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let shop = Shop::new();
    for status in [429, 503] {
        let script = Script::new([Turn::Say(refusal(status, &[("retry-after", "7")], ""))]);
        let client = script.before(shop.router.clone()).await.build().unwrap();
        client.buy(ada("29.99")).await.unwrap();
        let seen = script.seen();
        let waited = seen[1].at - seen[0].at;
        assert!((Duration::from_secs(7)..Duration::from_secs(8)).contains(&waited), "{status}: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_beyond_the_total_timeout_fails_at_once() {
    let script = Script::new([Turn::Say(refusal(429, &[("retry-after", "50")], ""))]);
    let client = script.before(Shop::new().router).await.build().unwrap();
    let start = Instant::now();
    let error = client.buy(ada("29.99")).await.unwrap_err();
    assert_eq!((error.kind(), error.status()), (ErrorKind::Overloaded, Some(429)));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(50)));
    assert!(error.is_retryable() && start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_budget_stops_all_clones() {
    let script = Script::responding(StatusCode::SERVICE_UNAVAILABLE, 1_000);
    let pause = Duration::from_millis(1);
    // One a second, over ten seconds.
    let retries = RetryPolicy::default().budget(1, 0.0).backoff(pause, pause);
    let client = script.before(Shop::new().router).await.retries(retries).build().unwrap();
    for _ in 0..10 {
        client.buy(ada("1")).await.unwrap_err();
        client.clone().user("u1").summary().await.unwrap_err();
    }
    assert_eq!(script.seen().len(), 20 + 10);
}

#[tokio::test(start_paused = true)]
async fn the_total_timeout_ends_retries_and_bounds_the_last_attempt() {
    let within = Duration::from_secs(10);
    for turn in [|| Turn::Lose, || Turn::Say(refusal(503, &[], ""))] {
        let script = Script::new((0..100).map(|_| turn()));
        let builder = script.before(Shop::new().router).await;
        let client = builder.retries(RetryPolicy::default().total_timeout(within)).build().unwrap();
        let start = Instant::now();
        let error = client.buy(ada("1").with_key("order-7").unwrap()).await.unwrap_err();
        // The clock of tokio counts whole milliseconds.
        assert!(start.elapsed() <= within + Duration::from_millis(2), "{:?}", start.elapsed());
        assert!(error.attempts() >= 2 && error.attempts() as usize == script.seen().len(), "{error}");
        assert_eq!((error.outcome(), error.is_retryable()), (Outcome::Unknown, true));
    }
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_is_not_retried() {
    for status in [400, 401, 403, 404, 409, 413, 415, 422, 500, 501] {
        let script = Script::responding(StatusCode::from_u16(status).unwrap(), 10);
        let client = script.before(Shop::new().router).await.build().unwrap();
        let error = client.buy(ada("1")).await.unwrap_err();
        assert_eq!((error.status(), error.attempts(), error.is_retryable()), (Some(status), 1, false));
        client.user("u1").summary().await.unwrap_err();
        assert_eq!(script.seen().len(), 2, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn queries_are_retried_and_a_check_is_not() {
    let script = Script::responding(StatusCode::BAD_GATEWAY, 2);
    let client = script.before(Shop::new().router).await.build().unwrap();
    assert_eq!(client.user("u1").summary().await.unwrap().count, 0);
    assert_eq!(script.seen().len(), 3);
    let script = Script::responding(StatusCode::BAD_GATEWAY, 2);
    let client = script.before(Shop::new().router).await.build().unwrap();
    client.check().await.unwrap_err();
    assert_eq!(script.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_survives_later_attempts() {
    let shop = Shop::new();
    let conflict = refusal(409, &[], r#"{"type":"/problems/conflict","outcome":"not_sent"}"#);
    let script = Script::new([Turn::Lose, Turn::Say(conflict)]);
    let client = script.before(shop.router).await.build().unwrap();
    let error = client.buy(ada("1")).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Conflict, Outcome::Unknown));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_buy_is_still_sent() {
    let shop = Shop::new();
    shop.ingest();
    let script = Script::new([Turn::Say(refusal(503, &[], ""))]);
    let client = script.before(shop.router.clone()).await.build().unwrap();
    let mut buying = Box::pin(client.buy(ada("29.99")));
    assert!(futures_util::poll!(&mut buying).is_pending());
    drop(buying);
    client.close(Duration::from_secs(30)).await.unwrap();
    assert_eq!(script.seen().len(), 2);
    assert_eq!(client.buy(ada("1")).await.unwrap_err().kind(), ErrorKind::Closed);
}
