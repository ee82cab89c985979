//! An authentication layer and a policy of the embedder.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use serde_json::json;
use shop_accounts::http::{Accounts, UsersRole};
use shop_accounts::memory::InMemoryUsers;
use shop_core::Purchase;
use shop_core::memory::InMemoryStore;
use shop_core::ports::PurchaseStore;
use shop_http::{
    Action, Authorize, Decision, Parts, Principal, RouterBuilder, ServiceKind, routes,
};
use tower_http::cors::CorsLayer;

use crate::shop::{JSON, TestResponse, facing_parts_of, purchase, request, send};

/// A token is `name` or `name scope`.
async fn authenticate(mut request: Request, next: Next) -> Result<Response, StatusCode> {
    let token = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|token| token.to_str().ok());
    let mut words = token.ok_or(StatusCode::UNAUTHORIZED)?.split(' ');
    let principal = Principal::new(words.next().unwrap_or_default()).with_scopes(words);
    request.extensions_mut().insert(principal);
    Ok(next.run(request).await)
}

#[derive(Debug)]
struct OwnOnly;

impl Authorize for OwnOnly {
    fn may(&self, principal: &Principal, action: &Action<'_>) -> Decision {
        let is_own = action
            .user_id()
            .is_some_and(|user| principal.subject() == Some(user.as_str()));
        if is_own || principal.has_scope("any") {
            Decision::Allow
        } else {
            Decision::deny("only your own")
        }
    }
}

async fn send_as(
    app: &Router,
    token: &str,
    method: Method,
    path: &str,
    body: &str,
) -> TestResponse {
    let origin = [
        ("origin", "https://shop.example"),
        ("sec-fetch-site", "same-origin"),
    ];
    let headers = [JSON, ("authorization", token), origin[0], origin[1]];
    send(app, request(method, path, &headers, body.to_owned())).await
}

async fn get_as(app: &Router, token: &str, path: &str) -> TestResponse {
    send_as(app, token, Method::GET, path, "").await
}

fn body_of(user: &str) -> String {
    format!(r#"{{"username":"name of {user}","userid":"{user}","price":1}}"#)
}

/// Purchases of two users, the second of whom has the first one's id as name.
async fn facing_parts() -> Parts {
    let store = InMemoryStore::new();
    let foreign = purchase("u2", 2);
    let named = Purchase::new(
        foreign.id,
        foreign.user_id,
        "u1".parse().unwrap(),
        foreign.price,
        foreign.timestamp,
    );
    store
        .insert(vec![purchase("u1", 1), named].into())
        .await
        .unwrap();
    facing_parts_of(store)
}

async fn facing_routes() -> RouterBuilder {
    routes(facing_parts().await)
        .authorize(OwnOnly)
        .auth_layer(from_fn(authenticate))
}

#[tokio::test]
async fn a_user_cannot_buy_for_or_list_another() {
    let app = Router::new().nest("/shop", facing_routes().await.build());
    for (path, status, member) in [
        ("/shop/v1/purchases", 201, "detail"),
        ("/shop/buy", 201, "error"),
        ("/shop/api/buy", 201, "error"),
        ("/shop/api/v1/buy", 200, "detail"),
        ("/shop/scalable-shop-cm-api/buy", 200, "message"),
    ] {
        let own = send_as(&app, "u1", Method::POST, path, &body_of("u1")).await;
        assert!(own.status.is_success(), "{path} {status}: {own:?}");
        let other = send_as(&app, "u1", Method::POST, path, &body_of("u2")).await;
        assert_eq!(
            (other.status.as_u16(), &other.json()[member]),
            (403, &json!("only your own")),
            "{path}"
        );
        assert!(
            send_as(&app, "u1 any", Method::POST, path, &body_of("u2"))
                .await
                .status
                .is_success(),
            "{path}"
        );
        // Invalid requests are rejected before the policy.
        assert_ne!(
            send_as(&app, "u1", Method::POST, path, "{}").await.status,
            StatusCode::FORBIDDEN,
            "{path}"
        );
    }
    for (path, status) in [
        ("/v1/purchases?userid=u1", 200),
        ("/v1/purchases?userid=u2", 403),
        ("/v1/purchases?username=name%20of%20u1", 403),
        ("/v1/summary?userid=u1", 200),
        ("/v1/summary?userid=u2", 403),
        ("/getAllUserBuys/u1", 200),
        ("/getAllUserBuys/u2", 403),
        ("/api/getAllUserBuys/u2", 403),
        ("/api/v1/getAllUserBuys/u2", 403),
        ("/getAllUserBuys/u1?by=username", 403),
    ] {
        let path = format!("/shop{path}");
        assert_eq!(
            get_as(&app, "u1", &path).await.status.as_u16(),
            status,
            "{path}: u1"
        );
        assert_eq!(
            get_as(&app, "u9 any", &path).await.status.as_u16(),
            200,
            "{path}: any"
        );
    }
    let problem = get_as(&app, "u1", "/shop/v1/summary?userid=u2").await;
    assert_eq!(
        problem.header("content-type"),
        Some("application/problem+json")
    );
    // A path that can be an id or a name is the id: the name belongs to another user.
    let listed = get_as(&app, "u1", "/shop/getAllUserBuys/u1").await;
    assert_eq!(
        (&listed.json()["count"], listed.header("x-found-by")),
        (&json!(1), None),
        "{listed:?}"
    );
    let listed = get_as(&app, "u1 any", "/shop/getAllUserBuys/u1").await;
    assert_eq!(listed.header("x-found-by"), Some("userid"));
}

#[tokio::test]
async fn only_who_may_read_positions_gets_them_in_receipts() {
    let app = facing_routes().await.build();
    let batch = format!("[{}]", body_of("u1"));
    for (token, is_shown) in [("u1", false), ("u1 any", true)] {
        let one = send_as(&app, token, Method::POST, "/v1/purchases", &body_of("u1"))
            .await
            .json();
        assert_eq!(one["receipt"]["durability"], "memory");
        assert_eq!(one["receipt"].get("position").is_some(), is_shown, "{one}");
        let many = send_as(&app, token, Method::POST, "/v1/purchases:batch", &batch)
            .await
            .json();
        assert_eq!(
            many[0]["receipt"].get("position").is_some(),
            is_shown,
            "{many}"
        );
    }
}

#[tokio::test]
async fn without_a_principal_a_caller_is_anonymous() {
    let app = routes(facing_parts().await)
        .authorize(Arc::new(OwnOnly))
        .build();
    assert_eq!(
        get_as(&app, "u1", "/v1/summary?userid=u1").await.status,
        StatusCode::FORBIDDEN
    );
    let app = routes(facing_parts().await).build();
    assert_eq!(
        get_as(&app, "u1", "/v1/summary?userid=u2").await.status,
        StatusCode::OK,
        "no policy"
    );
}

fn preflight(path: &str) -> Request {
    let headers = [
        ("origin", "https://shop.example"),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization,content-type",
        ),
    ];
    request(Method::OPTIONS, path, &headers, Body::empty())
}

#[tokio::test]
async fn the_authentication_layer_is_inside_of_cors_and_outside_of_the_routes() {
    let app = Router::new().nest("/shop", facing_routes().await.build());
    let response = send(&app, preflight("/shop/v1/purchases")).await;
    assert_eq!(
        (
            response.status,
            response.header("access-control-allow-origin")
        ),
        (StatusCode::OK, Some("*"))
    );
    // A browser does not take `*` for `Authorization`.
    assert_eq!(
        response.header("access-control-allow-headers"),
        Some("authorization,content-type")
    );

    let refused = send(
        &app,
        request(
            Method::POST,
            "/shop/v1/purchases",
            &[JSON, ("origin", "https://a")],
            "{}",
        ),
    )
    .await;
    assert_eq!(
        (
            refused.status,
            refused.header("access-control-allow-origin")
        ),
        (StatusCode::UNAUTHORIZED, Some("*"))
    );
    assert!(refused.header("x-request-id").is_some());
    for path in [
        "/shop/health",
        "/shop/metrics",
        "/shop/getAllUserBuys/u1",
        "/shop/api/buy",
    ] {
        let method = if path.ends_with("buy") {
            Method::POST
        } else {
            Method::GET
        };
        let response = send(&app, request(method, path, &[], Body::empty())).await;
        assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    for path in [
        "/shop",
        "/shop/page/page.css",
        "/shop/docs",
        "/shop/openapi.json",
        "/shop/livez",
        "/shop/readyz",
    ] {
        let response = send(&app, request(Method::GET, path, &[], Body::empty())).await;
        assert_eq!(response.status, StatusCode::OK, "{path}");
    }
    assert_eq!(
        get_as(&app, "u1", "/shop/metrics").await.status,
        StatusCode::FORBIDDEN
    );
    let metrics = get_as(&app, "u1 any", "/shop/metrics").await.text;
    assert!(
        metrics.contains(r#"status="401""#),
        "refusals are measured: {metrics}"
    );
}

/// A layer around the whole router is outside of its CORS. An outer CORS layer handles preflight requests first.
#[tokio::test]
async fn a_layer_around_the_router_needs_its_own_cors() {
    let around = || async {
        routes(facing_parts().await)
            .build()
            .layer(from_fn(authenticate))
    };
    let refused = send(&around().await, preflight("/v1/purchases")).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let app = around().await.layer(CorsLayer::very_permissive());
    let response = send(&app, preflight("/v1/purchases")).await;
    assert_eq!(response.status, StatusCode::OK);
    assert_eq!(
        response.header("access-control-allow-headers"),
        Some("authorization,content-type")
    );
    let bought = send_as(&app, "u1", Method::POST, "/v1/purchases", &body_of("u1")).await;
    let origins: Vec<_> = bought
        .headers
        .get_all("access-control-allow-origin")
        .iter()
        .collect();
    assert_eq!(
        (bought.status, origins.len()),
        (StatusCode::CREATED, 1),
        "{bought:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_does_not_reveal_which_ids_are_in_use() {
    let app = facing_routes().await.build();
    let foreign = purchase("u2", 2).id;
    let unknown = purchase("u2", 9).id;
    for path in [
        "/v1/purchases/ID?",
        "/v1/purchases?userid=u1&",
        "/v1/summary?userid=u1&",
    ] {
        let answered = async |id: shop_core::PurchaseId, wait: &str| {
            let start = tokio::time::Instant::now();
            let path = format!("{path}wait_for={id}&wait={wait}").replace("ID", &id.to_string());
            let response = get_as(&app, "u1", &path).await;
            let pending = response.header("x-purchase-pending").map(str::to_owned);
            (
                response.status,
                pending,
                start.elapsed().as_millis(),
                response.text.replace(&id.to_string(), ""),
            )
        };
        for wait in ["0", "1"] {
            assert_eq!(
                answered(foreign, wait).await,
                answered(unknown, wait).await,
                "{path}"
            );
        }
    }
    let own = format!(
        "/v1/purchases/{0}?wait_for={0}&wait=1",
        purchase("u1", 1).id
    );
    let own = get_as(&app, "u1", &own).await;
    assert_eq!(
        (own.status, own.header("x-purchase-pending")),
        (StatusCode::OK, None)
    );
}

#[tokio::test]
async fn keys_of_users_count_per_principal() {
    let mut parts = Parts::new(ServiceKind::Management, None);
    let users = UsersRole::new(Arc::new(InMemoryUsers::new()));
    parts.roles.push(Arc::new(Accounts {
        users: Some(users),
        ..Accounts::default()
    }));
    let app = routes(parts)
        .authorize(OwnOnly)
        .auth_layer(from_fn(authenticate))
        .build();
    let register = async |token: &str, name: &str| {
        let body = format!(r#"{{"email":"{name}@example.com","name":"{name}"}}"#);
        let headers = [JSON, ("authorization", token), ("idempotency-key", "k-1")];
        let response = send(&app, request(Method::POST, "/v1/users", &headers, body)).await;
        (response.status.as_u16(), response.json()["id"].as_i64())
    };
    assert_eq!(register("a any", "ada").await, (201, Some(1)));
    assert_eq!(register("b any", "bob").await, (201, Some(2)));
    assert_eq!(register("a any", "ada").await, (201, Some(1)));
    assert_eq!(register("a any", "eva").await.0, 409);
}
