//! `SHOP_DIALECT=scalable-shop`.

use serde_json::json;

use super::{BUY, shop_in_dialect, two};
use crate::shop::{get, post};

#[tokio::test]
async fn a_buy_is_a_200_with_two_members_and_keeps_the_time_of_the_client() {
    let shop = shop_in_dialect("scalable-shop");
    shop.ingest();
    let response = post(&shop.facing, "/buy", BUY).await;
    response.is(
        200,
        &json!({"status": "Ok!", "message": "Message successfully sent to Kafka!"}),
    );
    let id = response.header("x-purchase-id").unwrap();
    let listing = get(&shop.facing, &format!("/getAllUserBuys/joe?wait_for={id}"))
        .await
        .json();
    let item = &listing["purchases"][0];
    assert_eq!(
        (&item["price"], &item["timestamp"]),
        (&json!("1195.30"), &json!("2024-01-15T13:45:00.500Z"))
    );
}

#[tokio::test]
async fn a_listing_is_by_name_oldest_first_with_prices_as_text() {
    let shop = shop_in_dialect("scalable-shop");
    shop.stored(&two()).await;
    let item = |number: u8, price: &str, time: &str| {
        json!({"_id": format!("00000000-0000-0000-0000-00000000000{number}"), "username": "joe", "userid": "005",
            "price": price, "timestamp": format!("2026-01-01T00:00:0{time}Z")})
    };
    let first = item(1, "10.50", "0.250");
    let second = item(2, "0.1", "1.000");
    let both = json!([first, second]);
    for (path, expected) in [
        ("joe", json!({"username": "joe", "purchases": both})),
        ("005", json!({"username": "005", "purchases": []})),
        ("005?by=userid", json!({"userid": "005", "purchases": both})),
        ("joe?view=list&order=newest", json!([second, first])),
        (
            "joe?view=summary",
            json!({"username": "joe", "purchases": both, "count": 2, "total_spent": 10.6}),
        ),
        (
            "joe?limit=1",
            json!({"username": "joe", "purchases": [first]}),
        ),
    ] {
        get(&shop.facing, &format!("/getAllUserBuys/{path}"))
            .await
            .is(200, &expected);
    }
}
