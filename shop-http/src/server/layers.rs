//! The layers around every route: request ids, log, metrics, CORS, limits, panics.

use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use tower::ServiceBuilder;
use tower_http::cors::{AllowHeaders, AllowOrigin, Any as AnyOrigin, CorsLayer};
use tower_http::csrf::CsrfLayer;
use tower_http::set_header::SetResponseHeaderLayer;

use crate::dialect::RequestDialect;
use crate::header_names::{FOUND_BY, IDEMPOTENCY_KEY, PENDING, PURCHASE_ID, REPLAYED, REQUEST_ID};
use crate::options::CorsOrigins;
use crate::response::Failure;
use crate::routes::listener::Listener;
use crate::server::limits::limited;
use crate::server::observe::observed;
use crate::service::Service;
use crate::service_kind::ServiceKind;

/// Adds all layers to `routes`, and the responses for unknown paths and methods. `authenticates` says whether a layer of
/// the embedder is around some of them.
pub(crate) fn around(routes: Router, service: &Service, authenticates: bool) -> Router {
    let routes = routes
        .fallback(|RequestDialect(dialect): RequestDialect| async { Failure::NoRoute.respond(dialect) })
        .method_not_allowed_fallback(|RequestDialect(dialect): RequestDialect| async {
            Failure::MethodNotAllowed.respond(dialect)
        });
    let has_cors = service.kind == ServiceKind::Facing && service.listener != Listener::Admin;
    let cors = has_cors.then(|| cors(&service.options.cors, authenticates));
    // One combined layer: a router boxes and copies each layer separately for every request.
    let layers = ServiceBuilder::new()
        .layer(observed(service))
        .layer(default_header(header::CACHE_CONTROL, "no-store"))
        .layer(default_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(default_header(header::REFERRER_POLICY, "no-referrer"))
        .layer(default_header(RESOURCE_POLICY, "same-origin"))
        .option_layer(cors)
        .layer(limited(&service.options))
        .option_layer(cross_site_protection(service));
    routes.layer(layers)
}

/// Pages of other origins may not embed a response, whatever CORS allows their scripts to read.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// How long a browser remembers what it may send: Chromium's maximum.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(7_200);

/// Adds a header to responses that do not have it.
fn default_header(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}

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
        IDEMPOTENCY_KEY,
        REPLAYED,
        FOUND_BY,
        header::LINK,
        header::LOCATION,
        header::RETRY_AFTER,
    ])
}
