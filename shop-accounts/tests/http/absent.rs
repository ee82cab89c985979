//! Services without a role.

use std::sync::Arc;

use axum::http::{Method, header};
use serde_json::{Value, json};
use shop_accounts::http::{Accounts, OrdersRole, UsersRole};
use shop_accounts::memory::{InMemoryOrders, InMemoryUsers};
use shop_http::{Parts, ServiceKind, routes};

use crate::shop::{get, post, request, send};
use crate::{ADA, PEN};

const PATHS: [&str; 10] = [
    "/users",
    "/users/{user_id}",
    "/users/{user_id}/orders",
    "/orders",
    "/orders/{order_id}",
    "/v1/users",
    "/v1/users/{user_id}",
    "/v1/users/{user_id}/orders",
    "/v1/orders",
    "/v1/orders/{order_id}",
];

/// The router of a service with these roles.
fn with_roles(users: bool, orders: bool) -> (axum::Router, Vec<String>) {
    let mut parts = Parts::new(ServiceKind::Management, None);
    let users = users.then(|| UsersRole::new(Arc::new(InMemoryUsers::new())));
    let orders = orders.then(|| OrdersRole::new(Arc::new(InMemoryOrders::new())));
    parts.roles.push(Arc::new(Accounts {
        users,
        orders,
        ..Accounts::default()
    }));
    let routes = routes(parts);
    let paths = routes.paths();
    (routes.build(), paths)
}

/// The paths in the document of `router`.
async fn documented(router: &axum::Router) -> Vec<String> {
    let document = get(router, "/openapi.json").await.json();
    document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect()
}

fn not_found() -> Value {
    json!({"detail": "Not Found"})
}

#[tokio::test]
async fn each_role_can_be_served_alone() {
    for (users, orders) in [(false, false), (true, false), (false, true), (true, true)] {
        let (router, paths) = with_roles(users, orders);
        let documented = documented(&router).await;
        for path in PATHS {
            let is_of_users = path
                .strip_prefix("/v1")
                .unwrap_or(path)
                .starts_with("/users");
            let is_there = if is_of_users { users } else { orders };
            assert_eq!(paths.contains(&path.to_owned()), is_there, "{path}");
            assert_eq!(
                documented.contains(&path.to_owned()),
                is_there && path.starts_with("/v1/"),
                "{path}"
            );
        }
        let index = get(&router, "/").await.json();
        let health = get(&router, "/health").await.json();
        for (name, is_there) in [("users", users), ("orders", orders)] {
            assert_eq!(index.get(format!("/{name}")).is_some(), is_there, "{index}");
            assert_eq!(health.get(name).is_some(), is_there, "{health}");
        }
        for (path, body, is_there) in [("/v1/users", "{}", users), ("/v1/orders", "{}", orders)] {
            let response = post(&router, path, body).await;
            assert_eq!(
                response.status.as_u16(),
                if is_there { 422 } else { 404 },
                "{path}"
            );
            assert_eq!(
                response.header("content-type"),
                Some("application/problem+json")
            );
        }
        if !users {
            post(&router, "/users", ADA).await.is(404, &not_found());
        }
        if !orders {
            post(&router, "/orders", PEN).await.is(404, &not_found());
        }
    }
}

#[tokio::test]
async fn without_purchases_their_paths_are_404() {
    let (router, paths) = with_roles(true, true);
    let buy = r#"{"username":"ada","userid":"u1","price":1}"#;
    for path in [
        "/purchases",
        "/v1/purchases",
        "/api/purchases",
        "/scalable-shop-cm-api/purchases",
    ] {
        assert_eq!(post(&router, path, buy).await.status, 404, "{path}");
        assert_eq!(get(&router, path).await.status, 404, "{path}");
    }
    for path in [
        "/buyList/ada",
        "/v1/summary?userid=u1",
        "/api/v1/purchases/u1",
        "/api/",
    ] {
        assert_eq!(get(&router, path).await.status, 404, "{path}");
    }
    let mut all = paths.into_iter().chain(documented(&router).await);
    assert!(all.all(|path| !path.contains("urchase") && path != "/v1/summary"));
    let index = get(&router, "/").await.json();
    assert!(
        index
            .as_object()
            .unwrap()
            .keys()
            .all(|path| !path.contains("urchase")),
        "{index}"
    );
    // The console has users and orders.
    let browser = [(header::ACCEPT.as_str(), "text/html")];
    let response = send(&router, request(Method::GET, "/", &browser, "")).await;
    assert!(response.text.contains("page/management.js"), "{response:?}");

    get(&router, "/-/ready").await.is(
        200,
        &json!({"status": "ready", "mongo": "up", "kafka": "up"}),
    );
    let ready = json!({"status": "ready", "kafkaReady": true});
    get(&router, "/ready").await.is(200, &ready);
    assert_eq!(get(&router, "/healthz").await.text, "Success");
    assert_eq!(get(&router, "/docs").await.status, 200);
    let role = json!({"store": true, "outbox": null});
    let health = json!({"status": "healthy", "kafkaReady": true,
        "parts": {"users": true, "orders": true}, "users": role, "orders": role});
    get(&router, "/health").await.is(200, &health);
    let figures = get(&router, "/metrics").await.text;
    assert!(
        figures.contains(r#"http_requests_total{method="GET",route="/ready",status="200"} 1"#),
        "{figures}"
    );
}
