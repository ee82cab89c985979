//! The table of the routes of the two services. They differ in their paths outside of `/v1` and in
//! where purchases are written.

use std::sync::Arc;

use crate::metrics::{MetricFamilies, RouteSeries};
use crate::operations::health::{self, HealthState};
use crate::operations::health_form::HealthForm;
use crate::operations::{metrics, probes};
#[cfg(feature = "docs")]
use crate::resources::docs;
use crate::resources::{
    batch, buy, dead_letters, events, import, index, openapi, page, problems, refund, v1_purchases,
    whoami,
};
use crate::routes::groups::Listener::{Admin, Public};
use crate::routes::groups::RouteGroup::{Docs, Health, Metrics, Page, V1};
use crate::routes::route::Access::{Guarded, Open, Partial};
use crate::routes::route::RequestClass::{Batch, Operation, Probe, Read, Stream, Write};
use crate::routes::route::{Route, RouteBuilder};
use crate::service::ServiceKind::Management;
use crate::service::{PurchaseService, Service};
use crate::short_paths::errors::error_writer;
use crate::short_paths::form::ShortPathForm;
use crate::short_paths::short_path_routes;

/// Returns the routes of `service`, including those of its roles.
pub(crate) fn routes(service: &Arc<Service>) -> Vec<Route> {
    let builder = RouteBuilder(Arc::clone(service));
    let mut native_routes = common_routes(&builder);
    for role in &service.roles {
        native_routes.extend(role.routes(service));
    }
    if let Some(purchases) = &service.purchases {
        let purchase_builder = RouteBuilder(Arc::clone(purchases));
        native_routes.extend(purchase_routes(service, &purchase_builder));
    }

    let form_of_roles = service.roles.iter().find_map(|role| role.short_paths());
    let form = form_of_roles.unwrap_or(&ShortPathForm::DEFAULT);
    let mut routes = short_path_routes(service, form);
    routes.extend_from_slice(&native_routes);
    for role in &service.roles {
        routes.extend(role.further_routes(service, &native_routes));
    }
    routes.extend(operator_routes(service, &builder));
    routes.retain(|route| service.has(route.group));
    for route in &mut routes {
        route.write_error = error_writer(&route.path, service);
        route.series = RouteSeries::new(&route.path, route.measured);
    }
    routes
}

/// Returns `description`, or an empty description if the route is hidden. The index lists no route
/// with an empty description.
const fn unless_hidden(is_hidden: bool, description: &'static str) -> &'static str {
    if is_hidden { "" } else { description }
}

/// Returns the routes that every service serves.
#[rustfmt::skip]
fn common_routes(builder: &RouteBuilder<Arc<Service>>) -> Vec<Route> {
    vec![
        builder.read_uncompressed((Health, "/healthz", Probe), "Whether the process is alive", probes::report_liveness_as_text).open(),
        builder.read_uncompressed((V1, "/v1", Operation), "The roles of the service, and whether it is ready", probes::describe_service).open(),
        builder.read((V1, "/v1/whoami", Read), "Who the token identifies, and what they may do", whoami::get),
        builder.read((V1, "/problems/{name}", Read), "", problems::get).open(),
        builder.read_uncompressed((Page, "/", Read), "This description, or the page for a browser", index::get).open(),
        builder.read_uncompressed((Page, "/page/{name}", Read), "", page::asset).open(),
        builder.read_uncompressed((Docs, "/openapi.json", Read), "`/v1` as an OpenAPI document", openapi::get).open(),
        #[cfg(feature = "docs")]
        builder.read_uncompressed((Docs, "/docs", Read), "The API documentation, with a client to try it", docs::page).open(),
        #[cfg(feature = "docs")]
        builder.read_uncompressed((Docs, "/docs/{file}", Read), "", docs::file).open(),
        #[cfg(feature = "docs")]
        builder.read_uncompressed((Docs, "/redoc", Read), "", docs::redirect).open(),
    ]
}

/// Returns the routes of purchases in the native API.
#[rustfmt::skip]
fn purchase_routes(service: &Service, builder: &RouteBuilder<Arc<PurchaseService>>) -> Vec<Route> {
    let is_management = service.kind == Management;
    // Management writes to its store without the log, which only operators may do. Beside an admin
    // listener, the public one therefore refuses these writes, and its index does not list them.
    let is_refused = is_management && service.listener == Public;
    let mut routes = vec![
        builder.read((V1, "/v1/purchases", Read), "A page of purchases, or a file: userid, username or reference, from, to, order, limit, cursor, wait_for, wait", v1_purchases::list)
            .and(builder.write((V1, "/v1/purchases", Write), "Buys: username, userid, price, optionally timestamp, item, quantity, currency and reference", buy::post)),
        builder.write((V1, "/v1/purchases:batch", Batch), unless_hidden(is_refused, "Buys many, with a result for each: a JSON array or NDJSON"), batch::post),
        builder.read((V1, "/v1/purchases/events", Stream), "Purchases as they become visible, as server-sent events: userid, username or reference", events::get),
        builder.read((V1, "/v1/purchases/{id}", Read), "One purchase", v1_purchases::get),
        builder.read((V1, "/v1/summary", Read), "The number of a user's purchases and their sum: userid, username or reference, from, to", v1_purchases::summary),
        builder.read((V1, "/v1/totals", Read), "The same per hour, day or month: userid, username or reference, from, to, per, zone", v1_purchases::totals),
    ];
    if service.options.refunds {
        routes.push(builder.write((V1, "/v1/purchases/{id}:refund", Write), unless_hidden(is_refused, "Refunds a purchase, once: optionally amount and reason"), refund::post));
    }
    // Facing reads the events of management, so that it needs the positions. Imports and the names
    // of all users are for operators, who use management.
    if is_management {
        routes.push(builder.write((V1, "/v1/purchases:import", Batch), unless_hidden(is_refused, "Imports a file of purchases, CSV or NDJSON"), import::post));
        routes.push(builder.read((V1, "/v1/purchases:positions", Read), "How far ingest is, for the events of other services", events::positions));
        routes.push(builder.read((V1, "/v1/usernames", Read), "The names of users that begin with prefix, in any case", v1_purchases::names));
    }
    routes
}

/// Returns the routes for operators and probes.
///
/// Roles do not get these routes for [further routes](crate::Role::further_routes), where they
/// would be public. Beside an admin listener, the public listener only gets a probe, and the routes
/// of dead letters, which it refuses.
#[rustfmt::skip]
fn operator_routes(service: &Arc<Service>, builder: &RouteBuilder<Arc<Service>>) -> Vec<Route> {
    let is_public = service.listener == Public;
    let mut routes = vec![builder.read_uncompressed((Health, "/livez", Probe), "Whether the process is alive, for probes", probes::report_liveness).open()];
    if service.dead_letters.topics().next().is_some() {
        routes.extend([
            builder.read((V1, "/v1/dead-letters", Read), unless_hidden(is_public, "Pending dead letters: topic, reason, since, limit, cursor"), dead_letters::list),
            builder.read((V1, "/v1/dead-letters/{position}", Read), unless_hidden(is_public, "One dead letter with its record"), dead_letters::get),
            builder.write((V1, "/v1/dead-letters:replay", Write), unless_hidden(is_public, "Publishes records again: positions, dry_run, reason"), dead_letters::replay),
            builder.write((V1, "/v1/dead-letters:discard", Write), unless_hidden(is_public, "Discards dead letters: positions, dry_run, reason"), dead_letters::discard),
            builder.write((V1, "/v1/dead-letters:park", Write), unless_hidden(is_public, "Dead-letters stuck records: positions, dry_run, reason"), dead_letters::park),
        ]);
    }
    if is_public {
        return routes;
    }
    // Everyone who reaches an admin listener is an operator, or a tool of one.
    let is_admin = service.listener == Admin;
    let health_access = if is_admin { Open } else { Partial };
    let metrics_access = if is_admin { Open } else { Guarded };
    let form_of_roles = service.roles.iter().find_map(|role| role.health_form());
    let health = RouteBuilder(HealthState {
        service: Arc::clone(service),
        form: form_of_roles.unwrap_or(HealthForm::DEFAULT),
    });
    routes.extend([
        builder.read_uncompressed((Health, "/readyz", Probe), "Whether this process can serve requests, for probes", probes::report_local_readiness).open(),
        builder.read_uncompressed((Health, "/-/healthy", Probe), "Whether the process is alive, as JSON", probes::report_liveness).open(),
        builder.read_uncompressed((Health, "/-/ready", Operation), "Whether log, store and ingest are available", probes::report_readiness).open(),
        health.read((Health, "/health", Operation), "The state of the service", health::report_health).with(health_access, MetricFamilies::OfRoles),
        builder.read((Metrics, "/metrics", Operation), "Metrics, for Prometheus", metrics::get).with(metrics_access, MetricFamilies::None),
    ]);
    routes
}
