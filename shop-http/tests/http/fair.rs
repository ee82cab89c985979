//! One client does not take what the others need.

use std::sync::Mutex;

use axum::extract::ConnectInfo;
use axum::http::Response;
use futures_util::future;
use shop_core::feed::FeedOptions;
use tokio::task::JoinHandle;

use crate::events::shop_with_feed;
use crate::prelude::*;

const BUY: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

fn buy() -> Request<Body> {
    request(Method::POST, "/buy", &[JSON], BUY)
}

fn read(path: &str) -> Request<Body> {
    request(Method::GET, path, &[], Body::empty())
}

async fn respond(router: &Router, request: Request<Body>) -> Response<Body> {
    router.clone().oneshot(request).await.unwrap()
}

/// Sends requests at once from an address. Returns how many of them are a 503.
async fn count_refused(
    router: &Router,
    count: usize,
    address: u8,
    request: impl Fn() -> Request<Body>,
) -> usize {
    let sent = (0..count).map(|_| {
        let mut request = request();
        let address = SocketAddr::from(([198, 51, 100, address], 4_711));
        request.extensions_mut().insert(ConnectInfo(address));
        respond(router, request)
    });
    let responses = future::join_all(sent).await;
    responses
        .into_iter()
        .filter(|response| response.status() == StatusCode::SERVICE_UNAVAILABLE)
        .count()
}

#[tokio::test(start_paused = true)]
async fn totals_of_one_client_do_not_queue_before_those_of_others() {
    let shop = Shop::new();
    let delay = Fault::Delay(Duration::from_secs(3));
    shop.faults.always(Call::Query, delay);
    for path in [
        "/v1/totals?userid=u1&per=day",
        "/v1/summary?userid=u1&from=2026-01-01T00:00:00Z",
    ] {
        let before = shop.faults.calls(Call::Query);
        let of_two_clients = future::join(
            count_refused(&shop.facing, 10, 1, || read(path)),
            count_refused(&shop.facing, 10, 2, || read(path)),
        );
        let waited = timeout(Duration::from_secs(1), of_two_clients).await;
        assert!(waited.is_err(), "{path}");
        let queries = shop.faults.calls(Call::Query) - before;
        assert_eq!(queries, 4, "two of each: {path}");
    }
}

/// Accepts every name that is not revoked. A name that begins with `any` may read everything.
#[derive(Debug, Clone, Default)]
struct Names {
    revoked: Arc<Mutex<Option<String>>>,
}

#[async_trait]
impl Authenticate for Names {
    async fn principal(&self, token: &str) -> Result<Principal, Rejection> {
        if self.revoked.lock().unwrap().as_deref() == Some(token) {
            return Err(Rejection::invalid("is revoked"));
        }
        let mut scopes = vec!["purchases:read", "purchases:write"];
        if token.starts_with("any") {
            scopes.push("purchases:read:any");
        }
        Ok(Principal::new(token).with_scopes(scopes))
    }
}

/// A service with up to 64 streams of events, whose user ids are their tokens.
fn with_events(names: &Names) -> Router {
    let limits = FeedOptions::default().max_catch_ups(5).kept_records(1);
    let build = |parts| {
        routes(parts)
            .options(HttpOptions::default().max_event_streams(64))
            .authenticate(names.clone())
            .build()
    };
    shop_with_feed(limits, build).0.facing
}

fn with_token(user: &str, mut request: Request<Body>) -> Request<Body> {
    let token = format!("Bearer {user}").parse().unwrap();
    request.headers_mut().insert("authorization", token);
    request
}

fn follow(user: &str) -> Request<Body> {
    let path = format!("/v1/purchases/events?userid={user}");
    with_token(user, read(&path))
}

/// The next event of a stream, if it has not ended.
async fn next_event(stream: &mut Body) -> Option<String> {
    let event = stream.frame().await?.unwrap().into_data().unwrap();
    Some(String::from_utf8(event.to_vec()).unwrap())
}

#[tokio::test]
async fn one_user_does_not_take_all_streams() {
    let router = with_events(&Names::default());
    let mut open = Vec::new();
    loop {
        let response = respond(&router, follow("u1")).await;
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            break;
        }
        open.push(response);
    }
    assert_eq!(open.len(), 56);
    assert_eq!(respond(&router, follow("u2")).await.status(), 200);
    open.pop();
    assert_eq!(respond(&router, follow("u1")).await.status(), 200);
}

#[tokio::test(start_paused = true)]
async fn streams_of_one_client_do_not_catch_up_before_those_of_others() {
    let router = with_events(&Names::default());
    let mut live = respond(&router, follow("u1")).await.into_body();
    let start = next_event(&mut live).await.unwrap();
    let id = start.lines().find_map(|line| line.strip_prefix("id: "));
    for _ in 0..3 {
        let bought = respond(&router, with_token("u1", buy())).await;
        assert_eq!(bought.status(), 201);
        next_event(&mut live).await.unwrap();
    }
    let resume = |user| {
        let mut request = follow(user);
        let id = id.unwrap().parse().unwrap();
        request.headers_mut().insert("last-event-id", id);
        tokio::spawn(router.clone().oneshot(request))
    };
    for greedy in ["u1", "any1"] {
        let greedy: Vec<_> = (0..10).map(|_| resume(greedy)).collect();
        assert_eq!(resume("u2").await.unwrap().unwrap().status(), 200);
        greedy.iter().for_each(JoinHandle::abort);
    }
}

#[tokio::test(start_paused = true)]
async fn a_revoked_token_ends_its_streams() {
    let names = Names::default();
    let router = with_events(&names);
    let mut revoked = respond(&router, follow("u2")).await.into_body();
    let mut valid = respond(&router, follow("u1")).await.into_body();
    for stream in [&mut revoked, &mut valid] {
        assert!(next_event(stream).await.is_some(), "the position");
    }
    *names.revoked.lock().unwrap() = Some("u2".to_owned());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(next_event(&mut revoked).await, None);
    let bought = respond(&router, with_token("u1", buy())).await;
    assert_eq!(bought.status(), 201);
    let event = next_event(&mut valid).await.unwrap();
    assert!(event.contains("event: purchase"), "{event}");
}
