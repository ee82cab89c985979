//! Reading through the native API.

use axum::body::Body;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::shop::{Shop, get, purchase, request, send};

#[tokio::test]
async fn pages_by_user_id_by_name_and_of_all_users() {
    let shop = Shop::new();
    let users = ["a", "b"].into_iter().cycle();
    let all: Vec<_> = users
        .zip(0..30)
        .map(|(user, number)| purchase(user, number))
        .collect();
    shop.stored(&all).await;
    for service in [&shop.facing, &shop.management] {
        for (selector, count) in [
            ("userid=a", 15),
            ("username=name+of+b", 15),
            ("userid=u404", 0),
        ] {
            let body = get(service, &format!("/v1/purchases?{selector}&limit=1000"))
                .await
                .json();
            assert_eq!(body["items"].as_array().unwrap().len(), count, "{selector}");
            assert_eq!(body["next"], Value::Null);
        }
    }
    let first = get(&shop.facing, "/v1/purchases?userid=a&order=oldest&limit=1")
        .await
        .json();
    let expected = json!({"id": "00000000-0000-0000-0000-000000000001", "username": "name of a", "userid": "a",
        "price": 0.1, "timestamp": "2026-01-01T00:00:00.000Z"});
    assert_eq!(first["items"], json!([expected]));
    let cursor = first["next"].as_str().unwrap();
    let second = get(
        &shop.facing,
        &format!("/v1/purchases?userid=a&order=oldest&limit=5&cursor={cursor}"),
    )
    .await;
    assert_eq!(second.json()["items"].as_array().unwrap().len(), 5);
    let default = get(&shop.management, "/v1/purchases?everyone=true")
        .await
        .json();
    assert_eq!(
        default["items"].as_array().unwrap().len(),
        30,
        "at most 50 by default"
    );
    assert_eq!(
        default["items"][0]["timestamp"], "2026-01-01T00:00:29.000Z",
        "newest first by default"
    );
}

#[tokio::test]
async fn listings_sums_and_totals_of_a_range() {
    let shop = Shop::new();
    // One purchase a second.
    let all: Vec<_> = (0..7_200)
        .step_by(900)
        .map(|number| purchase("u1", number))
        .collect();
    shop.stored(&all).await;
    let range = "from=2026-01-01T00:15:00Z&to=2026-01-01T02:30:00%2B01:00";
    let page = get(
        &shop.facing,
        &format!("/v1/purchases?userid=u1&order=oldest&limit=3&{range}"),
    )
    .await
    .json();
    assert_eq!(page["items"][0]["timestamp"], "2026-01-01T00:15:00.000Z");
    let cursor = page["next"].as_str().unwrap();
    let second = format!("/v1/purchases?userid=u1&order=oldest&cursor={cursor}");
    let rest = get(&shop.facing, &format!("{second}&{range}")).await.json();
    assert_eq!(
        (rest["items"].as_array().unwrap().len(), &rest["next"]),
        (2, &Value::Null),
        "before 01:30"
    );
    assert_eq!(
        get(&shop.facing, &second).await.status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "another range"
    );

    let summary = get(
        &shop.facing,
        &format!("/v1/summary?username=name+of+u1&{range}"),
    )
    .await
    .text;
    let totals = get(
        &shop.management,
        &format!("/v1/totals?everyone=true&per=hour&{range}"),
    )
    .await;
    let hour = |from: &str, to: &str, sums: &str| {
        let time = |time: &str| format!("2026-01-01T{time}:00.000Z");
        format!(r#"{{"from":"{}","to":"{}",{sums}}}"#, time(from), time(to))
    };
    let hours = [
        hour("00:15", "01:00", r#""count":3,"total_spent":0.3"#),
        hour("01:00", "01:30", r#""count":2,"total_spent":0.2"#),
    ];
    assert_eq!(
        totals.text,
        format!(r#"{{"buckets":[{}]}}"#, hours.join(","))
    );
    assert_eq!(summary, r#"{"count":5,"total_spent":0.5}"#);

    let days = get(&shop.facing, "/v1/totals?userid=u1&zone=-01:00")
        .await
        .json();
    let days: Vec<_> = days["buckets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|day| (&day["from"], &day["count"]))
        .collect();
    let first = json!("2025-12-31T01:00:00.000Z");
    let second = json!("2026-01-01T01:00:00.000Z");
    assert_eq!(
        days,
        [(&first, &json!(4)), (&second, &json!(4))],
        "per day by default"
    );
    let months = get(&shop.facing, "/v1/totals?userid=u1&per=month")
        .await
        .json();
    assert_eq!(months["buckets"][0]["to"], "2026-02-01T00:00:00.000Z");
    assert_eq!(
        get(&shop.facing, "/v1/totals?userid=unknown").await.text,
        r#"{"buckets":[]}"#
    );
    assert_eq!(
        get(&shop.facing, "/v1/totals?everyone=true").await.status,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn too_many_buckets_are_an_error_of_their_period() {
    let shop = Shop::new();
    let all: Vec<_> = (0..1_001)
        .map(|hour| purchase("u1", hour * 3_600))
        .collect();
    shop.stored(&all).await;
    let many = get(&shop.facing, "/v1/totals?userid=u1&per=hour").await;
    assert_eq!(
        (many.status.as_u16(), &*many.places()),
        (422, &["per".to_owned()][..]),
        "{many:?}"
    );
}

#[tokio::test]
async fn a_purchase_by_its_id() {
    let shop = Shop::new();
    shop.stored(&[purchase("u1", 1)]).await;
    let found = get(
        &shop.facing,
        "/v1/purchases/00000000-0000-0000-0000-000000000002",
    )
    .await;
    found.has(200, &json!({"userid": "u1"}));
    let path = "/v1/purchases/00000000-0000-0000-0000-000000000009";
    let unknown = request(
        Method::GET,
        path,
        &[("accept-encoding", "gzip")],
        Body::empty(),
    );
    // An error is not compressed.
    send(&shop.facing, unknown)
        .await
        .has(404, &json!({"type": "/problems/unknown-purchase"}));
    let old = get(&shop.facing, "/v1/purchases/65a1f0c2d3e4b5a697887766").await;
    assert_eq!(
        old.status,
        StatusCode::NOT_FOUND,
        "an old document's id is an id"
    );
}
