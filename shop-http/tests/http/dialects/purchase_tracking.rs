//! `SHOP_DIALECT=purchase-tracking`.

use std::time::Duration;

use serde_json::json;
use shop_core::conformance::fault::{Call, Fault};

use super::{BUY, of_joe, shop_in_dialect};
use crate::shop::{get, post};

#[tokio::test]
async fn a_buy_is_a_201_with_the_current_time() {
    let shop = shop_in_dialect("purchase-tracking");
    let data = json!({"username": "joe", "userid": "005", "price": 1195.30,
        "timestamp": "2026-03-01T09:00:00.250000"});
    let response = post(&shop.facing, "/buy", BUY).await;
    response.is(
        201,
        &json!({"status": "success", "message": "Purchase recorded", "data": data}),
    );
    assert!(response.header("x-purchase-id").is_some());
    let free = post(
        &shop.facing,
        "/buy",
        r#"{"username":"joe","userid":5,"price":0}"#,
    )
    .await;
    assert_eq!(
        (free.status.as_u16(), &free.json()["data"]["userid"]),
        (201, &json!("5"))
    );
}

#[tokio::test]
async fn a_listing_is_a_summary_oldest_first() {
    let shop = shop_in_dialect("purchase-tracking");
    shop.stored(&[
        of_joe(1, "29.99", 250),
        of_joe(2, "15.50", 1_000),
        of_joe(3, "42.00", 2_000),
    ])
    .await;
    let item = |price: f64, time: &str| json!({"username": "joe", "userid": "005", "price": price, "timestamp": format!("2026-01-01T00:00:{time}")});
    let items = json!([item(29.99, "00.250000"), item(15.5, "01"), item(42.0, "02")]);
    let listing =
        |items| json!({"userid": "005", "purchases": items, "count": 3, "total_spent": 87.49});
    let none = json!({"userid": "joe", "purchases": [], "count": 0, "total_spent": 0});
    for (service, path) in [
        (&shop.facing, "/getAllUserBuys"),
        (&shop.management, "/purchases"),
    ] {
        get(service, &format!("{path}/005"))
            .await
            .is(200, &listing(items.clone()));
        get(service, &format!("{path}/joe")).await.is(404, &none);
        get(service, &format!("{path}/005?view=list"))
            .await
            .is(200, &items);
        let page = get(service, &format!("{path}/005?limit=1")).await;
        page.is(200, &listing(json!([items[0]])));
        assert!(page.next().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_times_out_is_a_503_with_the_text_of_the_dialect() {
    let shop = shop_in_dialect("purchase-tracking");
    shop.faults
        .always(Call::Query, Fault::Delay(Duration::from_secs(60)));
    let expected = json!({"error": "Service timeout - please try again"});
    get(&shop.facing, "/getAllUserBuys/5")
        .await
        .is(503, &expected);
}

#[tokio::test]
async fn health_has_the_documented_members_and_the_others_on_request() {
    let shop = shop_in_dialect("purchase-tracking");
    get(&shop.facing, "/health")
        .await
        .is(200, &json!({"status": "healthy"}));
    get(&shop.management, "/health")
        .await
        .is(200, &json!({"status": "healthy", "mongodb": "connected"}));
    let parts = json!({"log": true, "listings": true});
    let all = json!({"status": "healthy", "kafkaReady": true, "parts": parts});
    get(&shop.facing, "/health?details=true")
        .await
        .is(200, &all);
    let all = json!({"status": "healthy", "mongodb": "connected", "kafkaReady": true, "mongoReady": true,
        "parts": {"store": true, "listings": true}});
    get(&shop.management, "/health?details=true")
        .await
        .is(200, &all);
    shop.faults.always(Call::Check, Fault::unavailable());
    let away = json!({"status": "unhealthy", "mongodb": "disconnected"});
    get(&shop.management, "/health").await.is(500, &away);
    get(&shop.facing, "/health")
        .await
        .is(200, &json!({"status": "degraded"}));
}

#[tokio::test]
async fn only_this_dialect_has_the_durations_of_flask() {
    for (name, expected) in [("purchase-tracking", true), ("default", false)] {
        let shop = shop_in_dialect(name);
        get(&shop.facing, "/healthz").await;
        let text = get(&shop.facing, "/metrics").await.text;
        let series = r#"flask_http_request_duration_seconds_count{method="GET",path="/healthz",status="200"} 1"#;
        assert_eq!(text.contains(series), expected, "{name}: {text}");
    }
}
