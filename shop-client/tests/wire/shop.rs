//! A service on a log and a store in memory, and a scripted one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use shop_client::memory::{InMemoryLog, InMemoryStore};
use shop_client::shop_core::conformance::fault::Faults;
use shop_client::shop_core::feed::PurchaseFeed;
use shop_client::shop_core::ingest::{Ingest, IngestOptions};
use shop_client::{NewPurchase, ShopClient, ShopClientBuilder};
use shop_http::{HttpOptions, Parts, router};
use tokio::net::TcpListener;

/// Facing and ingest in this process.
pub(crate) struct Shop {
    pub(crate) log: InMemoryLog,
    pub(crate) store: InMemoryStore,
    pub(crate) router: Router,
}

impl Shop {
    pub(crate) fn new() -> Self {
        Self::with(HttpOptions::default(), &Faults::new())
    }

    /// Its sink has `faults`.
    pub(crate) fn with(options: HttpOptions, faults: &Faults) -> Self {
        let log = InMemoryLog::default();
        let store = InMemoryStore::new();
        let mut parts = Parts::facing(faults.sink(Arc::new(log.sink())), Arc::new(store.clone()));
        let feed = PurchaseFeed::new(Arc::new(log.clone()), "group", Arc::new(store.clone()));
        parts.purchases.as_mut().unwrap().feed = Some(feed);
        let router = router(parts, options);
        Self { log, store, router }
    }

    /// Ingests the log into the store from now on.
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
}

/// A request that was seen.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    /// With its query.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
}

/// The treatment of a request, before or after the router handles it.
pub(crate) enum Turn {
    /// This response; the router is not called.
    Say(Response),
    /// The router handles the request, and its response is never sent.
    Lose,
    /// The router handles the request, and the connection breaks after the head and so many parts of the body of its
    /// response.
    CutAfter(usize),
    /// As if nothing listened here.
    Pass,
}

/// Scripted turns in their order, and the requests seen. After the last turn every request passes.
#[derive(Clone, Default)]
pub(crate) struct Script {
    turns: Arc<Mutex<VecDeque<Turn>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Script {
    pub(crate) fn new(turns: impl IntoIterator<Item = Turn>) -> Self {
        let script = Self::default();
        script.turns.lock().unwrap().extend(turns);
        script
    }

    /// The same turn this many times, after the others.
    pub(crate) fn then(&self, times: usize, turn: impl Fn() -> Turn) {
        self.turns
            .lock()
            .unwrap()
            .extend((0..times).map(|_| turn()));
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The values of this header in the requests seen; a request without it has an empty one.
    pub(crate) fn headers(&self, name: &str) -> Vec<String> {
        let seen = self.seen();
        seen.iter()
            .map(|seen| seen.header(name).to_owned())
            .collect()
    }

    /// A builder of a client of `router` behind this script.
    pub(crate) async fn before(&self, router: Router) -> ShopClientBuilder {
        let url = served(router.layer(from_fn_with_state(self.clone(), take_turn))).await;
        ShopClient::builder(url)
    }

    /// A client with defaults of `router` behind this script.
    pub(crate) async fn client_of(&self, router: Router) -> ShopClient {
        self.before(router).await.build().unwrap()
    }

    /// A builder of a client of a new service behind this script.
    pub(crate) async fn builder(&self) -> ShopClientBuilder {
        self.before(Shop::new().router).await
    }

    /// A client with defaults of a new service behind this script.
    pub(crate) async fn client(&self) -> ShopClient {
        self.client_of(Shop::new().router).await
    }
}

async fn take_turn(State(script): State<Script>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    // A response before the request was read would break the connection.
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    script.seen.lock().unwrap().push(Seen {
        method: head.method.clone(),
        path: head.uri.to_string(),
        headers: head.headers.clone(),
        body: String::from_utf8_lossy(&body).into_owned(),
    });
    let request = Request::from_parts(head, Body::from(body));
    let turn = script.turns.lock().unwrap().pop_front();
    match turn {
        Some(Turn::Say(response)) => response,
        Some(Turn::Lose) => {
            drop(next.run(request).await);
            std::future::pending().await
        }
        Some(Turn::CutAfter(parts)) => {
            let (head, body) = next.run(request).await.into_parts();
            let cut = stream::once(async {
                // What was sent before must arrive.
                tokio::time::sleep(Duration::from_millis(1)).await;
                Err(axum::Error::new(std::io::Error::other("cut")))
            });
            Response::from_parts(
                head,
                Body::from_stream(body.into_data_stream().take(parts).chain(cut)),
            )
        }
        Some(Turn::Pass) | None => next.run(request).await,
    }
}

/// Serves `router` as long as the test runs; returns its address.
pub(crate) async fn served(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

pub(crate) fn ada(price: &str) -> NewPurchase {
    NewPurchase::for_user("u1")
        .with_user_name("ada")
        .with_price(price)
        .unwrap()
}

/// A response with this status, headers and body.
pub(crate) fn refusal(status: u16, headers: &[(&str, &str)], body: impl Into<String>) -> Response {
    let mut response = (StatusCode::from_u16(status).unwrap(), body.into()).into_response();
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

/// A response with this body, whose connection is silent afterwards.
pub(crate) fn silent_after(content_type: &'static str, text: String) -> Turn {
    let parts = stream::iter([Ok::<_, axum::Error>(text)]).chain(stream::pending());
    let content_type = [(CONTENT_TYPE, content_type)];
    Turn::Say((content_type, Body::from_stream(parts)).into_response())
}
