//! Fixture: both services in memory, with a request helper.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use shop_core::conformance::fault::Faults;
use shop_core::ingest::{Ingest, IngestOptions};
use shop_core::log::{LogRecord, LogSource, SourceEvent};
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_core::ports::{Durability, PurchaseQuery, PurchaseStore, ShopCurrency};
use shop_core::{Clock, Purchase, PurchaseId, Timestamp};
use shop_http::{HttpOptions, Parts, router};
use tower::ServiceExt;
use uuid::Uuid;

/// Returns one fixed time, and a new id for each call.
#[derive(Debug)]
pub(crate) struct StoppedClock;

pub(crate) const NOW: &str = "2026-03-01T09:00:00.250Z";

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        NOW.parse().unwrap()
    }

    fn fresh_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// The parts of a facing with an empty log, whose listings are those of `query`.
pub(crate) fn facing_parts_of(query: impl PurchaseQuery) -> Parts {
    Parts::facing(Arc::new(InMemoryLog::default().sink()), Arc::new(query))
}

/// The parts of a management that writes into `store`, and lists it.
pub(crate) fn management_parts_of(store: InMemoryStore) -> Parts {
    Parts::management(Arc::new(store.clone()), Durability::Memory, Arc::new(store))
}

/// Both services. Nothing goes from the log into the store until [`Shop::ingest`].
pub(crate) struct Shop {
    pub(crate) log: InMemoryLog,
    pub(crate) store: InMemoryStore,
    pub(crate) faults: Faults,
    /// What both services know about the currency of the store.
    pub(crate) currency: ShopCurrency,
    pub(crate) facing: Router,
    pub(crate) management: Router,
}

impl Shop {
    pub(crate) fn new() -> Self {
        Self::with(HttpOptions::default())
    }

    pub(crate) fn with(options: HttpOptions) -> Self {
        Self::built_by(move |parts| router(parts, options.clone()))
    }

    /// A shop whose two services `build` makes.
    pub(crate) fn built_by(build: impl Fn(Parts) -> Router) -> Self {
        Self::in_currency(ShopCurrency::default(), build)
    }

    /// A shop with this currency, whose two services `build` makes.
    pub(crate) fn in_currency(currency: ShopCurrency, build: impl Fn(Parts) -> Router) -> Self {
        let log = InMemoryLog::default();
        let store = InMemoryStore::new();
        let faults = Faults::new();
        let query = faults.query(Arc::new(store.clone()));

        let sink = faults.sink(Arc::new(log.sink()));
        let mut facing_parts = Parts::facing(sink, Arc::clone(&query));
        facing_parts.clock = Arc::new(StoppedClock);

        let faulty_store = faults.store(Arc::new(store.clone()));
        let mut management_parts = Parts::management(faulty_store, Durability::Memory, query);
        management_parts.clock = Arc::new(StoppedClock);
        for parts in [&mut facing_parts, &mut management_parts] {
            parts.purchases.as_mut().unwrap().currency = currency.clone();
            parts.roles = crate::take_roles(&mut Vec::new());
        }

        Self {
            log,
            store,
            faults,
            currency,
            facing: build(facing_parts),
            management: build(management_parts),
        }
    }

    /// The facing of a process that has just started, on the same log and store.
    pub(crate) fn another_facing(&self) -> Router {
        let query = self.faults.query(Arc::new(self.store.clone()));
        let mut parts = Parts::facing(Arc::new(self.log.sink()), query);
        parts.clock = Arc::new(StoppedClock);
        parts.roles = crate::take_roles(&mut Vec::new());
        router(parts, HttpOptions::default())
    }

    /// Starts ingest.
    pub(crate) fn ingest(&self) {
        let source = Arc::new(self.log.source("group"));
        let letters = Arc::new(self.log.clone());
        let ingest = Ingest::new(
            source,
            Arc::new(self.store.clone()),
            letters,
            IngestOptions::default(),
        );
        tokio::spawn(ingest.run(std::future::pending()));
    }

    /// Inserts purchases into the store.
    pub(crate) async fn stored(&self, purchases: &[Purchase]) {
        self.store.insert(purchases.into()).await.unwrap();
    }

    /// How many records are in the log.
    pub(crate) async fn published(&self) -> usize {
        self.records().await.len()
    }

    /// The records in the log.
    pub(crate) async fn records(&self) -> Vec<LogRecord> {
        let source = self.log.source(&Uuid::now_v7().to_string());
        let mut records = Vec::new();
        // The source returns the records that are there without waiting.
        while let Ok(event) = tokio::time::timeout(std::time::Duration::ZERO, source.next()).await {
            if let SourceEvent::Batch(batch) = event.unwrap() {
                records.extend(batch.records.iter().cloned());
            }
        }
        records
    }
}

/// A response with its whole body.
#[derive(Debug)]
pub(crate) struct TestResponse {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl TestResponse {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The path of the next page in the header `link`.
    pub(crate) fn next(&self) -> Option<&str> {
        self.header("link").map(|link| {
            link.strip_prefix('<')
                .unwrap()
                .strip_suffix(">; rel=\"next\"")
                .unwrap()
        })
    }
}

pub(crate) async fn send(router: &Router, request: Request<Body>) -> TestResponse {
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    TestResponse {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8(body.to_vec()).unwrap(),
    }
}

pub(crate) fn request(
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

pub(crate) async fn get(router: &Router, path: &str) -> TestResponse {
    send(router, request(Method::GET, path, &[], Body::empty())).await
}

pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");

pub(crate) async fn post(router: &Router, path: &str, body: impl Into<Body>) -> TestResponse {
    send(router, request(Method::POST, path, &[JSON], body)).await
}

/// Purchase `number` of `user`, at `number` seconds after the start of 2026.
pub(crate) fn purchase(user: &str, number: u64) -> Purchase {
    let seconds = i64::try_from(number).unwrap();
    let id = PurchaseId::from_uuid(Uuid::from_u128(u128::from(number) + 1));
    let at = Timestamp::from_millis(1_767_225_600_000 + seconds * 1_000).unwrap();
    let price = format!("{}.10", number % 100).parse().unwrap();
    Purchase::new(
        id,
        user.parse().unwrap(),
        format!("name of {user}").parse().unwrap(),
        price,
        at,
    )
}
