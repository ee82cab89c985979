//! The groups of routes that a router can have or not.

/// A group of routes, for [`RouterBuilder::only`](crate::RouterBuilder::only) and
/// [`RouterBuilder::without`](crate::RouterBuilder::without).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RouteGroup {
    /// The native API under `/v1`.
    V1,
    /// The paths of the replaced systems: `/buy`, `/getAllUserBuys/{who}`, `/users`, `/orders`, `/api/…` and others.
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
    pub const ALL: [Self; 6] =
        [Self::V1, Self::Dialects, Self::Page, Self::Docs, Self::Health, Self::Metrics];
}
