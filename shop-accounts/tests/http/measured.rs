//! Measured responses of FastAPI 0.165 with pydantic 2.14 for the schemas of the replaced system; `+` marks values
//! that it accepts and its database rejects, for which this service uses the texts of pydantic.

use axum::Router;
use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};
use shop_http::HttpOptions;

use crate::entities::Entities;
use crate::shop::{get, post, request, send};

/// A service with orders and user 1.
async fn with_ada() -> Router {
    let entities = Entities::new();
    entities.introduce_ada().await;
    entities.management(HttpOptions::default())
}

/// An order with this JSON as this member.
fn order(member: &str, value: &str) -> String {
    let usual = [
        ("user_id", "1"),
        ("product", r#""pen""#),
        ("quantity", "2"),
        ("total_price", "\"5\""),
    ];
    let members = usual
        .map(|(name, usual)| format!(r#""{name}":{}"#, if name == member { value } else { usual }));
    format!("{{{}}}", members.join(","))
}

fn entry(place: &[&str], kind: &str, text: &str, input: &Value) -> Value {
    json!({"type": kind, "loc": place, "msg": text, "input": input})
}

const NO_INTEGER_TEXT: (&str, &str) = (
    "int_parsing",
    "Input should be a valid integer, unable to parse string as an integer",
);
const NO_INTEGER: (&str, &str) = ("int_type", "Input should be a valid integer");
const FRACTION: (&str, &str) = (
    "int_from_float",
    "Input should be a valid integer, got a number with a fractional part",
);
const SIZE: (&str, &str) = (
    "int_parsing_size",
    "Unable to parse input string as an integer, exceeded maximum size",
);
const NOT_FINITE: (&str, &str) = ("finite_number", "Input should be a finite number");
const NO_DECIMAL_TEXT: (&str, &str) = ("decimal_parsing", "Input should be a valid decimal");
const NO_DECIMAL: (&str, &str) = (
    "decimal_type",
    "Decimal input should be an integer, float, string or Decimal object",
);
const NO_TEXT: (&str, &str) = ("string_type", "Input should be a valid string");

/// Asserts that each value is rejected with this type and text.
async fn assert_rejects(router: &Router, member: &str, cases: &[(&str, (&str, &str))]) {
    for (value, (kind, text)) in cases {
        let input = serde_json::from_str(value).unwrap_or_default();
        let expected = entry(&["body", member], kind, text, &input);
        let path = if ["email", "name"].contains(&member) {
            "/users"
        } else {
            "/orders"
        };
        let body = match member {
            "email" => format!(r#"{{"email":{value},"name":"Ada"}}"#),
            "name" => format!(r#"{{"email":"ada@example.com","name":{value}}}"#),
            _ => order(member, value),
        };
        let response = post(router, path, body).await;
        assert_eq!(
            (response.status.as_u16(), response.json()),
            (422, json!({"detail": [expected]})),
            "{member}: {value}"
        );
    }
}

const INTEGERS: &[(&str, i32)] = &[
    (r#""5""#, 5),
    (r#""5.0""#, 5),
    (r#""-5""#, -5),
    (r#""5_000""#, 5_000),
    (r#""-0""#, 0),
    (r#""\u00a05""#, 5),
    (r#""1_0.0""#, 10),
    ("5.0", 5),
    ("1e2", 100),
    ("true", 1),
    ("1.0000000000000000001", 1),
    ("2147483647", 2_147_483_647),
    ("-2147483648", -2_147_483_648),
];

#[tokio::test]
async fn integers_are_read_leniently() {
    let router = with_ada().await;
    for (value, read) in INTEGERS {
        let response = post(&router, "/orders", order("quantity", value)).await;
        assert_eq!(
            (
                response.status.as_u16(),
                response.json()["quantity"].clone()
            ),
            (201, json!(read)),
            "{value}"
        );
    }
    let too_long = format!("\"{}\"", "9".repeat(4_301));
    assert_rejects(
        &router,
        "quantity",
        &[
            (r#""5.""#, NO_INTEGER_TEXT),
            (r#"".5""#, NO_INTEGER_TEXT),
            (r#""5__0""#, NO_INTEGER_TEXT),
            (r#""1e2""#, NO_INTEGER_TEXT),
            (r#"" ""#, NO_INTEGER_TEXT),
            (r#""٥""#, NO_INTEGER_TEXT),
            (r#""- 5""#, NO_INTEGER_TEXT),
            (&too_long, SIZE),
            ("5.5", FRACTION),
            ("9223372036854775808.0", SIZE),
            ("1e400", NOT_FINITE),
            ("null", NO_INTEGER),
            ("[5]", NO_INTEGER),
        ],
    )
    .await;
    assert_rejects(
        &router,
        "user_id",
        &[
            (r#""x""#, NO_INTEGER_TEXT),
            ("null", NO_INTEGER),
            ("1.5", FRACTION),
        ],
    )
    .await;
}

/// `+`
#[tokio::test]
async fn a_quantity_has_32_bits() {
    let router = with_ada().await;
    for (value, kind, text, name, limit) in [
        (
            "2147483648",
            "less_than_equal",
            "less than or equal to 2147483647",
            "le",
            i32::MAX,
        ),
        (
            r#""99999999999999999999""#,
            "less_than_equal",
            "less than or equal to 2147483647",
            "le",
            i32::MAX,
        ),
        (
            "-2147483649",
            "greater_than_equal",
            "greater than or equal to -2147483648",
            "ge",
            i32::MIN,
        ),
        (
            "-99999999999999999999",
            "greater_than_equal",
            "greater than or equal to -2147483648",
            "ge",
            i32::MIN,
        ),
    ] {
        let input: Value = serde_json::from_str(value).unwrap();
        let mut expected = entry(
            &["body", "quantity"],
            kind,
            &format!("Input should be {text}"),
            &input,
        );
        expected["ctx"] = json!({name: limit});
        post(&router, "/orders", order("quantity", value))
            .await
            .is(422, &json!({"detail": [expected]}));
    }
}

const PRICES: &[(&str, &str)] = &[
    (r#"" 5 ""#, "5.00"),
    (r#""5.""#, "5.00"),
    (r#""_5""#, "5.00"),
    (r#""5__0""#, "50.00"),
    (r#""1E+2""#, "100.00"),
    (r#""\u00a05""#, "5.00"),
    (r#""1_0.0_1""#, "10.01"),
    ("5.005", "5.01"),
    ("-5.005", "-5.01"),
    ("0.0049999999999999999999999999999999999999999999", "0.00"),
    ("-0.001", "0.00"),
    ("1e2", "100.00"),
    (
        "99999999.994999999999999999999999999999999999999",
        "99999999.99",
    ),
    (r#""000000000000000000000000000000000000005.10""#, "5.10"),
];

#[tokio::test]
async fn a_price_is_exact_and_has_two_decimals() {
    let router = with_ada().await;
    for (value, read) in PRICES {
        let response = post(&router, "/orders", order("total_price", value)).await;
        let price = response.json()["total_price"].clone();
        assert_eq!(
            (response.status.as_u16(), price),
            (201, json!(read)),
            "{value}"
        );
    }
    assert_rejects(
        &router,
        "total_price",
        &[
            (r#"".""#, NO_DECIMAL_TEXT),
            (r#""""#, NO_DECIMAL_TEXT),
            (r#""infinit""#, NO_DECIMAL_TEXT),
            (r#""1e9999999999999999999999""#, NO_DECIMAL_TEXT),
            (r#""NaN""#, NOT_FINITE),
            (r#""sNaN""#, NOT_FINITE),
            (r#""inf""#, NOT_FINITE),
            (r#""-Infinity""#, NOT_FINITE),
            ("true", NO_DECIMAL),
            ("null", NO_DECIMAL),
            ("[0,[5],-1]", NO_DECIMAL),
        ],
    )
    .await;
}

/// `+`
#[tokio::test]
async fn a_price_has_eight_digits_before_its_point() {
    let router = with_ada().await;
    let long = format!("\"{}\"", "9".repeat(5_000));
    let text = "Decimal input should have no more than 8 digits before the decimal point";
    for value in [
        "100000000",
        "-100000000",
        "99999999.995",
        "1e8",
        "1e400",
        r#""1e400""#,
        &long,
    ] {
        let input: Value = serde_json::from_str(value).unwrap_or_default();
        let mut expected = entry(
            &["body", "total_price"],
            "decimal_whole_digits",
            text,
            &input,
        );
        expected["ctx"] = json!({"whole_digits": 8});
        post(&router, "/orders", order("total_price", value))
            .await
            .is(422, &json!({"detail": [expected]}));
    }
}

#[tokio::test]
async fn strings_are_validated_like_pydantic() {
    let router = with_ada().await;
    let no_text = [
        "5",
        "null",
        "true",
        "[]",
        "{}",
        "1.50",
        r#"{"a":1.50,"b":[1e2,"x"]}"#,
    ];
    for member in ["email", "name", "product"] {
        assert_rejects(&router, member, &no_text.map(|value| (value, NO_TEXT))).await;
    }
    for text in ["", "a\u{0}b", &"ä".repeat(256)] {
        let text = json!(text);
        let response = post(&router, "/orders", order("product", &text.to_string())).await;
        assert_eq!(
            (response.status.as_u16(), &response.json()["product"]),
            (201, &text)
        );
    }
    // Half a surrogate pair.
    let broken = "Input should be a valid string, unable to parse raw data as a unicode string";
    assert_rejects(
        &router,
        "name",
        &[(r#""\ud800""#, ("string_unicode", broken))],
    )
    .await;
    // `+`
    let long = "ä".repeat(257);
    for (path, member, body) in [
        (
            "/orders",
            "product",
            order("product", &json!(long).to_string()),
        ),
        (
            "/users",
            "name",
            json!({"email": "ada@example.com", "name": long}).to_string(),
        ),
    ] {
        let text = "String should have at most 256 characters";
        let mut expected = entry(&["body", member], "string_too_long", text, &json!(long));
        expected["ctx"] = json!({"max_length": 256});
        post(&router, path, body)
            .await
            .is(422, &json!({"detail": [expected]}));
    }
}

#[tokio::test]
async fn invalid_emails_have_a_reason() {
    let router = with_ada().await;
    for (address, reason) in [
        ("ada", Some("An email address must have an @-sign.")),
        ("", Some("An email address must have an @-sign.")),
        (
            "\"a b\"@example.com",
            Some("Quoting the part before the @-sign is not allowed here."),
        ),
        ("@example.com", None),
        ("ada@example", None),
        ("ada@example.com\n", None),
        ("a@b.de <ada@example.com>", None),
    ] {
        let response = post(
            &router,
            "/users",
            json!({"email": address, "name": "Ada"}).to_string(),
        )
        .await;
        let body = response.json();
        let entry = &body["detail"][0];
        let expected_text = entry["ctx"]["reason"].as_str().unwrap();
        // Without an expected text, ours differs.
        assert_eq!(
            expected_text,
            reason.unwrap_or(expected_text),
            "{address:?}"
        );
        let expected = json!({"detail": [{
            "type": "value_error", "loc": ["body", "email"], "input": address, "ctx": {"reason": expected_text},
            "msg": format!("value is not a valid email address: {expected_text}"),
        }]});
        response.is(422, &expected);
    }
}

#[tokio::test]
async fn each_invalid_member_is_an_entry_in_the_order_of_the_replaced_system() {
    let router = with_ada().await;
    let lacks =
        |member: &str, body: &Value| entry(&["body", member], "missing", "Field required", body);
    let of = |members: &[&str], body: &Value| json!({"detail": members.iter().map(|member| lacks(member, body)).collect::<Vec<_>>()});
    for text in ["{}", "  {}  ", r#"{"x":1}"#] {
        let body = serde_json::from_str(text).unwrap();
        post(&router, "/users", text)
            .await
            .is(422, &of(&["email", "name"], &body));
        let members = ["user_id", "product", "quantity", "total_price"];
        post(&router, "/orders", text)
            .await
            .is(422, &of(&members, &body));
    }
    let body = json!({"total_price": "much", "quantity": 1.5, "product": 7});
    let expected = json!({"detail": [
        lacks("user_id", &body),
        entry(&["body", "product"], NO_TEXT.0, NO_TEXT.1, &json!(7)),
        entry(&["body", "quantity"], FRACTION.0, FRACTION.1, &json!(1.5)),
        entry(&["body", "total_price"], NO_DECIMAL_TEXT.0, NO_DECIMAL_TEXT.1, &json!("much")),
    ]});
    post(&router, "/orders", body.to_string())
        .await
        .is(422, &expected);
}

#[tokio::test]
async fn a_body_that_is_no_object_is_one_entry() {
    let router = with_ada().await;
    let no_object = "Input should be a valid dictionary or object to extract fields from";
    for path in ["/users", "/orders"] {
        for text in ["null", "[]", "[1]", "5", "\"x\"", "true"] {
            let input = serde_json::from_str(text).unwrap();
            let expected = entry(&["body"], "model_attributes_type", no_object, &input);
            post(&router, path, text)
                .await
                .is(422, &json!({"detail": [expected]}));
        }
        let expected =
            json!({"detail": [entry(&["body"], "missing", "Field required", &Value::Null)]});
        post(&router, path, "").await.is(422, &expected);
        send(&router, request(Method::POST, path, &[], Body::empty()))
            .await
            .is(422, &expected);
        for (text, at) in [
            ("{\n x}", 3),
            ("{}x", 2),
            (r#"{"email" "x"}"#, 9),
            ("{'a':1}", 1),
            ("{", 1),
            (r#"{"x":1"#, 6),
            ("[1,", 3),
        ] {
            let mut expected = entry(&["body"], "json_invalid", "JSON decode error", &json!({}));
            expected["loc"] = json!(["body", at]);
            post(&router, path, text)
                .await
                .is(422, &json!({"detail": [expected]}));
        }
        let plain = request(
            Method::POST,
            path,
            &[("content-type", "text/plain")],
            Body::from("{}"),
        );
        let response = send(&router, plain).await;
        assert_eq!(
            (
                response.status.as_u16(),
                &response.json()["detail"][0]["msg"]
            ),
            (422, &json!(no_object))
        );
    }
}

#[tokio::test]
async fn numbers_in_paths_are_parsed_like_numbers_in_bodies() {
    let router = with_ada().await;
    for place in [
        "/orders/1",
        "/orders/+1",
        "/orders/%201",
        "/orders/1%20",
        "/orders/1.0",
        "/orders/01",
    ] {
        get(&router, place)
            .await
            .is(404, &json!({"detail": "Order not found"}));
    }
    let long = "1".repeat(4_301);
    for (text, input, (kind, words)) in [
        ("five", "five", NO_INTEGER_TEXT),
        ("1e2", "1e2", NO_INTEGER_TEXT),
        ("%D9%A5", "٥", NO_INTEGER_TEXT),
        ("%FF", "\u{fffd}", NO_INTEGER_TEXT),
        ("%00", "\u{0}", NO_INTEGER_TEXT),
        (&long, &long, SIZE),
    ] {
        for (path, parameter) in [
            ("/users/x", "user_id"),
            ("/users/x/orders", "user_id"),
            ("/orders/x", "order_id"),
        ] {
            let response = get(&router, &path.replace('x', text)).await;
            let expected = entry(&["path", parameter], kind, words, &json!(input));
            response.is(422, &json!({"detail": [expected]}));
        }
    }
}
