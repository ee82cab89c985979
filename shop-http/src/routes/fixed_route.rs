//! Routes without parameters that are matched before the router, and the name of the route of a request.

use axum::extract::{MatchedPath, Request};

use crate::dialect::{Dialect, V1};

/// A route that is matched by its whole path.
#[derive(Debug)]
pub(crate) struct FixedRoute {
    pub(crate) path: &'static str,
    /// The dialect of the path; `None` for the configured one.
    dialect: Option<&'static Dialect>,
}

impl FixedRoute {
    pub(crate) const BUY: Self = Self { path: "/buy", dialect: None };
    pub(crate) const V1_PURCHASES: Self = Self { path: "/v1/purchases", dialect: Some(&V1) };

    /// The dialect of the path; `configured` is that of paths without a prefix.
    pub(crate) fn dialect(&self, configured: &'static Dialect) -> &'static Dialect {
        self.dialect.unwrap_or(configured)
    }
}

/// The route of a request.
#[derive(Debug, Clone)]
pub(crate) enum MatchedRoute {
    Fixed(&'static FixedRoute),
    /// As the router has matched it; `None` for an unknown path.
    OfRouter(Option<MatchedPath>),
}

impl MatchedRoute {
    pub(crate) fn of(fixed: Option<&'static FixedRoute>, request: &Request) -> Self {
        match fixed {
            Some(route) => Self::Fixed(route),
            None => Self::OfRouter(request.extensions().get().cloned()),
        }
    }

    /// The path, with the names of its parameters. `None` if the path is unknown.
    pub(crate) fn template(&self) -> Option<&str> {
        match self {
            Self::Fixed(route) => Some(route.path),
            Self::OfRouter(matched) => matched.as_ref().map(MatchedPath::as_str),
        }
    }
}
