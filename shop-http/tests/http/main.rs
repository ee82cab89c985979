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
mod dialects;
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
mod metrics_table;
mod mounted;
mod page;
mod part_health;
mod prelude;
mod scenario;
mod scenarios;
mod services;
mod shop;
#[cfg(feature = "tls")]
mod tls;
mod tokens;
