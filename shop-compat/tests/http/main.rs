//! Requests to the routers of shop-http with the role of the replaced systems, on ports in memory. The fixtures, and how
//! scenarios are run, are those of shop-http.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

#[path = "../../../shop-http/tests/http/all_roles.rs"]
mod all_roles;
#[path = "../../../shop-http/tests/http/broken_ports.rs"]
mod broken_ports;
#[path = "../../../shop-http/tests/http/dead_letters.rs"]
mod dead_letters;
mod dialects;
#[path = "../../../shop-http/tests/http/document.rs"]
mod document;
#[path = "../../../shop-http/tests/http/events.rs"]
mod events;
#[path = "../../../shop-http/tests/http/log_lines.rs"]
mod log_lines;
#[path = "../../../shop-http/tests/http/metric_rows.rs"]
mod metric_rows;
#[expect(unused_imports, reason = "only tests of shop-http need all of it")]
#[path = "../../../shop-http/tests/http/prelude.rs"]
mod prelude;
mod routes;
#[path = "../../../shop-http/tests/http/scenario/mod.rs"]
mod scenario;
mod scenarios;
#[path = "../../../shop-http/tests/http/service_scene.rs"]
mod service_scene;
mod services;
#[path = "../../../shop-http/tests/http/shop.rs"]
mod shop;
#[path = "../../../shop-http/tests/http/shops.rs"]
mod shops;
#[path = "../../../shop-http/tests/http/tokens.rs"]
mod tokens;

use std::sync::Arc;

use shop_accounts::http::Accounts;
use shop_compat::ecommerce::Ecommerce;
use shop_compat::{Dialect, ReplacedSystems};
use shop_http::Role;

/// Returns the role that the fixtures add to the parts of a service, and takes its setting out of `settings`:
/// `dialect=NAME`.
fn take_roles(settings: &mut Vec<&str>) -> Vec<Arc<dyn Role>> {
    let mut dialect = "default";
    settings.retain(|setting| match setting.strip_prefix("dialect=") {
        Some(name) => {
            dialect = name;
            false
        }
        None => true,
    });
    let dialect = Dialect::from_name(dialect).unwrap();
    vec![Arc::new(ReplacedSystems::new(dialect))]
}

/// Returns the roles of a service with these users and orders.
fn roles_of(accounts: Accounts) -> Vec<Arc<dyn Role>> {
    let ecommerce = Ecommerce::new(accounts.clone());
    vec![Arc::new(accounts), Arc::new(ecommerce)]
}
