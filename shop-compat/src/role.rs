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

    /// Returns the writer of the errors at `path`.
    ///
    /// A prefix of the ingresses of `scalable-shop` selects the form of that system for all paths
    /// that no other system had. In the rest of the path, the first matching prefix counts, so
    /// `/api/v1` comes before `/api`.
    fn error_writer(&self, mut path: &str) -> Option<ErrorWriter> {
        let mut default_writer = self.dialect.write_error;
        for prefix in scalable_shop::INGRESS_PREFIXES {
            if let Some(rest) = strip_segments(path, prefix) {
                path = rest;
                default_writer = Some(scalable_shop::write_error);
                break;
            }
        }

        let writers: [(&str, ErrorWriter); 4] = [
            ("/v1", HttpError::problem),
            ("/api/v1", shopping_system::write_error),
            ("/api", user_buy_list::write_error),
            ("/buyList", scalable_shop::write_error),
        ];
        let path_writer = writers
            .into_iter()
            .find(|(prefix, _)| strip_segments(path, prefix).is_some());
        path_writer
            .map(|(_, writer)| writer)
            .or_else(|| ecommerce::error_writer(path))
            .or(default_writer)
    }

    fn health_form(&self) -> Option<HealthForm> {
        Some(self.dialect.health)
    }

    fn request_metrics(&self) -> Option<&'static RequestFamily> {
        Some(&self.dialect.request_metrics)
    }
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
