//! The table of the routes of the two services. They differ in their paths outside of `/v1` and in
//! where purchases are written.

use std::sync::Arc;

use crate::compat::{Dialect, INGRESS_PREFIXES};
use crate::metrics::{MetricFamilies, RouteSeries};
use crate::operations::{health, metrics, probes};
#[cfg(feature = "docs")]
use crate::resources::docs;
use crate::resources::{
    batch, buy, dead_letters, events, import, index, listing, openapi, page, problems, refund,
    v1_purchases, whoami,
};
use crate::routes::groups::Listener::{Admin, Public};
use crate::routes::groups::RouteGroup::{Dialects, Docs, Health, Metrics, Page, V1};
use crate::routes::route::Access::{Guarded, Open, Partial};
use crate::routes::route::RequestClass::{Batch, Operation, Probe, Read, Stream, Write};
use crate::routes::route::{Route, To};
use crate::service::ServiceKind::{Facing, Management};
use crate::service::{PurchaseService, Service};

/// The routes of `service`, with those below the prefixes of the replaced systems.
pub(crate) fn routes(service: &Arc<Service>) -> Vec<Route> {
    let to = To(Arc::clone(service));
    let mut own = service
        .purchases
        .as_ref()
        .map_or_else(Vec::new, |role| of_systems(service, &To(Arc::clone(role))));
    own.push(
        to.plain(
            (Health, "/healthz", Probe),
            "Whether the process is alive",
            probes::report_liveness_as_text,
        )
        .open(),
    );
    let mut all = [own.clone(), of_all(&to)].concat();
    #[cfg(feature = "accounts")]
    all.extend(crate::accounts::routes(service, &to));
    if let Some(role) = &service.purchases {
        all.extend(purchases(service, &To(Arc::clone(role))));
        if service.has(Dialects) {
            add_prefixes(service, &to, &mut all, &own);
        }
    }
    all.extend(operations(service, &to));
    all.retain(|route| service.has(route.group));
    for route in &mut all {
        route.dialect = Dialect::from_path(&route.path, service.options.dialect);
        route.series = RouteSeries::new(&route.path, route.measured);
    }
    all
}

/// The paths of the replaced systems. The index has them as it was theirs.
#[rustfmt::skip]
fn of_systems(service: &Service, to: &To<Arc<PurchaseService>>) -> Vec<Route> {
    match service.kind {
        Facing => vec![
            to.read((Dialects, "/getAllUserBuys/{who}", Read), "GET /getAllUserBuys/{userid or username}: a user's purchases", listing::get)
                .listed_as("/getAllUserBuys"),
            to.plain((Dialects, "/buy", Write), "POST: buys: username, userid, price", buy::post),
        ],
        Management => vec![
            to.read((Dialects, "/purchases/{who}", Read), "", listing::get),
            to.read((Dialects, "/purchases", Read), "GET /purchases/{userid or username}: a user's purchases; without it, the newest of all users", listing::list_all)
                .and(to.plain((Dialects, "/purchases", Write), "", buy::post_into_store)),
            to.read((Dialects, "/buyList/{who}", Read), "A user's purchases, by name", listing::buy_list).listed_as("/buyList/{username}"),
        ],
    }
}

/// The routes of each service.
#[rustfmt::skip]
fn of_all(to: &To<Arc<Service>>) -> Vec<Route> {
    vec![
        to.plain((V1, "/v1", Operation), "The roles of the service, and whether it is ready", probes::describe_service).open(),
        to.read((V1, "/v1/whoami", Read), "Who the token identifies, and what they may do", whoami::get),
        to.read((V1, "/problems/{name}", Read), "", problems::get).open(),
        to.plain((Page, "/", Read), "This description, or the page for a browser", index::get).open(),
        to.plain((Page, "/page/{name}", Read), "", page::asset).open(),
        to.plain((Docs, "/openapi.json", Read), "`/v1` as an OpenAPI document", openapi::get).open(),
        #[cfg(feature = "docs")]
        to.plain((Docs, "/docs", Read), "The API documentation, with a client to try it", docs::page).open(),
        #[cfg(feature = "docs")]
        to.plain((Docs, "/docs/{file}", Read), "", docs::file).open(),
        #[cfg(feature = "docs")]
        to.plain((Docs, "/redoc", Read), "", docs::redirected).open(),
    ]
}

/// Purchases in the native API.
#[rustfmt::skip]
fn purchases(service: &Service, to: &To<Arc<PurchaseService>>) -> Vec<Route> {
    let is_management = service.kind == Management;
    // On management these are writes past the log, which the public listener beside an admin
    // listener refuses.
    let is_refused = is_management && service.listener == Public;
    let listed = |about: &'static str| if is_refused { "" } else { about };
    let mut all = vec![
        to.read((V1, "/v1/purchases", Read), "A page of purchases, or a file: userid, username or reference, from, to, order, limit, cursor, wait_for, wait", v1_purchases::list)
            .and(to.plain((V1, "/v1/purchases", Write), "Buys: username, userid, price, optionally timestamp, item, quantity, currency and reference", buy::post)),
        to.plain((V1, "/v1/purchases:batch", Batch), listed("Buys many, with a result for each: a JSON array or NDJSON"), batch::post),
        to.read((V1, "/v1/purchases/events", Stream), "Purchases as they become visible, as server-sent events: userid, username or reference", events::get),
        to.read((V1, "/v1/purchases/{id}", Read), "One purchase", v1_purchases::get),
        to.read((V1, "/v1/summary", Read), "The number of a user's purchases and their sum: userid, username or reference, from, to", v1_purchases::summary),
        to.read((V1, "/v1/totals", Read), "The same per hour, day or month: userid, username or reference, from, to, per, zone", v1_purchases::totals),
    ];
    if service.options.refunds {
        all.push(to.plain((V1, "/v1/purchases/{id}:refund", Write), listed("Refunds a purchase, once: optionally amount and reason"), refund::post));
    }
    // Facing follows management, and no service follows facing. Only management lists all users'
    // purchases.
    if is_management {
        all.push(to.plain((V1, "/v1/purchases:import", Batch), listed("Imports a file of purchases, CSV or NDJSON"), import::post));
        all.push(to.read((V1, "/v1/purchases:positions", Read), "How far ingest is, for the events of other services", events::positions));
        all.push(to.read((V1, "/v1/usernames", Read), "The names of users that begin with prefix, in any case", v1_purchases::names));
    }
    all
}

/// Adds the routes below the prefixes of the replaced systems: those of `own` below `/api` and, but
/// for the probe and what management alone has, `/api/v1`; all below the prefixes of ingresses.
fn add_prefixes(service: &Service, to: &To<Arc<Service>>, all: &mut Vec<Route>, own: &[Route]) {
    let described = to.plain((Page, "/", Read), "", index::describe).open();
    let in_v1 = own.iter().filter(|route| match service.kind {
        Facing => route.group == Dialects,
        Management => route.path == "/purchases/{who}",
    });
    let in_v1: Vec<_> = in_v1.map(|route| route.below("/api/v1")).collect();
    all.extend(in_v1.iter().map(Route::with_slash));
    all.extend(in_v1);
    all.extend(
        own.iter()
            .chain([&described])
            .map(|route| route.below("/api")),
    );
    all.push(described.at("/api/".to_owned()));
    let unprefixed: Vec<_> = all
        .iter()
        .filter(|route| route.group != Docs)
        .cloned()
        .collect();
    for prefix in INGRESS_PREFIXES {
        all.extend(unprefixed.iter().map(|route| route.below(prefix)));
        all.push(
            to.plain((Page, "", Read), "", index::get)
                .open()
                .at(format!("{prefix}/")),
        );
    }
}

/// The routes for operators and probes. They have no prefix: below one that an ingress publishes,
/// they would be public.
#[rustfmt::skip]
fn operations(service: &Service, to: &To<Arc<Service>>) -> Vec<Route> {
    let is_public = service.listener == Public;
    let listed = |about: &'static str| if is_public { "" } else { about };
    let mut all = vec![to.plain((Health, "/livez", Probe), "Whether the process is alive, for probes", probes::report_liveness).open()];
    if service.dead_letters.topics().next().is_some() {
        all.extend([
            to.read((V1, "/v1/dead-letters", Read), listed("Pending dead letters: topic, reason, since, limit, cursor"), dead_letters::list),
            to.read((V1, "/v1/dead-letters/{position}", Read), listed("One dead letter with its record"), dead_letters::get),
            to.plain((V1, "/v1/dead-letters:replay", Write), listed("Publishes records again: positions, dry_run, reason"), dead_letters::replay),
            to.plain((V1, "/v1/dead-letters:discard", Write), listed("Discards dead letters: positions, dry_run, reason"), dead_letters::discard),
            to.plain((V1, "/v1/dead-letters:park", Write), listed("Dead-letters stuck records: positions, dry_run, reason"), dead_letters::park),
        ]);
    }
    if is_public {
        return all;
    }
    // Only operators and their tools reach an admin listener.
    let (partial, guarded) = if service.listener == Admin { (Open, Open) } else { (Partial, Guarded) };
    all.extend([
        to.plain((Health, "/readyz", Probe), "Whether this process can serve requests, for probes", probes::report_local_readiness).open(),
        to.plain((Health, "/ready", Operation), "The same as /-/ready, in the form of user-buy-list", probes::report_legacy_readiness).open(),
        to.plain((Health, "/-/healthy", Probe), "Whether the process is alive, as JSON", probes::report_liveness).open(),
        to.plain((Health, "/-/ready", Operation), "Whether log, store and ingest are available", probes::report_readiness).open(),
        to.read((Health, "/health", Operation), "The state of the service", health::report_health).with(partial, MetricFamilies::Flask),
        to.read((Metrics, "/metrics", Operation), "Metrics, for Prometheus", metrics::get).with(guarded, MetricFamilies::None),
    ]);
    all
}
