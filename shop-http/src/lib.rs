//! Purchase tracking over HTTP: routers over the ports of `shop-core`, whatever stands behind them.
//!
//! The folders follow the way of a request; each imports only those below it:
//!
//! | module | what it holds |
//! |---|---|
//! | `routes` | the two routers, and what they share: which resource stands where |
//! | `openapi` | the document of the API, made of the routes and of the dialects |
//! | `resources` | one file for each resource: what it reads, asks the ports for, and answers; the page for browsers |
//! | `request` | what a request says, checked: body, purchase, user or order, query |
//! | `server` | the listener; what surrounds every route: request ids, log, panics, limits, compression, CORS |
//! | `service` | the roles behind the routes: ports with time-outs, idempotency keys, reading one's own purchase |
//! | `response` | bodies of responses; what can go wrong with a request, its status, and its body in every dialect |
//! | `metrics` | what a service counts and measures |
//! | `options`, `service_kind`, `header_names`, `held_body` | what all of them share |
//! | `dialect` | how one group of clients is answered, as a value |
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

pub use dialect::{Dialect, UnknownDialect};
pub use metrics::Metrics;
pub use options::{CorsOrigins, HttpOptions, InvalidOrigin};
pub use routes::services::{facing, management};
pub use server::serve::serve;
pub use service::entity_role::{EntityRole, OrdersRole, UsersRole};
pub use service::parts::{Facing, LocalPorts, Management, Parts, PurchasesRole};
pub use service::store_sink::StoreSink;
