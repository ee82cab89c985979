//! The role of the replaced systems in a service.

use std::sync::Arc;

use shop_http::RouteGroup::ShortPaths;
use shop_http::toolkit::{
    ErrorWriter, HealthForm, HttpError, RequestFamily, Route, Service, ShortPathForm, listing_route,
};
use shop_http::{Role, ServiceKind};

use crate::dialect::Dialect;
use crate::{ecommerce, scalable_shop, shopping_system, user_buy_list};

/// The paths of the replaced systems, for [`Parts::roles`](shop_http::Parts::roles).
#[derive(Debug, Clone, Copy)]
pub struct ReplacedSystems {
    dialect: &'static Dialect,
}

impl ReplacedSystems {
    /// Creates the role. The paths that several systems had have the form of `dialect`.
    #[must_use]
    pub const fn new(dialect: &'static Dialect) -> Self {
        Self { dialect }
    }
}

impl Role for ReplacedSystems {
    fn further_routes(&self, service: &Arc<Service>, routes: &[Route]) -> Vec<Route> {
        let mut further_routes = Vec::new();
        further_routes.extend(scalable_shop::buy_list_route(service));
        // The probe is not on the public listener if there is an admin listener.
        if !service.is_public() {
            further_routes.push(user_buy_list::readiness_route(service));
        }

        if service.has_purchases() && service.has(ShortPaths) {
            let mut prefixed_routes = shopping_system::routes(service);
            prefixed_routes.extend(user_buy_list::routes(service, routes));
            // An ingress of `scalable-shop` forwards all paths.
            let forwarded_routes = [routes, &prefixed_routes].concat();
            prefixed_routes.extend(scalable_shop::routes(service, &forwarded_routes));
            further_routes.extend(prefixed_routes);
        }
        further_routes
    }

    fn document(&self) -> Option<&'static str> {
        self.dialect.document
    }

    fn short_paths(&self) -> Option<&'static ShortPathForm> {
        Some(self.dialect.short_paths)
    }

    /// Returns the writer of the errors at `path`. The first of these that there is:
    ///
    /// 1. the writer of a prefix of `path` in [`PREFIX_WRITERS`]
    /// 2. the writer of `ecommerce`, if `path` is one of its paths
    /// 3. the writer of `scalable-shop`, if one of its ingresses forwarded `path`
    /// 4. the writer of the dialect
    ///
    /// The first two compare the path behind the ingress.
    fn error_writer(&self, path: &str) -> Option<ErrorWriter> {
        let forwarded_path = scalable_shop::strip_ingress_prefix(path);
        let path_behind_ingress = forwarded_path.unwrap_or(path);
        let mut default_writer = self.dialect.write_error;
        if forwarded_path.is_some() {
            default_writer = Some(scalable_shop::write_error);
        }

        prefix_writer(path_behind_ingress)
            .or_else(|| ecommerce::error_writer(path_behind_ingress))
            .or(default_writer)
    }

    fn health_form(&self) -> Option<HealthForm> {
        Some(self.dialect.health)
    }

    fn request_metrics(&self) -> Option<&'static RequestFamily> {
        Some(&self.dialect.request_metrics)
    }
}

/// The writers of the errors of the paths that only one system had, by the first segments of the
/// paths. The first match counts, so `/api/v1` comes before `/api`.
const PREFIX_WRITERS: [(&str, ErrorWriter); 4] = [
    ("/v1", HttpError::problem),
    ("/api/v1", shopping_system::write_error),
    ("/api", user_buy_list::write_error),
    ("/buyList", scalable_shop::write_error),
];

/// Returns the writer of the first prefix in [`PREFIX_WRITERS`] that `path` has.
fn prefix_writer(path: &str) -> Option<ErrorWriter> {
    PREFIX_WRITERS
        .into_iter()
        .find(|(prefix, _writer)| strip_segments(path, prefix).is_some())
        .map(|(_prefix, writer)| writer)
}

/// Returns the route `/buyList/{username}` in `form`, or `None` if the service is not management or
/// serves no purchases.
pub(crate) fn buy_list_route(service: &Service, form: &'static ShortPathForm) -> Option<Route> {
    if service.kind() == ServiceKind::Facing {
        return None;
    }
    let description = "A user's purchases, by name";
    let route = listing_route(service, form, "/buyList/{who}", description)?;
    Some(route.listed_as("/buyList/{username}"))
}

/// Returns the rest of `path` after `prefix`, or `None` if `prefix` is not a sequence of the first
/// segments of `path`.
pub(crate) fn strip_segments<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?;
    let ends_segment = rest.is_empty() || rest.starts_with('/');
    ends_segment.then_some(rest)
}
