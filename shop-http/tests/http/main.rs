//! Requests to the routers, on ports in memory.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod all_roles;
mod broken_ports;
mod connections;
mod dead_letters;
mod document;
#[expect(dead_code, reason = "only the metrics need it here")]
#[path = "../../../shop-accounts/tests/http/entities.rs"]
mod entities;
mod events;
mod fair;
mod files;
#[cfg(feature = "auth")]
mod issuer;
mod log_lines;
mod metric_rows;
mod metrics_table;
mod mounted;
mod page;
mod part_health;
mod prelude;
mod scenario;
mod scenarios;
mod service_scene;
mod services;
mod shop;
mod shops;
#[cfg(feature = "tls")]
mod tls;
mod tokens;

use std::sync::Arc;

use shop_accounts::http::Accounts;
use shop_http::Role;

/// Returns the roles that the fixtures of this crate add to the parts of a service, and takes the settings of these roles
/// out of `settings`: none.
fn take_roles(_settings: &mut Vec<&str>) -> Vec<Arc<dyn Role>> {
    Vec::new()
}

/// Returns the roles of a service with these users and orders.
fn roles_of(accounts: Accounts) -> Vec<Arc<dyn Role>> {
    vec![Arc::new(accounts)]
}
