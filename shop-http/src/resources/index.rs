//! `GET /`: the paths of this service, or the page for a browser.

use std::sync::Arc;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Redirect};
use serde_json::{Map, Value};

use crate::resources::page::{Document, is_asked_for};
use crate::response::HttpResult;
use crate::routes::groups::{Listener, RouteGroup};
use crate::routes::mount::Mount;
use crate::service::{Service, ServiceKind};

type Paths = [(&'static str, &'static str)];

const INDEX: &Paths = &[("/", "This description, or the page for a browser")];
const DOCS: &Paths = &[
    ("/docs", "The API documentation, with a client to try it"),
    ("/openapi.json", "`/v1` as an OpenAPI document"),
];
const METRICS: &Paths = &[("/metrics", "Metrics, for Prometheus")];
const ALIVE: &Paths =
    &[("/healthz", "Whether the process is alive"), ("/livez", "Whether the process is alive, for probes")];
const HEALTH: &Paths = &[
    ("/readyz", "Whether this process can serve requests, for probes"),
    ("/health", "The state of the service"),
    ("/ready", "The same as /-/ready, in the form of user-buy-list"),
    ("/-/healthy", "Whether the process is alive, as JSON"),
    ("/-/ready", "Whether log, store and ingest are available"),
];
const V1_READY: &Paths = &[
    ("GET /v1", "The roles of the service, and whether it is ready"),
    ("GET /v1/whoami", "Who the token identifies, and what they may do"),
];
const V1_PURCHASES: &Paths = &[
    ("POST /v1/purchases", "Buys: username, userid, price, optionally timestamp"),
    (
        "GET /v1/purchases",
        "A page of purchases, or a file: userid or username, from, to, order, limit, cursor, wait_for, wait",
    ),
    (
        "GET /v1/purchases/events",
        "Purchases as they become visible, as server-sent events: userid or username",
    ),
    ("GET /v1/purchases/{id}", "One purchase"),
    ("GET /v1/summary", "The number of a user's purchases and their sum: userid or username, from, to"),
    ("GET /v1/totals", "The same per hour, day or month: userid or username, from, to, per, zone"),
];
/// On management these are writes past the log, which the public listener beside an admin listener refuses.
const V1_BATCH: &Paths =
    &[("POST /v1/purchases:batch", "Buys many, with a result for each: a JSON array or NDJSON")];
const V1_MANAGEMENT: &Paths = &[
    ("GET /v1/purchases:positions", "How far ingest is, for the events of other services"),
    ("GET /v1/usernames", "The names of users that begin with prefix, in any case"),
];
const V1_DEAD_LETTERS: &Paths = &[
    ("GET /v1/dead-letters", "Pending dead letters: topic, reason, since, limit, cursor"),
    ("GET /v1/dead-letters/{position}", "One dead letter with its record"),
    ("POST /v1/dead-letters:replay", "Publishes records again: positions, dry_run, reason"),
    ("POST /v1/dead-letters:discard", "Discards dead letters: positions, dry_run, reason"),
    ("POST /v1/dead-letters:park", "Dead-letters stuck records: positions, dry_run, reason"),
];
const ON_FACING: &Paths = &[
    ("/buy", "POST: buys: username, userid, price"),
    ("/getAllUserBuys", "GET /getAllUserBuys/{userid or username}: a user's purchases"),
];
const ON_MANAGEMENT: &Paths = &[
    (
        "/purchases",
        "GET /purchases/{userid or username}: a user's purchases; without it, the newest of all users",
    ),
    ("/buyList/{username}", "A user's purchases, by name"),
];

const V1_USERS: &Paths = &[
    ("POST /v1/users", "Registers: email, name"),
    ("GET /v1/users/{user_id}", "One user"),
    ("GET /v1/users/{user_id}/orders", "The numbers of a user's known orders"),
];
const USERS: &Paths = &[
    ("POST /users", "The same as /v1/users, in the form of ecommerce"),
    ("GET /users/{user_id}", "One user"),
    ("GET /users/{user_id}/orders", "The numbers of a user's known orders"),
];
const V1_ORDERS: &Paths = &[
    ("POST /v1/orders", "Orders: user_id, product, quantity, total_price"),
    ("GET /v1/orders/{order_id}", "One order"),
];
const ORDERS: &Paths = &[
    ("POST /orders", "The same as /v1/orders, in the form of ecommerce"),
    ("GET /orders/{order_id}", "One order"),
];

/// The page if the client prefers HTML, else the paths.
pub(crate) async fn get(
    service: State<Arc<Service>>,
    mount: Mount,
    OriginalUri(uri): OriginalUri,
    request: HeaderMap,
) -> HttpResult {
    // The pages use the native API.
    let has_page = service.has(RouteGroup::V1);
    let page = Document::of(&service);
    let mut response = match uri.path().rsplit_once('/') {
        _ if !has_page || !is_asked_for(&request) => describe(service, mount).await.into_response(),
        // The files of the page are below this path, which may not exist with a slash.
        Some((_, last)) if mount.is_at(uri.path()) => page.respond_above(last, &request),
        Some((_, last)) if !last.is_empty() => Redirect::permanent(&format!("{last}/")).into_response(),
        _ => page.respond(&request)?,
    };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// The paths alone, as a client sees them.
pub(crate) async fn describe(State(service): State<Arc<Service>>, mount: Mount) -> Json<Map<String, Value>> {
    use RouteGroup::{Dialects, Docs, Health, Metrics, Page, V1};

    let purchases = service.purchases.is_some();
    let (users, orders) = (service.users.is_some(), service.orders.is_some());
    let own = match service.kind {
        ServiceKind::Facing => ON_FACING,
        ServiceKind::Management => ON_MANAGEMENT,
    };
    // The others are on the admin listener.
    let operations = service.listener != Listener::Public;
    let parts: [(RouteGroup, bool, &Paths); 15] = [
        (Page, true, INDEX),
        (Docs, true, DOCS),
        (Health, true, ALIVE),
        (Health, operations, HEALTH),
        (Metrics, operations, METRICS),
        (V1, true, V1_READY),
        (V1, purchases, V1_PURCHASES),
        (V1, purchases && (operations || service.kind == ServiceKind::Facing), V1_BATCH),
        (V1, purchases && service.kind == ServiceKind::Management, V1_MANAGEMENT),
        (V1, operations && !service.dead_letters.is_empty(), V1_DEAD_LETTERS),
        (Dialects, purchases, own),
        (V1, users, V1_USERS),
        (Dialects, users, USERS),
        (V1, orders, V1_ORDERS),
        (Dialects, orders, ORDERS),
    ];
    let here = parts.iter().filter(|(group, is_here, _)| *is_here && service.has(*group));
    let all = here.flat_map(|(_, _, paths)| *paths);
    Json(all.map(|(path, text)| (mounted(path, &mount), mounted(text, &mount).into())).collect())
}

/// `text` with the prefix of `mount` before each path.
fn mounted(text: &str, mount: &Mount) -> String {
    let text = text.replace(" /", &format!(" {}/", mount.prefix()));
    if text.starts_with('/') { mount.path(text) } else { text }
}
