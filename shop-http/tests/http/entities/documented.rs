//! The examples in the description of the replaced system, verbatim.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use serde_json::json;
use shop_http::HttpOptions;

use super::{ADA, Entities, PEN, wait_until};
use crate::shop::{JSON, TestResponse, get, post, request, send};

/// The request of curl in the description, with an unknown header.
async fn curl(router: &axum::Router, path: &str, body: &'static str) -> TestResponse {
    let headers = [JSON, ("content", "application/json"), ("accept", "*/*")];
    send(router, request(Method::POST, path, &headers, Body::from(body))).await
}

#[tokio::test(start_paused = true)]
async fn the_six_documented_curls_work_in_order() {
    for through_facing in [false, true] {
        let mut entities = Entities::new();
        entities.start();
        let mut options = HttpOptions::default();
        options.unknown_user_wait = Duration::from_secs(2);
        let router = if through_facing { entities.facing(options) } else { entities.management(options) };
        let ada = json!({"id": 1, "email": "ada@example.com", "name": "Ada"});
        curl(&router, "/users", ADA).await.is(201, &ada);
        get(&router, "/users/1").await.is(200, &ada);
        // The user's event is in flight: the order waits for it.
        let order = |id: i64| json!({"id": id, "user_id": 1, "product": "pen", "quantity": 2, "total_price": "50.00"});
        curl(&router, "/orders", PEN).await.is(201, &order(1));
        get(&router, "/orders/1").await.is(200, &order(1));
        curl(&router, "/users", ADA).await.is(400, &json!({"detail": "Email already registered"}));
        curl(&router, "/orders", PEN).await.is(201, &order(2));

        let known =
            async || get(&router, "/users/1/orders").await.json() == json!({"user_id": 1, "orders": [1, 2]});
        wait_until(known).await;
    }
}

#[tokio::test]
async fn emails_are_normalized() {
    let router = Entities::new().management(HttpOptions::default());
    let taken = json!({"detail": "Email already registered"});
    let sent = r#"{"email":"Ada <Ada@Example.COM> ","name":"","more":[1]}"#;
    let ada = json!({"id": 1, "email": "Ada@example.com", "name": ""});
    post(&router, "/users", sent).await.is(201, &ada);
    post(&router, "/users", r#"{"email":"Ada@EXAMPLE.com","name":"x"}"#).await.is(400, &taken);
    // A rejected request uses no number.
    let other = json!({"id": 2, "email": "ada@example.com", "name": "Ada"});
    post(&router, "/users", ADA).await.is(201, &other);
    // The last of two duplicate members counts.
    let twice = post(&router, "/users", r#"{"email":"b@example.com","email":"c@example.com","name":"C"}"#);
    assert_eq!(twice.await.json()["email"], "c@example.com");
}
