//! `SHOP_DIALECT=user-buy-list`.

use serde_json::{Value, json};

use super::{
    BUY, assert_rejects, assert_response, buy_without_log, list_without_store, shop_in_dialect, two,
};
use crate::shop::{NOW, get, post};

fn error(text: &str) -> Value {
    json!({"error": text})
}

#[tokio::test]
async fn a_buy_is_a_201_with_the_purchase_at_the_current_time() {
    let shop = shop_in_dialect("user-buy-list");
    let response = post(&shop.facing, "/buy", BUY).await;
    let purchase = json!({"username": "joe", "userid": "005", "price": 1195.30, "timestamp": NOW});
    assert_response(&response, 201, &json!({"message": "Purchase recorded", "purchase": purchase}));
    assert!(response.header("x-purchase-id").is_some());
}

#[tokio::test]
async fn invalid_buys_have_the_texts_of_the_dialect() {
    let shop = shop_in_dialect("user-buy-list");
    let missing = error("Missing required fields: username, userid, price");
    let price = error("Price must be a positive number");
    let cases = [
        ("{}", 400, missing.clone()),
        ("", 400, missing.clone()),
        (r#"{"username":"joe","userid":"5"}"#, 400, missing.clone()),
        (r#"{"username":"","userid":"5","price":1}"#, 400, missing.clone()),
        (r#"{"username":"joe","userid":0,"price":1}"#, 400, missing.clone()),
        (r#"{"username":null,"userid":"5","price":1}"#, 400, missing),
        (r#"{"username":"joe","userid":"5","price":0}"#, 400, price.clone()),
        (r#"{"username":"joe","userid":"5","price":"0.00"}"#, 400, price.clone()),
        (r#"{"username":"joe","userid":"5","price":-1}"#, 400, price.clone()),
        (r#"{"username":"joe","userid":"5","price":null}"#, 400, price.clone()),
        (r#"{"username":"joe","userid":"5","price":"NaN"}"#, 400, price),
    ];
    assert_rejects(&shop, "/buy", &cases).await;
    let away = buy_without_log(&shop, &shop.facing, "/buy").await;
    assert_eq!(away, (500, error("Failed to process purchase")));
    let fetch = error("Failed to fetch purchases");
    assert_eq!(list_without_store(&shop, &shop.facing, "/getAllUserBuys/5").await, (500, fetch.clone()));
    assert_eq!(list_without_store(&shop, &shop.management, "/purchases/5").await, (500, fetch));
}

#[tokio::test]
async fn a_listing_is_an_array_newest_first() {
    let shop = shop_in_dialect("user-buy-list");
    shop.stored(&two()).await;
    let newer = json!({"_id": "00000000-0000-0000-0000-000000000002", "username": "joe", "userid": "005",
        "price": 0.1, "timestamp": "2026-01-01T00:00:01.000Z", "__v": 0});
    let older = json!({"_id": "00000000-0000-0000-0000-000000000001", "username": "joe", "userid": "005",
        "price": 10.5, "timestamp": "2026-01-01T00:00:00.250Z", "__v": 0});
    for (service, path) in [(&shop.facing, "/getAllUserBuys"), (&shop.management, "/purchases")] {
        for (rest, expected) in [
            ("005", json!([newer, older])),
            ("joe", json!([])),
            ("joe?by=username&order=oldest", json!([older, newer])),
            ("005?view=user", json!({"userid": "005", "purchases": [newer, older]})),
        ] {
            assert_response(&get(service, &format!("{path}/{rest}")).await, 200, &expected);
        }
        let page = get(service, &format!("{path}/005?limit=1&view=list")).await;
        assert_response(&page, 200, &json!([newer]));
        let link = page.header("link").unwrap();
        let next = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
        let page = get(service, next).await;
        assert_response(&page, 200, &json!([older]));
        assert!(page.header("link").is_none());
    }
}
