//! The document of the API, and the page that shows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
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

/// The documents of `service`: that of the native API, and that of each dialect.
pub(crate) async fn documents(service: &Router) -> Vec<Value> {
    let dialects =
        ["default", "scalable-shop", "user-buy-list", "ecommerce", "purchase-tracking", "shopping-system"];
    let mut documents = Vec::new();
    let of_dialects = dialects.map(|name| format!("/docs/compatibility/{name}.json"));
    for path in std::iter::once("/openapi.json".to_owned()).chain(of_dialects) {
        let document = get(service, &path).await;
        if document.status == StatusCode::OK {
            assert_eq!(document.header("content-type"), Some("application/json"), "{path}");
            assert_eq!(document.json()["openapi"], "3.1.0", "{path}");
            documents.push(document.json());
        }
    }
    assert!(!documents.is_empty());
    documents
}

/// The operations in the documents of `service`: paths with the prefix of their server, methods and descriptions.
pub(crate) async fn operations(service: &Router) -> Vec<(String, String, Value)> {
    let mut operations = BTreeMap::new();
    for document in documents(service).await {
        let servers = document["servers"].as_array().cloned().unwrap_or_else(|| vec![json!({"url": ""})]);
        for server in &servers {
            for (path, item) in document["paths"].as_object().unwrap() {
                for (method, operation) in item.as_object().unwrap() {
                    let path = format!("{}{path}", server["url"].as_str().unwrap());
                    operations.insert((path, method.to_uppercase()), operation.clone());
                }
            }
        }
    }
    operations.into_iter().map(|((path, method), operation)| (path, method, operation)).collect()
}

/// The paths in the documents of `service`, at each of which are the methods that they say.
pub(crate) async fn documented_paths(service: &Router) -> Vec<String> {
    let mut methods = BTreeMap::<_, Vec<_>>::new();
    for (path, method, _) in operations(service).await {
        methods.entry(path).or_default().push(method);
    }
    for (path, documented) in &methods {
        let path = path.replace(['{', '}'], "");
        let answer = ask(service, request(Method::PATCH, &path, &[], Body::empty())).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let mut allowed: Vec<_> = answer.header("allow").unwrap().split(',').collect();
        allowed.retain(|method| *method != "HEAD");
        allowed.sort_unstable();
        assert_eq!(&allowed, documented, "{path}");
    }
    methods.into_keys().collect()
}

#[tokio::test]
async fn it_says_what_the_dialect_says() {
    let buy = |document: &Value, path: &str| document["paths"][path]["post"]["responses"].clone();
    for (name, status, error) in [("default", "201", "error"), ("scalable-shop", "200", "message")] {
        let shop = speaking(name);
        let of = async |name| get(&shop.facing, &format!("/docs/compatibility/{name}.json")).await.json();
        let responses = buy(&of(name).await, "/buy");
        let default = &responses[status]["content"]["application/json"]["examples"]["Default"]["value"];
        assert!(default["message"].is_string(), "{name}: {responses}");
        let large = &responses["413"]["content"]["application/json"]["examples"]["BodyTooLarge"]["value"];
        assert_eq!(large[error], "Request body must not have more than 102400 bytes");
        let shopping_system = of("shopping-system").await;
        assert!(buy(&shopping_system, "/api/v1/buy")["422"]["content"]["application/json"].is_object());
        let native = get(&shop.facing, "/openapi.json").await.json();
        assert!(buy(&native, "/v1/purchases")["422"]["content"]["application/problem+json"].is_object());
    }
}

#[tokio::test]
async fn our_own_api_says_what_it_takes_and_what_it_refuses() {
    let shop = Shop::new();
    for (service, is_facing) in [(&shop.facing, true), (&shop.management, false)] {
        let document = get(service, "/openapi.json").await.json();
        let v1 = &document["paths"]["/v1/purchases"];
        let body = &v1["post"]["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(body["$ref"], "#/components/schemas/NewPurchase");
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["NewPurchase"]["additionalProperties"], false, "{schemas}");
        for name in
            ["Purchase", "Published", "Receipt", "Page", "Summary", "Totals", "BatchResult", "Problem"]
        {
            assert_eq!(schemas[name]["type"], "object", "{name}: {schemas}");
        }
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
        let problem = &schemas["Problem"]["properties"];
        assert_eq!(problem["errors"]["items"]["$ref"], "#/components/schemas/ProblemError", "{problem}");
        assert!(schemas["ProblemError"]["properties"]["pointer"].is_object(), "{schemas}");
        let dialect = get(service, "/docs/compatibility/default.json").await.json();
        let path = if is_facing { "/getAllUserBuys/{who}" } else { "/purchases/{who}" };
        let listed = &dialect["paths"][path]["get"]["responses"]["200"]["headers"];
        assert!(listed["X-Found-By"].is_object() && listed["Link"].is_object(), "{listed}");
        // What other systems' clients send besides is dropped.
        let buy = if is_facing { "/buy" } else { "/purchases" };
        let body = &dialect["paths"][buy]["post"]["requestBody"]["content"]["application/json"]["schema"];
        assert!(body.get("additionalProperties").is_none(), "{body}");
    }
}

#[tokio::test]
async fn a_dialect_behind_prefixes_has_them_as_servers() {
    for name in ["default", "scalable-shop"] {
        let shop = speaking(name);
        let document = get(&shop.facing, "/docs/compatibility/scalable-shop.json").await.json();
        assert!(document["paths"]["/buy"]["post"].is_object(), "{name}");
        let behind = json!([{"url": "/scalable-shop-cm-server"}, {"url": "/scalable-shop-cm-api"}]);
        assert_eq!(document.get("servers"), (name == "default").then_some(&behind), "{name}");
    }
}

#[tokio::test]
async fn the_type_of_a_problem_leads_to_a_page() {
    let shop = Shop::new();
    for service in [&shop.facing, &shop.management] {
        let problem = get(service, "/v1/summary").await.json();
        let page = get(service, problem["type"].as_str().unwrap()).await;
        assert_eq!(
            (page.status, page.header("content-type")),
            (StatusCode::OK, Some("text/html; charset=utf-8"))
        );
        assert!(page.text.contains("<h1>The request is invalid</h1>"), "{}", page.text);
        assert_eq!(get(service, "/problems/klingon").await.status, StatusCode::NOT_FOUND);
    }
}

/// `docs/openapi.json` is the document of facing with all roles and with default options.
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
        let other = get(service, "/docs/compatibility").await;
        assert!(other.text.contains("\"./compatibility/swagger-initializer.js\""), "{}", other.text);
        assert!(other.text.contains("\"./swagger-ui-bundle.js\""), "{}", other.text);
        let start = get(service, "/docs/compatibility/swagger-initializer.js").await.text;
        assert!(start.contains("\"compatibility/shopping-system.json\""), "{start}");
        for missing in
            ["/docs/compatibility/v1.json", "/docs/compatibility/x", "/docs/compatibility/klingon.json"]
        {
            assert_eq!(get(service, missing).await.status, StatusCode::NOT_FOUND);
        }
        let redoc = get(service, "/redoc").await;
        assert_eq!((redoc.status, redoc.header("location")), (StatusCode::TEMPORARY_REDIRECT, Some("docs")));
    }
}
