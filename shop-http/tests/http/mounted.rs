//! Routes below the prefix of an outer router, and single groups of routes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::routing::any;
use serde_json::{Value, json};
use shop_accounts::http::{Accounts, OrdersRole, UsersRole};
use shop_accounts::memory::{InMemoryOrders, InMemoryUsers};
use shop_core::log::DeadLetters as _;
use shop_core::memory::InMemoryStore;
use shop_core::ports::PurchaseStore;
use shop_http::{HttpOptions, Parts, RouteGroup, router, routes};
use shop_store::embedded::EmbeddedShop;

use crate::dead_letters::dead_letter;
use crate::events::follow;
use crate::metrics::value;
use crate::rates::NoToken;
use crate::shop::{
    JSON, TestResponse, facing_parts_of, get, management_parts_of, post, purchase, request, send,
};

const BUY: &str = r#"{"username":"ada","userid":"u1","price":1}"#;
const PREFIX: &str = "/shop";

/// Facing with three purchases of `u1`, users and orders.
async fn parts() -> Parts {
    let store = InMemoryStore::new();
    store
        .insert((1..=3).map(|number| purchase("u1", number)).collect())
        .await
        .unwrap();
    let mut parts = facing_parts_of(store);
    let users = UsersRole::new(Arc::new(InMemoryUsers::new()));
    let orders = OrdersRole::new(Arc::new(InMemoryOrders::new()));
    parts.roles.push(Arc::new(Accounts {
        users: Some(users),
        orders: Some(orders),
        ..Accounts::default()
    }));
    parts
}

/// The routes, nested by both methods of axum.
async fn mounted() -> [Router; 2] {
    let router = routes(parts().await).build();
    [
        Router::new().nest(PREFIX, router.clone()),
        Router::new().nest_service(PREFIX, router),
    ]
}

async fn page(router: &Router, path: &str) -> TestResponse {
    send(
        router,
        request(Method::GET, path, &[("accept", "text/html")], Body::empty()),
    )
    .await
}

/// The path that `link` leads to from `base`, as a browser resolves it.
fn resolved(base: &str, link: &str) -> String {
    let folder = &base[..=base.rfind('/').unwrap()];
    format!("{folder}{}", link.trim_start_matches("./"))
}

#[tokio::test]
async fn the_page_is_at_the_prefix_with_and_without_a_slash() {
    let [nested, service] = mounted().await;
    for (router, path) in [
        (&nested, "/shop"),
        (&service, "/shop"),
        (&service, "/shop/"),
    ] {
        let response = page(router, path).await;
        assert!(
            response.text.starts_with("<!doctype html>"),
            "{path}: {response:?}"
        );
        let links: Vec<_> = ["src=\"", "href=\""]
            .into_iter()
            .flat_map(|name| {
                response
                    .text
                    .split(name)
                    .skip(1)
                    .filter_map(|rest| rest.split('"').next())
            })
            .collect();
        assert!(links.len() >= 4, "{links:?}");
        for link in links {
            assert_eq!(
                get(router, &resolved(path, link)).await.status,
                StatusCode::OK,
                "{path} {link}"
            );
        }
        let known = [
            ("accept", "text/html"),
            ("if-none-match", response.header("etag").unwrap()),
        ];
        let again = send(router, request(Method::GET, path, &known, Body::empty())).await;
        assert_eq!(again.status, StatusCode::NOT_MODIFIED, "{path}");
        // Programs get the paths with the prefix.
        let paths = get(router, path).await.json();
        for name in [
            "/shop/",
            "/shop/livez",
            "POST /shop/v1/purchases",
            "GET /shop/v1/users/{user_id}",
        ] {
            assert!(paths[name].is_string(), "{paths}");
        }
    }
    let redirected = page(&nested, "/shop/scalable-shop-cm-api").await;
    assert_eq!(redirected.header("location"), Some("scalable-shop-cm-api/"));
    assert!(
        page(&nested, "/shop/scalable-shop-cm-api/")
            .await
            .text
            .starts_with("<!doctype html>")
    );
    assert_eq!(
        get(&nested, "/shop/redoc").await.header("location"),
        Some("docs")
    );
}

#[tokio::test]
async fn a_prefix_that_the_client_chooses_stays_text() {
    let app = Router::new().nest("/t/{tenant}", routes(parts().await).build());
    for (path, folder) in [
        ("/t/it's", "./it%27s/"),
        ("/t/a:b", "./a:b/"),
        ("/t/a&amp", "./a%26amp/"),
    ] {
        let response = page(&app, path).await;
        assert!(
            response
                .text
                .contains(&format!("src=\"{folder}page/facing.js\"")),
            "{path}: {}",
            response.text
        );
        let bought = post(&app, &format!("{path}/v1/purchases"), BUY).await;
        let location = bought.header("location").unwrap();
        assert!(
            location.starts_with(&format!("{path}/v1/purchases/")),
            "{location}"
        );
    }
}

#[tokio::test]
async fn links_and_locations_include_the_prefix() {
    for router in mounted().await {
        let bought = post(&router, "/shop/v1/purchases", BUY).await;
        let id = bought.header("x-purchase-id").unwrap();
        assert_eq!(
            bought.header("location"),
            Some(&*format!("/shop/v1/purchases/{id}?wait_for={id}"))
        );
        assert_eq!(bought.header("set-cookie"), None);

        let user = r#"{"email":"ada@example.com","name":"Ada"}"#;
        let registered = post(&router, "/shop/v1/users", user).await;
        // The two routers have the same store: the second user is a conflict.
        if registered.status == StatusCode::CREATED {
            let location = registered.header("location").unwrap();
            assert_eq!(
                (location, get(&router, location).await.status),
                ("/shop/v1/users/1", StatusCode::OK)
            );
        }

        let listed = get(&router, "/shop/getAllUserBuys/u1?limit=2").await;
        let link = listed.header("link").unwrap();
        let next = link.strip_prefix('<').unwrap().split('>').next().unwrap();
        assert!(
            next.starts_with("/shop/getAllUserBuys/u1?") && link.ends_with("rel=\"next\""),
            "{link}"
        );
        assert_eq!(
            get(&router, next).await.json()["purchases"]
                .as_array()
                .unwrap()
                .len(),
            1
        );

        let document = get(&router, "/shop/openapi.json").await.json();
        assert_eq!(document["servers"], json!([{"url": "/shop"}]));
    }
    let here = routes(parts().await).build();
    assert_eq!(
        get(&here, "/openapi.json").await.json().get("servers"),
        None
    );
    assert!(
        post(&here, "/v1/purchases", BUY)
            .await
            .header("location")
            .unwrap()
            .starts_with("/v1/")
    );
}

#[tokio::test]
async fn dialects_limits_and_errors_are_those_of_the_inner_path() {
    let mut options = HttpOptions::default();
    options.max_requests = 0;
    let app = Router::new().nest(PREFIX, routes(parts().await).options(options).build());
    for path in [
        "/shop/livez",
        "/shop/health",
        "/shop/metrics",
        "/shop/api/healthz",
    ] {
        assert_eq!(
            get(&app, path).await.status,
            StatusCode::OK,
            "{path} is exempt from the limit"
        );
    }
    for (path, member) in [
        ("/shop/v1/summary", "detail"),
        ("/shop/api/v1/getAllUserBuys/u1", "detail"),
        ("/shop/getAllUserBuys/u1", "error"),
    ] {
        let response = get(&app, path).await;
        assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(response.json()[member].is_string(), "{path}: {response:?}");
    }
    assert_eq!(
        get(&app, "/elsewhere").await.header("x-request-id"),
        None,
        "not ours"
    );
}

/// A path of each group.
const PATHS: [(RouteGroup, &str); 8] = [
    (RouteGroup::V1, "/v1/summary?userid=u1"),
    (RouteGroup::V1, "/v1/users/1"),
    (RouteGroup::Dialects, "/getAllUserBuys/u1"),
    (RouteGroup::Dialects, "/api/v1/getAllUserBuys/u1"),
    (RouteGroup::Page, "/page/page.css"),
    (RouteGroup::Docs, "/openapi.json"),
    (RouteGroup::Health, "/livez"),
    (RouteGroup::Metrics, "/metrics"),
];

/// Whether there is a route: no route has this method.
async fn is_there(router: &Router, path: &str) -> bool {
    let response = send(router, request(Method::PATCH, path, &[], Body::empty())).await;
    response.status == StatusCode::METHOD_NOT_ALLOWED
}

#[tokio::test]
async fn each_group_of_routes_can_be_left_out() {
    for group in RouteGroup::ALL {
        let without = routes(parts().await).without([group]).build();
        let only = routes(parts().await).only([group]).build();
        for (of, path) in PATHS {
            assert_eq!(
                is_there(&without, path).await,
                of != group,
                "without {group:?}: {path}"
            );
            assert_eq!(
                is_there(&only, path).await,
                of == group,
                "only {group:?}: {path}"
            );
        }
        let listed = get(&without, "/").await;
        match group {
            RouteGroup::Page => assert_eq!(listed.status, StatusCode::NOT_FOUND),
            RouteGroup::Dialects => {
                let paths = routes(parts().await).without([group]).paths().len();
                assert!((10..40).contains(&paths), "{paths}");
                assert_eq!(listed.json().get("/buy"), None);
            }
            RouteGroup::V1 => assert_eq!(listed.json().get("POST /v1/purchases"), None),
            RouteGroup::Docs => assert_eq!(listed.json().get("/docs"), None),
            _ => assert!(listed.json()["/docs"].is_string()),
        }
    }
    // There is no page without the API that it uses.
    let without = routes(parts().await).without([RouteGroup::V1]).build();
    assert!(page(&without, "/").await.json().is_object());
}

#[tokio::test]
async fn the_services_are_presets() {
    let options = HttpOptions::default();
    let preset = get(&router(parts().await, options), "/openapi.json")
        .await
        .json();
    assert!(
        preset
            == get(&routes(parts().await).build(), "/openapi.json")
                .await
                .json()
    );
    assert!(preset["paths"]["/v1/purchases"].is_object());

    let management = management_parts_of(InMemoryStore::new());
    let app = Router::new().nest(PREFIX, routes(management).only([RouteGroup::V1]).build());
    let bought = send(
        &app,
        request(Method::POST, "/shop/v1/purchases", &[JSON], BUY),
    )
    .await;
    let stored: Value = get(&app, bought.header(header::LOCATION.as_str()).unwrap())
        .await
        .json();
    assert_eq!(stored["userid"], "u1");
    let all = get(&app, "/shop/v1/purchases?everyone=true").await.json();
    assert_eq!(all["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_embedded_shop_is_mounted_whole() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedShop::open(folder.path()).await.unwrap();
    let app = Router::new().nest_service(PREFIX, router(embedded.role(), HttpOptions::default()));
    // A purchase is stored with its record, so it may be listed before the ingest loop has the log.
    while get(&app, "/shop/health").await.json()["ingest"]["phase"] != "running" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let mut events = follow(&app, "/shop/v1/purchases/events?userid=u1", None).await;
    let bought = post(&app, "/shop/v1/purchases", BUY).await.json()["purchase"].clone();
    assert_eq!(events.purchase().await, bought);
    let listed = get(&app, "/shop/v1/purchases?userid=u1").await.json();
    assert_eq!(listed["items"], json!([bought]));
    let health = get(&app, "/shop/health").await.json();
    assert_eq!(health["ingest"]["phase"], "running", "{health}");
    assert_eq!(
        value(
            &get(&app, "/shop/metrics").await,
            "shop_ingest_phase{phase=\"running\"}"
        ),
        Some(1.0)
    );

    let letters = embedded.log().dead_letters();
    letters
        .put(&[dead_letter("purchases", 7, b"poison")])
        .await
        .unwrap();
    let listed = get(&app, "/shop/v1/dead-letters").await.json();
    let position = listed["items"][0]["position"].clone();
    let body = json!({"positions": [position], "dry_run": false}).to_string();
    let discarded = post(&app, "/shop/v1/dead-letters:discard", body).await;
    assert_eq!(
        discarded.json()["results"][0]["status"],
        "discarded",
        "{discarded:?}"
    );

    assert_eq!(get(&app, "/shop/readyz").await.status, StatusCode::OK);
    embedded.shop().close(Duration::from_secs(5)).await.unwrap();
    assert_eq!(
        get(&app, "/shop/readyz").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    drop((app, events, letters));
    embedded.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn metrics_merge_into_those_of_the_program() {
    let parts = parts().await;
    let metrics = parts.metrics.clone();
    let mounted = Router::new().nest(
        PREFIX,
        routes(parts).without([RouteGroup::Dialects]).build(),
    );
    assert_eq!(
        get(&mounted, "/shop/v1/summary?userid=u1").await.status,
        StatusCode::OK
    );
    let scraped = get(&mounted, "/shop/metrics").await.text;
    let merged = format!("process_open_fds 1\n{}", metrics.text().await);
    let series = r#"http_requests_total{method="GET",route="/shop/v1/summary",status="200"} 1"#;
    for text in [&scraped, &merged[19..]] {
        assert!(
            text.contains(series) && text.contains("app_info{"),
            "{text}"
        );
        assert!(
            !text.contains("process_") && !text.contains("flask_"),
            "{text}"
        );
    }
    let here = routes(self::parts().await).build();
    let text = get(&here, "/metrics").await.text;
    assert!(
        text.contains("\nprocess_open_fds ") && text.contains("\nflask_exporter_info{"),
        "{text}"
    );
}

#[tokio::test]
async fn layers_and_routes_of_the_program_do_not_pass_by_ours() {
    let closed = from_fn(async |_: Request, _: Next| StatusCode::UNAUTHORIZED);
    let labelled = from_fn(async |path: MatchedPath, _: Request, _: Next| path.as_str().to_owned());
    let inner = routes(parts().await).auth_layer(labelled).build();
    let ours = routes(parts().await).build();
    assert_eq!(
        get(&inner, "/v1/purchases/7").await.text,
        "/v1/purchases/{id}"
    );
    let covered = Router::new().nest(PREFIX, ours.clone()).route_layer(closed);
    assert_eq!(
        get(&covered, "/shop/v1/summary?userid=u1").await.status,
        StatusCode::UNAUTHORIZED
    );
    let page = any(async || "page");
    let beside = Router::new()
        .nest(PREFIX, ours.clone())
        .route("/{*rest}", page.clone());
    assert_eq!(
        post(&beside, "/shop/buy", BUY).await.status,
        StatusCode::CREATED
    );
    let merged = ours.fallback(async || "page");
    assert_eq!(post(&merged, "/buy", BUY).await.status, StatusCode::CREATED);
    assert_eq!(get(&merged, "/nowhere").await.text, "page");
}

#[tokio::test]
async fn a_layer_that_is_added_later_is_outside() {
    let inner = from_fn(async |_: Request, _: Next| StatusCode::IM_A_TEAPOT);
    let router = routes(parts().await)
        .auth_layer(inner)
        .authenticate(NoToken)
        .build();
    assert_eq!(
        get(&router, "/v1/summary?userid=u1").await.status,
        StatusCode::UNAUTHORIZED
    );
}
