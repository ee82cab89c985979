//! What the replaced system's own description shows, word by word.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use serde_json::json;
use shop_http::HttpOptions;

use super::{ADA, Entities, PEN, is, until};
use crate::shop::{Answer, JSON, ask, get, post, request};

/// As curl sends it in the description, with a header that nobody knows.
async fn curl(router: &axum::Router, path: &str, body: &'static str) -> Answer {
    let headers = [JSON, ("content", "application/json"), ("accept", "*/*")];
    ask(router, request(Method::POST, path, &headers, Body::from(body))).await
}

#[tokio::test(start_paused = true)]
async fn the_six_curls_in_their_order() {
    for through_facing in [false, true] {
        let mut entities = Entities::new();
        entities.start();
        let mut options = HttpOptions::default();
        options.unknown_user_wait = Duration::from_secs(2);
        let router = if through_facing { entities.facing(options) } else { entities.management(options) };
        let ada = json!({"id": 1, "email": "ada@example.com", "name": "Ada"});
        is(&curl(&router, "/users", ADA).await, 201, &ada);
        is(&get(&router, "/users/1").await, 200, &ada);
        // The user's event is on its way: this one waits for it.
        let order = |id: i64| json!({"id": id, "user_id": 1, "product": "pen", "quantity": 2, "total_price": "50.00"});
        is(&curl(&router, "/orders", PEN).await, 201, &order(1));
        is(&get(&router, "/orders/1").await, 200, &order(1));
        is(&curl(&router, "/users", ADA).await, 400, &json!({"detail": "Email already registered"}));
        is(&curl(&router, "/orders", PEN).await, 201, &order(2));

        let known =
            async || get(&router, "/users/1/orders").await.json() == json!({"user_id": 1, "orders": [1, 2]});
        until(known).await;
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_so() {
    let entities = Entities::new();
    for router in [entities.management(HttpOptions::default()), entities.facing(HttpOptions::default())] {
        let (user, order) = (json!({"detail": "User not found"}), json!({"detail": "Order not found"}));
        for path in ["/users/1", "/users/0", "/users/-1", "/users/99999999999999999999", "/users/1/orders"] {
            is(&get(&router, path).await, 404, &user);
        }
        for path in ["/orders/1", "/orders/99999999999999999999"] {
            is(&get(&router, path).await, 404, &order);
        }
        is(&post(&router, "/orders", PEN).await, 404, &user);
        is(&post(&router, "/orders", PEN.replace(":1,", ":99999999999999999999,")).await, 404, &user);
        is(&get(&router, "/users").await, 405, &json!({"detail": "Method Not Allowed"}));
        is(&get(&router, "/users/1/2/3").await, 404, &json!({"detail": "Not Found"}));
    }
}

#[tokio::test]
async fn an_email_has_the_form_in_which_it_is_compared() {
    let router = Entities::new().management(HttpOptions::default());
    let taken = json!({"detail": "Email already registered"});
    let sent = r#"{"email":"Ada <Ada@Example.COM> ","name":"","more":[1]}"#;
    let ada = json!({"id": 1, "email": "Ada@example.com", "name": ""});
    is(&post(&router, "/users", sent).await, 201, &ada);
    is(&post(&router, "/users", r#"{"email":"Ada@EXAMPLE.com","name":"x"}"#).await, 400, &taken);
    // Who was refused has taken no number.
    let other = json!({"id": 2, "email": "ada@example.com", "name": "Ada"});
    is(&post(&router, "/users", ADA).await, 201, &other);
    // Of two the last one counts.
    let twice = post(&router, "/users", r#"{"email":"b@example.com","email":"c@example.com","name":"C"}"#);
    assert_eq!(twice.await.json()["email"], "c@example.com");
}
