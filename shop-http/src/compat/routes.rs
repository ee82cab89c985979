//! The routes of the replaced systems: their paths without a prefix, and below the prefixes that
//! they had.
//!
//! | function | paths | form |
//! |---|---|---|
//! | [`unprefixed_routes`] | `/buy`, `/purchases` and others | the configured system; `/buyList` as in `scalable-shop` |
//! | [`shopping_system_routes`] | below `/api/v1` | `shopping-system` |
//! | [`user_buy_list_routes`] | below `/api` | `user-buy-list` |
//! | [`scalable_shop_routes`] | below the prefixes of ingresses | all of the above and `/v1`; paths that name no other system are in the form of `scalable-shop` |

use std::sync::Arc;

use super::{
    Dialect, INGRESS_PREFIXES, LegacyShop, SCALABLE_SHOP, SHOPPING_SYSTEM, SystemForms,
    USER_BUY_LIST, buying, configured_system, dialect, listing,
};
use crate::operations::probes;
use crate::resources::index;
use crate::routes::groups::RouteGroup::{Dialects, Docs, Health, Page};
use crate::routes::route::RequestClass::{Probe, Read, Write};
use crate::routes::route::{Route, RouteBuilder};
use crate::service::Service;
use crate::service::ServiceKind::{Facing, Management};

/// Returns the routes without a prefix.
pub(crate) fn unprefixed_routes(service: &Arc<Service>) -> Vec<Route> {
    let dialect = service.options.dialect;
    let mut routes = purchase_routes(service, dialect, configured_system(dialect));
    routes.extend(buy_list_route(service, &SCALABLE_SHOP));
    routes.push(probe(service));
    routes
}

/// Returns the routes below the prefixes of the replaced systems. `native_routes` are the routes
/// that are the same below each prefix.
pub(crate) fn prefixed_routes(service: &Arc<Service>, native_routes: &[Route]) -> Vec<Route> {
    let mut routes = shopping_system_routes(service);
    routes.extend(user_buy_list_routes(service));
    let behind_ingress = [native_routes, &routes].concat();
    routes.extend(scalable_shop_routes(service, behind_ingress));
    routes
}

/// Returns the routes of `shopping-system`, below `/api/v1`. A path with a slash at its end is
/// redirected, as FastAPI does.
fn shopping_system_routes(service: &Service) -> Vec<Route> {
    let mut routes = Vec::new();
    for route in purchase_routes(service, Dialect::DEFAULT, &SHOPPING_SYSTEM) {
        // On management, the system only listed the purchases of a user.
        if service.kind == Facing || route.path == "/purchases/{who}" {
            let route = route.below("/api/v1");
            routes.push(route.with_slash());
            routes.push(route);
        }
    }
    routes
}

/// Returns the routes of `user-buy-list`, below `/api`.
fn user_buy_list_routes(service: &Arc<Service>) -> Vec<Route> {
    let index = RouteBuilder(Arc::clone(service))
        .read_uncompressed((Page, "/", Read), "", index::describe)
        .open();

    let mut routes = purchase_routes(service, &dialect::USER_BUY_LIST, &USER_BUY_LIST);
    routes.extend(buy_list_route(service, &USER_BUY_LIST));
    routes.extend([probe(service), index.clone()]);
    let mut routes: Vec<_> = routes.iter().map(|route| route.below("/api")).collect();
    routes.push(index.at("/api/".to_owned()));
    routes
}

/// Returns the routes of `scalable-shop`, and `other_routes`, below each prefix that its ingresses
/// removed. The documentation is not there.
fn scalable_shop_routes(service: &Arc<Service>, other_routes: Vec<Route>) -> Vec<Route> {
    let mut unprefixed = purchase_routes(service, &dialect::SCALABLE_SHOP, &SCALABLE_SHOP);
    unprefixed.extend(buy_list_route(service, &SCALABLE_SHOP));
    unprefixed.push(probe(service));
    unprefixed.extend(other_routes);
    unprefixed.retain(|route| route.group != Docs);

    let mut routes = Vec::new();
    for prefix in INGRESS_PREFIXES {
        routes.extend(unprefixed.iter().map(|route| route.below(prefix)));
        // The page is also at the prefix with a slash.
        let page = RouteBuilder(Arc::clone(service))
            .read_uncompressed((Page, "", Read), "", index::get)
            .open();
        routes.push(page.at(format!("{prefix}/")));
    }
    routes
}

/// Returns the route of the probe that every replaced system had.
#[rustfmt::skip]
fn probe(service: &Arc<Service>) -> Route {
    RouteBuilder(Arc::clone(service)).read_uncompressed((Health, "/healthz", Probe), "Whether the process is alive", probes::report_liveness_as_text).open()
}

/// Returns the routes of purchases in the form of `system`, if the service serves purchases.
/// `dialect` only decides about the list of all users' purchases, and about the log line for each
/// purchase. The descriptions, which the index lists, come from the replaced systems.
#[rustfmt::skip]
fn purchase_routes(
    service: &Service,
    dialect: &'static Dialect,
    system: &'static SystemForms,
) -> Vec<Route> {
    let Some(purchases) = &service.purchases else {
        return Vec::new();
    };
    let builder = RouteBuilder(LegacyShop { dialect, system, purchases: Arc::clone(purchases) });
    match service.kind {
        Facing => vec![
            builder.read((Dialects, "/getAllUserBuys/{who}", Read), "GET /getAllUserBuys/{userid or username}: a user's purchases", listing::list_user)
                .listed_as("/getAllUserBuys"),
            builder.write((Dialects, "/buy", Write), "POST: buys: username, userid, price", buying::accept_into_log),
        ],
        Management => vec![
            builder.read((Dialects, "/purchases/{who}", Read), "", listing::list_user),
            builder.read((Dialects, "/purchases", Read), "GET /purchases/{userid or username}: a user's purchases; without it, the newest of all users", listing::list_all_users)
                .and(builder.write((Dialects, "/purchases", Write), "", buying::write_into_store)),
        ],
    }
}

/// Returns the route `/buyList` of management, in the form of `system`, if the service serves
/// purchases.
fn buy_list_route(service: &Service, system: &'static SystemForms) -> Option<Route> {
    if service.kind == Facing {
        return None;
    }
    let builder = RouteBuilder(LegacyShop {
        dialect: Dialect::DEFAULT,
        system,
        purchases: Arc::clone(service.purchases.as_ref()?),
    });
    let spec = (Dialects, "/buyList/{who}", Read);
    let description = "A user's purchases, by name";
    let route = builder.read(spec, description, listing::list_user_with_status);
    Some(route.listed_as("/buyList/{username}"))
}
