//! Users and orders over HTTP: responses to clients, and the state for operators.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod entities;
mod misbehaving;
mod rows;
#[path = "../../../shop-http/tests/http/scenario/mod.rs"]
mod scenario;
mod scenarios;
mod services;
#[expect(dead_code, reason = "the tests of purchases need the rest")]
#[path = "../../../shop-http/tests/http/shop.rs"]
mod shop;
mod strict;

use std::sync::Arc;

use shop_accounts::http::Accounts;
use shop_http::Role;

/// Returns the roles that the fixtures of shop-http add to the parts of a service: none.
fn take_roles(_settings: &mut Vec<&str>) -> Vec<Arc<dyn Role>> {
    Vec::new()
}

/// Returns the roles of a service with these users and orders.
fn roles_of(accounts: Accounts) -> Vec<Arc<dyn Role>> {
    vec![Arc::new(accounts)]
}
