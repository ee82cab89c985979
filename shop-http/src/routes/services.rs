//! The two services. They differ in their paths outside of `/v1` and in where purchases are written.

use std::sync::Arc;

use axum::routing::post_service;

use crate::auth::{Authenticate, AuthenticateService};
use crate::resources::buy::{self, Buying};
use crate::resources::listing;
use crate::routes::fixed_route::FixedRoute;
use crate::routes::groups::RouteGroup;
use crate::routes::path_router::{Routes, read};
use crate::routes::router_service::FixedService;
use crate::routes::shared_routes::shared_routes;
use crate::service::Service;
use crate::service::ServiceKind;

/// The routes of `service`, without those of the documentation.
pub(crate) fn routes(service: &Service) -> Routes {
    let of_a_user = |path| Routes::new().route(path, read(listing::get));
    let purchases = service.purchases.as_ref();
    let buying = || {
        let buying = purchases.map(|purchases| post_service(Buying::new(Arc::clone(purchases))));
        buying.unwrap_or_default()
    };
    let (own, under_api_v1) = match service.kind {
        ServiceKind::Facing => {
            let own = of_a_user("/getAllUserBuys/{who}").route("/buy", buying());
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
    shared_routes(service, own, under_api_v1)
}

/// Those of the routes that can be in front of the router.
/// `authenticate` is asked about their tokens, if it is set.
pub(crate) fn fixed(
    service: &Service,
    authenticate: Option<Arc<dyn Authenticate>>,
) -> impl Iterator<Item = (&'static FixedRoute, FixedService)> {
    let has_buy = service.kind == ServiceKind::Facing && service.has(RouteGroup::Dialects);
    let has_v1 = service.has(RouteGroup::V1);
    let routes = [(has_buy, &FixedRoute::BUY), (has_v1, &FixedRoute::V1_PURCHASES)];
    let routes = routes.into_iter().filter_map(|(is_there, route)| is_there.then_some(route));
    routes.filter_map(move |route| {
        let purchases = service.purchases.as_ref()?;
        let dialect = route.dialect(purchases.options.dialect);
        let buying = Buying::new(Arc::clone(purchases)).in_dialect(dialect);
        Some((route, AuthenticateService::new(authenticate.clone(), Some(dialect), buying)))
    })
}
