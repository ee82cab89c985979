//! The routes that facing and management share, and the prefixes of the replaced systems.

use std::sync::Arc;

use axum::routing::{MethodRouter, get, post};

use crate::dialect::INGRESS_PREFIXES;
use crate::resources::{buy, health, index, metrics, orders, page, users, v1_purchases};
use crate::routes::path_router::{Routes, read};
use crate::service::{Purchases, Service};

/// All routes of `service`. Purchases also have the routes `own`, and `under_api_v1` below `/api/v1`.
pub(crate) fn shared_routes(
    service: &Service,
    own: Routes<Arc<Purchases>>,
    under_api_v1: Routes<Arc<Purchases>>,
) -> Routes {
    let alive = Routes::new().route("/healthz", get(health::alive_text));
    let Some(purchases) = &service.purchases else {
        return with_entities(alive.merge(operations()), service).route("/", read(index::get));
    };
    let with_purchases = |routes: Routes<Arc<Purchases>>| routes.with_state(Arc::clone(purchases));
    let unprefixed = with_purchases(own).merge(alive);
    let v1 = Routes::new()
        .route("/v1/purchases", read(v1_purchases::list).post(buy::post))
        .route("/v1/purchases/{id}", read(v1_purchases::get))
        .route("/v1/summary", read(v1_purchases::summary));
    let native = with_entities(with_purchases(v1), service)
        .route("/", read(index::get))
        .route("/page/{name}", read(page::asset));
    let all = unprefixed.clone().merge(native).nest("/api/v1", with_purchases(under_api_v1));
    let all = with_prefix(all, "/api", unprefixed.route("/", read(index::describe)), read(index::describe));
    let all = INGRESS_PREFIXES
        .into_iter()
        .fold(all.clone(), |routes, prefix| with_prefix(routes, prefix, all.clone(), read(index::get)));
    all.merge(operations())
}

/// The routes for operators and probes. They have no prefix: below one that an ingress publishes, they would be public.
fn operations() -> Routes {
    Routes::new()
        .route("/livez", get(health::alive))
        .route("/readyz", get(health::ready_to_answer))
        .route("/health", get(health::health))
        .route("/metrics", read(metrics::get))
        .route("/ready", get(health::legacy_ready))
        .route("/-/healthy", get(health::alive))
        .route("/-/ready", get(health::ready))
}

/// Adds the routes of the roles users and orders, if the service has them: the native API under `/v1`, and the replaced
/// system's paths.
fn with_entities(routes: Routes, service: &Service) -> Routes {
    let mut accounts = Routes::new();
    if service.users.is_some() {
        accounts = accounts
            .route("/users", post(users::post))
            .route("/users/{user_id}", read(users::get))
            .route("/users/{user_id}/orders", read(users::orders));
    }
    if service.orders.is_some() {
        accounts =
            accounts.route("/orders", post(orders::post)).route("/orders/{order_id}", read(orders::get));
    }
    routes.merge(accounts.clone()).nest("/v1", accounts)
}

/// Adds `nested` below `prefix`, with `index` at the prefix with a slash.
fn with_prefix(routes: Routes, prefix: &str, nested: Routes, index: MethodRouter<Arc<Service>>) -> Routes {
    // Nested routes have no path for the prefix with a slash.
    routes.nest(prefix, nested).route(&format!("{prefix}/"), index)
}
