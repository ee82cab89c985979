//! Requests to both services, on a log and stores in memory. None may panic or be answered with a server error.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt as _;
use shop_accounts::http::{Accounts, OrdersRole, UsersRole};
use shop_accounts::memory::{InMemoryOrders, InMemoryUsers};
use shop_compat::ecommerce::Ecommerce;
use shop_compat::{Dialect, ReplacedSystems};
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_core::ports::Durability;
use shop_core::{Clock, SystemClock};
use shop_http::axum::Router;
use shop_http::axum::body::Body;
use shop_http::axum::http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use shop_http::{
    AnyOf, ApiKeys, Authenticate, InvalidApiKeys, KeySet, Parts, Refreshed, Role, RouterBuilder,
    TextSource, TokenVerifier, async_trait, routes,
};
use tower::ServiceExt as _;

/// The paths that accept a body.
const PATHS: [&str; 8] = [
    "/v1/purchases",
    "/buy",
    "/api/buy",
    "/api/v1/buy",
    "/purchases",
    "/users",
    "/orders",
    "/scalable-shop-cm-server/buy",
];
/// The number of requests after which the stores are emptied.
const REQUESTS: u32 = 1_000;

struct Shop {
    runtime: tokio::runtime::Runtime,
    facing: Router,
    management: Router,
    protected: Router,
    requests: u32,
}

thread_local! {
    static SHOP: RefCell<Option<Shop>> = const { RefCell::new(None) };
}

/// The role with the paths of the replaced systems.
fn replaced_systems() -> Arc<dyn Role> {
    Arc::new(ReplacedSystems::new(Dialect::DEFAULT))
}

impl Shop {
    fn new() -> Self {
        // Time is paused: a request that waits for a purchase takes no time.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        let log = InMemoryLog::default();
        let store = InMemoryStore::new();
        let facing = || {
            let mut facing = Parts::facing(Arc::new(log.sink()), Arc::new(store.clone()));
            let users = UsersRole::new(Arc::new(InMemoryUsers::new()));
            let orders = OrdersRole::new(Arc::new(InMemoryOrders::new()));
            let accounts = Accounts {
                users: Some(users),
                orders: Some(orders),
                ..Accounts::default()
            };
            facing.roles.push(Arc::new(accounts.clone()));
            facing.roles.push(Arc::new(Ecommerce::new(accounts)));
            facing.roles.push(replaced_systems());
            facing
        };
        let mut management = Parts::management(
            Arc::new(store.clone()),
            Durability::Memory,
            Arc::new(store.clone()),
        );
        management.roles.push(replaced_systems());
        Self {
            runtime: runtime.expect("a runtime"),
            facing: routes(facing()).build(),
            management: routes(management).build(),
            protected: protected(routes(facing())),
            requests: 0,
        }
    }

    /// Runs `work` with the shop of this thread.
    fn with<T>(work: impl FnOnce(&Self) -> T) -> T {
        SHOP.with_borrow_mut(|shop| {
            if shop.as_ref().is_none_or(|shop| shop.requests > REQUESTS) {
                *shop = None;
            }
            let shop = shop.get_or_insert_with(Self::new);
            shop.requests += 1;
            work(shop)
        })
    }

    /// The status and the body, unless that is compressed.
    fn call(&self, router: &Router, request: Request<Body>) -> (StatusCode, Vec<u8>) {
        let called = async {
            let response = router.clone().oneshot(request).await.expect("infallible");
            let (parts, body) = response.into_parts();
            let body = body.collect().await.expect("a whole body").to_bytes();
            let is_compressed = parts.headers.contains_key(header::CONTENT_ENCODING);
            (
                parts.status,
                if is_compressed {
                    Vec::new()
                } else {
                    body.to_vec()
                },
            )
        };
        self.runtime.block_on(called)
    }
}

/// The issuer's public key. Its private key does not exist.
const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"k1","use":"sig","alg":"ES256",
    "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
/// An API key of which only the digest is known.
const API_KEYS: &str =
    "ops 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 operate\n";

#[derive(Debug)]
struct Text(&'static str);

#[async_trait]
impl TextSource for Text {
    async fn read(&self) -> shop_core::Result<String> {
        Ok(self.0.to_owned())
    }
}

fn protected(routes: RouterBuilder) -> Router {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let day = Duration::from_secs(86_400);
    let parse = |text: &str| Ok(KeySet::parse(text)?);
    let keys = Arc::new(Refreshed::new(Text(KEYS), parse, day, Arc::clone(&clock)));
    let verifier = TokenVerifier::new(keys, "https://issuer.example", "shop", Arc::clone(&clock));
    let parse = |text: &str| ApiKeys::parse(text).map_err(|error: InvalidApiKeys| error.into());
    let api_keys = Arc::new(Refreshed::new(Text(API_KEYS), parse, day, clock));
    let all: [Arc<dyn Authenticate>; 2] = [Arc::new(verifier), Arc::new(api_keys)];
    routes.authenticate(AnyOf::new(all)).build()
}

fn check(status: StatusCode, body: &[u8], what: &str) {
    assert!(
        !status.is_server_error() || status == StatusCode::NOT_IMPLEMENTED,
        "{what}: {status}"
    );
    if status.is_client_error() {
        std::str::from_utf8(body).expect("errors are text");
    }
}

/// A body: the first byte chooses the path, the service and the media type.
pub fn bodies(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else {
        return;
    };
    let path = PATHS[usize::from(choice & 7)];
    let mut request = Request::post(path);
    if choice & 16 == 0 {
        request = request.header("content-type", "application/json");
    }
    let request = request.body(Body::from(body.to_vec())).expect("a request");
    Shop::with(|shop| {
        let router = if choice & 8 == 0 {
            &shop.facing
        } else {
            &shop.management
        };
        let (status, answer) = shop.call(router, request);
        check(status, &answer, path);
        assert!(
            answer.starts_with(b"{"),
            "{path}: {status} without a JSON object"
        );
    });
}

/// A method and a target in the first line, then headers.
pub fn requests(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut words = lines
        .next()
        .unwrap_or_default()
        .splitn(2, |byte| *byte == b' ');
    let method = words.next().unwrap_or_default();
    let target = words.next().unwrap_or_default();
    let (Ok(method), Ok(uri)) = (Method::from_bytes(method), Uri::try_from(target)) else {
        return;
    };
    // The server accepts nothing else.
    if uri
        .path_and_query()
        .is_none_or(|target| !target.as_str().starts_with('/'))
    {
        return;
    }
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .body(Body::empty())
        .expect("a request");
    for line in lines {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = HeaderName::from_bytes(parts.next().unwrap_or_default());
        let value = HeaderValue::from_bytes(parts.next().unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            request.headers_mut().append(name, value);
        }
    }
    let what = format!("{} {}", request.method(), request.uri());
    Shop::with(|shop| {
        for router in [&shop.facing, &shop.management] {
            let mut copy = Request::new(Body::empty());
            *copy.method_mut() = request.method().clone();
            *copy.uri_mut() = request.uri().clone();
            *copy.headers_mut() = request.headers().clone();
            let (status, answer) = shop.call(router, copy);
            check(status, &answer, &what);
        }
    });
}

/// A bearer token, which is never valid; and the texts that operators provide.
pub fn tokens(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _keys = KeySet::parse(text);
        if let Ok(keys) = ApiKeys::parse(text) {
            let _holder = keys.holder(text);
        }
    }
    let Ok(value) = HeaderValue::from_bytes(&[b"Bearer ", data].concat()) else {
        return;
    };
    let request = Request::get("/v1/purchases?userid=u1").header("authorization", value);
    let request = request.body(Body::empty()).expect("a request");
    Shop::with(|shop| {
        let (status, _) = shop.call(&shop.protected, request);
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    });
}
