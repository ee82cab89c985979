//! The layers around every route: request ids, log, metrics, headers, CORS, limits, panics.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;
use axum::routing::Route;
use tower::layer::layer_fn;
use tower::util::option_layer;
use tower::{Layer, Service as TowerService, service_fn};
use tower_http::cors::{AllowHeaders, AllowOrigin, Any as AnyOrigin, CorsLayer};
use tower_http::csrf::CsrfLayer;

use crate::header_names::{
    CORRELATION_ID, FOUND_BY, IDEMPOTENCY_KEY, PENDING, PURCHASE_ID, REPLAYED, REQUEST_ID,
};
use crate::options::CorsOrigins;
use crate::response::HttpError;
use crate::routes::groups::Listener;
use crate::server::admission::Admission;
use crate::server::limits::{Limits, limit};
use crate::server::observe::{Observer, observe};
use crate::server::rates::{RATE_LIMIT, RATE_LIMIT_POLICY};
use crate::service::{Service, ServiceKind};

/// A service that a layer surrounds.
pub(crate) trait Inner:
    TowerService<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S> Inner for S where
    S: TowerService<Request, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// `inner` within an async function, which gets `state`, `inner` and the request. Unlike axum's `from_fn` it does not
/// allocate.
pub(crate) fn within<T, S, L, F>(layer: L, state: &Arc<T>, inner: S) -> impl Inner + use<T, S, L, F>
where
    T: Send + Sync + ?Sized + 'static,
    S: Inner,
    L: Fn(Arc<T>, S, Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response, Infallible>> + Send + 'static,
{
    let state = Arc::clone(state);
    service_fn(move |request| layer(Arc::clone(&state), inner.clone(), request))
}

/// `routes` with all layers of `service`, and with the responses for unknown paths and methods. `authenticates` says
/// whether a layer of the embedder is around some routes.
pub(crate) fn around(
    routes: Router,
    service: &Service,
    admission: &Arc<Admission>,
    authenticates: bool,
) -> Router {
    let has_cors = service.kind == ServiceKind::Facing && service.listener != Listener::Admin;
    let cors = has_cors.then(|| cors(&service.options.cors, authenticates));
    let protection = cross_site_protection(service);
    let (observer, limits) = (Observer::new(service), Limits::new(&service.options, admission));
    let layers = move |route: Route| {
        let limited = within(limit, &limits, option_layer(protection.clone()).layer(route));
        within(observe, &observer, option_layer(cors.clone()).layer(limited))
    };
    let routes = routes
        .fallback(async || HttpError::NO_ROUTE)
        .method_not_allowed_fallback(async || HttpError::METHOD_NOT_ALLOWED);
    // One combined layer: a router boxes and copies each layer separately for every request.
    routes.layer(layer_fn(layers))
}

/// Adds the headers of browsers' security to a response that does not have them.
pub(crate) fn add_default_headers(response: &mut Response) {
    for (name, value) in &DEFAULTS {
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
}

/// Pages of other origins may not embed a response, whatever CORS allows their scripts to read.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

static DEFAULTS: [(HeaderName, HeaderValue); 4] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
];

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
        RATE_LIMIT,
        RATE_LIMIT_POLICY,
    ])
}
