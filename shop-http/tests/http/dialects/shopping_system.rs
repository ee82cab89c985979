//! Paths below `/api/v1`, independently of `SHOP_DIALECT`.

use axum::http::Method;
use serde_json::{Value, json};

use super::{BUY, many, shop_in_dialect, two};
use crate::shop::{Shop, get, post, request, send};

fn entry(kind: &str, loc: &Value, msg: &str, input: &Value) -> Value {
    json!({"type": kind, "loc": loc, "msg": msg, "input": input})
}

#[tokio::test]
async fn a_buy_is_a_202_with_the_current_time_in_seconds() {
    for name in ["default", "shopping-system", "scalable-shop"] {
        let shop = shop_in_dialect(name);
        let response = post(&shop.facing, "/api/v1/buy", BUY).await;
        let data = json!({"username": "joe", "userid": "005", "price": 1195.30, "timestamp": 1_772_355_600.25});
        response.is(
            202,
            &json!({"status": "success", "message": "Purchase recorded", "data": data}),
        );
        assert!(response.header("x-purchase-id").is_some());
    }
}

#[tokio::test]
async fn each_invalid_member_is_an_entry() {
    let shop = Shop::new();
    let of = |member: &str, kind: &str, text: &str, input: Value| {
        entry(kind, &json!(["body", member]), text, &input)
    };
    let field = "Field required";
    let string = "Input should be a valid string";
    let text_as_number = "Input should be a valid number, unable to parse string as a number";
    let object = "Input should be a valid dictionary or object to extract fields from";
    let body = json!(["body"]);
    for (text, entries) in [
        (
            r#"{"userid":"5"}"#,
            vec![
                of("username", "missing", field, json!({"userid": "5"})),
                of("price", "missing", field, json!({"userid": "5"})),
            ],
        ),
        (
            r#"{"price":"much","userid":5,"username":["joe"]}"#,
            vec![
                of("username", "string_type", string, json!(["joe"])),
                of("userid", "string_type", string, json!(5)),
                of("price", "float_parsing", text_as_number, json!("much")),
            ],
        ),
        (
            r#"{"username":" ","userid":"5","price":true}"#,
            vec![
                of(
                    "username",
                    "value_error",
                    "Value error, username must not be blank",
                    json!(" "),
                ),
                of(
                    "price",
                    "float_type",
                    "Input should be a valid number",
                    json!(true),
                ),
            ],
        ),
        (
            "{\n x}",
            vec![entry(
                "json_invalid",
                &json!(["body", 3]),
                "JSON decode error",
                &json!({}),
            )],
        ),
        (
            "[1]",
            vec![entry("model_attributes_type", &body, object, &json!([1]))],
        ),
        ("", vec![entry("missing", &body, field, &Value::Null)]),
        ("null", vec![entry("missing", &body, field, &Value::Null)]),
    ] {
        post(&shop.facing, "/api/v1/buy", text)
            .await
            .is(422, &json!({"detail": entries}));
    }
    let plain = [("content-type", "text/plain")];
    let response = send(
        &shop.facing,
        request(Method::POST, "/api/v1/buy", &plain, BUY),
    )
    .await;
    response.is(
        422,
        &json!({"detail": [entry("model_attributes_type", &body, object, &Value::Null)]}),
    );
    let limit = "Value error, limit must be a whole number from 1 to 1000";
    let expected = entry(
        "value_error",
        &json!(["query", "limit"]),
        limit,
        &Value::Null,
    );
    let response = get(&shop.facing, "/api/v1/getAllUserBuys/5?limit=0").await;
    response.is(422, &json!({"detail": [expected]}));
    assert_eq!(shop.published().await, 0);
    let untyped = send(&shop.facing, request(Method::POST, "/api/v1/buy", &[], BUY)).await;
    assert_eq!(untyped.status, 202);
}

#[tokio::test]
async fn a_listing_is_an_array_of_at_most_100() {
    let shop = Shop::new();
    shop.stored(&two()).await;
    let newer =
        json!({"userid": "005", "username": "joe", "price": 0.1, "timestamp": 1_767_225_601.0});
    let older =
        json!({"userid": "005", "username": "joe", "price": 10.5, "timestamp": 1_767_225_600.25});
    let paths = [
        (&shop.facing, "/api/v1/getAllUserBuys"),
        (&shop.management, "/api/v1/purchases"),
    ];
    for (service, path) in paths {
        get(service, &format!("{path}/005"))
            .await
            .is(200, &json!([newer, older]));
        get(service, &format!("{path}/joe"))
            .await
            .is(200, &json!([]));
    }
    shop.stored(&many(250)[2..]).await;
    for (service, path) in paths {
        let mut path = Some(format!("{path}/005"));
        let mut sizes = Vec::new();
        while let Some(here) = path {
            let response = get(service, &here).await;
            sizes.push(response.json().as_array().unwrap().len());
            path = response.next().map(str::to_owned);
        }
        assert_eq!(sizes, [100, 100, 50]);
    }
}
