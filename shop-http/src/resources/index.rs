//! `GET /`: the paths of this service, or the page for a browser.

use std::sync::Arc;

use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::{Map, Value};

use crate::resources::page;
use crate::response::json::Json;
use crate::service::Service;
use crate::service_kind::ServiceKind;

const EVERYWHERE: [(&str, &str); 11] = [
    ("/", "This description, or the page for a browser"),
    ("/docs", "The API documentation, with a client to try it"),
    ("/openapi.json", "The API as an OpenAPI document"),
    ("/healthz", "Whether the process is alive"),
    ("/livez", "Whether the process is alive, for probes"),
    ("/readyz", "Whether this process can serve requests, for probes"),
    ("/health", "The state of the service"),
    ("/metrics", "Metrics, for Prometheus"),
    ("/ready", "The same as /-/ready, in the form of user-buy-list"),
    ("/-/healthy", "Whether the process is alive, as JSON"),
    ("/-/ready", "Whether log, store and ingest are available"),
];
const OF_PURCHASES: [(&str, &str); 4] = [
    ("POST /v1/purchases", "Buys: username, userid, price, optionally timestamp"),
    ("GET /v1/purchases", "A page of purchases: userid or username, order, limit, cursor, wait_for, wait"),
    ("GET /v1/purchases/{id}", "One purchase"),
    ("GET /v1/summary", "The number of a user's purchases and their sum: userid or username"),
];
const ON_FACING: [(&str, &str); 2] = [
    ("/buy", "POST: buys: username, userid, price"),
    ("/getAllUserBuys", "GET /getAllUserBuys/{userid or username}: a user's purchases"),
];
const ON_MANAGEMENT: [(&str, &str); 2] = [
    (
        "/purchases",
        "GET /purchases/{userid or username}: a user's purchases; without it, the newest of all users",
    ),
    ("/buyList/{username}", "A user's purchases, by name"),
];

const OF_USERS: [(&str, &str); 6] = [
    ("POST /v1/users", "Registers: email, name"),
    ("GET /v1/users/{user_id}", "One user"),
    ("GET /v1/users/{user_id}/orders", "The numbers of a user's known orders"),
    ("POST /users", "The same as /v1/users, in the form of ecommerce"),
    ("GET /users/{user_id}", "One user"),
    ("GET /users/{user_id}/orders", "The numbers of a user's known orders"),
];
const OF_ORDERS: [(&str, &str); 4] = [
    ("POST /v1/orders", "Orders: user_id, product, quantity, total_price"),
    ("GET /v1/orders/{order_id}", "One order"),
    ("POST /orders", "The same as /v1/orders, in the form of ecommerce"),
    ("GET /orders/{order_id}", "One order"),
];

/// The page if the client prefers HTML, else the paths.
pub(crate) async fn get(
    service: State<Arc<Service>>,
    OriginalUri(uri): OriginalUri,
    request: HeaderMap,
) -> Response {
    let mut response = match uri.path().rsplit_once('/') {
        // The page shows purchases.
        _ if service.purchases.is_none() || !page::is_asked_for(&request) => {
            describe(service).await.into_response()
        }
        // The files of the page are below this path.
        Some((_, last)) if !last.is_empty() => Redirect::permanent(&format!("{last}/")).into_response(),
        _ => page::document(service.kind, &request),
    };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// The paths alone.
pub(crate) async fn describe(State(service): State<Arc<Service>>) -> Json<Map<String, Value>> {
    let own = match service.kind {
        ServiceKind::Facing => &ON_FACING,
        ServiceKind::Management => &ON_MANAGEMENT,
    };
    let parts: [(bool, &[(&str, &str)]); 5] = [
        (true, &EVERYWHERE),
        (service.purchases.is_some(), &OF_PURCHASES),
        (service.purchases.is_some(), own),
        (service.users.is_some(), &OF_USERS),
        (service.orders.is_some(), &OF_ORDERS),
    ];
    let all = parts.into_iter().filter(|(is_here, _)| *is_here).flat_map(|(_, paths)| paths);
    Json(all.map(|(path, text)| ((*path).to_owned(), Value::from(*text))).collect())
}
