//! The routes that facing and management share, and the prefixes that lead to routes from elsewhere.

use axum::routing::get;

use crate::dialect::INGRESS_PREFIXES;
use crate::resources::{buy, health, index, metrics, page, v1_purchases, v1_summary};
use crate::routes::{Methods, Routes};

/// All the routes of a service that has `naked` ones of its own, and `under_api_v1`.
pub(crate) fn everywhere(naked: Routes, under_api_v1: Routes) -> Routes {
    let naked = naked
        .route("/healthz", get(health::alive_text))
        .route("/health", get(health::health))
        .route("/metrics", get(metrics::get))
        .route("/ready", get(health::ready_naked))
        .route("/-/healthy", get(health::alive))
        .route("/-/ready", get(health::ready));
    let ours = Routes::new()
        .route("/", get(index::get))
        .route("/page/{name}", get(page::asset))
        .route("/v1/purchases", get(v1_purchases::list).post(buy::post))
        .route("/v1/purchases/{id}", get(v1_purchases::get))
        .route("/v1/summary", get(v1_summary::get));
    let all = naked.clone().merge(ours).nest("/api/v1", under_api_v1);
    let all = with_prefix(all, "/api", naked.route("/", get(index::describe)), get(index::describe));
    INGRESS_PREFIXES
        .into_iter()
        .fold(all.clone(), |routes, prefix| with_prefix(routes, prefix, all.clone(), get(index::get)))
}

/// `routes`, and below `prefix` those `nested`, with `index` at its slash.
fn with_prefix(routes: Routes, prefix: &str, nested: Routes, index: Methods) -> Routes {
    // Nested routes have no slash behind the prefix alone.
    routes.nest(prefix, nested).route(&format!("{prefix}/"), index)
}
