//! Purchase tracking over HTTP: routers over the ports of `shop-core`, whatever stands behind them.
//!
//! | module | what it holds |
//! |---|---|
//! | `facing`, `management`, `everywhere`, `routes` | the two routers, and what they share: which resource stands where |
//! | `openapi` | the document of the API, made of the routes and of the dialects |
//! | `resources` | one file for each resource: what it reads, asks the ports for, and answers; the page for browsers |
//! | `dialect` | how one group of clients is spoken to, as a value |
//! | `failure` | what can go wrong with a request, its status, and its body in every dialect |
//! | `body`, `buy_request`, `parameters` | what a request says, checked |
//! | `wrong_body` | what is wrong with a request, part by part, as the lists of the dialects say it |
//! | `account_role`, `account_request`, `lax` | users and orders: what stands behind them, and what a request says of one |
//! | `naked_purchase`, `listing_body` | what stands in an answer outside of `/v1` |
//! | `service`, `store_sink`, `no_purchases` | the ports with their deadlines; a store as a sink; and none |
//! | `known_keys`, `lookup` | idempotency keys: what this process remembers of them, and what the store has |
//! | `waiting`, `recent` | reading one's own purchase |
//! | `options`, `header_names` | what may be chosen; the headers of our own |
//! | `metrics` | what a service counts and measures |
//! | `layers`, `edge` | what surrounds every route: request ids, log, panics, compression, CORS; limits |
//! | `serve` | a router on a listener until it is told to stop |
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

mod account_request;
mod account_role;
mod body;
mod buy_request;
mod dialect;
mod edge;
mod everywhere;
mod facing;
mod failure;
mod failure_log;
mod header_names;
mod json_answer;
mod known_keys;
mod lax;
mod layers;
mod listing_body;
mod lookup;
mod management;
mod metrics;
mod naked_purchase;
mod no_purchases;
mod observed;
mod openapi;
mod options;
mod parameters;
mod recent;
mod resources;
mod routes;
mod serve;
mod service;
mod store_sink;
mod waiting;
mod wrong_body;

pub use account_role::{AccountRole, OrdersRole, UsersRole};
pub use dialect::{Dialect, UnknownDialect};
pub use facing::{Facing, facing};
pub use management::{Management, management};
pub use metrics::Metrics;
pub use options::{CorsOrigins, HttpOptions, InvalidOrigin};
pub use serve::serve;
pub use service::LocalPorts;
