//! `SHOP_DIALECT=user-buy-list`.

use serde_json::json;

use super::{BUY, shop_in_dialect, two};
use crate::shop::{NOW, get, post};

#[tokio::test]
async fn a_buy_is_a_201_with_the_purchase_at_the_current_time() {
    let shop = shop_in_dialect("user-buy-list");
    let response = post(&shop.facing, "/buy", BUY).await;
    let purchase = json!({"username": "joe", "userid": "005", "price": 1195.30, "timestamp": NOW});
    response.is(
        201,
        &json!({"message": "Purchase recorded", "purchase": purchase}),
    );
    assert!(response.header("x-purchase-id").is_some());
    // An empty body lacks all members.
    let missing = json!({"error": "Missing required fields: username, userid, price"});
    for body in ["", "{}"] {
        post(&shop.facing, "/buy", body).await.is(400, &missing);
    }
}

#[tokio::test]
async fn a_listing_is_an_array_newest_first() {
    let shop = shop_in_dialect("user-buy-list");
    shop.stored(&two()).await;
    let item = |number: u8, price: f64, time: &str| {
        json!({"_id": format!("00000000-0000-0000-0000-00000000000{number}"), "username": "joe", "userid": "005",
            "price": price, "timestamp": format!("2026-01-01T00:00:0{time}Z"), "__v": 0})
    };
    let newer = item(2, 0.1, "1.000");
    let older = item(1, 10.5, "0.250");
    for (service, path) in [
        (&shop.facing, "/getAllUserBuys"),
        (&shop.management, "/purchases"),
    ] {
        for (rest, expected) in [
            ("005", json!([newer, older])),
            ("joe", json!([])),
            ("joe?by=username&order=oldest", json!([older, newer])),
            (
                "005?view=user",
                json!({"userid": "005", "purchases": [newer, older]}),
            ),
        ] {
            get(service, &format!("{path}/{rest}"))
                .await
                .is(200, &expected);
        }
        let page = get(service, &format!("{path}/005?limit=1&view=list")).await;
        page.is(200, &json!([newer]));
        let page = get(service, page.next().unwrap()).await;
        page.is(200, &json!([older]));
        assert!(page.next().is_none());
    }
}
