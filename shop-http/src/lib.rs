//! Purchase tracking over HTTP: the routers of facing and management over the ports of `shop-core`.
//!
//! The modules in the order in which a request passes them; each imports only those below it:
//!
//! | module | contents |
//! |---|---|
//! | `routes` | the two routers, and the routes that they share |
//! | `openapi` | the OpenAPI document, generated from the routes and the dialects |
//! | `resources` | a handler per resource; the page for browsers |
//! | `request` | parsed and validated requests: body, purchase, user or order, query |
//! | `server` | the listener, and the layers around every route: request ids, log, panics, limits, compression, CORS |
//! | `service` | the roles behind the routes: ports with time-outs, idempotency keys, read-your-writes |
//! | `response` | response bodies; failures, with their status and their body in every dialect |
//! | `metrics` | counters and histograms |
//! | `options`, `service_kind`, `header_names`, `held_body` | shared types |
//! | `dialect` | the response format for one group of clients, as a value |
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use shop_core::memory::{InMemoryLog, InMemoryStore};
//! use shop_http::{Facing, HttpOptions, facing, serve};
//!
//! # async fn example() -> std::io::Result<()> {
//! let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
//! let parts = Facing::new(Arc::new(log.sink()), Arc::new(store));
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! let options = HttpOptions::default();
//! serve(listener, facing(parts, options.clone()), &options, std::future::pending()).await
//! # }
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod dialect;
mod header_names;
mod held_body;
mod metrics;
mod openapi;
mod options;
mod request;
mod resources;
mod response;
mod routes;
mod server;
mod service;
mod service_kind;

/// The crate of the routers.
pub use axum;
pub use dialect::{Dialect, UnknownDialect};
pub use metrics::Metrics;
pub use options::{CorsOrigins, HttpOptions, InvalidOrigin};
pub use routes::services::{facing, management};
pub use server::serve::serve;
pub use service::entity_role::{EntityRole, OrdersRole, UsersRole};
pub use service::parts::{Facing, LocalPorts, Management, Parts, PurchasesRole};
pub use shop_core::ports::StoreSink;

/// Compiles the code of the package's README with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
