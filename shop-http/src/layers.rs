//! What surrounds every route: the dialect of the path, limits, request ids, the log, panics, compression, CORS.

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use tower::ServiceBuilder;
use tower_http::compression::CompressionLayer;
use tower_http::cors::{AllowOrigin, Any as AnyOrigin, CorsLayer};
use tracing::Instrument;

use crate::dialect::Speaks;
use crate::edge::{Guard, guard};
use crate::failure::Failure;
use crate::header_names::{IDEMPOTENCY_KEY, PENDING, PURCHASE_ID, REPLAYED, REQUEST_ID};
use crate::metrics::Requests;
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
    let cors = (service.role == Role::Facing).then(|| cors(&service.options.cors));
    // One layer, and few within: each one more is cloned for every request. The first one is the first to see it.
    let layers = ServiceBuilder::new()
        .layer(from_fn_with_state(Requests::of(&service.metrics), observe))
        .option_layer(cors)
        .layer(CompressionLayer::new())
        .layer(from_fn_with_state(Guard::of(&service.options), guard));
    routes.layer(layers)
}

/// Gives the request its id, which its answer repeats and every line of the log has, and measures it.
async fn observe(
    State(requests): State<Arc<Requests>>,
    matched: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = identify(request.headers_mut());
    let span = tracing::info_span!(
        "request",
        http.method = %request.method(),
        http.path = request.uri().path(),
        request.id = id.to_str().unwrap_or_default()
    );
    let measuring = requests.begin(matched, request.method());
    let answer = async move {
        let mut response = next.run(request).await;
        response.headers_mut().insert(REQUEST_ID, id);
        // Whatever fails has said so itself, with more to say.
        tracing::debug!(http.status = response.status().as_u16(), "answered");
        measuring.until_sent(response)
    };
    answer.instrument(span).await
}

/// The id of a request, a fresh one if it has none. A client's goes into the log and through the pipeline, so only a
/// sensible one is taken over.
fn identify(headers: &mut HeaderMap) -> HeaderValue {
    let sensible = |id: &&HeaderValue| {
        (1..=LONGEST_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    if let Some(id) = headers.get(REQUEST_ID).filter(sensible) {
        return id.clone();
    }
    let mut text = uuid::Uuid::encode_buffer();
    let text = uuid::Uuid::now_v7().hyphenated().encode_lower(&mut text);
    let fresh = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("none"));
    headers.insert(REQUEST_ID, fresh.clone());
    fresh
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
        REPLAYED,
        header::LINK,
        header::RETRY_AFTER,
    ])
}
