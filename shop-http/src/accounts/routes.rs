//! The routes of users and orders.

use std::sync::Arc;

use super::request::RequestForm;
use super::resources::{self, AccountsState};
use crate::routes::groups::RouteGroup::{Dialects, V1};
use crate::routes::route::RequestClass::{Read, Write};
use crate::routes::route::{Route, RouteBuilder};
use crate::service::Service;

/// Returns the routes of users and orders, if the service includes these roles: in the native API,
/// and as in the replaced system.
pub(crate) fn routes(service: &Arc<Service>) -> Vec<Route> {
    let mut routes = routes_in_form(service, RequestForm::Native);
    let mut replaced = routes_in_form(service, RequestForm::Pydantic);
    for route in &mut replaced {
        route.group = Dialects;
        route.path = route.path.replacen("/v1", "", 1);
    }
    let with_slashes = replaced.iter().map(Route::with_slash).collect();
    routes.extend([replaced, with_slashes].concat());
    routes
}

/// Returns the routes below `/v1` for requests in this form.
#[rustfmt::skip]
fn routes_in_form(service: &Arc<Service>, form: RequestForm) -> Vec<Route> {
    let accounts = &service.accounts;
    let builder = RouteBuilder(AccountsState { service: Arc::clone(service), form });
    let mut routes = Vec::new();
    if accounts.users.is_some() {
        routes.push(builder.write((V1, "/v1/users", Write), "Registers: email, name", resources::post_user));
        routes.push(builder.read((V1, "/v1/users/{user_id}", Read), "One user", resources::get_user));
        routes.push(builder.read((V1, "/v1/users/{user_id}/orders", Read), "The numbers of a user's known orders", resources::get_orders_of_user));
    }
    if accounts.orders.is_some() {
        routes.push(builder.write((V1, "/v1/orders", Write), "Orders: user_id, product, quantity, total_price", resources::post_order));
        routes.push(builder.read((V1, "/v1/orders/{order_id}", Read), "One order", resources::get_order));
    }
    routes
}
