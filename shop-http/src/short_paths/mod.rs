//! The short paths: `/buy`, `/getAllUserBuys/{who}` and `/purchases`, for small clients.
//!
//! They are looser than `/v1`: they ignore unknown members, know several names of the user id, and
//! accept prices as computed with doubles. They call the same functions as the native API.
//!
//! | | |
//! |---|---|
//! | a buy | 201, the purchase as `data` and as `purchase` |
//! | a listing | an object by user id, else by name, newest first |
//! | an error | `{"error"}` |
//!
//! An invalid request is 400, a log or a store that is unavailable 503.
//!
//! A [role](crate::Role) may choose another [form](form::ShortPathForm) of these paths, and serve
//! the same handlers in further forms on paths of its own: by [`short_path_routes`] and
//! [`listing_route`]. The handlers are in [`buying`] and [`listing`], [`reading`] reads a purchase,
//! [`envelope`] and [`purchase`] write responses, and [`errors`] writes errors.

mod buying;
mod envelope;
pub(crate) mod errors;
pub(crate) mod form;
mod listing;
mod purchase;
mod reading;

use std::sync::Arc;

use self::form::ShortPathForm;
use crate::routes::groups::RouteGroup::ShortPaths;
use crate::routes::route::RequestClass::{Read, Write};
use crate::routes::route::{Route, RouteBuilder};
use crate::service::ServiceKind::{Facing, Management};
use crate::service::{PurchaseService, Service};

/// The state of the handlers of short paths: purchases, and the form of the paths.
#[derive(Clone)]
struct ShortPathHandlers {
    form: &'static ShortPathForm,
    purchases: Arc<PurchaseService>,
}

/// Returns the routes of the short paths of `service` in `form`. Returns no routes if the service does
/// not serve purchases.
#[rustfmt::skip]
pub fn short_path_routes(service: &Service, form: &'static ShortPathForm) -> Vec<Route> {
    let Some(builder) = route_builder(service, form) else {
        return Vec::new();
    };
    match service.kind {
        Facing => vec![
            builder.read((ShortPaths, "/getAllUserBuys/{who}", Read), "GET /getAllUserBuys/{userid or username}: a user's purchases", listing::list_user)
                .listed_as("/getAllUserBuys"),
            builder.write((ShortPaths, "/buy", Write), "POST: buys: username, userid, price", buying::accept_into_log),
        ],
        Management => vec![
            builder.read((ShortPaths, "/purchases/{who}", Read), "", listing::list_user),
            builder.read((ShortPaths, "/purchases", Read), "GET /purchases/{userid or username}: a user's purchases; without it, the newest of all users", listing::list_all_users)
                .and(builder.write((ShortPaths, "/purchases", Write), "", buying::write_into_store)),
        ],
    }
}

/// Returns a route at `path` that lists the purchases of one user, or `None` if the service does not
/// serve purchases. The only parameter of the path is the id or the name of the user.
///
/// `description` is the text of the route in the index. With an empty text, the index does not list
/// the route.
pub fn listing_route(
    service: &Service,
    form: &'static ShortPathForm,
    path: &'static str,
    description: &'static str,
) -> Option<Route> {
    let builder = route_builder(service, form)?;
    Some(builder.read((ShortPaths, path, Read), description, listing::list_user))
}

/// Returns the builder of routes in `form`, if the service serves purchases.
fn route_builder(
    service: &Service,
    form: &'static ShortPathForm,
) -> Option<RouteBuilder<ShortPathHandlers>> {
    let purchases = Arc::clone(service.purchases.as_ref()?);
    Some(RouteBuilder(ShortPathHandlers { form, purchases }))
}
