//! The document of the API, and the page that shows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, StatusCode};
use serde_json::Value;
use shop_core::memory::{InMemoryLog, InMemoryOrders, InMemoryStore, InMemoryUsers};
use shop_http::{Dialect, Facing, HttpOptions, OrdersRole, UsersRole, facing};

use crate::shop::{Shop, ask, get, request};

fn speaking(name: &str) -> Shop {
    let mut options = HttpOptions::default();
    options.dialect = Dialect::from_name(name).unwrap();
    Shop::with(options)
}

#[tokio::test]
async fn what_is_documented_is_there() {
    for name in ["default", "user-buy-list"] {
        let shop = speaking(name);
        for service in [&shop.facing, &shop.management] {
            assert!(documented_paths(service).await.len() > 40, "{name}");
        }
    }
}

/// The paths in the document of `service`, at each of which are the methods that it says.
pub(crate) async fn documented_paths(service: &Router) -> Vec<String> {
    let document = get(service, "/openapi.json").await;
    assert_eq!(
        (document.status, document.header("content-type")),
        (StatusCode::OK, Some("application/json"))
    );
    let document = document.json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    for (path, item) in paths {
        let path = path.replace(['{', '}'], "");
        let answer = ask(service, request(Method::PATCH, &path, &[], Body::empty())).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let mut allowed: Vec<_> = answer.header("allow").unwrap().split(',').map(str::to_lowercase).collect();
        allowed.retain(|method| method != "head");
        allowed.sort();
        let mut documented: Vec<_> = item.as_object().unwrap().keys().cloned().collect();
        documented.sort();
        assert_eq!(allowed, documented, "{path}");
    }
    paths.keys().cloned().collect()
}

#[tokio::test]
async fn it_says_what_the_dialect_says() {
    let buy = |document: &Value, path: &str| document["paths"][path]["post"]["responses"].clone();
    for (name, status, error) in [("default", "201", "error"), ("scalable-shop", "200", "message")] {
        let document = get(&speaking(name).facing, "/openapi.json").await.json();
        let responses = buy(&document, "/buy");
        let default = &responses[status]["content"]["application/json"]["examples"]["Default"]["value"];
        assert!(default["message"].is_string(), "{name}: {responses}");
        let large = &responses["413"]["content"]["application/json"]["examples"]["BodyTooLarge"]["value"];
        assert_eq!(large[error], "Request body must not have more than 102400 bytes");
        assert!(buy(&document, "/api/v1/buy")["422"]["content"]["application/json"].is_object());
        assert!(buy(&document, "/v1/purchases")["422"]["content"]["application/problem+json"].is_object());
    }
}

#[tokio::test]
async fn our_own_api_says_what_it_takes_and_what_it_refuses() {
    let shop = Shop::new();
    for (service, is_facing) in [(&shop.facing, true), (&shop.management, false)] {
        let document = get(service, "/openapi.json").await.json();
        let v1 = &document["paths"]["/v1/purchases"];
        let body = &v1["post"]["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(body["additionalProperties"], false, "{body}");
        assert!(v1["post"]["responses"]["201"]["headers"]["Location"].is_object());
        for get in [&v1["get"], &document["paths"]["/v1/summary"]["get"]] {
            let parameters = get["parameters"].as_array().unwrap();
            let names: Vec<_> =
                parameters.iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
            assert_eq!(names[..3], ["userid", "username", "everyone"]);
            let denied = &get["responses"]["403"]["content"]["application/problem+json"]["examples"];
            assert_eq!(denied.is_object(), is_facing, "{denied}");
            let examples = &get["responses"]["422"]["content"]["application/problem+json"]["examples"];
            assert_eq!(examples["Fields"]["value"]["errors"][0]["parameter"], "userid", "{examples}");
        }
        let problem = &document["components"]["schemas"]["error-problem"]["properties"];
        assert!(problem["errors"]["items"]["properties"]["pointer"].is_object(), "{problem}");
        let path = if is_facing { "/getAllUserBuys/{who}" } else { "/purchases/{who}" };
        let listed = &document["paths"][path]["get"]["responses"]["200"]["headers"];
        assert!(listed["X-Found-By"].is_object() && listed["Link"].is_object(), "{listed}");
        // What other systems' clients send besides is dropped.
        let buy = if is_facing { "/buy" } else { "/purchases" };
        let body = &document["paths"][buy]["post"]["requestBody"]["content"]["application/json"]["schema"];
        assert!(body.get("additionalProperties").is_none(), "{body}");
    }
}

/// `docs/openapi.json` is the document of facing with all roles, in the default dialect and with default options.
#[tokio::test]
async fn the_openapi_document_in_docs_is_fresh() {
    let store = Arc::new(InMemoryStore::new());
    let mut parts = Facing::new(Arc::new(InMemoryLog::default().sink()), store);
    parts.users = Some(UsersRole::new(Arc::new(InMemoryUsers::new())));
    parts.orders = Some(OrdersRole::new(Arc::new(InMemoryOrders::new())));
    let document = get(&facing(parts, HttpOptions::default()), "/openapi.json").await.json();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    #[expect(clippy::disallowed_methods, reason = "this is a switch of the test, no setting")]
    if std::env::var_os("SHOP_TEST_WRITE").is_some() {
        let text = serde_json::to_string_pretty(&sorted(&document)).unwrap();
        std::fs::write(path, text + "\n").unwrap();
    }
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let in_docs: Value = serde_json::from_str(&text).unwrap_or_default();
    assert!(
        in_docs == document,
        "docs/openapi.json is not fresh: run `SHOP_TEST_WRITE=1 cargo test -p shop-http --test http openapi`"
    );
}

/// `value` with the members of all objects in alphabetical order, whatever order serde_json keeps.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<_, _> = members.iter().map(|(name, value)| (name, sorted(value))).collect();
            members.into_iter().map(|(name, value)| (name.clone(), value)).collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[tokio::test]
async fn the_page_is_served_from_the_binary() {
    let shop = Shop::new();
    for service in [&shop.facing, &shop.management] {
        let page = get(service, "/docs").await;
        assert_eq!(
            (page.status, page.header("content-type")),
            (StatusCode::OK, Some("text/html; charset=utf-8"))
        );
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'self';"), "{policy}");
        let links =
            page.text.split(['"', '\'']).filter(|text| text.ends_with(".js") || text.ends_with(".css"));
        let links: Vec<_> = links.collect();
        assert!(links.len() >= 4, "{}", page.text);
        for link in links {
            // As a browser at `/docs` understands it.
            let file =
                request(Method::GET, &format!("/{link}"), &[("accept-encoding", "gzip")], Body::empty());
            let response = tower::ServiceExt::oneshot(service.clone(), file).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{link}");
        }
        assert!(!page.text.contains("//"), "nothing comes from elsewhere: {}", page.text);
        let start = get(service, "/docs/swagger-initializer.js").await.text;
        assert!(
            start.contains("\"openapi.json\"") && start.contains("\"validatorUrl\": \"none\""),
            "{start}"
        );
        let missing = get(service, "/docs/..%2Fsecrets").await;
        assert_eq!(missing.status, StatusCode::NOT_FOUND);
        let redoc = get(service, "/redoc").await;
        assert_eq!((redoc.status, redoc.header("location")), (StatusCode::TEMPORARY_REDIRECT, Some("docs")));
    }
}
