//! Reading through our own API.

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::shop::{Shop, get, purchase};

#[tokio::test]
async fn pages_of_a_user_of_a_name_and_of_everybody() {
    let shop = Shop::new();
    let users = ["a", "b"].into_iter().cycle();
    let all: Vec<_> = users.zip(0..30).map(|(user, number)| purchase(user, number)).collect();
    shop.stored(&all).await;
    for service in [&shop.facing, &shop.management] {
        for (selector, count) in [("userid=a", 15), ("username=name+of+b", 15), ("userid=nobody", 0)] {
            let body = get(service, &format!("/v1/purchases?{selector}&limit=1000")).await.json();
            assert_eq!(body["items"].as_array().unwrap().len(), count, "{selector}");
            assert_eq!(body["next"], Value::Null);
        }
    }
    let first = get(&shop.facing, "/v1/purchases?userid=a&order=oldest&limit=1").await.json();
    let expected = json!({"id": "00000000-0000-0000-0000-000000000001", "username": "name of a", "userid": "a",
        "price": 0.1, "timestamp": "2026-01-01T00:00:00.000Z"});
    assert_eq!(first["items"], json!([expected]));
    let cursor = first["next"].as_str().unwrap();
    let second =
        get(&shop.facing, &format!("/v1/purchases?userid=a&order=oldest&limit=5&cursor={cursor}")).await;
    assert_eq!(second.json()["items"].as_array().unwrap().len(), 5);
    let default = get(&shop.management, "/v1/purchases?everyone=true").await.json();
    assert_eq!(default["items"].as_array().unwrap().len(), 30, "up to 50 unless asked for");
    assert_eq!(default["items"][0]["timestamp"], "2026-01-01T00:00:29.000Z", "newest first unless asked for");
}

#[tokio::test]
async fn a_purchase_by_its_id() {
    let shop = Shop::new();
    shop.stored(&[purchase("u1", 1)]).await;
    let found = get(&shop.facing, "/v1/purchases/00000000-0000-0000-0000-000000000002").await;
    assert_eq!((found.status, &found.json()["userid"]), (StatusCode::OK, &json!("u1")));
    let unknown = get(&shop.facing, "/v1/purchases/00000000-0000-0000-0000-000000000009").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_eq!(unknown.json()["type"], "/problems/unknown-purchase");
    let old = get(&shop.facing, "/v1/purchases/65a1f0c2d3e4b5a697887766").await;
    assert_eq!(old.status, StatusCode::NOT_FOUND, "an old document's id is an id");
}

#[tokio::test]
async fn a_summary_is_exact() {
    let shop = Shop::new();
    let all: Vec<_> = (0..4).map(|number| purchase("u1", number)).collect();
    shop.stored(&all).await;
    for path in ["/v1/summary?userid=u1", "/v1/summary?username=name%20of%20u1"] {
        assert_eq!(get(&shop.facing, path).await.text, r#"{"count":4,"total_spent":6.4}"#);
    }
    assert_eq!(get(&shop.facing, "/v1/summary?userid=nobody").await.text, r#"{"count":0,"total_spent":0}"#);
    let everyone = get(&shop.management, "/v1/summary?everyone=true").await;
    assert_eq!(everyone.text, r#"{"count":4,"total_spent":6.4}"#);
}
