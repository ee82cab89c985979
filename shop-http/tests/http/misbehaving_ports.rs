//! Ports that fail or panic: responses expose no details, and listings end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::json;
use shop_core::memory::InMemoryStore;
use shop_core::ports::{
    Cursor, Durability, Page, PageRequest, PurchaseQuery, PurchaseSink, Receipt, Selector, Summary,
};
use shop_core::{Clock, Error, ErrorKind, Purchase, PurchaseId, Result, Timestamp, Uuid};
use shop_http::{HttpOptions, Parts, router};
use tower::ServiceExt;

use crate::metrics::value;
use crate::shop::{JSON, facing_parts_of, get, post, purchase, request, send};

const BUY: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

/// A query that panics.
#[derive(Debug)]
struct Panics;

#[async_trait]
impl PurchaseQuery for Panics {
    async fn page(&self, _selector: &Selector, _request: &PageRequest) -> Result<Page> {
        panic!("a defect with details")
    }

    async fn summary(&self, _selector: &Selector) -> Result<Summary> {
        panic!("a defect with details")
    }

    async fn get(&self, _id: &PurchaseId) -> Result<Option<Purchase>> {
        panic!("a defect with details")
    }

    async fn check_reads(&self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_panic_is_a_500_without_details() {
    let parts = facing_parts_of(Panics);
    let router = router(parts, HttpOptions::default());
    let response = get(&router, "/getAllUserBuys/u1").await;
    assert_eq!(response.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(
        response.json(),
        json!({"error": "Failed to fetch purchases"})
    );
    assert!(response.header("x-request-id").is_some());
    let problem = get(&router, "/v1/purchases?userid=u1").await;
    assert_eq!(
        problem.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(problem.json()["type"], "/problems/internal");
}

/// A clock that panics.
#[derive(Debug)]
struct NoClock;

impl Clock for NoClock {
    fn now(&self) -> Timestamp {
        panic!("a defect with details")
    }

    fn fresh_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

#[tokio::test]
async fn a_handler_that_panics_is_a_500_with_a_request_id_and_is_counted() {
    let mut parts = facing_parts_of(InMemoryStore::new());
    parts.clock = Arc::new(NoClock);
    let router = router(parts, HttpOptions::default());
    let mine = request(
        Method::POST,
        "/buy",
        &[JSON, ("x-request-id", "mine-7")],
        BUY,
    );
    let response = send(&router, mine).await;
    response.is(500, &json!({"error": "Internal Server Error"}));
    assert_eq!(response.header("x-request-id"), Some("mine-7"));
    let figures = get(&router, "/metrics").await;
    let exceptions = r#"flask_http_request_exceptions_total{method="POST",status="500"}"#;
    assert_eq!(value(&figures, exceptions), Some(1.0), "{}", figures.text);
}

/// A query that violates its contract.
#[derive(Debug)]
enum Misbehaving {
    Refuses(ErrorKind),
    NeverEnds,
}

#[async_trait]
impl PurchaseQuery for Misbehaving {
    async fn page(&self, selector: &Selector, request: &PageRequest) -> Result<Page> {
        match self {
            Self::Refuses(kind) => Err(Error::new(*kind, "hunter2 is no collection")),
            Self::NeverEnds => {
                let last = purchase("u1", 1);
                let cursor = Cursor::after(selector, request, &last);
                Ok(Page::new(vec![last], Some(cursor)))
            }
        }
    }

    async fn summary(&self, _selector: &Selector) -> Result<Summary> {
        Ok(Summary::default())
    }

    async fn get(&self, _id: &PurchaseId) -> Result<Option<Purchase>> {
        Ok(None)
    }

    async fn check_reads(&self) -> Result<()> {
        Ok(())
    }
}

fn over(query: Misbehaving) -> Router {
    let parts = facing_parts_of(query);
    router(parts, HttpOptions::default())
}

/// A sink that panics.
#[derive(Debug)]
struct Breaks;

#[async_trait]
impl PurchaseSink for Breaks {
    async fn publish(&self, _purchase: &Purchase) -> Result<Receipt> {
        panic!("a defect with details")
    }

    fn durability(&self) -> Durability {
        Durability::Memory
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self, _deadline: Duration) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_buy_that_panics_has_an_unknown_outcome_and_a_key() {
    let parts = Parts::facing(Arc::new(Breaks), Arc::new(InMemoryStore::new()));
    let router = router(parts, HttpOptions::default());
    for path in ["/buy", "/v1/purchases"] {
        let response = post(&router, path, BUY).await;
        assert_eq!(response.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.json()["outcome"], "unknown", "{}", response.text);
        assert_eq!(
            response.json()["idempotency_key"],
            response.header("idempotency-key").unwrap()
        );
    }
}

#[tokio::test]
async fn store_error_details_are_not_exposed() {
    for kind in [
        ErrorKind::Invalid,
        ErrorKind::Unsupported,
        ErrorKind::Denied,
        ErrorKind::Unavailable,
    ] {
        let router = over(Misbehaving::Refuses(kind));
        // The error does not blame the cursor.
        for query in [
            "/v1/purchases?userid=u1",
            "/v1/purchases?userid=u1&cursor=x",
            "/v1/totals?userid=u1&per=day",
            "/getAllUserBuys/u1",
        ] {
            let response = get(&router, query).await;
            assert_eq!(
                response.status,
                StatusCode::SERVICE_UNAVAILABLE,
                "{kind:?} {query}"
            );
            assert!(
                response.header("retry-after").is_some() && !response.text.contains("hunter2"),
                "{response:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_store_without_an_index_of_names_is_reported() {
    let store = Arc::new(InMemoryStore::new());
    let query = Arc::new(Misbehaving::NeverEnds);
    let router = router(
        Parts::management(store, Durability::Memory, query),
        HttpOptions::default(),
    );
    let response = get(&router, "/v1/usernames?prefix=a").await;
    response.has(501, &json!({"type": "/problems/unsupported"}));
}

#[tokio::test]
async fn a_listing_without_progress_is_aborted() {
    let request = request(Method::GET, "/getAllUserBuys/u1", &[], Body::empty());
    let response = over(Misbehaving::NeverEnds).oneshot(request).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
}
