//! Protection of browsers: hosts, origins, headers.

use axum::Router;
use axum::body::Body;
use axum::http::{Method, StatusCode};
use serde_json::json;
use shop_core::memory::InMemoryStore;
use shop_http::{Hosts, HttpOptions, routes};

use crate::shop::{JSON, Shop, TestResponse, get, management_parts_of, request, send};

const BUY: &str = r#"{"username":"ada","userid":"u1","price":7}"#;

async fn post(router: &Router, path: &str, headers: &[(&str, &str)]) -> TestResponse {
    let headers = [&[JSON, ("host", "localhost:3000")], headers].concat();
    send(router, request(Method::POST, path, &headers, BUY)).await
}

#[tokio::test]
async fn responses_have_security_headers() {
    let shop = Shop::new();
    for service in [&shop.facing, &shop.management] {
        for path in [
            "/v1/purchases?userid=u1",
            "/purchases/u1",
            "/nowhere",
            "/openapi.json",
            "/metrics",
            "/",
        ] {
            let response = get(service, path).await;
            let kept = if path == "/openapi.json" {
                "no-cache"
            } else {
                "no-store"
            };
            for (name, value) in [
                ("cache-control", kept),
                ("x-content-type-options", "nosniff"),
                ("referrer-policy", "no-referrer"),
                ("cross-origin-resource-policy", "same-origin"),
            ] {
                assert_eq!(response.header(name), Some(value), "{name} of {path}");
            }
        }
        let page = send(
            service,
            request(Method::GET, "/", &[("accept", "text/html")], Body::empty()),
        )
        .await;
        assert_eq!(
            page.header("cache-control"),
            Some("no-cache"),
            "browsers revalidate the page"
        );
    }
}

#[tokio::test]
async fn foreign_origins_cannot_write_to_management() {
    let shop = Shop::new();
    for path in ["/v1/purchases", "/purchases"] {
        let evil = post(
            &shop.management,
            path,
            &[("origin", "https://evil.example")],
        )
        .await;
        assert_eq!(evil.status, StatusCode::FORBIDDEN, "{path}");
        let own = post(
            &shop.management,
            path,
            &[("origin", "http://localhost:3000")],
        )
        .await;
        assert_eq!(own.status, StatusCode::CREATED, "{path}");
        let program = post(&shop.management, path, &[]).await;
        assert_eq!(program.status, StatusCode::CREATED, "{path}");
    }
    let evil = post(&shop.management, "/purchases", &[("origin", "null")]).await;
    assert_eq!(
        evil.json(),
        json!({"error": "Pages of this origin may not write"})
    );
}

#[tokio::test]
async fn allowed_origins_can_write_to_facing() {
    let shop = Shop::with(HttpOptions::default().cors("https://shop.example".parse().unwrap()));
    for (origin, status) in [
        ("https://shop.example", StatusCode::CREATED),
        ("http://localhost:3000", StatusCode::CREATED),
        ("https://evil.example", StatusCode::FORBIDDEN),
    ] {
        assert_eq!(
            post(&shop.facing, "/buy", &[("origin", origin)])
                .await
                .status,
            status,
            "{origin}"
        );
    }
    assert_eq!(shop.published().await, 2);
    let open = Shop::new();
    let any = post(&open.facing, "/buy", &[("origin", "https://any.example")]).await;
    assert_eq!(any.status, StatusCode::CREATED);
}

#[tokio::test]
async fn only_allowed_hosts_are_served() {
    let shop =
        Shop::with(HttpOptions::default().hosts("shop.example, localhost:3000".parse().unwrap()));
    for (host, status) in [
        ("shop.example", StatusCode::OK),
        ("SHOP.example:8080", StatusCode::OK),
        ("localhost:3000", StatusCode::OK),
        ("localhost:3001", StatusCode::MISDIRECTED_REQUEST),
        ("attacker.example", StatusCode::MISDIRECTED_REQUEST),
    ] {
        for service in [&shop.facing, &shop.management] {
            let of = |path: &str| {
                send(
                    service,
                    request(Method::GET, path, &[("host", host)], Body::empty()),
                )
            };
            assert_eq!(of("/v1/purchases?userid=u1").await.status, status, "{host}");
            assert_eq!(
                of("/livez").await.status,
                StatusCode::OK,
                "{host}: a probe has the address of its pod"
            );
        }
    }
    let without = get(&shop.facing, "/getAllUserBuys/u1").await;
    without.is(
        421,
        &json!({"error": "This service is not configured for this host: name it in SHOP_HOSTS"}),
    );
}

#[tokio::test]
async fn the_admin_listener_has_hosts_of_its_own() {
    let parts = management_parts_of(InMemoryStore::new());
    for (hosts, refused) in [
        (Hosts::Any, "shop.example"),
        ("shop.example".parse().unwrap(), "evil.example"),
    ] {
        let options = HttpOptions::default().hosts(hosts.clone());
        let (public, admin) = routes(parts.clone()).options(options).build_with_admin();
        let of = async |app: &Router, host: &str, path: &str| {
            send(
                app,
                request(Method::GET, path, &[("host", host)], Body::empty()),
            )
            .await
            .status
        };
        for host in ["localhost:9000", "127.0.0.1:9000", "10.1.2.3:9000"] {
            assert_eq!(
                of(&admin, host, "/v1/purchases?everyone=true").await,
                StatusCode::OK,
                "{host}"
            );
            let is_served = of(&public, host, "/v1/purchases?userid=u1").await == StatusCode::OK;
            assert_eq!(is_served, hosts == Hosts::Any, "{host}");
        }
        let all = "/v1/purchases?everyone=true";
        if hosts == Hosts::Any {
            for path in [all, "/v1/usernames?prefix=a"] {
                assert_eq!(
                    of(&public, "localhost", path).await,
                    StatusCode::FORBIDDEN,
                    "{path}"
                );
                assert_eq!(
                    of(&admin, "localhost", path).await,
                    StatusCode::OK,
                    "{path}"
                );
            }
        }
        assert_eq!(
            of(&admin, refused, all).await,
            StatusCode::MISDIRECTED_REQUEST,
            "{refused}"
        );
        assert_eq!(
            of(&admin, refused, "/metrics").await,
            StatusCode::OK,
            "{refused}"
        );
    }
}

#[tokio::test]
async fn preflights_are_cached_and_management_has_none() {
    let shop = Shop::new();
    let preflight = [
        ("origin", "https://shop.example"),
        ("access-control-request-method", "POST"),
    ];
    let of = async |service: &Router| {
        send(
            service,
            request(Method::OPTIONS, "/v1/purchases", &preflight, Body::empty()),
        )
        .await
    };
    let facing = of(&shop.facing).await;
    let management = of(&shop.management).await;
    assert_eq!(facing.header("access-control-max-age"), Some("7200"));
    assert!(
        management
            .headers
            .keys()
            .all(|name| !name.as_str().starts_with("access-control-"))
    );
}
