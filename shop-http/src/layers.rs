//! What surrounds every route: the dialect of the path, limits, request ids, the log, panics, compression, CORS.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use futures_util::FutureExt;
use tower::ServiceBuilder;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{AllowOrigin, Any as AnyOrigin, CorsLayer};
use tower_http::propagate_header::PropagateHeaderLayer;
use tower_http::request_id::{MakeRequestId, RequestId, SetRequestIdLayer};
use tower_http::trace::{DefaultOnResponse, TraceLayer};
use tracing::Level;

use crate::dialect::{Dialect, Speaks};
use crate::edge::{self, Limits};
use crate::failure::Failure;
use crate::header_names::{IDEMPOTENCY_KEY, PENDING, PURCHASE_ID, REQUEST_ID};
use crate::metrics::{HasPanicked, Requests, measure};
use crate::options::CorsOrigins;
use crate::routes::Routes;
use crate::service::{Role, Service};

/// The longest request id that is taken over from a client.
const LONGEST_REQUEST_ID: usize = 128;

/// `routes` with everything around them, and answers for what is not there.
pub(crate) fn around(routes: Routes, service: &Arc<Service>) -> Router {
    let routes = routes
        .into_router()
        .fallback(|Speaks(dialect): Speaks| async { Failure::NoRoute.respond(dialect) })
        .method_not_allowed_fallback(|Speaks(dialect): Speaks| async {
            Failure::MethodNotAllowed.respond(dialect)
        })
        .with_state(Arc::clone(service));
    let trace = TraceLayer::new_for_http()
        .make_span_with(|request: &Request| {
            let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
            tracing::info_span!("request", http.method = %request.method(), http.path = request.uri().path(), request.id = id)
        })
        .on_response(DefaultOnResponse::new().level(Level::DEBUG))
        // Whatever fails has said so itself, with more to say.
        .on_failure(());
    let cors = (service.role == Role::Facing).then(|| cors(&service.options.cors));
    // One layer: each one more that the router is given is cloned for every request. The first one is the first to
    // see it.
    let layers = ServiceBuilder::new()
        .map_request(drop_odd_request_id)
        .layer(SetRequestIdLayer::new(REQUEST_ID, FreshRequestId))
        .layer(PropagateHeaderLayer::new(REQUEST_ID))
        .layer(trace)
        .layer(from_fn_with_state(Requests::of(&service.metrics), measure))
        .option_layer(cors)
        .layer(CompressionLayer::new())
        .layer(from_fn_with_state(service.options.dialect, in_its_dialect))
        .layer(from_fn_with_state(Limits::new(&service.options), edge::within));
    routes.layer(layers)
}

/// Chooses the request's dialect. Even a panic is answered in it.
async fn in_its_dialect(
    State(configured): State<&'static Dialect>,
    mut request: Request,
    next: Next,
) -> Response {
    let dialect = Dialect::of_path(request.uri().path(), configured);
    request.extensions_mut().insert(Speaks(dialect));
    // The panic's text has been written by whoever was told of it first, the process's panic hook.
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    answer.unwrap_or_else(|_panic| {
        let mut response = Failure::Panicked.respond(dialect);
        response.extensions_mut().insert(HasPanicked);
        response
    })
}

#[derive(Debug, Clone, Copy)]
struct FreshRequestId;

impl MakeRequestId for FreshRequestId {
    fn make_request_id<B>(&mut self, _request: &axum::http::Request<B>) -> Option<RequestId> {
        HeaderValue::from_str(&uuid::Uuid::now_v7().to_string()).ok().map(RequestId::new)
    }
}

/// A client's request id goes into the log and through the pipeline, so only a sensible one is taken over.
fn drop_odd_request_id(mut request: Request) -> Request {
    let sensible = |id: &HeaderValue| {
        (1..=LONGEST_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    if request.headers().get(REQUEST_ID).is_some_and(|id| !sensible(id)) {
        request.headers_mut().remove(REQUEST_ID);
    }
    request
}

fn cors(origins: &CorsOrigins) -> CorsLayer {
    let origins = match origins {
        CorsOrigins::Any => AllowOrigin::from(AnyOrigin),
        CorsOrigins::These(origins) => AllowOrigin::list(origins.iter().cloned()),
    };
    CorsLayer::new().allow_origin(origins).allow_methods(AnyOrigin).allow_headers(AnyOrigin).expose_headers([
        PURCHASE_ID,
        PENDING,
        REQUEST_ID,
        IDEMPOTENCY_KEY,
        header::LINK,
        header::RETRY_AFTER,
    ])
}
