//! What a service serves beside purchases: its [`Role`]s.
//!
//! An embedder puts roles into [`Parts::roles`](crate::Parts::roles). The crate `shop-accounts` is
//! one: users and orders.
//!
//! The requests for its routes take the same [pipeline](crate::pipeline) as all requests. Their
//! handlers are written with the [`toolkit`](crate::toolkit).

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use shop_core::ingest::IngestMonitor;
use shop_core::{ErrorKind, Result, Timestamp};

use crate::metrics::RequestFamily;
use crate::operations::health_form::HealthForm;
use crate::response::ErrorWriter;
use crate::routes::route::Route;
use crate::service::Service;
use crate::short_paths::form::ShortPathForm;

/// A role of a service beside purchases, or several that belong together, such as users and orders.
///
/// | a role adds | by | clients and operators see it in |
/// |---|---|---|
/// | its states | [`states`](Role::states) | `/v1`, `/health`, `/readyz`, `/-/ready`, `/metrics` |
/// | pages about its problems | [`problems`](Role::problems) | `/problems/{name}` |
/// | routes | [`routes`](Role::routes) | their paths, and the index |
/// | copies of routes, such as below a prefix | [`further_routes`](Role::further_routes) | their paths, and the index |
/// | a document of its routes outside of `/v1` | [`document`](Role::document) | `/openapi.json` |
/// | the form of short paths | [`short_paths`](Role::short_paths) | `/buy`, `/getAllUserBuys/{who}`, `/purchases` |
/// | the form of errors outside of `/v1` | [`error_writer`](Role::error_writer) | the errors of a path, also without a route |
/// | the form of the health | [`health_form`](Role::health_form) | `/health` |
/// | metrics of requests | [`request_metrics`](Role::request_metrics) | `/metrics` |
///
/// Where one value is needed, such as the form of the short paths, the first role counts that has
/// one.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::memory::InMemoryStore;
/// use shop_core::ports::PurchaseQuery as _;
/// use shop_http::axum::http::request::Parts as Head;
/// use shop_http::axum::response::IntoResponse as _;
/// use shop_http::toolkit::{HttpResult, RequestClass, Route, RouteBuilder, Service};
/// use shop_http::{Parts, ProblemPage, Role, RoleState, RouteGroup, ServiceKind, routes};
///
/// /// Vouchers, which are stored beside purchases.
/// #[derive(Debug)]
/// struct Vouchers {
///     store: InMemoryStore,
/// }
///
/// impl Role for Vouchers {
///     // `/health` reports `vouchers`, and `/-/ready` is 503 while their store is unavailable.
///     fn states(&self) -> Vec<RoleState<'_>> {
///         vec![RoleState::new("vouchers", self.store.check_reads())]
///     }
///
///     fn problems(&self) -> &'static [ProblemPage] {
///         &[ProblemPage {
///             name: "unknown-voucher",
///             title: "The voucher does not exist",
///             advice: "Check the number.",
///         }]
///     }
///
///     // The handlers of other crates use a module without promises about its versions.
///     fn routes(&self, service: &Arc<Service>) -> Vec<Route> {
///         let spec = (RouteGroup::V1, "/v1/vouchers/{number}", RequestClass::Read);
///         vec![RouteBuilder(Arc::clone(service)).read(spec, "One voucher", get_voucher)]
///     }
/// }
///
/// async fn get_voucher(_service: Arc<Service>, _head: Head) -> HttpResult {
///     Ok("10 %".into_response())
/// }
///
/// let mut parts = Parts::new(ServiceKind::Management, None);
/// parts.roles.push(Arc::new(Vouchers { store: InMemoryStore::new() }));
/// let routes = routes(parts);
/// assert!(routes.paths().contains(&"/v1/vouchers/{number}".to_owned()));
/// let router = routes.build();
/// ```
pub trait Role: Debug + Send + Sync + 'static {
    /// Returns the states of the role: one for each name in `/health` (default none).
    fn states(&self) -> Vec<RoleState<'_>> {
        Vec::new()
    }

    /// Returns the pages about the types of the problems of the role (default none).
    fn problems(&self) -> &'static [ProblemPage] {
        &[]
    }

    /// Returns the routes of the role in a service (default none).
    fn routes(&self, _service: &Arc<Service>) -> Vec<Route> {
        Vec::new()
    }

    /// Returns further routes, which may be copies of `routes`, such as below the prefix of an
    /// ingress (default none).
    ///
    /// `routes` are the routes of the service without the short paths and without those of
    /// operators, and with those of all roles. Their groups may be left out of the service: see
    /// [`Service::has`].
    fn further_routes(&self, _service: &Arc<Service>, _routes: &[Route]) -> Vec<Route> {
        Vec::new()
    }

    /// Returns the OpenAPI document of the routes that the role adds outside of `/v1`, if it has one
    /// (default none). The document of `/v1` is the one of this crate.
    fn document(&self) -> Option<&'static str> {
        None
    }

    /// Returns the form of the short paths, if it is not the default one.
    fn short_paths(&self) -> Option<&'static ShortPathForm> {
        None
    }

    /// Returns the writer of the errors at `path`, if the role has one (default none). It also
    /// writes the errors of paths without a route. Errors below `/v1` are problems in any case.
    fn error_writer(&self, _path: &str) -> Option<ErrorWriter> {
        None
    }

    /// Returns the form of `/health`, if it is not the default one.
    fn health_form(&self) -> Option<HealthForm> {
        None
    }

    /// Returns the names of metrics of requests that the role exports, if there are any. They are
    /// exported with the group [`ShortPaths`](crate::RouteGroup::ShortPaths).
    fn request_metrics(&self) -> Option<&'static RequestFamily> {
        None
    }
}

/// The state of a role, as `/health`, `/readyz` and `/metrics` report it.
#[non_exhaustive]
#[expect(missing_debug_implementations, reason = "a check has no text")]
pub struct RoleState<'a> {
    /// The name of the role in `/health` and in metrics.
    pub name: &'static str,
    /// The topic that the role consumes, if it consumes one (default none).
    pub subscribed_topic: Option<&'a str>,
    /// The ingest of the topic, if it runs in this process (default none). Management is not ready
    /// while the ingest is stopped.
    pub ingest: Option<&'a IngestMonitor>,
    /// The outbox of the events of the role, if this process publishes them (default none).
    pub outbox: Option<RoleOutbox<'a>>,
    /// Whether the store of the role is a file of this process, which `/readyz` checks (default
    /// `false`).
    pub is_local: bool,
    /// The check of the store of the role, which runs when it is polled.
    pub(crate) check: BoxFuture<'a, Result<()>>,
}

impl<'a> RoleState<'a> {
    /// Creates the state of the role `name`. `check` checks its store when it is polled.
    #[must_use]
    pub fn new(name: &'static str, check: impl Future<Output = Result<()>> + Send + 'a) -> Self {
        Self {
            name,
            subscribed_topic: None,
            ingest: None,
            outbox: None,
            is_local: false,
            check: Box::pin(check),
        }
    }
}

/// The state of the outbox of a role, whose events a relay publishes.
#[expect(missing_debug_implementations, reason = "a query has no text")]
pub struct RoleOutbox<'a> {
    /// The number of events that this process published.
    pub published: u64,
    /// The kind of the error that keeps the relay from publishing, if there is one.
    pub waits_for: Option<ErrorKind>,
    /// The query for the pending events, which runs when it is polled.
    pub pending: Pin<Box<dyn Future<Output = Result<PendingEvents>> + Send + 'a>>,
}

/// The events in an outbox that are not published yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingEvents {
    /// The number of the events.
    pub count: u64,
    /// The time of the oldest event, or `None` if there are no events.
    pub oldest: Option<Timestamp>,
}

/// The page about one type of problems, which is the path `/problems/{name}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct ProblemPage {
    /// The last segment of the type.
    pub name: &'static str,
    /// The meaning of the type, without characters that HTML escapes.
    pub title: &'static str,
    /// The action that a client should take, without characters that HTML escapes.
    pub advice: &'static str,
}
