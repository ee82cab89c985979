//! The layers around every route: request ids, log, metrics, headers, CORS, limits, panics.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use tower::util::Either;
use tower::{Layer, ServiceBuilder};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any as AnyOrigin, CorsLayer};
use tower_http::csrf::{Csrf, CsrfLayer};

use crate::dialect::RequestDialect;
use crate::header_names::{
    CORRELATION_ID, FOUND_BY, IDEMPOTENCY_KEY, PENDING, PURCHASE_ID, REPLAYED, REQUEST_ID,
};
use crate::options::CorsOrigins;
use crate::response::Failure;
use crate::routes::fixed_route::FixedRoute;
use crate::routes::listener::Listener;
use crate::server::default_headers::{DefaultHeaders, DefaultHeadersService};
use crate::server::limits::{Limits, LimitsService};
use crate::server::observe::{ObserveService, Observer};
use crate::service::Service;
use crate::service::ServiceKind;

/// All layers of a router. Services with clones of it share its limits and its metrics.
#[derive(Clone)]
pub(crate) struct Layers {
    observer: Arc<Observer>,
    headers: Arc<DefaultHeaders>,
    limits: Arc<Limits>,
    cross_site_protection: Option<CsrfLayer>,
}

/// A service with all layers around it.
pub(crate) type Layered<S> = ObserveService<DefaultHeadersService<LimitsService<Either<Csrf<S>, S>>>>;

/// The future of a route, which can be moved while it is in progress.
pub(crate) type BoxedAnswer = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl Layers {
    /// The layers of `service`. `authenticates` says whether a layer of the embedder is around some routes.
    pub(crate) fn new(service: &Service, authenticates: bool) -> Self {
        let has_cors = service.kind == ServiceKind::Facing && service.listener != Listener::Admin;
        let origins = &service.options.cors;
        let cors = has_cors.then(|| cors(origins, authenticates));
        Self {
            observer: Observer::new(service),
            headers: DefaultHeaders::new(cors, *origins == CorsOrigins::Any),
            limits: Limits::new(&service.options),
            cross_site_protection: cross_site_protection(service),
        }
    }

    /// `routes` with all layers, and with the responses for unknown paths and methods.
    pub(crate) fn around(&self, routes: Router) -> Router {
        let routes = routes
            .fallback(|RequestDialect(dialect): RequestDialect| async { Failure::NoRoute.respond(dialect) })
            .method_not_allowed_fallback(|RequestDialect(dialect): RequestDialect| async {
                Failure::MethodNotAllowed.respond(dialect)
            });
        // One combined layer: a router boxes and copies each layer separately for every request.
        let boxed: fn(RouteFuture<Infallible>) -> BoxedAnswer = |answer| Box::pin(answer);
        routes.layer(ServiceBuilder::new().layer(self.clone()).map_future(boxed))
    }

    /// `inner` with all layers, for requests that this `route` has matched.
    pub(crate) fn around_route<S: Clone>(&self, route: &'static FixedRoute, inner: S) -> Layered<S> {
        self.with(Some(route), inner)
    }

    fn with<S: Clone>(&self, route: Option<&'static FixedRoute>, inner: S) -> Layered<S> {
        let inner = match &self.cross_site_protection {
            Some(protection) => Either::Left(protection.layer(inner)),
            None => Either::Right(inner),
        };
        let limited = LimitsService::new(Arc::clone(&self.limits), route, inner);
        let answer = DefaultHeadersService::new(Arc::clone(&self.headers), limited);
        ObserveService::new(Arc::clone(&self.observer), route, answer)
    }
}

impl<S: Clone> Layer<S> for Layers {
    type Service = Layered<S>;

    fn layer(&self, inner: S) -> Layered<S> {
        self.with(None, inner)
    }
}

/// How long a browser remembers what it may send: Chromium's maximum.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(7_200);

/// Refuses writes by pages of other origins than the service's and those that CORS allows. The limits layer responds in the
/// dialect. Programs send neither `Sec-Fetch-Site` nor `Origin`.
fn cross_site_protection(service: &Service) -> Option<CsrfLayer> {
    let trusted = match (service.kind, &service.options.cors) {
        (ServiceKind::Facing, CorsOrigins::Any) => return None,
        (ServiceKind::Facing, CorsOrigins::List(origins)) => &origins[..],
        (ServiceKind::Management, _) => &[],
    };
    let trusted = trusted.iter().filter_map(|origin| origin.to_str().ok());
    Some(trusted.fold(CsrfLayer::new(), |layer, origin| {
        // What is not an origin is never sent as one.
        layer.clone().add_trusted_origin(origin).unwrap_or(layer)
    }))
}

fn cors(origins: &CorsOrigins, authenticates: bool) -> CorsLayer {
    let origins = match origins {
        CorsOrigins::Any => AllowOrigin::from(AnyOrigin),
        CorsOrigins::List(origins) => AllowOrigin::list(origins.iter().cloned()),
    };
    // `*` does not include `Authorization`.
    let headers = if authenticates { AllowHeaders::mirror_request() } else { AllowHeaders::from(AnyOrigin) };
    let cors = CorsLayer::new().allow_origin(origins).allow_methods(AnyOrigin).allow_headers(headers);
    cors.max_age(PREFLIGHT_MAX_AGE).expose_headers([
        PURCHASE_ID,
        PENDING,
        REQUEST_ID,
        CORRELATION_ID,
        IDEMPOTENCY_KEY,
        REPLAYED,
        FOUND_BY,
        header::LINK,
        header::LOCATION,
        header::RETRY_AFTER,
    ])
}
