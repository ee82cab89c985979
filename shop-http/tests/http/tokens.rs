//! JSON Web Tokens, and every route with each kind of token.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use shop_accounts::entity::EntityStore as _;
use shop_accounts::http::{Accounts, OrdersRole, UsersRole};
use shop_accounts::memory::{InMemoryOrders, InMemoryUsers};
use shop_accounts::orders::NewOrder;
use shop_accounts::users::{Email, NewUser, PersonName, User, UserNumber};
use shop_core::log::DeadLetters as _;
use shop_core::memory::{InMemoryLog, InMemoryStore};
use shop_core::ports::{PurchaseStore as _, RecordStore};
use shop_core::record::Record as _;
use shop_core::{IdempotencyKey, Purchase};
use shop_http::{DeadLetterLog, Parts, routes};
use tokio::time::timeout;
use uuid::Uuid;

use crate::dead_letters::dead_letter;
use crate::document::operations;
use crate::issuer::{ISSUER, Issuer, SigningKey};
use crate::shop::{
    JSON, Shop, TestResponse, facing_parts_of, get, management_parts_of, purchase, request, send,
};

/// The user of the test: a user number is a user id as well.
const OWN: &str = "1";
const OTHER: &str = "2";

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Nothing: the route is public.
    Open,
    /// This scope for rows of the principal, and the scope with `:any` for others.
    Own(&'static str),
    /// The same, for a row by its own id: one of another user does not exist.
    OwnById(&'static str),
    /// The same, for each purchase of a batch, which is rejected on its line.
    OwnByLine(&'static str),
    /// This scope.
    Scope(&'static str),
    /// Nothing, but without `observe` the response has the status alone.
    Status,
    /// A token of any scope.
    Token,
    /// A token. The dialect has no such path.
    Absent,
}

/// The rule of a route. A new route without one fails the test.
fn rule(kind: &str, method: &Method, path: &str) -> Rule {
    let ingress = ["/scalable-shop-cm-server", "/scalable-shop-cm-api"];
    let ingress = ingress.iter().find_map(|prefix| path.strip_prefix(prefix));
    let path = ingress.unwrap_or(path);
    let is_native = path.starts_with("/v1/");
    let prefix = ["/api/v1", "/api", "/v1"]
        .iter()
        .find_map(|prefix| path.strip_prefix(prefix));
    // In this dialect a listing is by user name.
    let is_by_name = (ingress.is_some() && prefix.is_none()) || path.starts_with("/buyList");
    let path = prefix.unwrap_or(path);
    match (method.as_str(), path) {
        (_, "" | "/" | "/page/{name}" | "/openapi.json" | "/redoc" | "/problems/{name}") => {
            Rule::Open
        }
        (_, path) if path.starts_with("/docs") => Rule::Open,
        (_, "/healthz" | "/livez" | "/readyz" | "/ready" | "/-/healthy" | "/-/ready") => Rule::Open,
        (_, "/health") => Rule::Status,
        (_, "/whoami") => Rule::Token,
        (_, "/metrics") => Rule::Scope("observe"),
        // Those of `call` are dry runs.
        (_, path) if path.starts_with("/dead-letters") => Rule::Scope("observe"),
        ("POST", "/purchases" | "/purchases:batch" | "/purchases:import")
            if kind == "management" =>
        {
            Rule::Scope("operate")
        }
        ("POST", "/purchases/{id}:refund") if kind == "management" => Rule::Scope("operate"),
        ("POST", "/purchases/{id}:refund") => Rule::OwnById("purchases:refund"),
        ("POST", "/buy" | "/purchases") => Rule::Own("purchases:write"),
        ("POST", "/purchases:batch") => Rule::OwnByLine("purchases:write"),
        ("GET", "/getAllUserBuys/{who}" | "/purchases/{who}" | "/buyList/{who}") if is_by_name => {
            Rule::Scope("purchases:read:any")
        }
        ("GET", "/getAllUserBuys/{who}" | "/purchases/{who}" | "/buyList/{who}") => {
            Rule::Own("purchases:read")
        }
        ("GET", "/purchases") if is_by_name => Rule::Absent,
        ("GET", "/purchases") if kind == "management" && !is_native => Rule::Scope("observe"),
        ("GET", "/purchases" | "/summary" | "/totals") => Rule::Own("purchases:read"),
        ("GET", "/purchases/events") => Rule::Own("purchases:read"),
        ("GET", "/purchases:positions") => Rule::Scope("purchases:read:any"),
        ("GET", "/usernames") => Rule::Scope("observe"),
        ("GET", "/purchases/{id}") => Rule::OwnById("purchases:read"),
        ("POST", "/users") => Rule::Scope("users:write:any"),
        ("GET", "/users/{user_id}") => Rule::Own("users:read"),
        ("GET", "/users/{user_id}/orders") => Rule::Own("orders:read"),
        ("POST", "/orders") => Rule::Own("orders:write"),
        ("GET", "/orders/{order_id}") => Rule::OwnById("orders:read"),
        _ => panic!("{method} {path} of {kind} has no rule"),
    }
}

struct Services {
    issuer: Issuer,
    facing: Router,
    management: Router,
    /// The paths of facing, and those of management.
    paths: [Vec<String>; 2],
}

/// Both services with all roles and purchases, users and orders of two users.
async fn services(key: SigningKey) -> Services {
    let issuer = Issuer::new(key);
    let store = InMemoryStore::new();
    let users = InMemoryUsers::new();
    let orders = InMemoryOrders::new();
    store
        .insert(vec![purchase(OWN, 1), purchase(OTHER, 2)].into())
        .await
        .unwrap();
    for number in [1, 2] {
        let key: IdempotencyKey = format!("key-{number}").parse().unwrap();
        let email: Email = format!("{number}@example.com").parse().unwrap();
        let id = UserNumber::new(number);
        let name = "Ada".parse::<PersonName>().unwrap();
        users
            .insert(&NewUser::new(key.clone(), email.clone(), name.clone()))
            .await
            .unwrap();
        RecordStore::<User>::apply(&orders, vec![User::new(id, email, name)].into())
            .await
            .unwrap();
        let order = NewOrder::new(key, id, "tea".parse().unwrap(), 1, "2".parse().unwrap());
        orders.insert(&order).await.unwrap();
    }
    let users = UsersRole::new(Arc::new(users));
    let orders = OrdersRole::new(Arc::new(orders));
    let accounts = Arc::new(Accounts {
        users: Some(users),
        orders: Some(orders),
        ..Accounts::default()
    });
    let with_verifier = |parts: Parts| {
        let routes = routes(parts).authenticate(issuer.verifier());
        let paths = routes.paths();
        (routes.build(), paths)
    };
    let mut facing = facing_parts_of(store.clone());
    let mut management = management_parts_of(store.clone());
    facing.roles.push(Arc::<Accounts>::clone(&accounts));
    management.roles.push(accounts);
    let log = InMemoryLog::default();
    log.dead_letters()
        .put(&[dead_letter("purchases", 0, b"poison")])
        .await
        .unwrap();
    management.dead_letters = vec![DeadLetterLog::new(
        "purchases",
        Purchase::TYPE,
        Arc::new(log),
    )];
    let (facing, of_facing) = with_verifier(facing);
    let (management, of_management) = with_verifier(management);
    Services {
        issuer,
        facing,
        management,
        paths: [of_facing, of_management],
    }
}

/// Sends a request to a route, for a row or a purchase of `user`.
async fn call(
    app: &Router,
    method: &Method,
    path: &str,
    user: &str,
    token: Option<&str>,
) -> TestResponse {
    let number: u64 = user.parse().unwrap();
    let path = path
        .replace("{who}", user)
        .replace("{user_id}", user)
        .replace("{order_id}", user)
        .replace("/problems/{name}", "/problems/invalid")
        .replace("{name}", "page.css")
        .replace("{file}", "swagger-ui.css")
        .replace("{position}", "purchases-0-0")
        .replace("{id}", &purchase(user, number).id.to_string());
    let listings = [
        "/v1/purchases",
        "/v1/purchases/events",
        "/v1/summary",
        "/v1/totals",
    ];
    let is_listing =
        *method == Method::GET && listings.iter().any(|listing| path.ends_with(listing));
    let query = match path.ends_with("/v1/usernames") {
        true => "?prefix=a".to_owned(),
        false if is_listing => format!("?userid={user}"),
        false => String::new(),
    };
    let purchase = format!(r#"{{"username":"ada","userid":"{user}","price":1}}"#);
    let body = match (method, path.as_str()) {
        (&Method::GET, _) => String::new(),
        (_, path) if path.ends_with("/users") => {
            format!(
                r#"{{"email":"{}@example.com","name":"New"}}"#,
                Uuid::now_v7()
            )
        }
        (_, path) if path.ends_with("/orders") => {
            format!(r#"{{"user_id":{user},"product":"tea","quantity":1,"total_price":2}}"#)
        }
        (_, path) if path.starts_with("/v1/dead-letters:") => {
            r#"{"positions":["purchases-0-0"],"dry_run":true}"#.to_owned()
        }
        (_, path) if path.ends_with(":batch") => format!("[{purchase}]"),
        (_, path) if path.ends_with(":refund") => "{}".to_owned(),
        _ => purchase,
    };
    let media_type = if path.ends_with(":import") {
        ("content-type", "application/x-ndjson")
    } else {
        JSON
    };
    let authorization = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = std::iter::once(media_type)
        .chain(
            authorization
                .as_deref()
                .map(|value| ("authorization", value)),
        )
        .collect();
    send(
        app,
        request(method.clone(), &format!("{path}{query}"), &headers, body),
    )
    .await
}

/// Tokens that are not valid, each with the reason.
fn invalid_tokens(issuer: &Issuer) -> Vec<(&'static str, String)> {
    let all = "operate purchases:read:any purchases:write:any users:read:any orders:read:any";
    let claims = issuer.claims(OWN, all);
    let with = |member: &str, value: Value| {
        let mut claims = claims.clone();
        claims[member] = value;
        issuer.sign("first", &claims)
    };
    let now = issuer.clock.seconds();
    let unknown_key = json!({"typ": "JWT", "alg": "ES256", "kid": "other"});
    let header = |more: Value| {
        let mut header = json!({"alg": "ES256", "kid": "first"});
        header
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        header
    };
    let mut without = claims.clone();
    without.as_object_mut().unwrap().remove("aud");
    vec![
        ("expired", with("exp", json!(now - 61))),
        ("not valid yet", with("nbf", json!(now + 61))),
        (
            "of another issuer",
            with("iss", json!("https://other.example")),
        ),
        ("of a list of issuers", with("iss", json!([ISSUER]))),
        ("before 1970", with("exp", json!(-1))),
        (
            "of another kind",
            issuer.sign_with("first", &header(json!({"typ": "logout+jwt"})), &claims),
        ),
        (
            "with an extension",
            issuer.sign_with(
                "first",
                &header(json!({"crit": ["b64"], "b64": false})),
                &claims,
            ),
        ),
        ("for another audience", with("aud", json!(["other"]))),
        ("without an audience", issuer.sign("first", &without)),
        ("unsigned", Issuer::unsigned(&claims)),
        (
            "HS256 with the public key",
            issuer.sign_with_public_key(&claims),
        ),
        (
            "of an unknown key",
            issuer.sign_with("first", &unknown_key, &claims),
        ),
        ("changed", {
            let token = with("sub", json!(OWN));
            let (message, signature) = token.rsplit_once('.').unwrap();
            let other = issuer.token(OTHER, all);
            let (other, _) = other.rsplit_once('.').unwrap();
            assert_ne!(message, other);
            format!("{other}.{signature}")
        }),
        ("no token", "abc".into()),
    ]
}

/// A route that requires a scope.
struct RouteUnderTest<'a> {
    app: &'a Router,
    issuer: &'a Issuer,
    method: &'a Method,
    path: &'a str,
    case: &'a str,
}

impl RouteUnderTest<'_> {
    /// The response to [`OWN`] with `scope`, about `user`.
    async fn send(&self, user: &str, scope: &str) -> TestResponse {
        call(
            self.app,
            self.method,
            self.path,
            user,
            Some(&self.issuer.token(OWN, scope)),
        )
        .await
    }

    async fn requires_scope_of_lines(&self, scope: &str) {
        let case = self.case;
        let any = format!("{scope}:any");
        for (user, scope, is_allowed) in [
            (OWN, "", false),
            (OTHER, scope, false),
            (OWN, scope, true),
            (OTHER, &any, true),
        ] {
            let response = self.send(user, scope).await;
            assert_eq!(response.status, StatusCode::OK, "{case}: {response:?}");
            let line = &response.json()[0];
            let expected = if is_allowed {
                "acknowledged"
            } else {
                "rejected"
            };
            assert_eq!(
                line["status"], expected,
                "{case}, {user} with {scope:?}: {line}"
            );
            assert_eq!(
                line["type"] == "/problems/denied",
                !is_allowed,
                "{case}: {line}"
            );
        }
    }

    async fn requires_scope(&self, rule: Rule) {
        let case = self.case;
        let (own, any, hidden) = match rule {
            Rule::Own(scope) => (Some(scope), format!("{scope}:any"), StatusCode::FORBIDDEN),
            Rule::OwnById(scope) => (Some(scope), format!("{scope}:any"), StatusCode::NOT_FOUND),
            Rule::Scope(scope) => (None, scope.to_owned(), StatusCode::FORBIDDEN),
            Rule::Open | Rule::Status | Rule::Token | Rule::Absent | Rule::OwnByLine(_) => {
                unreachable!()
            }
        };
        let none = self.send(OWN, "").await;
        assert_eq!(none.status, hidden, "{case}: {none:?}");
        if hidden == StatusCode::FORBIDDEN {
            assert!(none.text.contains(own.unwrap_or(&any)), "{case}: {none:?}");
            let challenge = none.header("www-authenticate");
            assert_eq!(
                challenge,
                Some("Bearer error=\"insufficient_scope\""),
                "{case}"
            );
        }
        if let Some(own) = own {
            let other = self.send(OTHER, own).await;
            assert_eq!(other.status, hidden, "{case}: {other:?}");
            let right = self.send(OWN, own).await;
            assert!(is_served(right.status), "{case}: {right:?}");
        }
        let allowed = self.send(OTHER, &any).await;
        assert!(is_served(allowed.status), "{case}: {allowed:?}");
    }
}

/// Whether a request passed the policy. These services have no log for events.
fn is_served(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::NOT_IMPLEMENTED
}

#[tokio::test]
async fn every_route_requires_its_scope() {
    let Services {
        issuer,
        facing,
        management,
        paths,
    } = services(SigningKey::ec()).await;
    let invalid = invalid_tokens(&issuer);
    for ((kind, app), paths) in [("facing", &facing), ("management", &management)]
        .into_iter()
        .zip(paths)
    {
        let document = get(app, "/openapi.json").await.json();
        assert_eq!(
            document["components"]["securitySchemes"]["bearer"]["scheme"],
            "bearer"
        );
        let operations = operations(app, &paths).await;
        assert!(operations.len() > 60, "{operations:?}");
        for (method, path) in operations {
            let rule = rule(kind, &method, &path);
            let expected = match rule {
                Rule::Open => Value::Null,
                Rule::Status => json!([{}, {"bearer": []}]),
                _ => json!([{"bearer": []}]),
            };
            let documented = &document["paths"][&path][method.as_str().to_lowercase()];
            if documented.is_object() {
                assert_eq!(documented["security"], expected, "{kind} {method} {path}");
            }
            let case = format!("{kind} {method} {path} {rule:?}");
            let route = RouteUnderTest {
                app,
                issuer: &issuer,
                method: &method,
                path: &path,
                case: &case,
            };
            let bare = call(app, &method, &path, OWN, None).await;
            if rule == Rule::Open {
                assert!(!bare.status.is_client_error(), "{case}: {bare:?}");
                continue;
            }
            if rule == Rule::Status {
                assert_eq!(
                    bare.json().as_object().unwrap().len(),
                    1,
                    "{case}: {bare:?}"
                );
                assert!(
                    route
                        .send(OWN, "observe")
                        .await
                        .json()
                        .as_object()
                        .unwrap()
                        .len()
                        > 1,
                    "{case}"
                );
                continue;
            }
            assert_eq!(
                (bare.status, bare.header("www-authenticate")),
                (StatusCode::UNAUTHORIZED, Some("Bearer")),
                "{case}"
            );
            for (why, token) in &invalid {
                let response = call(app, &method, &path, OWN, Some(token)).await;
                assert_eq!(
                    response.status,
                    StatusCode::UNAUTHORIZED,
                    "{case}, {why}: {response:?}"
                );
                assert_eq!(
                    response.header("www-authenticate"),
                    Some(r#"Bearer error="invalid_token""#),
                    "{case}"
                );
            }
            match rule {
                Rule::OwnByLine(scope) => route.requires_scope_of_lines(scope).await,
                Rule::Absent => {
                    assert_eq!(
                        route.send(OWN, "operate").await.status,
                        StatusCode::NOT_FOUND,
                        "{case}"
                    );
                }
                Rule::Token => {
                    assert_eq!(route.send(OWN, "").await.status, StatusCode::OK, "{case}");
                }
                _ => route.requires_scope(rule).await,
            }
        }
    }
}

#[tokio::test]
async fn a_token_says_what_its_holder_may_do() {
    let Services {
        issuer,
        facing,
        management,
        ..
    } = services(SigningKey::ed()).await;
    for app in [&facing, &management] {
        for (scope, may) in [
            ("purchases:read", json!([])),
            ("purchases:read:any", json!(["list_any_user"])),
            ("observe", json!(["observe", "list_everyone"])),
            ("operate", json!(["observe", "operate", "list_everyone"])),
        ] {
            let token = issuer.token(OWN, scope);
            let holder = call(app, &Method::GET, "/v1/whoami", OWN, Some(&token)).await;
            assert_eq!(
                holder.json(),
                json!({"name": OWN, "subject": OWN, "may": may}),
                "{scope}"
            );
        }
    }
    let all = json!(["observe", "operate", "list_any_user", "list_everyone"]);
    let holder = get(&Shop::new().facing, "/v1/whoami").await.json();
    assert_eq!(holder, json!({"name": null, "subject": null, "may": all}));
}

#[tokio::test]
async fn purchases_of_all_users_require_observe() {
    let Services {
        issuer, management, ..
    } = services(SigningKey::ed()).await;
    let list = async |path: &str, scope: &str| {
        let authorization = format!("Bearer {}", issuer.token(OWN, scope));
        send(
            &management,
            request(
                Method::GET,
                path,
                &[("authorization", &authorization)],
                Body::empty(),
            ),
        )
        .await
    };
    for path in [
        "/v1/purchases?everyone=true",
        "/v1/summary?everyone=true",
        "/v1/usernames?prefix=a",
        "/purchases",
    ] {
        assert_eq!(
            list(path, "purchases:read:any").await.status,
            StatusCode::FORBIDDEN,
            "{path}"
        );
        for scope in ["observe", "operate"] {
            assert_eq!(list(path, scope).await.status, StatusCode::OK, "{path}");
        }
    }
    let by_name = "/v1/purchases?username=ada";
    assert_eq!(
        list(by_name, "purchases:read").await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        list(by_name, "purchases:read:any").await.status,
        StatusCode::OK
    );
}

/// The status of a listing with a token of the key `id`.
async fn status(services: &Services, id: &str) -> StatusCode {
    let token = services
        .issuer
        .sign(id, &services.issuer.claims(OWN, "purchases:read"));
    let response = call(
        &services.facing,
        &Method::GET,
        "/v1/purchases",
        OWN,
        Some(&token),
    )
    .await;
    response.status
}

#[tokio::test]
async fn a_rejection_says_what_is_wrong_with_a_token() {
    let Services { issuer, facing, .. } = services(SigningKey::ec()).await;
    let claims = issuer.claims(OWN, "purchases:read");
    for (kind, member, value, expected) in [
        ("at+jwt", "exp", json!(-1), "has expired"),
        ("JWT", "exp", Value::Null, "lacks one of exp, iss and aud"),
        ("JWT", "iss", json!([ISSUER]), "has a claim of a wrong type"),
        ("dpop+jwt", "sub", json!(OWN), "is not an access token"),
    ] {
        let mut claims = claims.clone();
        claims[member] = value;
        let header = json!({"typ": kind, "alg": "ES256", "kid": "first"});
        let token = issuer.sign_with("first", &header, &claims);
        let response = call(&facing, &Method::GET, "/v1/purchases", OWN, Some(&token)).await;
        assert!(response.text.contains(expected), "{expected}: {response:?}");
    }
    let header = json!({"typ": "application/AT+JWT", "alg": "ES256", "kid": "first"});
    let token = issuer.sign_with("first", &header, &claims);
    let accepted = call(&facing, &Method::GET, "/v1/purchases", OWN, Some(&token)).await;
    assert_eq!(accepted.status, StatusCode::OK, "{accepted:?}");
}

#[tokio::test]
async fn keys_are_rotated_while_serving() {
    let mut services = services(SigningKey::ec()).await;
    assert_eq!(status(&services, "first").await, StatusCode::OK);
    services.issuer.rotate("second", SigningKey::rsa());
    // The set was read a moment ago.
    assert_eq!(status(&services, "second").await, StatusCode::UNAUTHORIZED);
    services.issuer.clock.advance(Duration::from_secs(30));
    assert_eq!(status(&services, "second").await, StatusCode::OK);
    let reads = services.issuer.published.reads.load(Ordering::Relaxed);
    for _ in 0..10 {
        assert_eq!(status(&services, "first").await, StatusCode::OK);
        assert_eq!(status(&services, "second").await, StatusCode::OK);
    }
    assert_eq!(
        services.issuer.published.reads.load(Ordering::Relaxed),
        reads
    );

    // A withdrawn key is rejected, even with a token that was verified before.
    let claims = services.issuer.claims(OWN, "purchases:read");
    let old = services.issuer.sign("first", &claims);
    let facing = services.facing.clone();
    let send = async || {
        call(&facing, &Method::GET, "/v1/purchases", OWN, Some(&old))
            .await
            .status
    };
    assert_eq!(send().await, StatusCode::OK);
    services.issuer.withdraw("first");
    services.issuer.clock.advance(Duration::from_secs(200));
    services.issuer.rotate("third", SigningKey::ed());
    assert_eq!(
        status(&services, "third").await,
        StatusCode::OK,
        "reads the set again"
    );
    assert_eq!(send().await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn known_keys_stay_in_use_while_the_issuer_is_unavailable() {
    let services = services(SigningKey::ec()).await;
    let is_unavailable = |value| {
        services
            .issuer
            .published
            .is_unavailable
            .store(value, Ordering::Relaxed);
    };
    is_unavailable(true);
    assert_eq!(
        status(&services, "first").await,
        StatusCode::SERVICE_UNAVAILABLE,
        "no keys yet"
    );
    is_unavailable(false);
    services.issuer.clock.advance(Duration::from_secs(1));
    assert_eq!(status(&services, "first").await, StatusCode::OK);
    is_unavailable(true);
    for _minute in 0..30 {
        services.issuer.clock.advance(Duration::from_secs(60));
        assert_eq!(status(&services, "first").await, StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn only_unknown_keys_wait_for_an_issuer_that_hangs() {
    let mut services = services(SigningKey::ec()).await;
    assert_eq!(status(&services, "first").await, StatusCode::OK);
    services.issuer.clock.advance(Duration::from_secs(30));
    services.issuer.rotate("second", SigningKey::ec());
    services
        .issuer
        .published
        .hangs
        .store(true, Ordering::Relaxed);
    let reads = || services.issuer.published.reads.load(Ordering::Relaxed);
    let second = Duration::from_secs(1);
    assert!(
        timeout(second, status(&services, "second")).await.is_err(),
        "reads the set, and disconnects"
    );
    let before = reads();
    for _ in 0..3 {
        services.issuer.clock.advance(Duration::from_secs(60));
        assert!(timeout(second, status(&services, "second")).await.is_err());
        assert_eq!(
            timeout(second, status(&services, "first")).await,
            Ok(StatusCode::OK)
        );
    }
    assert_eq!(reads(), before, "one read at a time");
}

#[tokio::test]
async fn a_remembered_token_expires() {
    let services = services(SigningKey::ec()).await;
    let token = services.issuer.token(OWN, "purchases:read");
    for (seconds, expected) in [
        (0, StatusCode::OK),
        (360, StatusCode::OK),
        (1, StatusCode::UNAUTHORIZED),
    ] {
        services.issuer.clock.advance(Duration::from_secs(seconds));
        let response = call(
            &services.facing,
            &Method::GET,
            "/v1/purchases",
            OWN,
            Some(&token),
        )
        .await;
        assert_eq!(response.status, expected, "{response:?}");
    }
}

#[tokio::test]
async fn a_body_is_not_read_before_the_token_is_verified() {
    let endless = Body::from_stream(futures_util::stream::pending::<
        Result<String, std::io::Error>,
    >());
    let buy = request(
        Method::POST,
        "/v1/purchases",
        &[JSON, ("authorization", "Bearer abc")],
        endless,
    );
    assert_eq!(
        send(&services(SigningKey::ec()).await.facing, buy)
            .await
            .status,
        StatusCode::UNAUTHORIZED
    );
}
