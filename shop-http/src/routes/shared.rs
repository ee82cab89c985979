//! The routes that facing and management share, and the prefixes that lead to routes from elsewhere.

use axum::routing::{get, post};

use crate::dialect::INGRESS_PREFIXES;
use crate::resources::{buy, health, index, metrics, orders, page, users, v1_purchases, v1_summary};
use crate::routes::{Methods, Routes, read};
use crate::service::Service;

/// All the routes of a service that has `naked` ones of its own, and `under_api_v1`.
pub(crate) fn everywhere(service: &Service, naked: Routes, under_api_v1: Routes) -> Routes {
    let alive = Routes::new().route("/healthz", get(health::alive_text));
    let operations = operations();
    if !service.has_purchases {
        return with_accounts(alive.merge(operations), service).route("/", read(index::get));
    }
    let naked = naked.merge(alive);
    let ours = with_accounts(Routes::new(), service)
        .route("/", read(index::get))
        .route("/page/{name}", read(page::asset))
        .route("/v1/purchases", read(v1_purchases::list).post(buy::post))
        .route("/v1/purchases/{id}", read(v1_purchases::get))
        .route("/v1/summary", read(v1_summary::get));
    let all = naked.clone().merge(ours).nest("/api/v1", under_api_v1);
    let all = with_prefix(all, "/api", naked.route("/", read(index::describe)), read(index::describe));
    let all = INGRESS_PREFIXES
        .into_iter()
        .fold(all.clone(), |routes, prefix| with_prefix(routes, prefix, all.clone(), read(index::get)));
    all.merge(operations)
}

/// The routes for operators and probes. They exist once: below a prefix that an ingress publishes, they would be public.
fn operations() -> Routes {
    Routes::new()
        .route("/livez", get(health::alive))
        .route("/readyz", get(health::ready_to_answer))
        .route("/health", get(health::health))
        .route("/metrics", read(metrics::get))
        .route("/ready", get(health::ready_naked))
        .route("/-/healthy", get(health::alive))
        .route("/-/ready", get(health::ready))
}

/// `routes`, and those of users and of orders, where there are any.
fn with_accounts(mut routes: Routes, service: &Service) -> Routes {
    if service.users.is_some() {
        routes = routes
            .route("/users", post(users::post))
            .route("/users/{user_id}", read(users::get))
            .route("/users/{user_id}/orders", read(users::orders));
    }
    if service.orders.is_some() {
        routes = routes.route("/orders", post(orders::post)).route("/orders/{order_id}", read(orders::get));
    }
    routes
}

/// `routes`, and below `prefix` those `nested`, with `index` at its slash.
fn with_prefix(routes: Routes, prefix: &str, nested: Routes, index: Methods) -> Routes {
    // Nested routes have no slash behind the prefix alone.
    routes.nest(prefix, nested).route(&format!("{prefix}/"), index)
}
