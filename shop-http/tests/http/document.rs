//! The OpenAPI document, and the page that shows it.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, StatusCode};
use serde_json::Value;
use shop_accounts::http::{Accounts, OrdersRole, UsersRole};
use shop_accounts::memory::{InMemoryOrders, InMemoryUsers};
use shop_core::Purchase;
use shop_core::log::DeadLetters as _;
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_core::ports::PurchaseStore as _;
use shop_core::record::Record as _;
use shop_http::{DeadLetterLog, Dialect, HttpOptions, Parts, routes};

use crate::dead_letters::dead_letter;
use crate::shop::{
    Shop, TestResponse, facing_parts_of, get, management_parts_of, post, purchase, request, send,
};

/// A service with all roles.
struct App {
    name: String,
    router: Router,
    paths: Vec<String>,
}

impl App {
    fn new(name: String, parts: Parts, dialect: &str) -> Self {
        let mut options = HttpOptions::default();
        options.dialect = Dialect::from_name(dialect).unwrap();
        let routes = routes(parts).options(options);
        Self {
            name,
            paths: routes.paths(),
            router: routes.build(),
        }
    }

    async fn document(&self) -> Value {
        let response = get(&self.router, "/openapi.json").await;
        assert_eq!(response.header("content-type"), Some("application/json"));
        response.json()
    }
}

/// Both services in this dialect.
async fn apps(dialect: &str) -> [App; 2] {
    let store = InMemoryStore::new();
    store.insert(vec![purchase("u2", 1)].into()).await.unwrap();
    let mut facing = facing_parts_of(store.clone());
    let mut management = management_parts_of(store);
    let users = UsersRole::new(Arc::new(InMemoryUsers::new()));
    let orders = OrdersRole::new(Arc::new(InMemoryOrders::new()));
    let accounts = Arc::new(Accounts {
        users: Some(users),
        orders: Some(orders),
        ..Accounts::default()
    });
    facing.roles.push(Arc::<Accounts>::clone(&accounts));
    management.roles.push(accounts);
    let log = InMemoryLog::default();
    log.dead_letters()
        .put(&[dead_letter("purchases", 0, b"poison")])
        .await
        .unwrap();
    management.dead_letters = vec![DeadLetterLog::new(
        "purchases",
        Purchase::TYPE,
        Arc::new(log),
    )];
    [
        App::new(format!("facing, {dialect}"), facing, dialect),
        App::new(format!("management, {dialect}"), management, dialect),
    ]
}

/// The methods at each of these paths of a service.
pub(crate) async fn operations(service: &Router, paths: &[String]) -> Vec<(Method, String)> {
    let mut operations = Vec::new();
    for path in paths {
        let here = path.replace(['{', '}'], "");
        let response = send(service, request(Method::PATCH, &here, &[], Body::empty())).await;
        assert_eq!(response.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let methods = response
            .header("allow")
            .unwrap()
            .split(',')
            .filter(|method| *method != "HEAD");
        operations.extend(methods.map(|method| (method.parse().unwrap(), path.clone())));
    }
    operations
}

/// The operations of a document, each with its method and path.
fn documented(document: &Value) -> impl Iterator<Item = (String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(move |(method, operation)| {
            (format!("{} {path}", method.to_uppercase()), operation)
        })
    })
}

#[tokio::test]
async fn every_route_of_v1_is_documented() {
    for dialect in ["default", "user-buy-list", "ecommerce", "shopping-system"] {
        for app in apps(dialect).await {
            let document = app.document().await;
            let described: BTreeSet<_> = documented(&document)
                .map(|(operation, _)| operation)
                .collect();
            let all = operations(&app.router, &app.paths).await.into_iter();
            let all: BTreeSet<_> = all
                .map(|(method, path)| format!("{method} {path}"))
                .collect();
            let native = all
                .iter()
                .filter(|operation| operation.contains(" /v1"))
                .cloned()
                .collect();
            assert!(described.is_subset(&all), "{}", app.name);
            let of_system = match dialect {
                "ecommerce" => 5,
                "shopping-system" if app.name.starts_with("facing") => 4,
                "shopping-system" => 3,
                _ => 0,
            };
            assert_eq!(
                described.difference(&native).count(),
                of_system,
                "{}",
                app.name
            );
            assert!(described.is_superset(&native), "{}", app.name);
        }
    }
}

#[tokio::test]
async fn every_operation_is_complete() {
    for dialect in ["default", "ecommerce", "shopping-system"] {
        for app in apps(dialect).await {
            let document = app.document().await;
            let mut ids = BTreeSet::new();
            for (at, operation) in documented(&document) {
                let at = format!("{} {at}", app.name);
                let id = operation["operationId"].as_str().unwrap();
                assert!(ids.insert(id), "{at}");
                // The names of functions in generated clients.
                let is_own = operation["tags"][0] == "v1";
                assert!(!is_own || id.chars().all(char::is_alphabetic), "{at}: {id}");
                assert!(
                    operation["summary"].is_string() && operation["tags"][0].is_string(),
                    "{at}"
                );
                let responses = operation["responses"].as_object().unwrap();
                assert!(
                    responses
                        .keys()
                        .any(|status| status.starts_with(['2', '3'])),
                    "{at}"
                );
                let mut responses = responses
                    .values()
                    .map(|response| resolved(&document, response));
                assert!(
                    responses.all(|response| response["description"].is_string()),
                    "{at}"
                );
                let bodies = &operation["requestBody"]["content"];
                let has_example = |body: &str| !bodies[body]["example"].is_null();
                let has_example = has_example("application/json") || has_example("text/csv");
                assert_eq!(!has_example, !at.contains(" POST "), "{at}");
            }
            for reference in members(&document, "$ref") {
                let target = document.pointer(reference.strip_prefix('#').unwrap());
                assert!(target.is_some(), "{}: {reference}", app.name);
            }
            // Validators compare floating-point numbers, and would reject valid prices.
            assert!(!document.to_string().contains("multipleOf"), "{}", app.name);
            let links = members(&document["paths"], "operationId");
            assert!(links.into_iter().all(|id| ids.contains(id)), "{}", app.name);
        }
    }
}

/// The texts of all members with this name.
fn members<'a>(value: &'a Value, name: &str) -> Vec<&'a str> {
    match value {
        Value::Object(all) => {
            let own = all.get(name).and_then(Value::as_str);
            own.into_iter()
                .chain(all.values().flat_map(|value| members(value, name)))
                .collect()
        }
        Value::Array(items) => items.iter().flat_map(|item| members(item, name)).collect(),
        _ => Vec::new(),
    }
}

/// `value`, or the schema that it refers to.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).unwrap(),
        None => value,
    }
}

/// The schema of an object, which may be one of several alternatives.
fn object_schema<'a>(document: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    let schema = resolved(document, schema);
    match schema["oneOf"].as_array() {
        Some(variants) => variants
            .iter()
            .find_map(|schema| object_schema(document, schema)),
        None => (schema["type"] == "object").then_some(schema),
    }
}

/// Asserts that `value` has the required members of a schema, and no unknown ones.
fn assert_form(document: &Value, schema: &Value, value: &Value, case: &str) {
    let schema = resolved(document, schema);
    match value {
        Value::Array(items) => {
            items
                .iter()
                .for_each(|item| assert_form(document, &schema["items"], item, case));
        }
        Value::Object(members) => {
            let schema = object_schema(document, schema).unwrap_or(schema);
            for (name, member) in members {
                let of_member = &schema["properties"][name];
                assert!(of_member.is_object(), "{case}: {name} is not in {schema}");
                assert_form(document, of_member, member, case);
            }
            let required = schema["required"].as_array().into_iter().flatten();
            let missing: Vec<_> = required
                .filter(|name| !members.contains_key(name.as_str().unwrap()))
                .collect();
            assert!(missing.is_empty(), "{case}: {missing:?} are not in {value}");
        }
        _ => {}
    }
}

#[tokio::test]
async fn bodies_match_the_documented_schemas() {
    let purchase = r#"{"userid":"u1","username":"ada","price":29.99}"#;
    let requests = [
        ("/v1/purchases", Some(purchase)),
        ("/v1/purchases", Some("{}")),
        (
            "/v1/purchases:batch",
            Some(r#"[{"userid":"u1","username":"ada","price":29.99},{}]"#),
        ),
        (
            "/v1/users",
            Some(r#"{"email":"ada@example.com","name":"Ada"}"#),
        ),
        (
            "/v1/orders",
            Some(r#"{"user_id":1,"product":"tea","quantity":1,"total_price":2.5}"#),
        ),
        (
            "/v1/purchases/00000000-0000-0000-0000-000000000002:refund",
            Some(r#"{"reason":"broken"}"#),
        ),
        (
            "/v1/purchases/00000000-0000-0000-0000-000000000003:refund",
            Some("{}"),
        ),
        ("/v1/purchases?userid=u1", None),
        ("/v1/purchases?userid=u1&limit=0", None),
        ("/v1/summary?userid=u1", None),
        ("/v1/totals?userid=u1", None),
        ("/v1", None),
        ("/v1/purchases:positions", None),
        ("/v1/purchases:positions?topic=other", None),
        ("/v1/usernames?prefix=AD", None),
        ("/v1/usernames", None),
        ("/v1/users/1", None),
        ("/v1/users/1/orders", None),
        ("/v1/orders/1", None),
        ("/v1/dead-letters", None),
        ("/v1/dead-letters/purchases-0-0", None),
        (
            "/v1/dead-letters:replay",
            Some(r#"{"positions":["purchases-0-0"],"dry_run":true}"#),
        ),
        (
            "/v1/dead-letters:park",
            Some(r#"{"positions":["purchases-0-0"],"reason":"a test"}"#),
        ),
        (
            "/v1/dead-letters:discard",
            Some(r#"{"positions":["purchases-0-0"]}"#),
        ),
    ];
    for app in apps("default").await {
        let document = app.document().await;
        for (path, body) in requests {
            let response = match body {
                Some(body) => post(&app.router, path, body).await,
                None => get(&app.router, path).await,
            };
            let template = path.split('?').next().unwrap().replace("/1", "/{user_id}");
            let template = template.replace("orders/{user_id}", "orders/{order_id}");
            let template = template.replace("/purchases-0-0", "/{position}");
            let is_refund = template.ends_with(":refund");
            let template = if is_refund {
                "/v1/purchases/{id}:refund".to_owned()
            } else {
                template
            };
            let method = if body.is_some() { "post" } else { "get" };
            let operation = &document["paths"][&template][method];
            if operation.is_object() {
                assert_documented(
                    &document,
                    operation,
                    &response,
                    &format!("{} {method} {path}", app.name),
                );
            } else {
                assert_eq!(
                    response.status,
                    StatusCode::NOT_FOUND,
                    "{} {path}",
                    app.name
                );
            }
        }
    }
}

/// Asserts that `operation` describes `response`.
fn assert_documented(document: &Value, operation: &Value, response: &TestResponse, case: &str) {
    let described = resolved(document, &operation["responses"][response.status.as_str()]);
    let content = &described["content"][response.header("content-type").unwrap()];
    assert!(content["schema"].is_object(), "{case}: {response:?}");
    assert_form(document, &content["schema"], &response.json(), case);
}

#[tokio::test]
async fn problem_types_link_to_a_page() {
    let shop = Shop::new();
    for service in [&shop.facing, &shop.management] {
        let problem = get(service, "/v1/summary").await.json();
        let page = get(service, problem["type"].as_str().unwrap()).await;
        assert_eq!(
            (page.status, page.header("content-type")),
            (StatusCode::OK, Some("text/html; charset=utf-8"))
        );
        assert!(
            page.text.contains("<h1>The request is invalid</h1>"),
            "{}",
            page.text
        );
        assert_eq!(
            get(service, "/problems/klingon").await.status,
            StatusCode::NOT_FOUND
        );
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
        let links = page
            .text
            .split(['"', '\''])
            .filter(|text| text.ends_with(".js") || text.ends_with(".css"));
        let links: Vec<_> = links.collect();
        assert!(links.len() >= 4, "{}", page.text);
        for link in links {
            // As a browser resolves it at `/docs`.
            let file = request(
                Method::GET,
                &format!("/{link}"),
                &[("accept-encoding", "gzip")],
                Body::empty(),
            );
            let response = tower::ServiceExt::oneshot(service.clone(), file)
                .await
                .unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{link}");
        }
        assert!(
            !page.text.contains("//"),
            "nothing comes from elsewhere: {}",
            page.text
        );
        let start = get(service, "/docs/swagger-initializer.js").await.text;
        assert!(
            start.contains("\"openapi.json\"") && start.contains("\"validatorUrl\": \"none\""),
            "{start}"
        );
        let missing = get(service, "/docs/..%2Fsecrets").await;
        assert_eq!(missing.status, StatusCode::NOT_FOUND);
        let redoc = get(service, "/redoc").await;
        assert_eq!(
            (redoc.status, redoc.header("location")),
            (StatusCode::TEMPORARY_REDIRECT, Some("docs"))
        );
    }
}
