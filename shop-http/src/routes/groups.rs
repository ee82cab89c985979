//! Which routes a router has: the groups of routes, and the listener that it is for.

use shop_core::ports::Selector;

use crate::auth::{Action, Authorize, Decision, Policy, Principal};

/// A group of routes, for [`RouterBuilder::only`](crate::RouterBuilder::only) and
/// [`RouterBuilder::without`](crate::RouterBuilder::without).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RouteGroup {
    /// The native API under `/v1`.
    V1,
    /// The paths of the replaced systems: `/buy`, `/getAllUserBuys/{who}`, `/users`, `/orders`,
    /// `/api/…` and others.
    Dialects,
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
        Self::Dialects,
        Self::Page,
        Self::Docs,
        Self::Health,
        Self::Metrics,
    ];
}

/// The listener that a router is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Listener {
    /// The only one: it has all routes.
    #[default]
    Single,
    /// The one for clients, beside an admin listener.
    Public,
    /// The one for probes, metrics and operators.
    Admin,
}

/// The policy of a public listener. What needs an operator is refused to all.
#[derive(Debug)]
pub(crate) struct WithoutOperations(pub(crate) Policy);

impl Authorize for WithoutOperations {
    fn may(&self, principal: &Principal, action: &Action<'_>) -> Decision {
        match (action, &self.0.authorize) {
            (Action::Observe | Action::Operate | Action::ReadPurchases(Selector::All), _) => {
                Decision::deny("is served by the admin listener alone")
            }
            (_, Some(policy)) => policy.may(principal, action),
            (_, None) => Decision::Allow,
        }
    }
}
