//! One client does not take what the others need.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, StatusCode};
use futures_util::{StreamExt, future, stream};
use http_body_util::BodyExt;
use shop_core::conformance::fault::{Call, Fault};
use shop_core::feed::{FeedOptions, PurchaseFeed};
use shop_core::log::GroupPositions;
use shop_http::{Authenticate, HttpOptions, Parts, Principal, Rejection, async_trait, routes};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tower::ServiceExt;

use crate::shop::{JSON, Shop, get, post, request, send};

const BUY: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

/// A request from this address.
fn from(address: u8, mut request: Request<Body>) -> Request<Body> {
    request
        .extensions_mut()
        .insert(ConnectInfo(SocketAddr::from((
            [198, 51, 100, address],
            4_711,
        ))));
    request
}

/// So many requests at once from an address. Returns how many of them are a 503.
async fn refused(
    router: &Router,
    count: usize,
    address: u8,
    request: impl Fn() -> Request<Body>,
) -> usize {
    let sent = (0..count).map(|_| router.clone().oneshot(from(address, request())));
    let responses = future::join_all(sent).await;
    let refused = |status: StatusCode| status == StatusCode::SERVICE_UNAVAILABLE;
    responses
        .into_iter()
        .filter(|response| refused(response.as_ref().unwrap().status()))
        .count()
}

#[tokio::test(start_paused = true)]
async fn a_client_leaves_room_to_the_others() {
    let shop = Shop::with(HttpOptions::default().max_requests(64));
    shop.faults
        .always(Call::Publish, Fault::Delay(Duration::from_secs(3)));
    let buy = || request(Method::POST, "/buy", &[JSON], BUY);
    let (greedy, other) = tokio::join!(
        refused(&shop.facing, 100, 1, buy),
        refused(&shop.facing, 4, 2, buy)
    );
    assert_eq!((greedy, other), (100 - 56, 0));
    shop.faults
        .always(Call::Query, Fault::Delay(Duration::from_secs(3)));
    let list = || request(Method::GET, "/v1/summary?userid=u1", &[], Body::empty());
    let (greedy, other) = tokio::join!(
        refused(&shop.facing, 100, 1, list),
        refused(&shop.facing, 4, 2, list)
    );
    assert_eq!((greedy, other), (100 - 56, 0));
}

#[tokio::test(start_paused = true)]
async fn totals_of_one_client_do_not_queue_before_those_of_others() {
    let shop = Shop::new();
    shop.faults
        .always(Call::Query, Fault::Delay(Duration::from_secs(3)));
    for path in [
        "/v1/totals?userid=u1&per=day",
        "/v1/summary?userid=u1&from=2026-01-01T00:00:00Z",
    ] {
        let before = shop.faults.calls(Call::Query);
        let read = |address| {
            refused(&shop.facing, 10, address, || {
                request(Method::GET, path, &[], Body::empty())
            })
        };
        let second = tokio::time::sleep(Duration::from_secs(1));
        tokio::select! {
            () = second => assert_eq!(shop.faults.calls(Call::Query) - before, 4, "two of each: {path}"),
            _ = future::join(read(1), read(2)) => unreachable!("{path}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_sent_slowly_takes_no_place() {
    let shop = Shop::with(
        HttpOptions::default()
            .max_requests(1)
            .max_batches_bytes(64 << 10),
    );
    let (parts, bodies): (Vec<_>, Vec<_>) =
        (0..10).map(|_| mpsc::channel::<&'static str>(1)).unzip();
    let slow = bodies.into_iter().map(|mut body| {
        let body =
            stream::poll_fn(move |context| body.poll_recv(context)).map(Ok::<_, std::io::Error>);
        let buy = Request::post("/buy")
            .header(JSON.0, JSON.1)
            .body(Body::from_stream(body))
            .unwrap();
        tokio::spawn(shop.facing.clone().oneshot(buy))
    });
    let slow: Vec<_> = slow.collect();
    for part in &parts {
        part.send(&BUY[..10]).await.unwrap();
    }
    assert_eq!(
        post(&shop.facing, "/buy", BUY).await.status,
        StatusCode::CREATED
    );
    for (part, slow) in parts.into_iter().zip(slow) {
        part.send(&BUY[10..]).await.unwrap();
        drop(part);
        assert_eq!(slow.await.unwrap().unwrap().status(), StatusCode::CREATED);
    }
    // Large bodies have room together.
    let large = format!(
        r#"{{"username":"{}","userid":"u1","price":1}}"#,
        "x".repeat(90_000)
    );
    let response = post(&shop.facing, "/buy", large).await;
    assert_eq!(
        response.status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{}",
        response.text
    );
}

/// Accepts every name that is not revoked.
#[derive(Debug, Clone, Default)]
struct Names(Arc<Mutex<Option<String>>>);

#[async_trait]
impl Authenticate for Names {
    async fn principal(&self, token: &str) -> Result<Principal, Rejection> {
        if self.0.lock().unwrap().as_deref() == Some(token) {
            return Err(Rejection::invalid("is revoked"));
        }
        let any = token.starts_with("any").then_some("purchases:read:any");
        Ok(Principal::new(token)
            .with_scopes(["purchases:read", "purchases:write"].into_iter().chain(any)))
    }
}

/// A service with events, whose user ids are their tokens.
fn with_events(names: &Names, streams: usize) -> (Shop, Router) {
    let shop = Shop::new();
    shop.ingest();
    let mut parts = Parts::facing(Arc::new(shop.log.sink()), Arc::new(shop.store.clone()));
    let positions = GroupPositions {
        log: Arc::new(shop.log.clone()),
        group: "group".into(),
    };
    let limits = FeedOptions::default().max_catch_ups(5).kept_records(1);
    let log = Arc::new(shop.log.clone());
    let store = Arc::new(shop.store.clone());
    let feed = PurchaseFeed::with_options(log, Arc::new(positions), store, limits);
    parts.purchases.as_mut().unwrap().feed = Some(feed);
    let options = HttpOptions::default().max_event_streams(streams);
    let router = routes(parts)
        .options(options)
        .authenticate(names.clone())
        .build();
    (shop, router)
}

fn with_token(user: &str, method: Method, path: &str, body: &'static str) -> Request<Body> {
    request(
        method,
        path,
        &[JSON, ("authorization", &format!("Bearer {user}"))],
        body,
    )
}

fn follow(user: &str) -> Request<Body> {
    with_token(
        user,
        Method::GET,
        &format!("/v1/purchases/events?userid={user}"),
        "",
    )
}

#[tokio::test]
async fn one_user_does_not_take_all_streams() {
    let (_shop, router) = with_events(&Names::default(), 64);
    let mut open = Vec::new();
    loop {
        let response = router.clone().oneshot(follow("u1")).await.unwrap();
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            break;
        }
        open.push(response);
    }
    assert_eq!(open.len(), 56);
    assert_eq!(
        router.clone().oneshot(follow("u2")).await.unwrap().status(),
        StatusCode::OK
    );
    open.pop();
    assert_eq!(
        router.clone().oneshot(follow("u1")).await.unwrap().status(),
        StatusCode::OK
    );
}

#[tokio::test(start_paused = true)]
async fn streams_of_one_client_do_not_catch_up_before_those_of_others() {
    let (_shop, router) = with_events(&Names::default(), 64);
    let mut live = router
        .clone()
        .oneshot(follow("u1"))
        .await
        .unwrap()
        .into_body();
    let start = live.frame().await.unwrap().unwrap().into_data().unwrap();
    let start = String::from_utf8_lossy(&start);
    let id = start
        .lines()
        .find_map(|line| line.strip_prefix("id: "))
        .unwrap();
    for _ in 0..3 {
        let buy = with_token("u1", Method::POST, "/buy", BUY);
        assert_eq!(send(&router, buy).await.status, StatusCode::CREATED);
        live.frame().await.unwrap().unwrap();
    }
    let resume = |user| {
        let mut request = follow(user);
        request
            .headers_mut()
            .insert("last-event-id", id.parse().unwrap());
        tokio::spawn(router.clone().oneshot(request))
    };
    for greedy in ["u1", "any1"] {
        let greedy: Vec<_> = (0..10).map(|_| resume(greedy)).collect();
        assert_eq!(
            resume("u2").await.unwrap().unwrap().status(),
            StatusCode::OK
        );
        greedy.iter().for_each(JoinHandle::abort);
    }
}

#[tokio::test(start_paused = true)]
async fn a_revoked_token_ends_its_streams() {
    let names = Names::default();
    let (_shop, router) = with_events(&names, 64);
    let mut revoked = router
        .clone()
        .oneshot(follow("u1"))
        .await
        .unwrap()
        .into_body();
    let mut valid = router
        .clone()
        .oneshot(follow("u2"))
        .await
        .unwrap()
        .into_body();
    for body in [&mut revoked, &mut valid] {
        assert!(body.frame().await.unwrap().is_ok(), "the position");
    }
    *names.0.lock().unwrap() = Some("u1".to_owned());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(revoked.frame().await.is_none());
    let buy = with_token(
        "u2",
        Method::POST,
        "/buy",
        r#"{"username":"ada","userid":"u2","price":1}"#,
    );
    assert_eq!(send(&router, buy).await.status, StatusCode::CREATED);
    let event = valid.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(
        String::from_utf8_lossy(&event).contains("event: purchase"),
        "{event:?}"
    );
}

#[tokio::test]
async fn constants_are_compressed_once_and_revalidated() {
    let shop = Shop::new();
    let docs = get(&shop.facing, "/docs").await;
    assert_eq!(docs.header("cache-control"), Some("max-age=3600"));
    for path in [
        "/docs/swagger-ui-bundle.js",
        "/docs",
        "/page/facing.js",
        "/page/page.css",
        "/openapi.json",
    ] {
        let plain = get(&shop.facing, path).await;
        let accepts = |headers: &[(&str, &str)]| request(Method::GET, path, headers, Body::empty());
        let gzip = shop
            .facing
            .clone()
            .oneshot(accepts(&[("accept-encoding", "br, gzip;q=0.5")]))
            .await
            .unwrap();
        assert_eq!(gzip.headers()["content-encoding"], "gzip", "{path}");
        assert_eq!(gzip.headers()["vary"], "accept-encoding", "{path}");
        let gzip = gzip.into_body().collect().await.unwrap().to_bytes();
        assert!(
            gzip.len() < plain.text.len() && gzip[..2] == [0x1f, 0x8b],
            "{path}"
        );
        let refused = send(&shop.facing, accepts(&[("accept-encoding", "gzip;q=0")])).await;
        assert_eq!(refused.header("content-encoding"), None);
        let known = send(
            &shop.facing,
            accepts(&[("if-none-match", plain.header("etag").unwrap())]),
        )
        .await;
        assert_eq!(
            (known.status, known.text.as_str()),
            (StatusCode::NOT_MODIFIED, ""),
            "{path}"
        );
    }
}
