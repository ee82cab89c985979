//! Purchase tracking over HTTP: axum routers over the ports of [`shop_core`].
//!
//! The routes accept purchases and list them per user, on any log and store that implements the
//! ports. They repeat safely with idempotency keys, page with stable cursors, return errors as RFC
//! 9457 problems, and describe themselves in OpenAPI. The same routes are the services `facing` and
//! `management`, and can be a part of your own axum program.
//!
//! # A service
//!
//! Purchases are written to a sink, by default a log. Ingest consumes the log and writes to the
//! store, which listings are read from: without a running ingest, purchases are accepted and never
//! listed.
//!
//! ```no_run
//! use shop_core::ingest::IngestOptions;
//! use shop_core::memory::{InMemoryLog, InMemoryStore};
//! use shop_core::shop::Pipeline;
//! use shop_http::{HttpOptions, router, serve};
//!
//! # #[tokio::main]
//! # async fn main() -> std::io::Result<()> {
//! let (log, store) = (InMemoryLog::default(), InMemoryStore::new());
//! let backend = log.backend("group").with_sink(log.sink()).with(store.backend());
//! let pipeline = Pipeline::start(backend, IngestOptions::default()).map_err(std::io::Error::other)?;
//!
//! let options = HttpOptions::default();
//! let router = router(pipeline.backend(), options.clone());
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! serve(listener, router, &options, std::future::pending()).await
//! # }
//! ```
//!
//! Without a log, [management](Parts::management) writes purchases straight into a store, where
//! they are listed at once:
//!
//! ```
//! use std::sync::Arc;
//!
//! use shop_core::memory::InMemoryStore;
//! use shop_core::ports::Durability;
//! use shop_http::axum::body::Body;
//! use shop_http::axum::http::{Request, StatusCode};
//! use shop_http::{Parts, RouteGroup, routes};
//! // With its feature `util`.
//! use tower::ServiceExt;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Arc::new(InMemoryStore::new());
//! let parts = Parts::management(store.clone(), Durability::Memory, store);
//! let router = routes(parts).only([RouteGroup::V1]).build();
//!
//! let body = r#"{"userid":"u1","username":"ada","price":29.99}"#;
//! let bought = router.clone().oneshot(Request::post("/v1/purchases").body(Body::from(body))?).await?;
//! assert_eq!(bought.status(), StatusCode::CREATED);
//! let listed = router.oneshot(Request::get("/v1/purchases?userid=u1").body(Body::empty())?).await?;
//! assert_eq!(listed.status(), StatusCode::OK);
//! # Ok(())
//! # }
//! ```
//!
//! # Mounting
//!
//! [`routes()`] builds the same router with a part of the routes, and it can be nested below a path
//! of your program. Links, locations and the server in the OpenAPI document contain the prefix,
//! which is derived from the request. The ports can come from a [`Shop`](shop_core::Shop) that the
//! program itself uses:
//!
//! ```
//! use shop_core::Shop;
//! use shop_http::axum::Router;
//! use shop_http::{Parts, RouteGroup, routes};
//!
//! let shop = Shop::in_memory();
//! let api = routes(shop.backend())
//!     .without([RouteGroup::ShortPaths, RouteGroup::Metrics])
//!     .build();
//! let app: Router = Router::new().nest_service("/shop", api);
//! ```
//!
//! | way | the page is at |
//! |---|---|
//! | [`Router::nest`](axum::Router::nest)`("/shop", …)` | `/shop`. axum does not pass `/shop/` to nested routes |
//! | [`Router::nest_service`](axum::Router::nest_service)`("/shop", …)` | `/shop` and `/shop/` |
//!
//! The prefix must not contain parameters.
//!
//! In a server other than [`serve()`], a streamed response that fails ends without its last chunk.
//! That cannot be seen over HTTP/1.0, where [`serve()`] resets the connection: let proxies use
//! HTTP/1.1.
//!
//! # What can be left out
//!
//! | group | routes |
//! |---|---|
//! | [`V1`](RouteGroup::V1) | the native API under `/v1`, which `shop-client` calls |
//! | [`ShortPaths`](RouteGroup::ShortPaths) | `/buy`, `/getAllUserBuys/{who}` and `/purchases`, and what roles add outside of `/v1` |
//! | [`Page`](RouteGroup::Page) | the page for browsers at `/`, and for programs a list of all paths |
//! | [`Docs`](RouteGroup::Docs) | `/openapi.json`; Swagger UI at `/docs` |
//! | [`Health`](RouteGroup::Health) | probes, and `/health` |
//! | [`Metrics`](RouteGroup::Metrics) | `/metrics`, for Prometheus |
//!
//! The roles are optional as well: [`Parts`] contain purchases, other [`Role`]s, such as the users
//! and orders of the crate `shop-accounts`, or some of these. [`HttpOptions`] sets limits, time-outs
//! and CORS.
//!
//! # Who may do what
//!
//! By default everything is allowed. [`RouterBuilder::authenticate`] requires a bearer token on
//! every route that is not open to all. API keys and JSON Web Tokens come with the feature `auth`;
//! other ways are a few lines ([`Authenticate`]), or an authentication layer of yours that inserts
//! a [`Principal`] into the extensions of the request ([`RouterBuilder::auth_layer`]). An
//! [`Authorize`] policy decides what the principal may do. The default policy is [`Scopes`].
//!
//! The order of the layers, from the outside:
//!
//! 1. layers that you add to the built router
//! 2. request ids, log and metrics
//! 3. CORS, which answers preflight requests (facing only)
//! 4. limits of size, time and number of requests
//! 5. authentication: [`authenticate`](RouterBuilder::authenticate) or
//!    [`auth_layer`](RouterBuilder::auth_layer), around data, `/health` and `/metrics`
//! 6. rates of one client ([`HttpOptions::rate_writes`], [`HttpOptions::rate_reads`]), around the
//!    same routes
//! 7. the routes, which ask the policy
//!
//! A preflight request carries no credentials. So an authentication layer in place 1 must let
//! `OPTIONS` pass, or be inside a CORS layer of yours, which then replaces the headers of this one.
//!
//! # Features
//!
//! | feature | adds | default |
//! |---|---|---|
//! | `auth` | [`ApiKeys`] and [`TokenVerifier`] | no |
//! | `clap` | `HttpArgs`: the settings as flags and variables of a program | no |
//! | `docs` | Swagger UI at `/docs`, which adds 1.8 MB to the binary | yes |
//! | `otel` | traces with the global OpenTelemetry propagator | no |
//! | `tls` | [`serve_tls`]: TLS with HTTP/1.1 and HTTP/2 | no |

#![cfg_attr(docsrs, feature(doc_cfg))]

// In the order in which a request passes them; `.ci/floors` says which imports which. `serve`: the
// listener and its connections. `routes`: the routes, their table, and the builder of routers.
// `pipeline`: the steps that every request takes. `short_paths`: the handlers of the paths
// outside of `/v1`. `resources`: a handler per resource. `operations`: the handlers of probes,
// health and metrics. `request`: parsed and validated requests. `auth`: senders, and what they may
// do. `service`: the roles behind the routes, with time-outs, idempotency keys and
// read-your-writes. `role`: what a role beside purchases adds. `toolkit`: what its handlers, in
// another crate, are written with. `files`: the small files that settings name. `permits`: the room
// and the rates of clients. `refreshed`: values that are read again when their files change.
// `response`: bodies, and errors.
#[cfg(feature = "clap")]
mod args;
mod auth;
mod files;
mod header_names;
mod metrics;
mod operations;
mod options;
mod part_reports;
mod permits;
mod pipeline;
mod refreshed;
mod request;
mod resources;
mod response;
mod role;
mod routes;
mod serve;
mod service;
mod short_paths;
pub mod toolkit;
mod watched_body;

#[cfg(feature = "clap")]
pub use args::HttpArgs;
/// The macro for implementations of [`Authenticate`].
pub use async_trait::async_trait;
pub use auth::{Action, AnyOf, Authenticate, Authorize, Decision, Principal, Rejection, Scopes};
#[cfg(feature = "auth")]
pub use auth::{ApiKeys, InvalidApiKeys, InvalidKeySet, KeySet, TokenVerifier};
/// The crate of the routers.
pub use axum;
pub use files::{MAX_FILE_BYTES, MAX_SECRET_BYTES, check_small_file, read_small_file};
pub use metrics::Metrics;
pub use options::{
    AccessLog, CorsOrigins, Hosts, HttpOptions, InvalidAccessLog, InvalidList, TrustedProxies,
};
pub use part_reports::{PartReport, PartReports};
pub use pipeline::router::HttpService;
pub use refreshed::{FileSource, Refreshed, TextSource};
pub use role::{PendingEvents, ProblemPage, Role, RoleOutbox, RoleState};
pub use routes::builder::{RouterBuilder, router, routes};
pub use routes::groups::RouteGroup;
pub use serve::serve;
#[cfg(feature = "tls")]
pub use serve::{Tls, serve_tls};
pub use service::kind::ServiceKind;
pub use service::parts::Parts;
pub use shop_core::Backend;
pub use shop_core::ports::StoreSink;

/// Compiles the code of the package's README with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
