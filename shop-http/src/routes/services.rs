//! The routes of the two services, and the prefixes of the replaced systems. The services differ in their paths outside
//! of `/v1` and in where purchases are written.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::routing::{MethodRouter, get, post};

use crate::dialect::INGRESS_PREFIXES;
use crate::openapi::Document;
#[cfg(feature = "docs")]
use crate::resources::docs;
use crate::resources::{
    batch, buy, dead_letters, entities, events, health, index, listing, metrics, page, problems,
    v1_purchases, whoami,
};
use crate::response::HttpError;
use crate::response::constant::Constants;
use crate::routes::groups::{Listener, RouteGroup};
use crate::routes::mount::Mount;
use crate::routes::path_router::{Routes, in_context, read};
use crate::service::{Purchases, Service, ServiceKind};

/// The routes of `service`.
pub(crate) fn routes(service: &Arc<Service>) -> Routes {
    let of_a_user = |path| Routes::new().route(path, read(listing::get));
    let (own, under_api_v1) = match service.kind {
        ServiceKind::Facing => {
            let own = of_a_user("/getAllUserBuys/{who}").route("/buy", post(buy::post));
            (own.clone(), own)
        }
        ServiceKind::Management => {
            let of_a_user = of_a_user("/purchases/{who}");
            let own = of_a_user
                .clone()
                .route("/purchases", read(listing::list_all).post(buy::post_into_store))
                .route("/buyList/{who}", read(listing::buy_list));
            (own, of_a_user)
        }
    };
    with_docs(shared_routes(service, own, under_api_v1), service)
}

/// Adds the routes that document `routes`, if the service has them.
fn with_docs(routes: Routes, service: &Arc<Service>) -> Routes {
    if !service.has(RouteGroup::Docs) {
        return routes;
    }
    let (service, paths) = (Arc::clone(service), routes.paths().to_vec());
    let documents = Arc::new(Constants::default());
    let document = move |mount: Mount, request: HeaderMap| {
        let make = || Document::new(&service, &paths).at(&mount);
        let document = documents.get(mount.prefix(), make).map(|document| document.respond(&request));
        std::future::ready(document.ok_or(HttpError::NO_ROUTE))
    };
    #[cfg(feature = "docs")]
    let routes = routes
        .open("/docs", get(docs::page))
        .open("/docs/{file}", get(docs::file))
        .open("/redoc", get(docs::redirected));
    routes.open("/openapi.json", get(document))
}

/// All routes of `service` in its groups. Purchases also have the routes `own`, and `under_api_v1` below `/api/v1`.
fn shared_routes(
    service: &Service,
    own: Routes<Arc<Purchases>>,
    under_api_v1: Routes<Arc<Purchases>>,
) -> Routes {
    let alive =
        of_group(service, RouteGroup::Health, || Routes::new().open("/healthz", get(health::alive_text)));
    let index = of_group(service, RouteGroup::Page, || {
        Routes::new().open("/", get(index::get)).open("/page/{name}", get(page::asset))
    });
    let Some(purchases) = &service.purchases else {
        return with_entities(alive.merge(operations(service)), service).merge(index);
    };
    let with_purchases = |routes: Routes<Arc<Purchases>>| routes.with_state(Arc::clone(purchases));
    let v1 = of_group(service, RouteGroup::V1, || {
        let v1 = Routes::new()
            .route("/v1/purchases", read(v1_purchases::list).post(buy::post))
            .route("/v1/purchases:batch", post(batch::post))
            .route("/v1/purchases/events", read(events::get))
            .route("/v1/purchases/{id}", read(v1_purchases::get))
            .route("/v1/summary", read(v1_purchases::summary))
            .route("/v1/totals", read(v1_purchases::totals));
        // Facing follows management, and no service follows facing. Only management lists all users' purchases.
        let v1 = match service.kind {
            ServiceKind::Facing => v1,
            ServiceKind::Management => v1
                .route("/v1/purchases:positions", read(events::positions))
                .route("/v1/usernames", read(v1_purchases::names)),
        };
        with_purchases(v1)
    });
    let native = with_entities(v1, service).merge(index);
    if !service.has(RouteGroup::Dialects) {
        return alive.merge(native).merge(operations(service));
    }
    let unprefixed = with_purchases(own).merge(alive);
    let all = unprefixed.clone().merge(native).nest("/api/v1", with_purchases(under_api_v1.with_slashes()));
    let described = of_group(service, RouteGroup::Page, || Routes::new().open("/", get(index::describe)));
    let all = with_prefix(all, service, "/api", unprefixed.merge(described), get(index::describe));
    let all = INGRESS_PREFIXES.into_iter().fold(all.clone(), |routes, prefix| {
        with_prefix(routes, service, prefix, all.clone(), get(index::get))
    });
    all.merge(operations(service))
}

/// The routes of dead letters, if the service has logs.
fn of_dead_letters(service: &Service) -> Routes {
    if service.dead_letters.is_empty() {
        return Routes::new();
    }
    Routes::new()
        .route("/v1/dead-letters", read(dead_letters::list))
        .route("/v1/dead-letters/{position}", read(dead_letters::get))
        .route("/v1/dead-letters:replay", post(dead_letters::replay))
        .route("/v1/dead-letters:discard", post(dead_letters::discard))
        .route("/v1/dead-letters:park", post(dead_letters::park))
}

/// The routes of `group`, if the service has it.
fn of_group(service: &Service, group: RouteGroup, routes: impl FnOnce() -> Routes) -> Routes {
    if service.has(group) { routes() } else { Routes::new() }
}

/// The routes for operators and probes. They have no prefix: below one that an ingress publishes, they would be public.
fn operations(service: &Service) -> Routes {
    let livez = || Routes::new().open("/livez", get(health::alive));
    let dead_letters = of_group(service, RouteGroup::V1, || of_dead_letters(service));
    if service.listener == Listener::Public {
        return of_group(service, RouteGroup::Health, livez).merge(dead_letters);
    }
    // Only operators and their tools reach an admin listener.
    let guarded = |path, methods| match service.listener {
        Listener::Admin => Routes::new().open(path, methods),
        _ => Routes::new().route(path, methods),
    };
    let health = || {
        livez()
            .open("/readyz", get(health::ready_to_answer))
            .open("/ready", get(health::legacy_ready))
            .open("/-/healthy", get(health::alive))
            .open("/-/ready", get(health::ready))
            .merge(guarded("/health", in_context(get(health::health))))
    };
    let metrics = || guarded("/metrics", read(metrics::get));
    let health = of_group(service, RouteGroup::Health, health);
    health.merge(of_group(service, RouteGroup::Metrics, metrics)).merge(dead_letters)
}

/// Adds the routes of the roles users and orders, if the service has them: the native API under `/v1`, and the replaced
/// system's paths.
fn with_entities(routes: Routes, service: &Service) -> Routes {
    let mut routed = Routes::new();
    if service.users.is_some() {
        routed = routed
            .route("/users", post(entities::post_user))
            .route("/users/{user_id}", read(entities::get_user))
            .route("/users/{user_id}/orders", read(entities::get_orders_of_user));
    }
    if service.orders.is_some() {
        routed = routed
            .route("/orders", post(entities::post_order))
            .route("/orders/{order_id}", read(entities::get_order));
    }
    let native = of_group(service, RouteGroup::V1, || {
        let v1 = Routes::new().nest("/v1", routed.clone()).open("/v1", get(health::of_v1));
        v1.route("/v1/whoami", read(whoami::get)).open("/problems/{name}", get(problems::get))
    });
    routes.merge(of_group(service, RouteGroup::Dialects, || routed.with_slashes())).merge(native)
}

/// Adds `nested` below `prefix`, with `index` at the prefix with a slash.
fn with_prefix(
    routes: Routes,
    service: &Service,
    prefix: &str,
    nested: Routes,
    index: MethodRouter<Arc<Service>>,
) -> Routes {
    let routes = routes.nest(prefix, nested);
    // Nested routes have no path for the prefix with a slash.
    routes.merge(of_group(service, RouteGroup::Page, || Routes::new().open(&format!("{prefix}/"), index)))
}
