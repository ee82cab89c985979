//! The router of a service: its routes, each of which leads into the pipeline.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use tower::{Service as TowerService, service_fn};

use super::state::RequestState;
use super::{Guard, RequestPipeline};
use crate::auth::Authenticate;
use crate::routes::groups::RouteGroup;
use crate::routes::route::{Route, RouteIndex};
use crate::routes::table;
use crate::service::Service;
use crate::short_paths::errors::error_writer;

/// A route of a path of the router. A path ends with its parameter: what follows the parameter,
/// such as `:refund`, is found in the request.
struct PathRoute {
    /// The end of the path behind the parameter.
    end: String,
    route: Arc<Route>,
}

/// Creates the router of `service`, with the tokens of `authenticate` and with `guards` around the
/// routes that are not open to all.
pub(crate) fn create_router(
    service: Service,
    authenticate: Option<Arc<dyn Authenticate>>,
    guards: &[Guard],
) -> Router {
    let service = Arc::new(service);
    let source = Arc::downgrade(&service);
    service.metrics.set_scrape_source(source);
    let family_of_roles = service.roles.iter().find_map(|role| role.request_metrics());
    if let Some(family) = family_of_roles
        && service.has(RouteGroup::ShortPaths)
    {
        service.metrics.add_request_family(family);
    }

    let routes = table::routes(&service);
    service.index.get_or_init(|| RouteIndex::new(&routes));
    let mut routes_by_path = BTreeMap::<String, Vec<PathRoute>>::new();
    for route in routes {
        let (path, end) = route.split_action().unwrap_or((&route.path, ""));
        routes_by_path
            .entry(path.to_owned())
            .or_default()
            .push(PathRoute {
                end: end.to_owned(),
                route: Arc::new(route),
            });
    }

    let pipeline = Arc::new(RequestPipeline::new(&service, authenticate, guards));
    // A fallback alone is outside of the embedder's `route_layer`, behind its wildcards, and
    // replaced by its fallback.
    let mut router = Router::new().fallback_service(serve_path(&service, &pipeline, Vec::new()));
    for (path, routes) in routes_by_path {
        router = router.route_service(&path, serve_path(&service, &pipeline, routes));
    }
    router
}

/// Returns a service for the requests to a path with these routes.
fn serve_path(
    service: &Arc<Service>,
    pipeline: &Arc<RequestPipeline>,
    routes: Vec<PathRoute>,
) -> impl TowerService<Request, Response = Response, Error = Infallible, Future: Send> + Clone + 'static
{
    let service = Arc::clone(service);
    let pipeline = Arc::clone(pipeline);
    let routes: Arc<[PathRoute]> = routes.into();
    service_fn(move |mut request: Request| {
        let path = request.uri().path();
        // An action comes after the route of its object, whose end is empty.
        let path_route = routes.iter().rev().find(|route| path.ends_with(&route.end));
        let route = path_route.map(|path_route| Arc::clone(&path_route.route));
        let write_error = match &route {
            Some(route) => route.write_error,
            None => error_writer(path, &service),
        };
        let state = RequestState::new(route, request.method(), write_error);
        let pipeline = Arc::clone(&pipeline);
        async move { Ok(pipeline.respond(&mut request, state).await) }
    })
}
