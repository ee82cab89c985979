//! Buying: requests, responses and errors.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde_json::json;
use shop_core::conformance::fault::{Call, Fault, Faults};
use shop_core::log::{LogSource, SourceEvent};
use shop_core::memory::InMemoryStore;
use shop_core::record::{decode, header};
use shop_core::{Error, ErrorKind, Outcome};
use shop_http::{HttpOptions, Parts, router};
use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions};
use tower::ServiceExt;

use crate::shop::{JSON, NOW, Shop, post, request, send};

const ADA: &str = r#"{"username":"ada","userid":"u1","price":29.99}"#;

#[tokio::test]
async fn the_default_response_has_the_members_of_two_replaced_systems() {
    let shop = Shop::new();
    let response = post(&shop.facing, "/buy", ADA).await;
    assert_eq!(response.status, StatusCode::CREATED);
    let purchase = json!({"username": "ada", "userid": "u1", "price": 29.99, "timestamp": NOW});
    let expected = json!({
        "status": "success", "message": "Purchase recorded", "data": purchase, "purchase": purchase,
    });
    assert_eq!(response.json(), expected);
    assert!(
        response.text.contains(r#""price":29.99,"#),
        "a number: {}",
        response.text
    );
    assert_eq!(response.header("x-purchase-id").unwrap().len(), 36);
    assert_eq!(shop.published().await, 1);
}

#[tokio::test]
async fn the_native_response_has_a_receipt_on_both_services() {
    let shop = Shop::new();
    for (service, position) in [(&shop.facing, true), (&shop.management, false)] {
        let response = post(service, "/v1/purchases", ADA).await;
        assert_eq!(response.status, StatusCode::CREATED);
        let body = response.json();
        let id = response.header("x-purchase-id").unwrap();
        assert_eq!(
            body["purchase"],
            json!({"id": id, "username": "ada", "userid": "u1", "price": 29.99, "timestamp": NOW})
        );
        assert_eq!(
            (&body["receipt"]["id"], &body["receipt"]["durability"]),
            (&json!(id), &json!("memory"))
        );
        assert_eq!(body["receipt"].get("position").is_some(), position);
    }
    assert_eq!(
        (shop.published().await, shop.store.all().len()),
        (1, 1),
        "management writes into its store"
    );
}

#[tokio::test]
async fn the_record_has_all_values_of_the_request() {
    let shop = Shop::new();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [
        JSON,
        ("idempotency-key", "order-7"),
        ("traceparent", trace),
        ("x-request-id", "r-1"),
    ];
    let body = r#"{"userId":5,"username":"Ädä","price":"1195.30","timestamp":"2020-01-01T00:00:00+01:00","x":[1]}"#;
    let response = send(&shop.facing, request(Method::POST, "/buy", &headers, body)).await;
    assert_eq!(response.status, StatusCode::CREATED, "{}", response.text);
    assert_eq!(response.header("x-request-id"), Some("r-1"));
    let zeros = [32, 16].map(|length| "0".repeat(length));
    for (valid, invalid) in [
        (&trace[3..35], &*zeros[0]),
        (&trace[36..52], &zeros[1]),
        ("00-", "ff-"),
    ] {
        let headers = [JSON, ("traceparent", &*trace.replacen(valid, invalid, 1))];
        let response = send(&shop.facing, request(Method::POST, "/buy", &headers, ADA)).await;
        assert_eq!(response.status, StatusCode::CREATED, "{}", response.text);
    }
    let SourceEvent::Batch(batch) = shop.log.source("g").next().await.unwrap() else {
        panic!("a batch")
    };
    let traces: Vec<_> = batch
        .records
        .iter()
        .map(|record| record.headers.get(header::TRACEPARENT))
        .collect();
    assert_eq!(traces, [Some(trace.as_bytes()), None, None, None]);
    let record = &batch.records[0];
    let purchase = decode(record, &batch.partition).unwrap();
    assert_eq!(
        purchase.id.to_string(),
        response.header("x-purchase-id").unwrap()
    );
    assert_eq!(
        (purchase.user_id.as_str(), purchase.user_name.as_str()),
        ("5", "Ädä")
    );
    assert_eq!(
        (purchase.price.to_string(), purchase.timestamp.to_string()),
        ("1195.30".into(), "2019-12-31T23:00:00.000Z".into())
    );
    assert_eq!(record.headers.get(header::REQUEST_ID), Some(&b"r-1"[..]));
    assert_eq!(record.key.as_deref(), Some(&b"5"[..]));
}

#[tokio::test]
async fn a_timestamp_may_be_a_number_on_legacy_paths() {
    let shop = Shop::new();
    for time in [
        "1772355600.25",
        "1772355600250",
        "\"2026-03-01T09:00:00.250\"",
    ] {
        let body = format!(r#"{{"username":"ada","userid":"u1","price":1,"timestamp":{time}}}"#);
        let response = post(&shop.facing, "/buy", body).await;
        assert_eq!(
            response.json()["purchase"]["timestamp"],
            "2026-03-01T09:00:00.250Z",
            "{time}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_buy_has_its_outcome_and_a_key_to_retry_with() {
    let full = Fault::Refuse(Error::new(ErrorKind::Overloaded, "the queue is full"));
    let late = Fault::Delay(Duration::from_secs(60));
    let secret = Error::new(
        ErrorKind::Unavailable,
        "cannot reach 10.1.2.3 as admin:hunter2",
    );
    let secret = Fault::Refuse(secret.with_outcome(Outcome::NotApplied));
    for (fault, outcome) in [
        (full, "not_sent"),
        (late, "unknown"),
        (secret, "not_sent"),
        (Fault::LoseAnswer, "unknown"),
    ] {
        let shop = Shop::new();
        shop.faults.always(Call::Publish, fault);
        let response = post(&shop.facing, "/buy", ADA).await;
        assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.header("retry-after"), Some("1"));
        let body = response.json();
        assert_eq!(
            body["error"],
            "Failed to record purchase - messaging system unavailable"
        );
        assert_eq!(body["outcome"], outcome);
        let key = response.header("idempotency-key").unwrap();
        assert_eq!(body["idempotency_key"], key);
        assert!(!response.text.contains("hunter2") && !response.text.contains("10.1.2.3"));

        let native = post(&shop.facing, "/v1/purchases", ADA).await.json();
        assert_eq!(native["outcome"], outcome);
        let is_known = native["detail"]
            .as_str()
            .unwrap()
            .starts_with("The purchase was not recorded: ");
        assert_eq!(is_known, outcome == "not_sent", "{native}");

        // A retry with that key is the same purchase.
        shop.faults.clear(Call::Publish);
        let headers = [JSON, ("idempotency-key", key)];
        let again = send(
            &shop.facing,
            request(Method::POST, "/v1/purchases", &headers, ADA),
        )
        .await;
        assert_eq!(again.header("x-purchase-id"), Some(key));
    }
}

#[tokio::test(start_paused = true)]
async fn native_errors_are_problems() {
    let shop = Shop::new();
    shop.faults.always(Call::Publish, Fault::unavailable());
    let headers = [JSON, ("idempotency-key", "order-7")];
    let response = send(
        &shop.facing,
        request(Method::POST, "/v1/purchases", &headers, ADA),
    )
    .await;
    assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        response.header("content-type"),
        Some("application/problem+json")
    );
    let expected = json!({
        "type": "/problems/unavailable", "status": 503, "title": "Service Unavailable",
        "detail": "The purchase was not recorded: the service behind is unavailable",
        "outcome": "not_sent", "idempotency_key": "order-7",
    });
    assert_eq!(response.json(), expected);
}

#[tokio::test]
async fn a_purchase_is_published_after_a_disconnect() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path(), EmbeddedLogOptions::default())
        .await
        .unwrap();
    // The sink does not start before the client disconnects: only the service can continue the call.
    let faults = Faults::new();
    faults.always(Call::Publish, Fault::Delay(Duration::from_millis(1)));
    let parts = Parts::facing(
        faults.sink(Arc::new(log.sink())),
        Arc::new(InMemoryStore::new()),
    );
    let router = router(parts, HttpOptions::default());
    // Held, so that nothing is committed before the client disconnects.
    let lock = std::fs::File::open(folder.path().join("shop.lock")).unwrap();
    lock.lock().unwrap();
    for path in ["/buy", "/v1/purchases"] {
        // Polled once, then dropped, as a server does when the connection breaks.
        let mut call = Box::pin(
            router
                .clone()
                .oneshot(request(Method::POST, path, &[JSON], ADA)),
        );
        let is_pending =
            poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_pending())).await;
        assert!(is_pending, "the call waits for the log");
        drop(call);
    }
    lock.unlock().unwrap();
    let source = log.source("group").unwrap();
    let mut records = 0;
    while records < 2 {
        let next = tokio::time::timeout(Duration::from_secs(30), source.next())
            .await
            .expect("both purchases");
        let SourceEvent::Batch(batch) = next.unwrap() else {
            panic!("a batch")
        };
        records += batch.records.len();
    }
}
