//! `SHOP_DIALECT=purchase-tracking`.

use std::time::Duration;

use serde_json::{Value, json};
use shop_core::conformance::fault::{Call, Fault};

use super::{
    BUY, assert_rejects, assert_response, buy_without_log, list_without_store, of_joe, shop_in_dialect,
};
use crate::shop::{get, post};

fn error(text: &str) -> Value {
    json!({"error": text})
}

#[tokio::test]
async fn a_buy_is_a_201_with_the_current_time() {
    let shop = shop_in_dialect("purchase-tracking");
    let response = post(&shop.facing, "/buy", BUY).await;
    let data = json!({"username": "joe", "userid": "005", "price": 1195.30,
        "timestamp": "2026-03-01T09:00:00.250000"});
    assert_response(
        &response,
        201,
        &json!({"status": "success", "message": "Purchase recorded", "data": data}),
    );
    assert!(response.header("x-purchase-id").is_some());
    let free = post(&shop.facing, "/buy", r#"{"username":"joe","userid":5,"price":0}"#).await;
    assert_eq!((free.status.as_u16(), &free.json()["data"]["userid"]), (201, &json!("5")));
}

#[tokio::test]
async fn invalid_buys_have_the_texts_of_the_dialect() {
    let shop = shop_in_dialect("purchase-tracking");
    let cases = [
        ("{}", 400, error("Request body must be JSON")),
        (r#"{"username":"joe"}"#, 400, error("Missing required fields: ['userid', 'price']")),
        (r#"{"username":"joe","userid":"5","price":"x"}"#, 400, error("Price must be a valid number")),
        (r#"{"username":"joe","userid":"5","price":-5}"#, 400, error("Price cannot be negative")),
    ];
    assert_rejects(&shop, "/buy", &cases).await;
    let expected = error("Failed to record purchase - messaging system unavailable");
    assert_eq!(buy_without_log(&shop, &shop.facing, "/buy").await, (500, expected));
    let asking = list_without_store(&shop, &shop.facing, "/getAllUserBuys/5").await;
    assert_eq!(asking, (503, error("Service unavailable")));
    let reading = list_without_store(&shop, &shop.management, "/purchases/5").await;
    assert_eq!(reading, (500, error("Database error")));
}

#[tokio::test]
async fn a_listing_is_a_summary_oldest_first() {
    let shop = shop_in_dialect("purchase-tracking");
    shop.stored(&[of_joe(1, "29.99", 250), of_joe(2, "15.50", 1_000), of_joe(3, "42.00", 2_000)]).await;
    let item = |price: f64, timestamp: &str| json!({"username": "joe", "userid": "005", "price": price, "timestamp": timestamp});
    let items = json!([
        item(29.99, "2026-01-01T00:00:00.250000"),
        item(15.5, "2026-01-01T00:00:01"),
        item(42.0, "2026-01-01T00:00:02"),
    ]);
    let all = json!({"userid": "005", "purchases": items, "count": 3, "total_spent": 87.49});
    let none = json!({"userid": "joe", "purchases": [], "count": 0, "total_spent": 0});
    for (service, path) in [(&shop.facing, "/getAllUserBuys"), (&shop.management, "/purchases")] {
        assert_response(&get(service, &format!("{path}/005")).await, 200, &all);
        assert_response(&get(service, &format!("{path}/joe")).await, 404, &none);
        assert_response(&get(service, &format!("{path}/005?view=list")).await, 200, &items);
        let page = get(service, &format!("{path}/005?limit=1")).await;
        let expected = json!({"userid": "005", "purchases": [items[0]], "count": 3, "total_spent": 87.49});
        assert_response(&page, 200, &expected);
        assert!(page.header("link").is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_times_out_is_a_503_with_the_text_of_the_dialect() {
    let shop = shop_in_dialect("purchase-tracking");
    shop.faults.always(Call::Query, Fault::Delay(Duration::from_secs(60)));
    let response = get(&shop.facing, "/getAllUserBuys/5").await;
    assert_response(&response, 503, &error("Service timeout - please try again"));
}

#[tokio::test]
async fn health_has_the_documented_members_and_the_others_on_request() {
    let shop = shop_in_dialect("purchase-tracking");
    assert_response(&get(&shop.facing, "/health").await, 200, &json!({"status": "healthy"}));
    assert_response(
        &get(&shop.management, "/health").await,
        200,
        &json!({"status": "healthy", "mongodb": "connected"}),
    );
    let details = "/health?details=true";
    assert_response(
        &get(&shop.facing, details).await,
        200,
        &json!({"status": "healthy", "kafkaReady": true, "parts": {"log": true, "listings": true}}),
    );
    let all = json!({"status": "healthy", "mongodb": "connected", "kafkaReady": true, "mongoReady": true,
        "parts": {"store": true, "listings": true}});
    assert_response(&get(&shop.management, details).await, 200, &all);
    shop.faults.always(Call::Check, Fault::unavailable());
    let away = json!({"status": "unhealthy", "mongodb": "disconnected"});
    assert_response(&get(&shop.management, "/health").await, 500, &away);
    assert_response(&get(&shop.facing, "/health").await, 200, &json!({"status": "degraded"}));
}

#[tokio::test]
async fn only_this_dialect_has_the_durations_of_flask() {
    for (name, expected) in [("purchase-tracking", true), ("default", false)] {
        let shop = shop_in_dialect(name);
        get(&shop.facing, "/healthz").await;
        let text = get(&shop.facing, "/metrics").await.text;
        let series =
            r#"flask_http_request_duration_seconds_count{method="GET",path="/healthz",status="200"} 1"#;
        assert_eq!(text.contains(series), expected, "{name}: {text}");
    }
}
