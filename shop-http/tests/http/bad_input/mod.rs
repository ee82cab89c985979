//! Bad input of every kind: each gets a 4xx with the reason, and nothing reaches the log or
//! the store.

pub(crate) mod bodies;
mod requests;

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use shop_core::Timestamp;
use shop_http::HttpOptions;

use crate::dialects::shop_in_dialect;
use crate::shop::{NOW, Shop, post, send};

const GOOD: &str = r#"{"username":"ada","userid":"u1","price":1}"#;
const DIALECTS: [&str; 4] = [
    "default",
    "scalable-shop",
    "user-buy-list",
    "purchase-tracking",
];

async fn assert_untouched(shop: &Shop, case: &str) {
    assert_eq!(
        (shop.published().await, shop.store.all().len()),
        (0, 0),
        "{case}"
    );
}

/// The text of an error, which has the form of `path` in `dialect`.
fn text_of<'a>(path: &str, dialect: &str, body: &'a Value) -> Option<&'a str> {
    if path.starts_with("/api/v1/") {
        let entries = body["detail"].as_array();
        let is_entry = |entry: &Value| entry["loc"].is_array() && entry["type"].is_string();
        let list =
            entries.is_some_and(|entries| !entries.is_empty() && entries.iter().all(is_entry));
        return if list {
            body["detail"][0]["msg"].as_str()
        } else {
            body["detail"].as_str()
        };
    }
    if path.starts_with("/v1") {
        return body["title"].as_str().and(body["detail"].as_str());
    }
    let scalable_shop = dialect == "scalable-shop" && !path.starts_with("/api");
    if scalable_shop
        || path.starts_with("/scalable-shop-cm-server/")
        || path.starts_with("/buyList")
    {
        return (body["status"] == "Error").then(|| body["message"].as_str())?;
    }
    body["error"].as_str()
}

#[tokio::test]
async fn a_bad_request_is_a_4xx_with_its_reason() {
    let shop = Shop::new();
    let facing = requests::TO_FACING.iter().map(|case| (&shop.facing, case));
    let management = requests::TO_MANAGEMENT
        .iter()
        .map(|case| (&shop.management, case));
    for (service, case) in facing.chain(management) {
        let (line, _, status, text) = case;
        let response = send(service, requests::request(case, GOOD)).await;
        assert_eq!(response.status.as_u16(), *status, "{line}: {response:?}");
        let path = line.split_once(' ').unwrap().1;
        let body = response.json();
        let text_found = text_of(path, "default", &body);
        assert!(
            text_found.is_some_and(|text_found| text_found.contains(text)),
            "{line}: {response:?}"
        );
        assert!(response.header("x-request-id").is_some(), "{line}");
        assert_untouched(&shop, line).await;
    }
}

#[tokio::test]
async fn a_bad_body_is_a_4xx_with_its_reason() {
    let native = |status| {
        [
            ("/v1/purchases", status, true),
            ("/buy", 400, true),
            ("/purchases", 400, true),
        ]
    };
    let syntax = bodies::without_object()
        .into_iter()
        .map(|case| (case, native(400)));
    let content = bodies::with_object()
        .into_iter()
        .map(|case| (case, native(422)));
    let cases: Vec<_> = syntax.chain(content).collect();
    for name in DIALECTS {
        let shop = shop_in_dialect(name);
        for ((body, text), native) in &cases {
            let shown = String::from_utf8_lossy(body)
                .chars()
                .take(80)
                .collect::<String>();
            // Dialects have texts of their own.
            let paths = match name {
                "default" => {
                    let others =
                        ["/api/buy", "/scalable-shop-cm-server/buy"].map(|path| (path, 400, false));
                    [&native[..], &others, &[("/api/v1/buy", 422, false)]].concat()
                }
                _ => [("/buy", 400, false), ("/purchases", 400, false)].to_vec(),
            };
            for (path, status, has_text) in paths {
                let response = post(shop.service(path), path, body.clone()).await;
                let case = format!("{name} {path} {shown}: {}", response.text);
                assert_eq!(response.status.as_u16(), status, "{case}");
                let error = response.json();
                let found = text_of(path, name, &error).unwrap_or_else(|| panic!("{case}"));
                assert!(!has_text || found.contains(text), "{case}");
                assert!(
                    !path.starts_with("/v1") || error["type"] == "/problems/invalid",
                    "{case}"
                );
            }
            assert_untouched(&shop, &shown).await;
        }
    }
}

#[tokio::test]
async fn a_timestamp_older_than_the_retention_is_rejected() {
    let mut options = HttpOptions::default();
    options.purchase_retention = Some(Duration::from_secs(24 * 3_600));
    let shop = Shop::with(options);
    let of = |time: Timestamp| bodies::with("price", &format!("1,\"timestamp\":\"{time}\""));
    let oldest = NOW
        .parse::<Timestamp>()
        .unwrap()
        .saturating_sub(Duration::from_secs(24 * 3_600));
    let older = oldest.saturating_sub(Duration::from_millis(1));
    let text = "timestamp must not be older than the retention of purchases";
    for (router, path, status) in [
        (
            &shop.facing,
            "/v1/purchases",
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (&shop.facing, "/buy", StatusCode::BAD_REQUEST),
        (&shop.management, "/purchases", StatusCode::BAD_REQUEST),
        (
            &shop.management,
            "/v1/purchases",
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
    ] {
        let response = post(router, path, of(older)).await;
        assert_eq!(response.status, status, "{path}: {response:?}");
        assert!(
            response.json().to_string().contains(text),
            "{path}: {response:?}"
        );
        let response = post(router, path, of(oldest)).await;
        assert_eq!(response.status, StatusCode::CREATED, "{path}: {response:?}");
    }
    // A batch rejects only the line.
    let lines = [of(older), of(oldest)]
        .map(|line| String::from_utf8(line).unwrap())
        .join(",");
    let response = post(
        &shop.facing,
        "/v1/purchases:batch",
        format!("[{lines}]").into_bytes(),
    )
    .await;
    let results = response.json();
    assert_eq!(
        (&results[0]["status"], &results[1]["status"]),
        (&json!("rejected"), &json!("acknowledged"))
    );
    assert!(results[0].to_string().contains(text), "{results}");
}

/// Values that dialects treat differently: dialect, path, member, value, and the error, or none if it is accepted.
const BY_DIALECT: &[(&str, &str, &str, &str, Option<&str>)] = &[
    ("default", "/buy", "userid", "5", None),
    ("default", "/buy", "username", "-5", None),
    ("default", "/buy", "price", "0", None),
    (
        "default",
        "/buy",
        "userid",
        "\"\"",
        Some("userid must not be blank"),
    ),
    ("scalable-shop", "/buy", "userid", "5", None),
    ("scalable-shop", "/buy", "price", "0", None),
    (
        "scalable-shop",
        "/buy",
        "price",
        "-1",
        Some("Price cannot be negative"),
    ),
    ("purchase-tracking", "/buy", "price", "0", None),
    (
        "purchase-tracking",
        "/buy",
        "userid",
        "null",
        Some("Missing required fields: ['userid']"),
    ),
    ("user-buy-list", "/buy", "userid", "5", None),
    (
        "user-buy-list",
        "/buy",
        "userid",
        "0",
        Some("Missing required fields: username, userid, price"),
    ),
    (
        "user-buy-list",
        "/buy",
        "username",
        "\"\"",
        Some("Missing required fields: username, userid, price"),
    ),
    (
        "user-buy-list",
        "/buy",
        "price",
        "0",
        Some("Price must be a positive number"),
    ),
    (
        "user-buy-list",
        "/buy",
        "price",
        "-1",
        Some("Price must be a positive number"),
    ),
    (
        "user-buy-list",
        "/buy",
        "price",
        "\"0.00\"",
        Some("Price must be a positive number"),
    ),
    (
        "user-buy-list",
        "/buy",
        "price",
        "null",
        Some("Price must be a positive number"),
    ),
    (
        "default",
        "/api/buy",
        "price",
        "0",
        Some("Price must be a positive number"),
    ),
    ("default", "/api/v1/buy", "price", "0", None),
    ("default", "/api/v1/buy", "price", "\"50.0\"", None),
    (
        "default",
        "/api/v1/buy",
        "userid",
        "5",
        Some("Input should be a valid string"),
    ),
    (
        "default",
        "/api/v1/buy",
        "userid",
        "null",
        Some("Field required"),
    ),
    (
        "default",
        "/api/v1/buy",
        "price",
        "\"x\"",
        Some("unable to parse string as a number"),
    ),
    (
        "default",
        "/api/v1/buy",
        "price",
        "null",
        Some("Input should be a valid number"),
    ),
    (
        "default",
        "/api/v1/buy",
        "price",
        "-1",
        Some("Value error, Price cannot be negative"),
    ),
    ("default", "/v1/purchases", "price", "0", None),
    (
        "default",
        "/v1/purchases",
        "userid",
        "5",
        Some("userid must be text"),
    ),
    (
        "default",
        "/v1/purchases",
        "username",
        "7",
        Some("username must be text"),
    ),
    (
        "default",
        "/v1/purchases",
        "price",
        "1,\"timestamp\":\"yesterday\"",
        Some("timestamp"),
    ),
    (
        "default",
        "/v1/purchases",
        "userid",
        "\"u1\\u200b\"",
        Some("userid"),
    ),
    (
        "default",
        "/v1/purchases",
        "username",
        "\"\\u202eada\"",
        Some("username"),
    ),
    ("default", "/buy", "userid", "\"u1\\u200b\"", None),
    (
        "default",
        "/v1/purchases",
        "price",
        "1,\"timestamp\":5",
        Some("timestamp"),
    ),
    (
        "default",
        "/v1/purchases",
        "price",
        "1,\"timestamp\":\"2026-01-01T00:00:00\"",
        Some("timestamp"),
    ),
    (
        "default",
        "/buy",
        "price",
        "1,\"timestamp\":\"2026-01-01T00:00:00\"",
        None,
    ),
    (
        "default",
        "/v1/purchases",
        "price",
        "1,\"timestamp\":\"2026-03-01T09:05:00.251Z\"",
        Some("in the future"),
    ),
    (
        "default",
        "/v1/purchases",
        "price",
        "1,\"timestamp\":\"2026-03-01T09:05:00.250Z\"",
        None,
    ),
    (
        "default",
        "/buy",
        "price",
        "1,\"timestamp\":\"yesterday\"",
        Some("timestamp must be RFC 3339"),
    ),
    (
        "default",
        "/buy",
        "price",
        "1,\"timestamp\":[]",
        Some("timestamp must be RFC 3339"),
    ),
    (
        "default",
        "/buy",
        "price",
        "1,\"timestamp\":\"2999-01-01T00:00:00Z\"",
        Some("in the future"),
    ),
    (
        "default",
        "/buy",
        "price",
        "1,\"timestamp\":4000000000",
        Some("in the future"),
    ),
    ("default", "/buy", "price", "1,\"timestamp\":null", None),
    (
        "default",
        "/scalable-shop-cm-server/buy",
        "price",
        "1,\"timestamp\":\"yesterday\"",
        None,
    ),
    (
        "scalable-shop",
        "/buy",
        "price",
        "1,\"timestamp\":\"yesterday\"",
        None,
    ),
    (
        "scalable-shop",
        "/buy",
        "price",
        "1,\"timestamp\":\"2999-01-01T00:00:00Z\"",
        Some("in the future"),
    ),
    (
        "user-buy-list",
        "/buy",
        "price",
        "1,\"timestamp\":\"yesterday\"",
        None,
    ),
    (
        "user-buy-list",
        "/buy",
        "price",
        "1,\"timestamp\":\"2999-01-01T00:00:00Z\"",
        None,
    ),
    (
        "purchase-tracking",
        "/buy",
        "price",
        "1,\"timestamp\":\"yesterday\"",
        None,
    ),
    (
        "purchase-tracking",
        "/buy",
        "price",
        "1,\"timestamp\":\"2999-01-01T00:00:00Z\"",
        None,
    ),
    (
        "default",
        "/api/v1/buy",
        "price",
        "1,\"timestamp\":\"2999-01-01T00:00:00Z\"",
        None,
    ),
    (
        "default",
        "/v1/purchases",
        "price",
        "0.30000000000000004",
        Some("more than 8 decimals"),
    ),
    ("default", "/buy", "price", "0.30000000000000004", None),
    (
        "default",
        "/api/v1/buy",
        "price",
        "490.00000000000006",
        None,
    ),
    (
        "default",
        "/scalable-shop-cm-server/buy",
        "price",
        "1e-9",
        None,
    ),
    (
        "scalable-shop",
        "/buy",
        "price",
        "0.30000000000000004",
        None,
    ),
    (
        "user-buy-list",
        "/buy",
        "price",
        "0.30000000000000004",
        None,
    ),
    (
        "user-buy-list",
        "/buy",
        "price",
        "1e-9",
        Some("Price must be a positive number"),
    ),
    ("default", "/buy", "price", "1e-20", None),
    // Management writes the time as it is.
    (
        "default",
        "/purchases",
        "price",
        "1,\"timestamp\":{}",
        Some("timestamp must be RFC 3339"),
    ),
    (
        "scalable-shop",
        "/purchases",
        "price",
        "1,\"timestamp\":\"x\"",
        Some("timestamp must be RFC 3339"),
    ),
    (
        "user-buy-list",
        "/purchases",
        "price",
        "1,\"timestamp\":\"x\"",
        Some("timestamp must be RFC 3339"),
    ),
    (
        "purchase-tracking",
        "/purchases",
        "price",
        "1,\"timestamp\":\"9999-12-30T00:00:00Z\"",
        Some("future"),
    ),
];

#[tokio::test]
async fn dialects_differ_in_what_they_accept() {
    for (name, path, member, value, error) in BY_DIALECT {
        let shop = shop_in_dialect(name);
        // A byte order mark changes nothing.
        let body = [&b"\xef\xbb\xbf"[..], &bodies::with(member, value)].concat();
        let response = post(shop.service(path), path, body).await;
        let case = format!("{name} {path} {member}: {value}");
        match error {
            None => assert!(response.status.is_success(), "{case}: {response:?}"),
            Some(text) => {
                assert!(response.status.is_client_error(), "{case}: {response:?}");
                let body = response.json();
                assert!(
                    text_of(path, name, &body).is_some_and(|text_found| text_found.contains(text)),
                    "{case}: {body}"
                );
            }
        }
        let written = shop.published().await + shop.store.all().len();
        assert_eq!(written, usize::from(error.is_none()), "{case}");
    }
}

#[tokio::test]
async fn contradicting_aliases_are_rejected() {
    let shop = Shop::new();
    let body = [
        &b"\xef\xbb\xbf"[..],
        &bodies::with("userid", r#""u1","user_id":"u2""#),
    ]
    .concat();
    let differ = "userid and an alias of it differ";
    for (path, text) in [
        ("/buy", differ),
        ("/purchases", differ),
        ("/v1/purchases", "user_id is unknown here: use userid"),
    ] {
        let response = post(shop.service(path), path, body.clone()).await;
        assert!(
            response.status.is_client_error() && response.text.contains(text),
            "{path}: {response:?}"
        );
    }
    assert_untouched(&shop, "aliases").await;
}
