//! The routes of users and orders.

use std::sync::Arc;

use shop_http::RouteGroup::{Dialects, V1};
use shop_http::toolkit::RequestClass::{Read, Write};
use shop_http::toolkit::{Route, RouteBuilder, Service};

use super::request::RequestForm;
use super::resources::{self, AccountsState};
use super::role::Accounts;

/// Returns the routes of `accounts` in `service`: in the native API, and as in the replaced system.
pub(super) fn routes(accounts: &Arc<Accounts>, service: &Arc<Service>) -> Vec<Route> {
    let mut routes = routes_in_form(accounts, service, RequestForm::Native);
    let mut replaced = routes_in_form(accounts, service, RequestForm::Pydantic);
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
fn routes_in_form(accounts: &Arc<Accounts>, service: &Arc<Service>, form: RequestForm) -> Vec<Route> {
    let builder = RouteBuilder(AccountsState { accounts: Arc::clone(accounts), service: Arc::clone(service), form });
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
