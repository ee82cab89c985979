//! The two ways from a request into the pipeline.
//!
//! ```text
//! serve ───────────────────────────▶ ServiceRoutes::respond ──┐
//!                                    finds the path           ├─▶ PathRoutes ─▶ RequestPipeline
//! axum's Router of an embedder ──▶ a service for each path ───┘   finds the route
//! ```
//!
//! [`HttpService`] is what a listener serves: the routes themselves, or a router around them where
//! code of an embedder is between.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use tokio::time::Instant;
use tower::{Service as TowerService, service_fn};

use super::state::{Arrival, RequestState};
use super::{Guard, RequestPipeline};
use crate::auth::Authenticate;
use crate::routes::groups::RouteGroup;
use crate::routes::route::{Route, RouteIndex};
use crate::routes::table;
use crate::service::Service;
use crate::short_paths::errors::error_writer;

/// What [`serve`](crate::serve()) serves: the routes of a service, or a router that an embedder made.
///
/// [`RouterBuilder::build_service`](crate::RouterBuilder::build_service) returns the routes, to
/// which a listener passes requests without a router between. A [`Router`] converts into a service
/// as well.
#[derive(Clone)]
pub struct HttpService(pub(crate) ServedRoutes);

/// The routes of a service, or the router in which an embedder put them.
#[derive(Clone)]
pub(crate) enum ServedRoutes {
    Routes(Arc<ServiceRoutes>),
    Router(Router),
}

impl fmt::Debug for HttpService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpService").finish_non_exhaustive()
    }
}

impl From<Router> for HttpService {
    fn from(router: Router) -> Self {
        Self(ServedRoutes::Router(router))
    }
}

/// The routes that share a path up to its parameter, such as `/v1/purchases/{id}` and
/// `/v1/purchases/{id}:refund`. The path of the request tells which of them is meant.
type PathRoutes = Arc<[PathRoute]>;

/// A route of a path of the router.
struct PathRoute {
    /// The end of the path behind the parameter, such as `:refund`. It is empty for most routes.
    end: String,
    route: Arc<Route>,
}

/// The routes of a service, each of which leads into its pipeline.
pub(crate) struct ServiceRoutes {
    service: Arc<Service>,
    pipeline: RequestPipeline,
    /// The routes by the templates of their paths, for [`respond`](Self::respond).
    paths: matchit::Router<PathRoutes>,
    /// The same routes, for the router of axum.
    routes_by_path: BTreeMap<String, PathRoutes>,
}

impl ServiceRoutes {
    /// Creates the routes of `service`, with the tokens of `authenticate` and with `guards` around
    /// the routes that are not open to all.
    ///
    /// # Panics
    /// If two roles serve the same path, as axum's router does.
    pub(crate) fn new(
        service: Service,
        authenticate: Option<Arc<dyn Authenticate>>,
        guards: &[Guard],
    ) -> Arc<Self> {
        let service = Arc::new(service);
        let scrape_source = Arc::downgrade(&service);
        service.metrics.set_scrape_source(scrape_source);
        let family_of_roles = service.roles.iter().find_map(|role| role.request_metrics());
        if let Some(family) = family_of_roles
            && service.has(RouteGroup::ShortPaths)
        {
            service.metrics.add_request_family(family);
        }

        let routes = table::routes(&service);
        service.index.get_or_init(|| RouteIndex::new(&routes));
        let routes_by_path = group_by_path(routes);
        let mut paths = matchit::Router::new();
        for (path, routes) in &routes_by_path {
            if let Err(conflict) = paths.insert(path, Arc::clone(routes)) {
                panic_on_conflict(path, &conflict);
            }
        }
        Arc::new(Self {
            pipeline: RequestPipeline::new(&service, authenticate, guards),
            service,
            paths,
            routes_by_path,
        })
    }

    /// Returns the response to a request that a listener of this crate received, and the time at
    /// which the response was made.
    pub(crate) fn respond(
        &self,
        request: &mut Request,
        arrival: &mut Arrival,
    ) -> impl Future<Output = (Response, Instant)> + Send {
        let routes = match self.paths.at(request.uri().path()) {
            Ok(path_match) => path_match.value,
            // The pipeline also responds to requests without a route.
            Err(_no_route) => &[][..],
        };
        self.respond_at(routes, request, arrival)
    }

    /// Takes a request for a path with these routes through the pipeline.
    async fn respond_at(
        &self,
        routes: &[PathRoute],
        request: &mut Request,
        arrival: &mut Arrival,
    ) -> (Response, Instant) {
        let path = request.uri().path();
        // The last route that matches is the right one. The route of an action, such as `:refund`,
        // comes after the route of its object, whose empty end matches every path.
        let path_route = routes.iter().rev().find(|route| path.ends_with(&route.end));
        let route = path_route.map(|path_route| Arc::clone(&path_route.route));
        let write_error = match &route {
            Some(route) => route.write_error,
            None => error_writer(path, &self.service),
        };
        let mut state = RequestState::new(route, request.method(), write_error, arrival);
        self.pipeline.respond(request, &mut state, arrival).await
    }

    /// Returns the router with these routes, which an embedder can nest, merge, or surround with
    /// layers.
    pub(crate) fn into_router(self: Arc<Self>) -> Router {
        // The fallback alone would find every route. But axum does not apply the `route_layer` of an
        // embedder to a fallback, prefers the embedder's routes with wildcards to it, and lets the
        // embedder's fallback replace it. So each path is registered as well.
        let mut router = Router::new().fallback_service(self.serve_path(&Arc::default()));
        for (path, routes) in &self.routes_by_path {
            router = router.route_service(path, self.serve_path(routes));
        }
        router
    }

    /// Returns a service of axum for the requests to a path with these routes.
    fn serve_path(
        self: &Arc<Self>,
        routes: &PathRoutes,
    ) -> impl TowerService<Request, Response = Response, Error = Infallible, Future: Send> + Clone + use<>
    {
        let this = Arc::clone(self);
        let routes = Arc::clone(routes);
        service_fn(move |mut request: Request| {
            let this = Arc::clone(&this);
            let routes = Arc::clone(&routes);
            async move {
                let mut arrival = Arrival::take_from(request.extensions_mut());
                let (response, _made_at) =
                    this.respond_at(&routes, &mut request, &mut arrival).await;
                Ok(response)
            }
        })
    }
}

/// Groups `routes` by the templates of their paths, which end with their parameters.
fn group_by_path(routes: Vec<Route>) -> BTreeMap<String, PathRoutes> {
    let mut routes_by_path = BTreeMap::<String, Vec<PathRoute>>::new();
    for route in routes {
        let (path, end) = route.split_action().unwrap_or((&route.path, ""));
        let path = path.to_owned();
        let end = end.to_owned();
        let route = Arc::new(route);
        let path_routes = routes_by_path.entry(path).or_default();
        path_routes.push(PathRoute { end, route });
    }

    routes_by_path
        .into_iter()
        .map(|(path, routes)| (path, routes.into()))
        .collect()
}

/// Panics because two routes conflict at `path`.
#[expect(
    clippy::panic,
    reason = "two roles of a program conflict, which it cannot handle"
)]
fn panic_on_conflict(path: &str, conflict: &matchit::InsertError) {
    panic!("the path {path} cannot be served: {conflict}");
}
