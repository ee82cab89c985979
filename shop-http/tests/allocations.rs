//! How often a purchase allocates memory. The figures are the same on every machine.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::alloc::System;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, request};
use http_body_util::BodyExt;
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_http::{ApiKeys, Parts, routes};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::ServiceExt;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const REQUESTS: usize = 2_000;
const BUY: &str = r#"{"username":"Ada Lovelace","userid":"user-00001","price":1195.30}"#;

const SHA256_OF_SECRET: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

/// A request as a client sends it. Its own allocations are counted too.
fn buy(path: &str) -> request::Builder {
    Request::post(path).header("content-type", "application/json")
}

/// The allocations of one request of many to `router`.
async fn counted(router: Router, request: impl Fn() -> request::Builder) -> usize {
    let region = Region::new(ALLOCATOR);
    for _ in 0..REQUESTS {
        let response = router
            .clone()
            .oneshot(request().body(Body::from(BUY)).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        drop(response.into_body().collect().await.unwrap());
    }
    let change = region.change();
    (change.allocations + change.reallocations).div_ceil(REQUESTS)
}

#[tokio::test]
async fn allocations_of_a_purchase_are_bounded() {
    let parts = Parts::facing(
        Arc::new(InMemoryLog::default().sink()),
        Arc::new(InMemoryStore::new()),
    );
    for (path, most) in [("/buy", 49), ("/v1/purchases", 53)] {
        let each = counted(routes(parts.clone()).build(), || buy(path)).await;
        assert!(each <= most, "{path}: {each} allocations for a request");
    }
    let keys = ApiKeys::parse(&format!("till {SHA256_OF_SECRET} purchases:write:any")).unwrap();
    let router = routes(parts).authenticate(keys).build();
    let with_key = counted(router, || {
        buy("/buy").header("authorization", "Bearer secret")
    })
    .await;
    assert!(
        with_key <= 70,
        "{with_key} allocations for a request with an API key"
    );
}
