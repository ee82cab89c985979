//! Requests to the routers, on ports in memory.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod access_log;
#[cfg(feature = "auth")]
mod all_roles;
mod authorize;
mod batch;
mod browsers;
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
mod health;
mod idempotency;
mod imports;
#[cfg(feature = "auth")]
mod issuer;
mod limits;
mod metrics;
mod metrics_table;
mod middleware;
mod misbehaving_ports;
mod mounted;
mod page;
mod rates;
mod scenario;
mod scenarios;
mod shop;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "auth")]
mod tokens;
mod waiting;
