//! Bad requests that do not fit in the tables of `bad_input`.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use serde_json::json;

use crate::shop::{Shop, post, request, send};

#[tokio::test]
async fn empty_values_are_400_and_an_empty_object_is_422_in_v1() {
    let shop = Shop::new();
    for body in ["{}", "null", "false", "0", "[]", "\"\""] {
        post(&shop.facing, "/buy", body)
            .await
            .is(400, &json!({"error": "Request body must be JSON"}));
        let status = if body == "{}" { 422 } else { 400 };
        post(&shop.facing, "/v1/purchases", body)
            .await
            .has(status, &json!({"type": "/problems/invalid"}));
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_times_out() {
    let shop = Shop::new();
    let body =
        || Body::from_stream(futures_util::stream::pending::<Result<&[u8], std::io::Error>>());
    let text = json!({"error": "Request body must be sent within 10 seconds"});
    post(&shop.facing, "/buy", body()).await.has(408, &text);
    let problem = post(&shop.facing, "/v1/purchases", body()).await;
    problem.has(408, &json!({"type": "/problems/deadline-exceeded"}));
}

#[tokio::test]
async fn no_media_type_counts_as_json_and_an_oversized_body_is_a_413() {
    let shop = Shop::new();
    let body = |bytes: usize| {
        let start = r#"{"username":"ada","userid":"u1","price":1"#;
        format!("{start}{}}}", " ".repeat(bytes - start.len() - 1))
    };
    for path in ["/buy", "/v1/purchases"] {
        let largest = send(
            &shop.facing,
            request(Method::POST, path, &[], body(102_400)),
        )
        .await;
        assert_eq!(largest.status, StatusCode::CREATED);
        for bytes in [102_401, 10_000_000] {
            let response = post(&shop.facing, path, body(bytes)).await;
            assert_eq!(response.status, StatusCode::PAYLOAD_TOO_LARGE);
            assert!(response.text.contains("102400 bytes"), "{}", response.text);
        }
    }
    assert_eq!(shop.published().await, 2);
}
