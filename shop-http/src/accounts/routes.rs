//! The routes of users and orders.

use std::sync::Arc;

use super::resources;
use crate::routes::groups::RouteGroup::{Dialects, V1};
use crate::routes::route::RequestClass::{Read, Write};
use crate::routes::route::{Route, To};
use crate::service::Service;

/// Users and orders, if the service has them: in the native API, and as in the replaced system.
#[rustfmt::skip]
pub(crate) fn routes(service: &Service, to: &To<Arc<Service>>) -> Vec<Route> {
    let mut v1 = Vec::new();
    if service.accounts.users.is_some() {
        v1.push(to.plain((V1, "/v1/users", Write), "Registers: email, name", resources::post_user));
        v1.push(to.read((V1, "/v1/users/{user_id}", Read), "One user", resources::get_user));
        v1.push(to.read((V1, "/v1/users/{user_id}/orders", Read), "The numbers of a user's known orders", resources::get_orders_of_user));
    }
    if service.accounts.orders.is_some() {
        v1.push(to.plain((V1, "/v1/orders", Write), "Orders: user_id, product, quantity, total_price", resources::post_order));
        v1.push(to.read((V1, "/v1/orders/{order_id}", Read), "One order", resources::get_order));
    }
    let own: Vec<_> = v1.iter().map(outside_of_v1).collect();
    let slashes = own.iter().map(Route::with_slash).collect();
    [v1, own, slashes].concat()
}

/// The same route without `/v1`, as in the replaced system.
fn outside_of_v1(route: &Route) -> Route {
    let path = route
        .path
        .strip_prefix("/v1")
        .unwrap_or(&route.path)
        .to_owned();
    let mut route = route.clone().at(path);
    route.group = Dialects;
    route
}
