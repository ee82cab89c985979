//! Users and orders over HTTP in the form of the replaced system `ecommerce`. The fixtures, and how scenarios are run, are
//! those of shop-accounts and shop-http.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

#[path = "../../../shop-accounts/tests/http/entities.rs"]
mod entities;
#[path = "ecommerce/measured.rs"]
mod measured;
#[path = "../../../shop-accounts/tests/http/misbehaving.rs"]
mod misbehaving;
#[path = "../../../shop-accounts/tests/http/rows.rs"]
mod rows;
#[path = "../../../shop-http/tests/http/scenario/mod.rs"]
mod scenario;
#[path = "ecommerce/scenarios.rs"]
mod scenarios;
#[path = "../../../shop-accounts/tests/http/services.rs"]
mod services;
#[expect(dead_code, reason = "the tests of purchases need the rest")]
#[path = "../../../shop-http/tests/http/shop.rs"]
mod shop;

use std::sync::Arc;

use shop_accounts::http::Accounts;
use shop_compat::ecommerce::Ecommerce;
use shop_compat::{Dialect, ReplacedSystems};
use shop_http::Role;

/// Returns the roles that the fixtures of shop-http add to the parts of a service: none.
fn take_roles(_settings: &mut Vec<&str>) -> Vec<Arc<dyn Role>> {
    Vec::new()
}

/// Returns the roles of a service with these users and orders.
fn roles_of(accounts: Accounts) -> Vec<Arc<dyn Role>> {
    let ecommerce = Ecommerce::new(accounts.clone());
    let other_systems = ReplacedSystems::new(Dialect::DEFAULT);
    vec![
        Arc::new(accounts),
        Arc::new(ecommerce),
        Arc::new(other_systems),
    ]
}
