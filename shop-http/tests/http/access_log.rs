//! The access log and the audit log.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use futures_util::FutureExt;
use serde_json::{Value, json};
use shop_accounts::http::{Accounts, OrdersRole, UsersRole};
use shop_accounts::memory::{InMemoryOrders, InMemoryUsers};
use shop_core::Purchase;
use shop_core::log::DeadLetters as _;
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_core::ports::PurchaseStore;
use shop_core::record::Record as _;
use shop_http::{AccessLog, ApiKeys, DeadLetterLog, HttpOptions, Principal, Scopes, routes};
use tracing_subscriber::fmt::MakeWriter;

use crate::dead_letters::dead_letter;
use crate::shop::{
    JSON, TestResponse, facing_parts_of, management_parts_of, purchase, request, send,
};

/// Collects log lines.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Lines {
    /// Collects what this thread logs.
    fn of_this_thread() -> (Self, tracing::subscriber::DefaultGuard) {
        let lines = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(lines.clone());
        (lines, tracing::subscriber::set_default(subscriber.finish()))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines with this target (all, if it is empty) since the last call.
    fn taken(&self, target: &str) -> Vec<Value> {
        let text = std::mem::take(&mut *self.0.lock().unwrap());
        let lines = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        let lines = lines.map(|line| serde_json::from_slice::<Value>(line).unwrap());
        lines
            .filter(|line| target.is_empty() || line["target"] == target)
            .collect()
    }
}

/// A token is a subject, followed by scopes.
async fn authenticate(mut request: Request, next: Next) -> Response {
    let token = request
        .headers()
        .get("authorization")
        .and_then(|token| token.to_str().ok());
    if let Some(token) = token.and_then(|token| token.strip_prefix("Bearer ")) {
        let mut words = token.split(' ');
        let principal = Principal::new(words.next().unwrap_or_default()).with_scopes(words);
        request.extensions_mut().insert(principal);
    }
    next.run(request).await
}

fn options(log: AccessLog) -> HttpOptions {
    HttpOptions::default().access_log(log)
}

async fn facing(log: AccessLog) -> Router {
    let store = InMemoryStore::new();
    store
        .insert(vec![purchase("u1", 1), purchase("u2", 2)].into())
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
    routes(parts)
        .options(options(log))
        .authorize(Scopes)
        .auth_layer(from_fn(authenticate))
        .build()
}

async fn send_as(
    app: &Router,
    token: &str,
    method: Method,
    path: &str,
    body: &str,
) -> TestResponse {
    let token = format!("Bearer {token}");
    let headers = [
        JSON,
        ("authorization", &*token),
        ("x-request-id", "r-1"),
        ("idempotency-key", "k-secret"),
    ];
    send(app, request(method, path, &headers, body.to_owned())).await
}

#[tokio::test]
async fn a_request_is_one_line_without_names_and_secrets() {
    let (lines, _guard) = Lines::of_this_thread();
    let app = facing(AccessLog::All).await;
    let token = "u1 purchases:write purchases:read:any t-secret";
    let body = r#"{"username":"name-secret","userid":"u1","price":7}"#;
    let bought = send_as(&app, token, Method::POST, "/v1/purchases", body).await;
    assert_eq!(bought.status, StatusCode::CREATED);
    assert!(!lines.text().contains("secret"), "{}", lines.text());
    let [line] = &lines.taken("access")[..] else {
        panic!()
    };
    assert!(line["duration_ms"].is_f64(), "{line}");
    for (field, value) in [
        ("level", json!("INFO")),
        ("principal", json!("u1")),
        ("http.method", json!("POST")),
        ("http.route", json!("/v1/purchases")),
        ("http.status", json!(201)),
        ("bytes", json!(bought.text.len())),
        ("request.id", json!("r-1")),
    ] {
        assert_eq!(line[field], value, "{field} in {line}");
    }
    // A path with a name, and a path without a route.
    send_as(&app, token, Method::GET, "/getAllUserBuys/name-secret", "").await;
    send_as(&app, token, Method::GET, "/name-secret", "").await;
    assert!(!lines.text().contains("secret"), "{}", lines.text());
    let all = lines.taken("access");
    let shown: Vec<_> = all
        .iter()
        .map(|line| (&line["http.route"], &line["http.status"]))
        .collect();
    assert_eq!(
        shown,
        [
            (&json!("/getAllUserBuys/{who}"), &json!(200)),
            (&Value::Null, &json!(404))
        ]
    );
}

#[tokio::test]
async fn writes_and_reads_of_others_are_audited() {
    let (lines, _guard) = Lines::of_this_thread();
    let app = facing(AccessLog::All).await;
    let [first, second] =
        ["u1", "u2"].map(|user| format!(r#"{{"username":"ada","userid":"{user}","price":7}}"#));
    let order = r#"{"user_id":7,"product":"pen","quantity":1,"total_price":1}"#;
    let user = r#"{"email":"ada@example.com","name":"ada"}"#;
    let by_id = format!("GET /v1/purchases/{}", purchase("u2", 2).id);
    let refund = format!("POST /v1/purchases/{}:refund", purchase("u2", 2).id);
    let own = "u1 purchases:write purchases:read users:read";
    let any = "u1 purchases:write:any purchases:read:any purchases:refund:any operate users:write:any orders:write:any";
    for (token, line, body, audited) in [
        (own, "POST /buy", &*first, Some(("buy", Some("u1"), true))),
        (own, "POST /buy", &second, Some(("buy", Some("u2"), false))),
        (own, "POST /buy", "{}", None),
        (own, "GET /v1/purchases?userid=u1", "", None),
        (own, "GET /getAllUserBuys/u1", "", None),
        (
            own,
            "GET /v1/purchases?userid=u2",
            "",
            Some(("read_purchases", Some("u2"), false)),
        ),
        (
            any,
            "GET /v1/purchases?userid=u2",
            "",
            Some(("read_purchases", Some("u2"), true)),
        ),
        (
            any,
            "GET /getAllUserBuys/u2",
            "",
            Some(("read_purchases", Some("u2"), true)),
        ),
        (
            any,
            "GET /v1/summary?username=x",
            "",
            Some(("read_purchases_by_name", None, true)),
        ),
        (
            any,
            "GET /v1/summary?reference=x",
            "",
            Some(("read_purchases_by_reference", None, true)),
        ),
        (own, &by_id, "", Some(("read_purchases", Some("u2"), false))),
        (own, &refund, "{}", Some(("refund", Some("u2"), false))),
        (any, &refund, "{}", Some(("refund", Some("u2"), true))),
        (
            own,
            "GET /v1/users/7",
            "",
            Some(("read_user", Some("7"), false)),
        ),
        (
            any,
            "POST /v1/users",
            user,
            Some(("register_user", None, true)),
        ),
        (
            any,
            "POST /v1/orders",
            order,
            Some(("place_order", Some("7"), true)),
        ),
        (own, "GET /metrics", "", None),
    ] {
        let (method, path) = line.split_once(' ').unwrap();
        let response = send_as(&app, token, method.parse().unwrap(), path, body).await;
        let found = lines.taken("audit");
        let Some((action, user, is_allowed)) = audited else {
            assert_eq!(found, [Value::Null; 0], "{line}");
            continue;
        };
        let [found] = &found[..] else {
            panic!("{line}: {found:?}")
        };
        for (field, value) in [
            ("action", json!(action)),
            ("user.id", json!(user)),
            ("allowed", json!(is_allowed)),
            ("principal", json!("u1")),
            ("request.id", json!("r-1")),
            ("http.status", json!(response.status.as_u16())),
            ("purchase.id", json!(response.header("x-purchase-id"))),
        ] {
            assert_eq!(found[field], value, "{line}: {found}");
        }
    }
}

#[tokio::test]
async fn direct_writes_and_anonymous_writes_are_audited() {
    let (lines, _guard) = Lines::of_this_thread();
    let parts = management_parts_of(InMemoryStore::new());
    let app = routes(parts).options(options(AccessLog::All)).build();
    let body = r#"{"username":"ada","userid":"u1","price":7}"#;
    for path in ["/purchases", "/v1/purchases"] {
        let response = send(&app, request(Method::POST, path, &[JSON], body)).await;
        assert_eq!(response.status, StatusCode::CREATED);
        let [line] = &lines.taken("audit")[..] else {
            panic!()
        };
        assert_eq!(
            (&line["action"], &line["user.id"], &line["principal"]),
            (&json!("buy"), &json!("u1"), &Value::Null)
        );
    }
    send(
        &app,
        request(Method::GET, "/v1/purchases?userid=u1", &[], Body::empty()),
    )
    .await;
    assert_eq!(
        lines.taken("audit"),
        [Value::Null; 0],
        "the sender of a read is unknown"
    );
}

#[tokio::test]
async fn resolved_dead_letters_are_audited_with_their_positions() {
    let (lines, _guard) = Lines::of_this_thread();
    let log = InMemoryLog::default();
    log.dead_letters()
        .put(&[1, 2].map(|offset| dead_letter("purchases", offset, b"poison")))
        .await
        .unwrap();
    let mut parts = management_parts_of(InMemoryStore::new());
    parts.dead_letters = vec![DeadLetterLog::new(
        "purchases",
        Purchase::TYPE,
        Arc::new(log),
    )];
    let options = options(AccessLog::OneIn(NonZeroU64::new(100).unwrap()));
    // The SHA-256 of `secret`.
    let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    for (scopes, how, dry_run, expected) in [
        (
            "purchases:write",
            "replay",
            false,
            Some((Value::Null, Value::Null, false)),
        ),
        ("observe", "replay", true, None),
        (
            "observe",
            "replay",
            false,
            Some((Value::Null, Value::Null, false)),
        ),
        (
            "observe",
            "discard",
            false,
            Some((Value::Null, Value::Null, false)),
        ),
        ("operate", "replay", true, None),
        (
            "operate",
            "replay",
            false,
            Some((json!("purchases-0-1 purchases-0-9"), json!(1), true)),
        ),
        (
            "operate",
            "discard",
            false,
            Some((json!("purchases-0-1 purchases-0-9"), json!(0), true)),
        ),
    ] {
        let keys = ApiKeys::parse(&format!("night {hash} {scopes} u1")).unwrap();
        let app = routes(parts.clone())
            .options(options.clone())
            .authenticate(keys)
            .build();
        let body = json!({"positions": ["purchases-0-1", "purchases-0-9", "no"], "dry_run": dry_run, "reason": " bad \"test\" "});
        send_as(
            &app,
            "secret",
            Method::POST,
            &format!("/v1/dead-letters:{how}"),
            &body.to_string(),
        )
        .await;
        let audited = lines.taken("audit");
        let Some((positions, resolved, is_allowed)) = expected else {
            assert_eq!(audited, [Value::Null; 0]);
            continue;
        };
        let [line] = &audited[..] else {
            panic!("{audited:?}")
        };
        assert_eq!(
            (&line["action"], &line["allowed"]),
            (&json!(how), &json!(is_allowed)),
            "{line}"
        );
        assert_eq!(
            (&line["positions"], &line["resolved"]),
            (&positions, &resolved),
            "{line}"
        );
        assert_eq!(
            (&line["principal"], &line["subject"]),
            (&json!("night"), &json!("u1")),
            "{line}"
        );
        let reason = if is_allowed {
            json!("bad \"test\"")
        } else {
            Value::Null
        };
        assert_eq!(line["reason"], reason, "{line}");
    }
}

#[tokio::test]
async fn lines_are_sampled_or_off_and_audited_writes_are_not_sampled() {
    let (lines, _guard) = Lines::of_this_thread();
    let body = r#"{"username":"ada","userid":"u1","price":7}"#;
    let third = AccessLog::OneIn(NonZeroU64::new(3).unwrap());
    for (log, expected) in [
        (AccessLog::Off, (0, 0)),
        (third, (2, 6)),
        (AccessLog::All, (6, 6)),
    ] {
        let app = facing(log).await;
        for _ in 0..6 {
            send_as(&app, "u1 purchases:write", Method::POST, "/buy", body).await;
        }
        let text = lines.text();
        let count = |target: &str| text.matches(&format!(r#""target":"{target}""#)).count();
        assert_eq!((count("access"), count("audit")), expected, "{log:?}");
        lines.taken("access");
    }
}

#[tokio::test]
async fn a_client_that_disconnects_has_a_line_without_status() {
    let (lines, _guard) = Lines::of_this_thread();
    let app = facing(AccessLog::All).await;
    let body = Body::from_stream(futures_util::stream::pending::<io::Result<Vec<u8>>>());
    let pending = send(&app, request(Method::POST, "/buy", &[JSON], body));
    assert!(pending.now_or_never().is_none());
    let [line] = &lines.taken("access")[..] else {
        panic!()
    };
    assert_eq!(
        (&line["http.status"], &line["http.route"]),
        (&Value::Null, &json!("/buy"))
    );
}

#[tokio::test]
async fn the_client_address_is_taken_from_trusted_proxies() {
    let (lines, _guard) = Lines::of_this_thread();
    let parts = facing_parts_of(InMemoryStore::new());
    let options = options(AccessLog::All).trusted_proxies("10.0.0.0/8".parse().unwrap());
    let app = routes(parts).options(options).build();
    for (peer, client) in [
        ("10.0.0.1:1", "203.0.113.9"),
        ("198.51.100.1:1", "198.51.100.1"),
    ] {
        let headers = [JSON, ("x-forwarded-for", "203.0.113.9")];
        let body = r#"{"username":"ada","userid":"u1","price":7}"#;
        let mut request = request(Method::POST, "/buy", &headers, body);
        request
            .extensions_mut()
            .insert(ConnectInfo(peer.parse::<SocketAddr>().unwrap()));
        assert_eq!(send(&app, request).await.status, StatusCode::CREATED);
        let written = lines.taken("");
        for target in ["access", "audit"] {
            let line = written
                .iter()
                .find(|line| line["target"] == target)
                .unwrap();
            assert_eq!(line["client.address"], client, "{line}");
        }
    }
}

#[tokio::test]
async fn a_mounted_page_has_one_route() {
    let (lines, _guard) = Lines::of_this_thread();
    let [nested, service] = [
        Router::new().nest("/shop", facing(AccessLog::All).await),
        Router::new().nest_service("/shop", facing(AccessLog::All).await),
    ];
    for (app, path, route) in [
        (&nested, "/shop", "/shop"),
        (&service, "/shop", "/shop"),
        (&service, "/shop/", "/shop"),
        (&service, "/shop/livez", "/shop/livez"),
        (&facing(AccessLog::All).await, "/", "/"),
    ] {
        assert_eq!(
            send_as(app, "u1", Method::GET, path, "").await.status,
            StatusCode::OK,
            "{path}"
        );
        assert_eq!(lines.taken("access")[0]["http.route"], route, "{path}");
    }
}
