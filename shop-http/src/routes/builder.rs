//! The builder of a router.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::Route;
use tower::{Layer, Service as TowerService};

use crate::auth::{Authenticate, Authorize, Policy, Scopes};
use crate::options::HttpOptions;
use crate::pipeline::Guard;
use crate::pipeline::authenticate::authenticate_request;
use crate::pipeline::router::{HttpService, ServedRoutes, ServiceRoutes};
use crate::pipeline::state::RequestState;
use crate::routes::groups::{Listener, RouteGroup, WithoutOperations};
use crate::routes::route::RouteIndex;
use crate::routes::table;
use crate::service::parts::Parts;
use crate::service::{Service, ServiceKind};

/// Returns a builder of the router of a service, with all routes and the default options.
///
/// Without further calls, [`build`](RouterBuilder::build) returns the same as [`router`].
///
/// ```
/// use axum::Router;
/// use shop_core::Shop;
/// use shop_http::{Parts, RouteGroup, routes};
///
/// let shop = Shop::in_memory();
/// let parts = Parts::from(shop.backend());
/// let api = routes(parts).only([RouteGroup::V1, RouteGroup::Docs]).build();
/// let app: Router = Router::new().nest("/shop", api);
/// ```
pub fn routes(parts: impl Into<Parts>) -> RouterBuilder {
    RouterBuilder {
        parts: parts.into(),
        options: HttpOptions::default(),
        groups: RouteGroup::ALL.into(),
        policy: Policy::default(),
        authenticate: None,
        guards: Vec::new(),
    }
}

/// Builds the router of a service from its ports. See [`routes`].
#[derive(Clone)]
#[must_use]
pub struct RouterBuilder {
    parts: Parts,
    options: HttpOptions,
    groups: BTreeSet<RouteGroup>,
    policy: Policy,
    authenticate: Option<Arc<dyn Authenticate>>,
    guards: Vec<Guard>,
}

impl fmt::Debug for RouterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouterBuilder")
            .field("kind", &self.parts.kind)
            .finish_non_exhaustive()
    }
}

impl RouterBuilder {
    /// Sets the options (default [`HttpOptions::default`]).
    pub fn options(mut self, options: HttpOptions) -> Self {
        self.options = options;
        self
    }

    /// Adds these groups of routes and no others (default [`RouteGroup::ALL`]). Other paths are
    /// 404.
    pub fn only(mut self, groups: impl IntoIterator<Item = RouteGroup>) -> Self {
        self.groups = groups.into_iter().collect();
        self
    }

    /// Leaves out these groups of routes.
    pub fn without(mut self, groups: impl IntoIterator<Item = RouteGroup>) -> Self {
        for group in groups {
            self.groups.remove(&group);
        }
        self
    }

    /// Asks `policy` about every request for purchases, users and orders (default: all are
    /// allowed).
    ///
    /// The policy is given the [`Principal`](crate::Principal) that an authentication layer
    /// inserted into the extensions of the request. A refusal is a 403 in the form of the path. A
    /// row that is requested by its own id and belongs to another user is a 404, as if it did not
    /// exist.
    ///
    /// If the path of a listing can be a user id or a user name, the listing is restricted to the
    /// meanings that the policy allows.
    ///
    /// ```
    /// use shop_core::Shop;
    /// use shop_http::{Action, Authorize, Decision, Parts, Principal, routes};
    ///
    /// #[derive(Debug)]
    /// struct ReadOnly;
    ///
    /// impl Authorize for ReadOnly {
    ///     fn may(&self, _principal: &Principal, action: &Action<'_>) -> Decision {
    ///         match action {
    ///             Action::ReadPurchases(_) => Decision::Allow,
    ///             _ => Decision::deny("this copy is read-only"),
    ///         }
    ///     }
    /// }
    ///
    /// let shop = Shop::in_memory();
    /// let router = routes(shop.backend()).authorize(ReadOnly).build();
    /// ```
    pub fn authorize(mut self, policy: impl Authorize) -> Self {
        self.policy.authorize = Some(Arc::new(policy));
        self
    }

    /// Requires a bearer token that `authenticate` accepts, for purchases, users, orders and
    /// `/metrics`. A request without such a token gets a 401 in the form of the path, before its
    /// body is read. `/health` without a token shows the status alone.
    ///
    /// [`Scopes`] decides what the principal may do, unless [`authorize`](Self::authorize) sets
    /// another policy.
    ///
    /// ```
    /// # #[cfg(feature = "auth")] {
    /// use shop_core::Shop;
    /// use shop_http::{ApiKeys, Parts, routes};
    ///
    /// let keys = ApiKeys::parse("# name sha256-of-the-key scopes [subject]").unwrap();
    /// let shop = Shop::in_memory();
    /// let router = routes(shop.backend()).authenticate(keys).build();
    /// # }
    /// ```
    pub fn authenticate(mut self, authenticate: impl Authenticate) -> Self {
        self.policy
            .authorize
            .get_or_insert_with(|| Arc::new(Scopes));
        self.policy.requires_token = true;
        let authenticate: Arc<dyn Authenticate> = Arc::new(authenticate);
        if self.authenticate.is_none() && self.guards.is_empty() {
            self.authenticate = Some(authenticate);
            return self;
        }
        // The first authentication is a step of the pipeline. A later authentication is a layer
        // around the steps and layers that were added before, so that a request must pass both.
        let layer = from_fn_with_state(
            authenticate,
            async |State(authenticate), mut request: Request, next: Next| {
                let state = match RequestState::from_extensions(request.extensions()) {
                    Ok(state) => state.clone(),
                    Err(error) => return error.problem(),
                };
                match authenticate_request(&authenticate, &mut request, &state).await {
                    Ok(()) => next.run(request).await,
                    Err(error) => (state.write_error)(&error),
                }
            },
        );
        self.auth_layer(layer)
    }

    /// Surrounds the routes for purchases, users and orders, `/health` and `/metrics` with `layer`,
    /// such as an authentication layer. The last layer that is added is the outermost one.
    ///
    /// The layer is inside CORS, request ids, metrics and the limits of requests. So a preflight
    /// request, which carries no credentials, is answered, and a refusal of the layer is measured
    /// and can be read by pages of other origins. Around the whole router, the same layer refuses
    /// preflight requests, unless it lets `OPTIONS` pass.
    ///
    /// Probes, the list of paths, the page and the documentation are outside of the layer.
    ///
    /// ```
    /// use axum::extract::Request;
    /// use axum::http::{StatusCode, header};
    /// use axum::middleware::{Next, from_fn};
    /// use axum::response::Response;
    /// use shop_core::Shop;
    /// use shop_http::{Parts, Principal, routes};
    ///
    /// async fn authenticate(mut request: Request, next: Next) -> Result<Response, StatusCode> {
    ///     let token = request.headers().get(header::AUTHORIZATION).ok_or(StatusCode::UNAUTHORIZED)?;
    ///     // Verify the token here.
    ///     let subject = token.to_str().map_err(|_| StatusCode::UNAUTHORIZED)?.to_owned();
    ///     request.extensions_mut().insert(Principal::new(subject));
    ///     Ok(next.run(request).await)
    /// }
    ///
    /// let shop = Shop::in_memory();
    /// let parts = Parts::from(shop.backend());
    /// let router = routes(parts).auth_layer(from_fn(authenticate)).build();
    /// ```
    pub fn auth_layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: TowerService<Request> + Clone + Send + Sync + 'static,
        <L::Service as TowerService<Request>>::Response: IntoResponse + 'static,
        <L::Service as TowerService<Request>>::Error: Into<Infallible> + 'static,
        <L::Service as TowerService<Request>>::Future: Send + 'static,
    {
        self.guards
            .push(Arc::new(move |router| router.layer(layer.clone())));
        self
    }

    /// Builds the router.
    ///
    /// It can be nested below a prefix. Links, locations and the servers of the OpenAPI document
    /// then contain the prefix, and the page loads its files below it. With [`Router::nest`], the
    /// page is at the prefix without a slash at its end; with [`Router::nest_service`], it is at
    /// both.
    pub fn build(self) -> Router {
        self.build_routes(Listener::Single).into_router()
    }

    /// Builds the routes for [`serve`](crate::serve()), which passes requests to them without a
    /// router between.
    ///
    /// The responses are those of the router that [`build`](Self::build) returns.
    ///
    /// ```
    /// use shop_core::Shop;
    /// use shop_http::{HttpOptions, routes, serve};
    /// use tokio::net::TcpListener;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> std::io::Result<()> {
    /// let shop = Shop::in_memory();
    /// let service = routes(shop.backend()).build_service();
    /// let listener = TcpListener::bind("127.0.0.1:0").await?;
    /// # let shutdown = std::future::ready(());
    /// serve(listener, service, &HttpOptions::default(), shutdown).await
    /// # }
    /// ```
    #[must_use]
    pub fn build_service(self) -> HttpService {
        self.build_service_for(Listener::Single)
    }

    /// Builds the service of `listener`.
    ///
    /// If the embedder added layers, the service is a router, because the layers read what axum's
    /// router adds to a request.
    fn build_service_for(self, listener: Listener) -> HttpService {
        let has_guards = !self.guards.is_empty();
        let routes = self.build_routes(listener);
        if has_guards {
            return routes.into_router().into();
        }
        HttpService(ServedRoutes::Routes(routes))
    }

    /// Builds the routes of `listener`.
    fn build_routes(self, listener: Listener) -> Arc<ServiceRoutes> {
        let mut service = Service::new(self.parts, self.options, self.policy, self.groups);
        service.listener = listener;
        ServiceRoutes::new(service, self.authenticate, &self.guards)
    }

    /// Returns the paths of the router that [`build`](Self::build) returns, with the names of their
    /// parameters, such as `/v1/purchases/{id}`.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        let copy = self.clone();
        let service = Service::new(copy.parts, copy.options, copy.policy, copy.groups);
        RouteIndex::new(&table::routes(&Arc::new(service))).paths
    }

    /// Builds two routers: one for clients, and one for a listener that only probes and operators
    /// reach.
    ///
    /// - The public router contains all routes but probes, `/health` and `/metrics`; `/healthz` and
    ///   `/livez` remain. On management it refuses (403) writes, which go to the store without the
    ///   log, and listings of everyone's purchases.
    /// - The admin router of facing contains probes, `/health` in full and `/metrics`. They need no
    ///   token.
    /// - The admin router of management contains these, and all routes of management.
    ///
    /// The admin router answers for [`Hosts::Local`](crate::Hosts::Local) and the hosts of the
    /// options alone.
    ///
    /// Each router applies its own limits, so requests to the public one cannot keep a probe from
    /// its response. Serve them on two listeners:
    ///
    /// ```no_run
    /// use shop_core::Shop;
    /// use shop_http::{HttpOptions, Parts, routes, serve};
    /// use tokio::net::TcpListener;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> std::io::Result<()> {
    /// let shop = Shop::in_memory();
    /// let options = HttpOptions::default();
    /// let parts = Parts::from(shop.backend());
    /// let (public, admin) = routes(parts).options(options.clone()).build_with_admin();
    ///
    /// let listeners = (TcpListener::bind("0.0.0.0:3000").await?, TcpListener::bind("127.0.0.1:9000").await?);
    /// let public = serve(listeners.0, public, &options, std::future::pending());
    /// let admin = serve(listeners.1, admin, &options, std::future::pending());
    /// tokio::try_join!(public, admin)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn build_with_admin(self) -> (Router, Router) {
        let (public, admin) = self.split_admin();
        (
            public.build_routes(Listener::Public).into_router(),
            admin.build_routes(Listener::Admin).into_router(),
        )
    }

    /// Builds the two routers of [`build_with_admin`](Self::build_with_admin) as services for
    /// [`serve`](crate::serve()), which passes requests to them without a router between.
    #[must_use]
    pub fn build_services_with_admin(self) -> (HttpService, HttpService) {
        let (public, admin) = self.split_admin();
        (
            public.build_service_for(Listener::Public),
            admin.build_service_for(Listener::Admin),
        )
    }

    /// Splits this builder into the builder for the public listener and the one for the admin
    /// listener.
    fn split_admin(self) -> (Self, Self) {
        let mut public = self.clone();
        public.policy.authorize = Some(Arc::new(WithoutOperations(self.policy.clone())));

        let mut admin = self;
        admin.options.hosts = admin.options.hosts.or_local();
        if admin.parts.kind == ServiceKind::Facing {
            admin
                .groups
                .retain(|group| matches!(group, RouteGroup::Health | RouteGroup::Metrics));
        }
        (public, admin)
    }
}

/// Builds the router of a service: of facing, which accepts purchases into a log and serves
/// listings, or of management, the service behind it, which owns the store.
///
/// This is [`routes(parts).options(options).build()`](crate::routes()), with all groups of routes.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::memory::{InMemoryLog, InMemoryStore};
/// use shop_core::ports::Durability;
/// use shop_http::{HttpOptions, Parts, router};
///
/// let (log, store) = (InMemoryLog::default(), Arc::new(InMemoryStore::new()));
/// let facing = router(Parts::facing(Arc::new(log.sink()), store.clone()), HttpOptions::default());
/// let parts = Parts::management(store.clone(), Durability::Memory, store);
/// let management = router(parts, HttpOptions::default());
/// ```
pub fn router(parts: impl Into<Parts>, options: HttpOptions) -> Router {
    routes(parts).options(options).build()
}
