//! Bad input of every kind: each gets a 4xx with the reason, and nothing reaches the log or
//! the store.

mod bodies;
pub(crate) mod random;
mod requests;

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use serde_json::{Value, json};
use shop_core::Timestamp;
use shop_http::{Dialect, HttpOptions};

use crate::shop::{NOW, Shop, TestResponse, get, post, send};

const GOOD: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

fn shop_in_dialect(name: &str) -> Shop {
    let mut options = HttpOptions::default();
    options.dialect = Dialect::from_name(name).unwrap();
    Shop::with(options)
}

async fn assert_untouched(shop: &Shop, case: &str) {
    assert_eq!((shop.published().await, shop.store.all().len()), (0, 0), "{case}");
}

/// The text of an error, which has the form of `path` in `dialect`.
fn text_of<'a>(path: &str, dialect: &str, body: &'a Value) -> Option<&'a str> {
    if path.starts_with("/api/v1/") {
        let entries = body["detail"].as_array();
        let is_entry = |entry: &Value| entry["loc"].is_array() && entry["type"].is_string();
        let list = entries.is_some_and(|entries| !entries.is_empty() && entries.iter().all(is_entry));
        return if list { body["detail"][0]["msg"].as_str() } else { body["detail"].as_str() };
    }
    if path.starts_with("/v1") {
        return body["title"].as_str().and(body["detail"].as_str());
    }
    let scalable_shop = dialect == "scalable-shop" && !path.starts_with("/api");
    if scalable_shop || path.starts_with("/scalable-shop-cm-server/") || path.starts_with("/buyList") {
        return (body["status"] == "Error").then(|| body["message"].as_str())?;
    }
    body["error"].as_str()
}

#[tokio::test]
async fn a_bad_request_is_a_4xx_with_its_reason() {
    let shop = Shop::new();
    let facing = requests::TO_FACING.iter().map(|case| (&shop.facing, case));
    let management = requests::TO_MANAGEMENT.iter().map(|case| (&shop.management, case));
    for (service, case) in facing.chain(management) {
        let (line, _, status, text) = case;
        let response = send(service, requests::request(case, GOOD)).await;
        assert_eq!(response.status.as_u16(), *status, "{line}: {response:?}");
        let path = line.split_once(' ').unwrap().1;
        let body = response.json();
        let text_found = text_of(path, "default", &body);
        assert!(text_found.is_some_and(|text_found| text_found.contains(text)), "{line}: {response:?}");
        assert!(response.header("x-request-id").is_some(), "{line}");
        assert_untouched(&shop, line).await;
    }
}

#[tokio::test]
async fn a_bad_body_is_a_4xx_with_its_reason() {
    let shop = Shop::new();
    let kinds = requests::TO_FACING.len() + requests::TO_MANAGEMENT.len();
    let bodies = bodies::without_object().len() + bodies::with_object().len();
    assert!(kinds + bodies >= 150, "{kinds} and {bodies}");
    let syntax = bodies::without_object().into_iter().map(|case| (case, StatusCode::BAD_REQUEST));
    let content = bodies::with_object().into_iter().map(|case| (case, StatusCode::UNPROCESSABLE_ENTITY));
    for ((body, text), v1_status) in syntax.chain(content) {
        let shown = String::from_utf8_lossy(&body).chars().take(80).collect::<String>();
        for (service, path, status) in [
            (&shop.facing, "/buy", StatusCode::BAD_REQUEST),
            (&shop.facing, "/v1/purchases", v1_status),
            (&shop.management, "/purchases", StatusCode::BAD_REQUEST),
            (&shop.management, "/v1/purchases", v1_status),
        ] {
            let response = post(service, path, body.clone()).await;
            assert_eq!(response.status, status, "{path} {shown}: {}", response.text);
            let error = response.json();
            let text_found = text_of(path, "default", &error);
            assert!(
                text_found.is_some_and(|text_found| text_found.contains(&text)),
                "{path} {shown}: {error}"
            );
            assert!(!path.starts_with("/v1") || error["type"] == "/problems/invalid", "{error}");
        }
        assert_untouched(&shop, &shown).await;
    }
}

#[tokio::test]
async fn contradicting_aliases_are_rejected() {
    let shop = Shop::new();
    for body in bodies::CONTRADICTIONS {
        for (service, path, status, text) in [
            (&shop.facing, "/buy", StatusCode::BAD_REQUEST, "userid and an alias of it differ"),
            (&shop.management, "/purchases", StatusCode::BAD_REQUEST, "userid and an alias of it differ"),
            (
                &shop.facing,
                "/v1/purchases",
                StatusCode::UNPROCESSABLE_ENTITY,
                "user_id is unknown here: use userid",
            ),
            (
                &shop.management,
                "/v1/purchases",
                StatusCode::UNPROCESSABLE_ENTITY,
                "is unknown here: use userid",
            ),
        ] {
            let body = body.replace("userId", "user_id");
            let response = post(service, path, body.clone()).await;
            assert_eq!(response.status, status, "{path} {body}");
            let error = response.json();
            let text_found = text_of(path, "default", &error);
            assert!(text_found.is_some_and(|text_found| text_found.contains(text)), "{path} {body}: {error}");
        }
        assert_untouched(&shop, body).await;
    }
}

#[tokio::test]
async fn a_timestamp_sent_to_management_must_be_valid_in_every_dialect() {
    for name in ["default", "scalable-shop", "user-buy-list", "purchase-tracking"] {
        let shop = shop_in_dialect(name);
        for (value, text) in [
            ("\"not a date\"", "timestamp must be RFC 3339"),
            ("{}", "timestamp must be RFC 3339"),
            ("\"9999-12-30T00:00:00Z\"", "timestamp must not be more than 5 minutes in the future"),
        ] {
            let body = bodies::with("price", &format!("1,\"timestamp\":{value}"));
            let response = post(&shop.management, "/purchases", body).await;
            assert_eq!(response.status, StatusCode::BAD_REQUEST, "{name} {value}: {response:?}");
            let error = response.json();
            let text_found = text_of("/purchases", name, &error);
            assert!(
                text_found.is_some_and(|text_found| text_found.contains(text)),
                "{name} {value}: {error}"
            );
        }
        assert_untouched(&shop, name).await;
    }
}

#[tokio::test]
async fn a_timestamp_older_than_the_retention_is_rejected() {
    let mut options = HttpOptions::default();
    options.purchase_retention = Some(Duration::from_secs(24 * 3_600));
    let shop = Shop::with(options);
    let of = |time: Timestamp| bodies::with("price", &format!("1,\"timestamp\":\"{time}\""));
    let oldest = NOW.parse::<Timestamp>().unwrap().saturating_sub(Duration::from_secs(24 * 3_600));
    let older = oldest.saturating_sub(Duration::from_millis(1));
    let text = "timestamp must not be older than the retention of purchases";
    for (router, path, status) in [
        (&shop.facing, "/v1/purchases", StatusCode::UNPROCESSABLE_ENTITY),
        (&shop.facing, "/buy", StatusCode::BAD_REQUEST),
        (&shop.management, "/purchases", StatusCode::BAD_REQUEST),
        (&shop.management, "/v1/purchases", StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let response = post(router, path, of(older)).await;
        assert_eq!(response.status, status, "{path}: {response:?}");
        assert!(response.json().to_string().contains(text), "{path}: {response:?}");
        let response = post(router, path, of(oldest)).await;
        assert_eq!(response.status, StatusCode::CREATED, "{path}: {response:?}");
    }
    // A batch rejects only the line.
    let lines = [of(older), of(oldest)].map(|line| String::from_utf8(line).unwrap()).join(",");
    let response = post(&shop.facing, "/v1/purchases:batch", format!("[{lines}]").into_bytes()).await;
    let results = response.json();
    assert_eq!((&results[0]["status"], &results[1]["status"]), (&json!("rejected"), &json!("acknowledged")));
    assert!(results[0].to_string().contains(text), "{results}");
}

/// Whether the response is that to a bad body at `path` in `dialect`.
fn is_refused(path: &str, dialect: &str, response: &TestResponse) -> bool {
    let status = if path.starts_with("/api/v1/") { 422 } else { 400 };
    response.status.as_u16() == status && text_of(path, dialect, &response.json()).is_some()
}

#[tokio::test]
async fn a_bad_body_is_rejected_in_every_dialect() {
    let everywhere = ["/api/buy", "/api/v1/buy", "/scalable-shop-cm-server/buy"];
    for name in ["default", "scalable-shop", "user-buy-list", "purchase-tracking"] {
        let shop = shop_in_dialect(name);
        for (body, _) in bodies::without_object().into_iter().chain(bodies::with_object()) {
            let shown = String::from_utf8_lossy(&body).chars().take(80).collect::<String>();
            // Paths that select their dialect are tested once.
            let fixed = everywhere.iter().filter(|_| name == "default");
            for path in std::iter::once(&"/buy").chain(fixed) {
                let response = post(&shop.facing, path, body.clone()).await;
                assert!(is_refused(path, name, &response), "{name} {path} {shown}: {response:?}");
            }
            let response = post(&shop.management, "/purchases", body).await;
            assert!(is_refused("/purchases", name, &response), "{name} {shown}: {response:?}");
            assert_untouched(&shop, &shown).await;
        }
    }
}

/// Values that dialects treat differently: dialect, path, member, value, and the error, or none if it is accepted.
const BY_DIALECT: &[(&str, &str, &str, &str, Option<&str>)] = &[
    ("default", "/buy", "userid", "5", None),
    ("default", "/buy", "username", "-5", None),
    ("default", "/buy", "price", "0", None),
    ("default", "/buy", "userid", "\"\"", Some("userid must not be blank")),
    ("default", "/buy", "username", "false", Some("username must be text")),
    ("scalable-shop", "/buy", "userid", "5", None),
    ("scalable-shop", "/buy", "price", "0", None),
    ("scalable-shop", "/buy", "price", "-1", Some("Price cannot be negative")),
    ("purchase-tracking", "/buy", "price", "0", None),
    ("purchase-tracking", "/buy", "userid", "null", Some("Missing required fields: ['userid']")),
    ("purchase-tracking", "/buy", "price", "true", Some("Price must be a valid number")),
    ("user-buy-list", "/buy", "userid", "5", None),
    ("user-buy-list", "/buy", "userid", "0", Some("Missing required fields: username, userid, price")),
    ("user-buy-list", "/buy", "username", "\"\"", Some("Missing required fields: username, userid, price")),
    ("user-buy-list", "/buy", "username", "false", Some("Missing required fields: username, userid, price")),
    ("user-buy-list", "/buy", "price", "0", Some("Price must be a positive number")),
    ("user-buy-list", "/buy", "price", "-1", Some("Price must be a positive number")),
    ("user-buy-list", "/buy", "price", "\"0.00\"", Some("Price must be a positive number")),
    ("user-buy-list", "/buy", "price", "null", Some("Price must be a positive number")),
    ("default", "/api/buy", "price", "0", Some("Price must be a positive number")),
    ("default", "/api/v1/buy", "price", "0", None),
    ("default", "/api/v1/buy", "price", "\"50.0\"", None),
    ("default", "/api/v1/buy", "userid", "5", Some("Input should be a valid string")),
    ("default", "/api/v1/buy", "userid", "null", Some("Field required")),
    ("default", "/api/v1/buy", "price", "\"x\"", Some("unable to parse string as a number")),
    ("default", "/api/v1/buy", "price", "null", Some("Input should be a valid number")),
    ("default", "/api/v1/buy", "price", "-1", Some("Value error, Price cannot be negative")),
    ("default", "/v1/purchases", "price", "0", None),
    ("default", "/v1/purchases", "userid", "5", Some("userid must be text")),
    ("default", "/v1/purchases", "username", "7", Some("username must be text")),
    ("default", "/v1/purchases", "price", "1,\"timestamp\":\"yesterday\"", Some("timestamp")),
    ("default", "/v1/purchases", "userid", "\"u1\\u200b\"", Some("userid")),
    ("default", "/v1/purchases", "username", "\"\\u202eada\"", Some("username")),
    ("default", "/buy", "userid", "\"u1\\u200b\"", None),
    ("default", "/v1/purchases", "price", "1,\"timestamp\":5", Some("timestamp")),
    ("default", "/v1/purchases", "price", "1,\"timestamp\":\"2026-01-01T00:00:00+25:00\"", Some("timestamp")),
    ("default", "/v1/purchases", "price", "1,\"timestamp\":\"2026-01-01T00:00:00\"", Some("timestamp")),
    ("default", "/buy", "price", "1,\"timestamp\":\"2026-01-01T00:00:00\"", None),
    ("default", "/v1/purchases", "price", "1,\"timestamp\":[]", Some("timestamp")),
    (
        "default",
        "/v1/purchases",
        "price",
        "1,\"timestamp\":\"2026-03-01T09:05:00.251Z\"",
        Some("in the future"),
    ),
    ("default", "/v1/purchases", "price", "1,\"timestamp\":\"2026-03-01T09:05:00.250Z\"", None),
    ("default", "/buy", "price", "1,\"timestamp\":\"yesterday\"", Some("timestamp must be RFC 3339")),
    ("default", "/buy", "price", "1,\"timestamp\":\"31/12/2025\"", Some("timestamp must be RFC 3339")),
    ("default", "/buy", "price", "1,\"timestamp\":[]", Some("timestamp must be RFC 3339")),
    ("default", "/buy", "price", "1,\"timestamp\":1e300", Some("timestamp must be RFC 3339")),
    ("default", "/buy", "price", "1,\"timestamp\":\"2999-01-01T00:00:00Z\"", Some("in the future")),
    ("default", "/buy", "price", "1,\"timestamp\":4000000000", Some("in the future")),
    ("default", "/buy", "price", "1,\"timestamp\":null", None),
    ("default", "/scalable-shop-cm-server/buy", "price", "1,\"timestamp\":\"yesterday\"", None),
    ("scalable-shop", "/buy", "price", "1,\"timestamp\":\"yesterday\"", None),
    ("scalable-shop", "/buy", "price", "1,\"timestamp\":[]", None),
    ("scalable-shop", "/buy", "price", "1,\"timestamp\":\"2999-01-01T00:00:00Z\"", Some("in the future")),
    ("user-buy-list", "/buy", "price", "1,\"timestamp\":\"yesterday\"", None),
    ("user-buy-list", "/buy", "price", "1,\"timestamp\":\"2999-01-01T00:00:00Z\"", None),
    ("purchase-tracking", "/buy", "price", "1,\"timestamp\":\"yesterday\"", None),
    ("purchase-tracking", "/buy", "price", "1,\"timestamp\":\"2999-01-01T00:00:00Z\"", None),
    ("default", "/api/v1/buy", "price", "1,\"timestamp\":\"2999-01-01T00:00:00Z\"", None),
    ("default", "/api/v1/buy", "price", "1,\"timestamp\":[]", None),
    ("default", "/v1/purchases", "price", "0.30000000000000004", Some("more than 8 decimals")),
    ("default", "/v1/purchases", "price", "\"182.45000000000002\"", Some("more than 8 decimals")),
    ("default", "/buy", "price", "0.30000000000000004", None),
    ("default", "/api/buy", "price", "\"182.45000000000002\"", None),
    ("default", "/api/v1/buy", "price", "490.00000000000006", None),
    ("default", "/scalable-shop-cm-server/buy", "price", "1e-9", None),
    ("scalable-shop", "/buy", "price", "0.30000000000000004", None),
    ("user-buy-list", "/buy", "price", "0.30000000000000004", None),
    ("user-buy-list", "/buy", "price", "1e-9", Some("Price must be a positive number")),
    ("default", "/buy", "price", "1e-20", None),
];

#[tokio::test]
async fn dialects_differ_in_what_they_accept() {
    for (name, path, member, value, error) in BY_DIALECT {
        let shop = shop_in_dialect(name);
        // A byte order mark changes nothing.
        let body = [&b"\xef\xbb\xbf"[..], &bodies::with(member, value)].concat();
        let response = post(&shop.facing, path, body).await;
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
        assert_eq!(shop.published().await, usize::from(error.is_none()), "{case}");
    }
}

#[tokio::test]
async fn a_path_in_a_user_name_is_plain_text() {
    let shop = Shop::new();
    let listing = async |service: &Router, path: &str| get(service, path).await.json();
    for who in ["../health", "..\\health", "a/b?c#d", "%2e%2e", "<img src=x onerror=alert(1)>", "\u{202e}x"] {
        let encoded = percent_encoding::utf8_percent_encode(who, percent_encoding::NON_ALPHANUMERIC);
        for (service, path) in [(&shop.facing, "/getAllUserBuys"), (&shop.management, "/purchases")] {
            let found = listing(service, &format!("{path}/{encoded}")).await;
            assert_eq!((&found["userid"], &found["count"]), (&json!(who), &json!(0)), "{who}: {found}");
        }
    }
    let found = listing(&shop.facing, "/getAllUserBuys/..%2Fhealth").await;
    assert_eq!(found["userid"], "../health");
}
