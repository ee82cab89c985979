//! The layers around every route: request ids, log, metrics, CORS, limits, panics.

use axum::Router;
use axum::http::header;
use tower::ServiceBuilder;
use tower_http::cors::{AllowHeaders, AllowOrigin, Any as AnyOrigin, CorsLayer};

use crate::dialect::RequestDialect;
use crate::header_names::{FOUND_BY, IDEMPOTENCY_KEY, PENDING, PURCHASE_ID, REPLAYED, REQUEST_ID};
use crate::options::CorsOrigins;
use crate::response::Failure;
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
    let cors = (service.kind == ServiceKind::Facing).then(|| cors(&service.options.cors, authenticates));
    // One combined layer: a router boxes and copies each layer separately for every request.
    let layers = ServiceBuilder::new()
        .layer(observed(&service.metrics))
        .option_layer(cors)
        .layer(limited(&service.options));
    routes.layer(layers)
}

fn cors(origins: &CorsOrigins, authenticates: bool) -> CorsLayer {
    let origins = match origins {
        CorsOrigins::Any => AllowOrigin::from(AnyOrigin),
        CorsOrigins::List(origins) => AllowOrigin::list(origins.iter().cloned()),
    };
    // `*` does not include `Authorization`.
    let headers = if authenticates { AllowHeaders::mirror_request() } else { AllowHeaders::from(AnyOrigin) };
    CorsLayer::new().allow_origin(origins).allow_methods(AnyOrigin).allow_headers(headers).expose_headers([
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
