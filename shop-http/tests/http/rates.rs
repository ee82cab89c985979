//! Rate limits of clients, and the limit of waiting reads.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse;
use futures_util::future::join_all;
use serde_json::json;
use shop_core::memory::InMemoryStore;
use shop_http::{Authenticate, HttpOptions, Principal, Rejection, async_trait, routes};
use uuid::Uuid;

use crate::shop::{JSON, Shop, TestResponse, facing_parts_of, get, request, send};

const BUY: &str = r#"{"username":"ada","userid":"u1","price":1}"#;

/// The name that authentication rejects.
const UNKNOWN: &str = "unknown";

fn options() -> HttpOptions {
    let one = NonZeroU32::new(1);
    HttpOptions::default()
        .rate_writes(one)
        .rate_reads(one)
        .trusted_proxies("10.0.0.0/8".parse().unwrap())
}

fn facing() -> Router {
    let parts = facing_parts_of(InMemoryStore::new());
    let named = async |mut request: Request, next: Next| {
        let name = request
            .headers()
            .get("x-name")
            .map(|name| name.to_str().unwrap().to_owned());
        if name.as_deref() == Some(UNKNOWN) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        if let Some(name) = name {
            request.extensions_mut().insert(Principal::new(name));
        }
        next.run(request).await
    };
    routes(parts)
        .options(options())
        .auth_layer(from_fn(named))
        .build()
}

/// A request of the client with this address and these headers.
async fn send_from(
    router: &Router,
    from: &str,
    headers: &[(&str, &str)],
    method: Method,
    path: &str,
) -> TestResponse {
    let body = if method == Method::POST { BUY } else { "" };
    let mut request = request(method, path, &[&[JSON], headers].concat(), Body::from(body));
    let address: SocketAddr = from.parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(address));
    send(router, request).await
}

/// The first rejection of such a request.
async fn refused(
    router: &Router,
    from: &str,
    headers: &[(&str, &str)],
    method: Method,
    path: &str,
) -> TestResponse {
    loop {
        let response = send_from(router, from, headers, method.clone(), path).await;
        if response.status == StatusCode::TOO_MANY_REQUESTS {
            return response;
        }
        let is_rejected =
            headers.contains(&REJECTED) && response.status == StatusCode::UNAUTHORIZED;
        assert!(is_rejected || response.status.is_success(), "{response:?}");
    }
}

const REJECTED: (&str, &str) = ("x-name", UNKNOWN);
const HERE: &str = "198.51.100.1:4711";

#[tokio::test]
async fn too_many_requests_are_429_in_each_dialect() {
    let text = "Too many requests: at most 1 writes per second - please try again";
    for (path, member) in [
        ("/buy", "error"),
        ("/api/v1/buy", "detail"),
        ("/scalable-shop-cm-server/buy", "message"),
    ] {
        let response = refused(&facing(), HERE, &[], Method::POST, path).await;
        response.has(429, &json!({member: text, "outcome": "not_sent"}));
        assert_eq!(response.header("retry-after"), Some("1"), "{path}");
    }
    refused(&facing(), HERE, &[], Method::GET, "/getAllUserBuys/u1")
        .await
        .has(429, &json!({"outcome": null}));
    let router = facing();
    let problem = refused(&router, HERE, &[], Method::POST, "/v1/purchases").await;
    problem.has(
        429,
        &json!({"type": "/problems/rate-exceeded", "status": 429, "outcome": "not_sent"}),
    );
    let limit = |response: &TestResponse| {
        ["ratelimit", "ratelimit-policy"].map(|name| response.header(name).map(str::to_owned))
    };
    let policy = Some("\"writes\";q=1;w=1".to_owned());
    let other = ("198.51.100.7:1", &[][..]);
    let first = send_from(&router, other.0, other.1, Method::POST, "/v1/purchases").await;
    assert_eq!(
        limit(&first),
        [Some("\"writes\";r=0".to_owned()), policy.clone()]
    );
    let rejected = refused(&router, other.0, other.1, Method::POST, "/v1/purchases").await;
    assert_eq!(limit(&rejected), [None, policy]);
    // Reads have a separate rate, which public and unknown paths have too. Probes have none.
    let read = send_from(&router, HERE, &[], Method::GET, "/v1/summary?userid=u1").await;
    assert_eq!(read.status, StatusCode::OK);
    for path in ["/", "/openapi.json"] {
        refused(&facing(), HERE, &[], Method::GET, path).await;
    }
    let unknown = async |router| {
        send_from(router, HERE, &[], Method::GET, "/nowhere")
            .await
            .status
    };
    let router = facing();
    while unknown(&router).await != StatusCode::TOO_MANY_REQUESTS {}
    for _ in 0..20 {
        for path in ["/livez", "/readyz"] {
            assert_eq!(
                send_from(&router, HERE, &[], Method::GET, path)
                    .await
                    .status,
                StatusCode::OK,
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn a_client_is_a_principal_or_else_an_address() {
    for (known, others) in [
        // By address: another port, and other addresses of one IPv6 network, are the same client.
        ((HERE, &[][..]), vec![("198.51.100.2:4711", &[][..])]),
        (("[2001:db8::1]:1", &[]), vec![("[2001:db8:0:1::1]:1", &[])]),
        // By principal, from any address.
        (
            (HERE, &[("x-name", "ada")]),
            vec![(HERE, &[("x-name", "grace")]), (HERE, &[])],
        ),
        // Behind a proxy.
        (
            ("10.0.0.1:1", &[("x-forwarded-for", "203.0.113.9")]),
            vec![
                ("10.0.0.1:1", &[("x-forwarded-for", "203.0.113.10")]),
                ("10.0.0.2:1", &[]),
            ],
        ),
    ] {
        let router = facing();
        refused(&router, known.0, known.1, Method::POST, "/buy").await;
        for (from, headers) in others {
            let response = send_from(&router, from, headers, Method::POST, "/buy").await;
            assert_eq!(response.status, StatusCode::CREATED, "{from} {headers:?}");
        }
    }
    let router = facing();
    refused(&router, "[2001:db8::1]:1", &[], Method::POST, "/buy").await;
    refused(&router, "[2001:db8::2]:1", &[], Method::POST, "/buy").await;
    // The header of an untrusted address is ignored.
    for number in 0_u32.. {
        let forwarded = format!("203.0.113.{}", number % 250);
        let headers = [("x-forwarded-for", forwarded.as_str())];
        if send_from(&router, HERE, &headers, Method::POST, "/buy")
            .await
            .status
            == StatusCode::TOO_MANY_REQUESTS
        {
            break;
        }
    }
}

#[tokio::test]
async fn rejected_requests_count_for_their_address_alone() {
    let router = facing();
    let response = refused(&router, HERE, &[REJECTED], Method::POST, "/buy").await;
    assert_eq!(
        (
            response.header("retry-after"),
            response.header("www-authenticate")
        ),
        (Some("1"), None)
    );
    for (from, headers, method, path, status) in [
        (
            "198.51.100.2:4711",
            REJECTED,
            Method::POST,
            "/buy",
            StatusCode::UNAUTHORIZED,
        ),
        (
            HERE,
            REJECTED,
            Method::GET,
            "/v1/summary?userid=u1",
            StatusCode::UNAUTHORIZED,
        ),
        (
            HERE,
            ("x-name", "ada"),
            Method::POST,
            "/buy",
            StatusCode::CREATED,
        ),
    ] {
        assert_eq!(
            send_from(&router, from, &[headers], method, path)
                .await
                .status,
            status,
            "{from} {headers:?}"
        );
    }
}

#[tokio::test]
async fn an_accepted_write_stays_accepted_behind_a_layer_that_makes_new_responses() {
    let parts = facing_parts_of(InMemoryStore::new());
    let bare = async |mut request: Request, next: Next| {
        let name = request.headers()["x-name"].to_str().unwrap().to_owned();
        request.extensions_mut().insert(Principal::new(name));
        let response = next.run(request).await;
        (response.status(), response.into_body()).into_response()
    };
    let router = routes(parts)
        .options(options())
        .auth_layer(from_fn(bare))
        .build();
    for name in ["ada", "grace", "eve"] {
        let response = send_from(&router, HERE, &[("x-name", name)], Method::POST, "/buy").await;
        assert_eq!(response.status, StatusCode::CREATED, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_reads_hold_no_request_slot() {
    let shop = Shop::with(HttpOptions::default().max_requests(2).max_waits(100));
    let path = || {
        format!(
            "/v1/purchases?userid=u1&wait=10&wait_for={}",
            Uuid::now_v7()
        )
    };
    let waits = (0..100).map(|_| {
        let router = shop.facing.clone();
        let path = path();
        tokio::spawn(async move { get(&router, &path).await })
    });
    let mut begun = Vec::new();
    for wait in waits {
        begun.push(wait);
        // Each has queried once, and waits.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(
        get(&shop.facing, "/v1/summary?userid=u1").await.status,
        StatusCode::OK
    );
    let one_more = get(&shop.facing, &path()).await;
    assert_eq!(
        (one_more.status, one_more.header("retry-after")),
        (StatusCode::SERVICE_UNAVAILABLE, Some("1"))
    );
    let responses = join_all(begun).await;
    let pending = responses.iter().map(|response| response.as_ref().unwrap());
    let pending = pending
        .filter(|response| response.header("x-purchase-pending") == Some("true"))
        .count();
    assert_eq!(pending, 100, "each has queried, two concurrently");
}

/// Rejects or panics.
#[derive(Debug)]
pub(crate) struct NoToken;

#[async_trait]
impl Authenticate for NoToken {
    async fn principal(&self, token: &str) -> Result<Principal, Rejection> {
        assert_ne!(token, "panic", "on purpose");
        Err(Rejection::invalid("is unknown"))
    }
}

#[tokio::test]
async fn rejected_tokens_count_for_their_address() {
    for path in ["/v1/summary?userid=u1", "/metrics"] {
        let parts = facing_parts_of(InMemoryStore::new());
        let router = routes(parts)
            .options(options())
            .authenticate(NoToken)
            .build();
        let tried = (0..100).map(|_| {
            send_from(
                &router,
                HERE,
                &[("authorization", "Bearer x")],
                Method::GET,
                path,
            )
        });
        let limited = join_all(tried)
            .await
            .iter()
            .any(|tried| tried.status == StatusCode::TOO_MANY_REQUESTS);
        assert!(limited, "{path}");
    }
}
