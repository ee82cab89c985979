//! Users and orders over HTTP: responses to clients of the replaced system, and the state for
//! operators.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod entities;
mod measured;
mod misbehaving;
#[path = "../../../shop-http/tests/http/scenario/mod.rs"]
mod scenario;
mod scenarios;
#[expect(dead_code, reason = "the tests of purchases need the rest")]
#[path = "../../../shop-http/tests/http/shop.rs"]
mod shop;

use std::sync::Arc;

use shop_compat::{Dialect, ReplacedSystems};
use shop_http::Role;

/// Returns the role that writes the errors at `/users` and `/orders` as the replaced system did.
fn take_roles(_settings: &mut Vec<&str>) -> Vec<Arc<dyn Role>> {
    vec![Arc::new(ReplacedSystems::new(Dialect::DEFAULT))]
}
