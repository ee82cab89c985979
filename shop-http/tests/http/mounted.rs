//! Routes below the prefix of an outer router, beside those of the program; single groups of routes, and their scopes.

use axum::extract::{MatchedPath, Request};
use axum::routing::any;
use shop_http::{RouteGroup, RouterBuilder};
use shop_store::embedded::EmbeddedShop;

use crate::document::paths_by_group;
use crate::prelude::*;
use crate::shops::SubjectAndScopes;
use crate::tokens::required_scopes;

const BUY: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

fn facing() -> RouterBuilder {
    routes(AllRoles::default().facing())
}

#[tokio::test(start_paused = true)]
async fn every_route_requires_its_scope() {
    insta::assert_snapshot!(required_scopes(&[]).await);
}

#[tokio::test]
async fn each_group_of_routes_can_be_left_out() {
    insta::assert_snapshot!(paths_by_group(facing).await);
}

#[tokio::test]
async fn an_embedded_shop_is_mounted_whole() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedShop::open(folder.path()).await.unwrap();
    let routes = router(embedded.backend(), HttpOptions::default());
    let app = Router::new().nest_service("/shop", routes);
    let health = async || get(&app, "/shop/health").await.json();
    while health().await["ingest"]["phase"] != "running" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    let document = get(&app, "/shop/openapi.json").await.json();
    assert_eq!(document["servers"], json!([{"url": "/shop"}]));
    let bought = post(&app, "/shop/v1/purchases", BUY).await.json()["purchase"].clone();
    let listed = get(&app, "/shop/v1/purchases?userid=u1").await.json();
    assert_eq!(listed["items"], json!([bought]));
    let dead_letters = get(&app, "/shop/v1/dead-letters").await.json();
    assert_eq!(dead_letters["items"], json!([]));
    assert_eq!(get(&app, "/shop/readyz").await.status, StatusCode::OK);

    embedded.shop().close(Duration::from_secs(5)).await.unwrap();
    let ready = get(&app, "/shop/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    drop(app);
    embedded.close(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test]
async fn metrics_merge_into_those_of_the_program() {
    let parts = AllRoles::default().facing();
    let metrics = parts.metrics.clone();
    let routes = routes(parts).without([RouteGroup::ShortPaths]).build();
    let mounted = Router::new().nest("/shop", routes);
    get(&mounted, "/shop/livez").await;
    let text = metrics.text().await;
    let series = r#"http_requests_total{method="GET",route="/shop/livez",status="200"} 1"#;
    assert!(text.contains(series), "{text}");
    assert!(!text.contains("process_"), "{text}");
}

#[tokio::test]
async fn layers_and_routes_of_the_program_do_not_pass_by_ours() {
    let labelled = from_fn(async |path: MatchedPath, _: Request, _: Next| path.as_str().to_owned());
    let inner = facing().auth_layer(labelled).build();
    let label = get(&inner, "/v1/purchases/7").await.text;
    assert_eq!(label, "/v1/purchases/{id}");

    let teapot = from_fn(async |_: Request, _: Next| StatusCode::IM_A_TEAPOT);
    let authenticated_later = facing()
        .auth_layer(teapot.clone())
        .authenticate(SubjectAndScopes)
        .build();
    let covered = Router::new()
        .nest("/shop", facing().build())
        .route_layer(teapot);
    let status = async |router, path| get(router, path).await.status;
    assert_eq!(status(&authenticated_later, "/v1/whoami").await, 401);
    assert_eq!(status(&covered, "/shop/v1/whoami").await, 418);

    let page = any(async || "page");
    let beside = Router::new()
        .nest("/shop", facing().build())
        .route("/{*rest}", page);
    assert_eq!(post(&beside, "/shop/buy", BUY).await.status, 201);
    let merged = facing().build().fallback(async || "page");
    assert_eq!(post(&merged, "/buy", BUY).await.status, 201);
    assert_eq!(get(&merged, "/nowhere").await.text, "page");
}
