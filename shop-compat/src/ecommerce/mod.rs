//! `ecommerce`, system 002: a FastAPI service for users, and one for orders.
//!
//! | | |
//! |---|---|
//! | system | (paths of 002) |
//! | always in this form | `/users`, `/orders` |
//! | a buy | |
//! | a listing | |
//! | an error | `{"detail"}` |
//!
//! Each path also has a form with a slash at its end. A request is read as pydantic reads it: an
//! invalid one is 422 with a list of pydantic's entries. An unavailable store is 503.
//!
//! The users and the orders themselves are those of [`Accounts`]: this module serves the same rows in
//! the form of the replaced system.

mod form;
mod pydantic;

use std::sync::Arc;

use shop_accounts::http::Accounts;
use shop_http::Role;
use shop_http::RouteGroup::ShortPaths;
use shop_http::toolkit::{ErrorWriter, Route, Service};

use self::form::PydanticForm;
use crate::fastapi;
use crate::role::strip_segments;

/// The paths of users and orders in the replaced system, beside those of [`Accounts`] below `/v1`.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_accounts::http::{Accounts, UsersRole};
/// use shop_accounts::memory::InMemoryUsers;
/// use shop_compat::ecommerce::Ecommerce;
/// use shop_http::{Parts, ServiceKind, routes};
///
/// let mut accounts = Accounts::default();
/// accounts.users = Some(UsersRole::new(Arc::new(InMemoryUsers::new())));
/// let mut parts = Parts::new(ServiceKind::Management, None);
/// parts.roles.push(Arc::new(accounts.clone()));
/// parts.roles.push(Arc::new(Ecommerce::new(accounts)));
/// let routes = routes(parts);
/// assert!(routes.paths().contains(&"/users".to_owned()));
/// ```
#[derive(Debug, Clone)]
pub struct Ecommerce {
    accounts: Accounts,
}

impl Ecommerce {
    /// Creates the role that serves the users and the orders of `accounts`.
    ///
    /// Without users and orders, the role has no routes, and `/users` and `/orders` answer 404 as the
    /// replaced system does.
    #[must_use]
    pub const fn new(accounts: Accounts) -> Self {
        Self { accounts }
    }
}

impl Role for Ecommerce {
    fn routes(&self, service: &Arc<Service>) -> Vec<Route> {
        let mut routes = self.accounts.routes_in_form(&PydanticForm, service);
        for route in &mut routes {
            route.group = ShortPaths;
            // Removes the prefix.
            route.path = route.path.replacen("/v1", "", 1);
        }
        let routes_with_slash: Vec<_> = routes.iter().map(Route::with_slash).collect();
        routes.extend(routes_with_slash);
        routes
    }

    fn error_writer(&self, path: &str) -> Option<ErrorWriter> {
        error_writer(path)
    }
}

/// Returns the writer of the errors at `path`, if the path is below `/users` or `/orders`. The path
/// may be one without a route.
pub(crate) fn error_writer(path: &str) -> Option<ErrorWriter> {
    let is_of_system = ["/users", "/orders"]
        .into_iter()
        .any(|prefix| strip_segments(path, prefix).is_some());
    is_of_system.then_some(fastapi::write_error)
}
