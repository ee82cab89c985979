//! A router with the routes that accept purchases in front of it.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Method, Request};
use axum::response::Response;
use axum::routing::future::RouteFuture;
use futures_util::future::Either;
use pin_project_lite::pin_project;
use tower::{BoxError, Service};

use crate::auth::AuthenticateService;
use crate::resources::buy::Buying;
use crate::routes::fixed_route::FixedRoute;
use crate::server::layers::{Layered, Layers};

/// What accepts the purchases in front of a router.
pub(crate) type FixedService = AuthenticateService<Buying>;

/// A [`Router`] for [`serve`](crate::serve), with the routes that accept purchases in front of it.
///
/// It responds as the router of [`RouterBuilder::build`](crate::RouterBuilder::build) does, with the same handlers and
/// layers. `POST /buy` and `POST /v1/purchases` are matched before the router, which allocates for every request. A
/// router that is nested below a prefix, or has other layers around it, is a [`Router`].
///
/// ```
/// use axum::body::Body;
/// use axum::http::{Request, StatusCode};
/// use shop_core::Shop;
/// use shop_http::{Facing, routes};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let shop = Shop::in_memory();
/// let service = routes(Facing::new(shop.sink(), shop.query())).into_service();
/// let body = Body::from(r#"{"userid":"u1","username":"ada","price":29.99}"#);
/// let bought = service.oneshot(Request::post("/v1/purchases").body(body).unwrap()).await.unwrap();
/// assert_eq!(bought.status(), StatusCode::CREATED);
/// # }
/// ```
#[derive(Clone)]
pub struct RouterService {
    buying: Arc<[(&'static FixedRoute, Layered<FixedService>)]>,
    router: Router,
    paths: Arc<[String]>,
}

impl RouterService {
    /// `router`, whose routes are at `paths`, with `buying` in front of it.
    pub(crate) fn new(
        router: Router,
        paths: Arc<[String]>,
        layers: &Layers,
        buying: impl IntoIterator<Item = (&'static FixedRoute, FixedService)>,
    ) -> Self {
        let layered = |(route, buying): (&'static FixedRoute, FixedService)| {
            (route, layers.around_route(route, buying))
        };
        Self { buying: buying.into_iter().map(layered).collect(), router, paths }
    }

    /// The paths of the routes, with the names of their parameters, such as `/v1/purchases/{id}`. Empty for a service that
    /// was made of a [`Router`].
    #[must_use]
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// The router alone, which has all routes.
    pub(crate) fn into_router(self) -> Router {
        self.router
    }

    /// The route in front of the router that a request with this head has.
    fn buying(&self, method: &Method, path: &str) -> Option<&Layered<FixedService>> {
        let mut routes = self.buying.iter().filter(|_| *method == Method::POST);
        routes.find(|(route, _)| route.path == path).map(|(_, buying)| buying)
    }
}

impl From<Router> for RouterService {
    fn from(router: Router) -> Self {
        Self { buying: Arc::new([]), router, paths: Arc::new([]) }
    }
}

impl fmt::Debug for RouterService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouterService").field("router", &self.router).finish_non_exhaustive()
    }
}

impl<B> Service<Request<B>> for RouterService
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = RouterServiceFuture;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> RouterServiceFuture {
        let answer = match self.buying(request.method(), request.uri().path()) {
            Some(buying) => Either::Left(buying.clone().call(request.map(Body::new))),
            None => Either::Right(self.router.call(request)),
        };
        RouterServiceFuture { answer }
    }
}

pin_project! {
    /// The future of [`RouterService`].
    pub struct RouterServiceFuture {
        #[pin]
        answer: Either<<Layered<FixedService> as Service<Request<Body>>>::Future, RouteFuture<Infallible>>,
    }
}

impl fmt::Debug for RouterServiceFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouterServiceFuture").finish_non_exhaustive()
    }
}

impl Future for RouterServiceFuture {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().answer.poll(context)
    }
}
