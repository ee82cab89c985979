//! The groups of routes, and the listeners that routers are for.
//!
//! An embedder selects the [`RouteGroup`]s of a router. A service may also divide its routes
//! between two [`Listener`]s: one for clients, and one for probes, metrics and operators. The
//! policy of the listener for clients is then [`WithoutOperations`].

use shop_core::ports::Selector;

use crate::auth::{Action, Authorize, Decision, Policy, Principal};

/// A group of routes, for [`RouterBuilder::only`](crate::RouterBuilder::only) and
/// [`RouterBuilder::without`](crate::RouterBuilder::without).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RouteGroup {
    /// The native API under `/v1`.
    V1,
    /// The short paths `/buy`, `/getAllUserBuys/{who}` and `/purchases`, and the paths outside of
    /// `/v1` that [roles](crate::Role) add.
    ShortPaths,
    /// The page for browsers, which uses [`V1`](Self::V1). Programs get a list of all paths there.
    Page,
    /// `/openapi.json`, and with the feature `docs` Swagger UI at `/docs`.
    Docs,
    /// `/livez`, `/readyz` and other probes, and the state of the service at `/health`.
    Health,
    /// `/metrics`, for Prometheus.
    Metrics,
}

impl RouteGroup {
    /// All groups.
    pub const ALL: [Self; 6] = [
        Self::V1,
        Self::ShortPaths,
        Self::Page,
        Self::Docs,
        Self::Health,
        Self::Metrics,
    ];
}

/// Returns whether `path` belongs to the native API, whose requests and responses always have the
/// forms of this crate. A [role](crate::Role) may choose the forms of other paths.
pub(crate) fn is_native_path(path: &str) -> bool {
    path == "/v1" || path.starts_with("/v1/")
}

/// The listener that a router is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Listener {
    /// The only listener of a service, which serves all routes.
    #[default]
    Single,
    /// The listener for clients, beside an admin listener.
    Public,
    /// The listener for probes, metrics and operators.
    Admin,
}

/// The policy of a public listener, which denies the actions of operators to every client, and
/// leaves other actions to the policy of the service.
#[derive(Debug)]
pub(crate) struct WithoutOperations(pub(crate) Policy);

impl Authorize for WithoutOperations {
    fn may(&self, principal: &Principal, action: &Action<'_>) -> Decision {
        if matches!(
            action,
            Action::Observe | Action::Operate | Action::ReadPurchases(Selector::All)
        ) {
            return Decision::deny("is served by the admin listener alone");
        }
        self.0.ask(principal, action)
    }
}
