//! Bad requests that do not fit in the tables of `bad_input`.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use serde_json::json;

use crate::shop::{JSON, Shop, post, request, send};

#[tokio::test]
async fn empty_values_are_400_and_an_empty_object_is_422_in_v1() {
    let shop = Shop::new();
    for body in ["{}", " { } ", "null", "false", "0", "[]", "\"\""] {
        let response = post(&shop.facing, "/buy", body).await;
        assert_eq!(
            (response.status, response.json()),
            (StatusCode::BAD_REQUEST, json!({"error": "Request body must be JSON"}))
        );
        let response = post(&shop.facing, "/v1/purchases", body).await;
        let is_object = body.contains('{');
        let expected = if is_object { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST };
        assert_eq!(response.status, expected, "{body}: {}", response.text);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_times_out() {
    let shop = Shop::new();
    let body = || Body::from_stream(futures_util::stream::pending::<Result<&[u8], std::io::Error>>());
    let response = post(&shop.facing, "/buy", body()).await;
    assert_eq!(response.status, StatusCode::REQUEST_TIMEOUT);
    assert_eq!(response.json()["error"], "Request body must be sent within 10 seconds");
    let problem = post(&shop.facing, "/v1/purchases", body()).await.json();
    assert_eq!(problem["type"], "/problems/deadline-exceeded");
}

#[tokio::test]
async fn native_bodies_are_strict_and_errors_name_the_field() {
    let shop = Shop::new();
    for (body, field) in [
        (r#"{"username":"ada","userid":5,"price":1}"#, "userid"),
        (r#"{"username":7,"userid":"u1","price":1}"#, "username"),
        (r#"{"username":"ada","userid":"u1","price":1,"timestamp":"yesterday"}"#, "timestamp"),
        (r#"{"username":"ada","userid":"u1","price":1,"timestamp":5}"#, "timestamp"),
        (r#"{"userid":"u1","price":1}"#, "username"),
        (r#"{"username":"ada","userid":"u1","price":"much"}"#, "price"),
    ] {
        let response = post(&shop.facing, "/v1/purchases", body).await;
        assert_eq!(response.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(response.json()["field"], field, "{body}: {}", response.text);
    }
    assert_eq!(shop.published().await, 0);
}

#[tokio::test]
async fn media_types_and_keys_are_checked() {
    let shop = Shop::new();
    let body = r#"{"username":"ada","userid":"u1","price":1}"#;
    for path in ["/buy", "/v1/purchases"] {
        for other in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
            let response =
                send(&shop.facing, request(Method::POST, path, &[("content-type", other)], body)).await;
            assert_eq!(response.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
            assert!(response.text.contains("application/json"), "{}", response.text);
        }
        let long = "x".repeat(256);
        for key in ["", "with space", "tab\t", &long] {
            let response =
                send(&shop.facing, request(Method::POST, path, &[JSON, ("idempotency-key", key)], body))
                    .await;
            assert!(response.status.is_client_error(), "{key:?}");
            assert!(response.text.contains("Idempotency-Key"), "{key:?}: {}", response.text);
        }
        let two = [JSON, ("idempotency-key", "a"), ("idempotency-key", "b")];
        assert!(send(&shop.facing, request(Method::POST, path, &two, body)).await.status.is_client_error());
        let response = send(&shop.facing, request(Method::POST, path, &[], body)).await;
        assert_eq!(response.status, StatusCode::CREATED, "no media type counts as JSON");
    }
    assert_eq!(shop.published().await, 2);
}

#[tokio::test]
async fn an_oversized_body_is_a_413() {
    let shop = Shop::new();
    let body = |bytes: usize| {
        let start = r#"{"username":"ada","userid":"u1","price":1"#;
        format!("{start}{}}}", " ".repeat(bytes - start.len() - 1))
    };
    for path in ["/buy", "/v1/purchases"] {
        assert_eq!(post(&shop.facing, path, body(102_400)).await.status, StatusCode::CREATED);
        for bytes in [102_401, 10_000_000] {
            let response = post(&shop.facing, path, body(bytes)).await;
            assert_eq!(response.status, StatusCode::PAYLOAD_TOO_LARGE);
            assert!(response.text.contains("102400 bytes"), "{}", response.text);
        }
    }
    assert_eq!(shop.published().await, 2);
}
