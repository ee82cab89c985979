//! Which calls are retried and how often, and that a retried purchase is recorded once. Time is paused: it advances
//! only while all tasks wait.

use std::time::Duration;

use axum::http::StatusCode;
use shop_client::{ErrorKind, HttpErrorExt, Outcome, RetryPolicy};
use shop_core::conformance::assert_fails;

use crate::shop::{Script, Shop, Turn, ada, refusal};

#[tokio::test(start_paused = true)]
async fn a_503_then_a_201_is_one_purchase() {
    let script = Script::new([Turn::Say(refusal(503, &[], ""))]);
    let client = script.client().await;
    let bought = client.buy(ada("29.99")).await.unwrap();
    let seen = script.seen();
    assert_eq!(seen.len(), 2);
    for header in ["idempotency-key", "x-request-id"] {
        assert_eq!(seen[0].header(header), seen[1].header(header), "{header}");
    }
    assert_eq!(
        seen[0].header("idempotency-key"),
        bought.purchase.id.to_string()
    );
    assert_eq!(bought.receipt.id, bought.purchase.id);
    // Another call is another purchase.
    assert_ne!(
        client.buy(ada("29.99")).await.unwrap().purchase.id,
        bought.purchase.id
    );
}

#[tokio::test(start_paused = true)]
async fn a_purchase_stored_before_the_timeout_is_not_repeated() {
    let shop = Shop::new();
    shop.ingest();
    let script = Script::new([Turn::Lose, Turn::Lose]);
    let client = script.client_of(shop.router.clone()).await;
    let bought = client.buy(ada("29.99")).await.unwrap();
    assert_eq!(script.seen().len(), 3);
    let seen = client
        .user("u1")
        .wait_for(&bought.receipt)
        .summary()
        .await
        .unwrap();
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
    assert_fails(&error, ErrorKind::DeadlineExceeded, Outcome::Unknown);
    assert!(
        !error.is_retryable(),
        "without the key it would be another purchase"
    );
    let again = ada("29.99")
        .with_key(error.idempotency_key().unwrap())
        .unwrap();
    let bought = client.buy(again).await.unwrap();
    assert_eq!(
        bought.purchase.id.to_string(),
        error.idempotency_key().unwrap().as_str()
    );
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let shop = Shop::new();
    for status in [429, 503] {
        let script = Script::new([Turn::Say(refusal(status, &[("retry-after", "7")], ""))]);
        let client = script.client_of(shop.router.clone()).await;
        client.buy(ada("29.99")).await.unwrap();
        let seen = script.seen();
        let waited = seen[1].at - seen[0].at;
        assert!(
            (Duration::from_secs(7)..Duration::from_secs(8)).contains(&waited),
            "{status}: {waited:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_permanent_error_is_not_retried() {
    for status in [400, 401, 403, 404, 409, 413, 415, 422, 500, 501] {
        let script = Script::responding(StatusCode::from_u16(status).unwrap(), 10);
        let client = script.client().await;
        let error = client.buy(ada("1")).await.unwrap_err();
        assert_eq!(
            (error.status(), error.attempts(), error.is_retryable()),
            (Some(status), 1, false)
        );
        client.user("u1").summary().await.unwrap_err();
        assert_eq!(script.seen().len(), 2, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn queries_are_retried_and_a_check_is_not() {
    let script = Script::responding(StatusCode::BAD_GATEWAY, 2);
    let client = script.client().await;
    assert_eq!(client.user("u1").summary().await.unwrap().count, 0);
    assert_eq!(script.seen().len(), 3);
    let script = Script::responding(StatusCode::BAD_GATEWAY, 2);
    let client = script.client().await;
    client.check().await.unwrap_err();
    assert_eq!(script.seen().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_buy_is_still_sent() {
    let shop = Shop::new();
    shop.ingest();
    let script = Script::new([Turn::Say(refusal(503, &[], ""))]);
    let client = script.client_of(shop.router.clone()).await;
    let mut buying = Box::pin(client.buy(ada("29.99")));
    assert!(futures_util::poll!(&mut buying).is_pending());
    drop(buying);
    client.close(Duration::from_secs(30)).await.unwrap();
    assert_eq!(script.seen().len(), 2);
    assert_eq!(
        client.buy(ada("1")).await.unwrap_err().kind(),
        ErrorKind::Closed
    );
}

#[tokio::test]
async fn a_response_with_another_purchase_is_an_error() {
    let other = r#"{"purchase":{"id":"00000000-0000-0000-0000-000000000001","username":"ada","userid":"u1",
        "price":1,"timestamp":"2026-03-01T09:00:00Z"},
        "receipt":{"id":"00000000-0000-0000-0000-000000000001","durability":"memory"}}"#;
    let script = Script::new([Turn::Say(refusal(201, &[], other))]);
    let client = script.client().await;
    let error = client.buy(ada("1")).await.unwrap_err();
    assert_fails(&error, ErrorKind::Unsupported, Outcome::Unknown);
}

#[tokio::test]
async fn only_an_unsent_purchase_is_retryable_without_a_given_key() {
    for (status, body, outcome) in [
        (502, "", Outcome::Unknown),
        (503, r#"{"outcome":"not_sent"}"#, Outcome::NotApplied),
    ] {
        let refused = || {
            Turn::Say(refusal(
                status,
                &[("content-type", "application/problem+json")],
                body,
            ))
        };
        let builder = Script::new([refused(), refused()]).builder().await;
        let client = builder.retries(RetryPolicy::none()).build().unwrap();
        let error = client.buy(ada("1")).await.unwrap_err();
        assert_eq!(
            (error.outcome(), error.is_retryable()),
            (outcome, outcome == Outcome::NotApplied)
        );
        assert!(
            error.idempotency_key().is_some() && error.to_string().contains("idempotency_key"),
            "{error}"
        );
        let error = client
            .buy(ada("1").with_key("order-7").unwrap())
            .await
            .unwrap_err();
        assert!(error.is_retryable() && error.idempotency_key().unwrap().as_str() == "order-7");
    }
}
