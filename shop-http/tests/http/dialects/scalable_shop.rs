//! `SHOP_DIALECT=scalable-shop`.

use serde_json::{Value, json};

use super::{
    BUY, assert_rejects, assert_response, buy_without_log, list_without_store, of_joe, shop_in_dialect, two,
};
use crate::shop::{get, post};

fn error(text: &str) -> Value {
    json!({"status": "Error", "message": text})
}

#[tokio::test]
async fn a_buy_is_a_200_with_two_members() {
    let shop = shop_in_dialect("scalable-shop");
    let response = post(&shop.facing, "/buy", BUY).await;
    assert_response(
        &response,
        200,
        &json!({"status": "Ok!", "message": "Message successfully sent to Kafka!"}),
    );
    assert!(response.header("x-purchase-id").is_some());
}

#[tokio::test]
async fn invalid_buys_have_the_envelope_of_the_dialect() {
    let shop = shop_in_dialect("scalable-shop");
    let cases = [
        ("{}", 400, error("Request body must be JSON")),
        (r#"{"username":"joe"}"#, 400, error("Missing required fields: ['userid', 'price']")),
        (r#"{"username":"joe","userid":"5","price":-1}"#, 400, error("Price cannot be negative")),
        (r#"{"username":"joe","userid":"5","price":"x"}"#, 400, error("Price must be a valid number")),
    ];
    assert_rejects(&shop, "/buy", &cases).await;
    let expected = error("Failed to record purchase - messaging system unavailable");
    assert_eq!(buy_without_log(&shop, &shop.facing, "/buy").await, (503, expected));
    let away = list_without_store(&shop, &shop.facing, "/getAllUserBuys/joe").await;
    assert_eq!(away, (503, error("Service unavailable")));
    assert_response(&get(&shop.facing, "/nowhere").await, 404, &error("Not Found"));
}

#[tokio::test]
async fn a_listing_is_by_name_oldest_first_with_prices_as_text() {
    let shop = shop_in_dialect("scalable-shop");
    shop.stored(&two()).await;
    let first = json!({"_id": "00000000-0000-0000-0000-000000000001", "username": "joe", "userid": "005",
        "price": "10.50", "timestamp": "2026-01-01T00:00:00.250Z"});
    let second = json!({"_id": "00000000-0000-0000-0000-000000000002", "username": "joe", "userid": "005",
        "price": "0.1", "timestamp": "2026-01-01T00:00:01.000Z"});
    let both = json!([first, second]);
    let path = "/getAllUserBuys/joe";
    for (path, expected) in [
        (path.to_owned(), json!({"username": "joe", "purchases": both})),
        ("/getAllUserBuys/005".to_owned(), json!({"username": "005", "purchases": []})),
        ("/getAllUserBuys/005?by=userid".to_owned(), json!({"userid": "005", "purchases": both})),
        (format!("{path}?view=list&order=newest"), json!([second, first])),
        (
            format!("{path}?view=summary"),
            json!({"username": "joe", "purchases": both, "count": 2, "total_spent": 10.6}),
        ),
        (format!("{path}?limit=1"), json!({"username": "joe", "purchases": [first]})),
    ] {
        assert_response(&get(&shop.facing, &path).await, 200, &expected);
    }
}

#[tokio::test]
async fn the_timestamp_of_the_client_is_kept() {
    let shop = shop_in_dialect("scalable-shop");
    shop.ingest();
    let id = post(&shop.facing, "/buy", BUY).await.header("x-purchase-id").unwrap().to_owned();
    let listing = get(&shop.facing, &format!("/getAllUserBuys/joe?wait_for={id}")).await.json();
    let item = &listing["purchases"][0];
    assert_eq!((&item["price"], &item["timestamp"]), (&json!("1195.30"), &json!("2024-01-15T13:45:00.500Z")));
}

#[tokio::test]
async fn long_listings_are_streamed() {
    let shop = shop_in_dialect("scalable-shop");
    let all: Vec<_> = (1..=2_100).map(|number| of_joe(number, "1", i64::try_from(number).unwrap())).collect();
    shop.stored(&all).await;
    let plain = get(&shop.facing, "/getAllUserBuys/joe").await;
    assert_eq!(plain.json()["purchases"].as_array().unwrap().len(), 2_100);
    let list = get(&shop.facing, "/getAllUserBuys/joe?view=list").await;
    assert_eq!(list.json().as_array().unwrap().len(), 2_100);
    assert!(list.header("content-length").is_none() && plain.header("content-length").is_none());
}
