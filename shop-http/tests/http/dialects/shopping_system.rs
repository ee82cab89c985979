//! Paths below `/api/v1`, independently of `SHOP_DIALECT`.

use axum::http::Method;
use serde_json::{Value, json};

use super::{
    BUY, assert_rejects, assert_response, buy_without_log, list_without_store, of_joe, shop_in_dialect, two,
};
use crate::shop::{Shop, get, post, request, send};

fn list(entries: &[(&str, Value, &str, Value)]) -> Value {
    let entry = |(kind, loc, msg, input): &(&str, Value, &str, Value)| json!({"type": kind, "loc": loc, "msg": msg, "input": input});
    json!({"detail": entries.iter().map(entry).collect::<Vec<_>>()})
}

#[tokio::test]
async fn a_buy_is_a_202_with_the_current_time_in_seconds() {
    for name in ["default", "shopping-system", "scalable-shop"] {
        let shop = shop_in_dialect(name);
        let response = post(&shop.facing, "/api/v1/buy", BUY).await;
        let data =
            json!({"username": "joe", "userid": "005", "price": 1195.30, "timestamp": 1_772_355_600.25});
        assert_response(
            &response,
            202,
            &json!({"status": "success", "message": "Purchase recorded", "data": data}),
        );
        assert!(response.header("x-purchase-id").is_some());
    }
}

#[tokio::test]
async fn each_invalid_member_is_an_entry() {
    let shop = Shop::new();
    let body = |member: &str| json!(["body", member]);
    let (field, string) = ("Field required", "Input should be a valid string");
    let number = "Input should be a valid number";
    let text_as_number = "Input should be a valid number, unable to parse string as a number";
    let object = "Input should be a valid dictionary or object to extract fields from";
    let cases = [
        (
            r#"{"userid":"5"}"#,
            422,
            list(&[
                ("missing", body("username"), field, json!({"userid": "5"})),
                ("missing", body("price"), field, json!({"userid": "5"})),
            ]),
        ),
        (
            r#"{"price":"much","userid":5,"username":["joe"]}"#,
            422,
            list(&[
                ("string_type", body("username"), string, json!(["joe"])),
                ("string_type", body("userid"), string, json!(5)),
                ("float_parsing", body("price"), text_as_number, json!("much")),
            ]),
        ),
        (
            r#"{"username":"joe","userid":"5","price":true}"#,
            422,
            list(&[("float_type", body("price"), number, json!(true))]),
        ),
        (
            r#"{"username":" ","userid":"5","price":-1}"#,
            422,
            list(&[
                ("value_error", body("username"), "Value error, username must not be blank", json!(" ")),
                ("value_error", body("price"), "Value error, Price cannot be negative", json!(-1)),
            ]),
        ),
        ("{\n x}", 422, list(&[("json_invalid", json!(["body", 3]), "JSON decode error", json!({}))])),
        ("[1]", 422, list(&[("model_attributes_type", json!(["body"]), object, json!([1]))])),
        ("", 422, list(&[("missing", json!(["body"]), field, Value::Null)])),
        ("null", 422, list(&[("missing", json!(["body"]), field, Value::Null)])),
    ];
    assert_rejects(&shop, "/api/v1/buy", &cases).await;
    let plain = [("content-type", "text/plain")];
    let response = send(&shop.facing, request(Method::POST, "/api/v1/buy", &plain, BUY)).await;
    assert_response(
        &response,
        422,
        &list(&[("model_attributes_type", json!(["body"]), object, Value::Null)]),
    );
    let untyped = send(&shop.facing, request(Method::POST, "/api/v1/buy", &[], BUY)).await;
    assert_eq!(untyped.status, 202);
}

#[tokio::test]
async fn outages_and_wrong_paths_are_details() {
    let shop = Shop::new();
    let detail = |text: &str| json!({"detail": text});
    let away = buy_without_log(&shop, &shop.facing, "/api/v1/buy").await;
    assert_eq!(away, (503, detail("Service Unavailable")));
    let asking = list_without_store(&shop, &shop.facing, "/api/v1/getAllUserBuys/5").await;
    assert_eq!(asking, (500, detail("Proxy Error")));
    let reading = list_without_store(&shop, &shop.management, "/api/v1/purchases/5").await;
    assert_eq!(reading, (500, detail("Internal Server Error")));
    assert_response(&get(&shop.facing, "/api/v1/nowhere").await, 404, &detail("Not Found"));
    assert_response(&get(&shop.facing, "/api/v1/buy").await, 405, &detail("Method Not Allowed"));
    let limit = "Value error, limit must be a whole number from 1 to 1000";
    let expected = list(&[("value_error", json!(["query", "limit"]), limit, Value::Null)]);
    assert_response(&get(&shop.facing, "/api/v1/getAllUserBuys/5?limit=0").await, 422, &expected);
}

#[tokio::test]
async fn a_listing_is_an_array_of_at_most_100() {
    let shop = Shop::new();
    shop.stored(&two()).await;
    let newer = json!({"userid": "005", "username": "joe", "price": 0.1, "timestamp": 1_767_225_601.0});
    let older = json!({"userid": "005", "username": "joe", "price": 10.5, "timestamp": 1_767_225_600.25});
    let paths = [(&shop.facing, "/api/v1/getAllUserBuys"), (&shop.management, "/api/v1/purchases")];
    for (service, path) in paths {
        assert_response(&get(service, &format!("{path}/005")).await, 200, &json!([newer, older]));
        assert_response(&get(service, &format!("{path}/joe")).await, 200, &json!([]));
    }
    let more: Vec<_> = (3..=250).map(|number| of_joe(number, "1", i64::try_from(number).unwrap())).collect();
    shop.stored(&more).await;
    for (service, path) in paths {
        let mut path = format!("{path}/005");
        let mut sizes = Vec::new();
        loop {
            let response = get(service, &path).await;
            sizes.push(response.json().as_array().unwrap().len());
            let Some(link) = response.header("link") else { break };
            path = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
        }
        assert_eq!(sizes, [100, 100, 50]);
    }
}
