//! Creates the span of each request for exported traces, with the attributes that OpenTelemetry
//! names for HTTP servers.
//!
//! A span continues the trace of the client if the headers of the request name one. It begins with
//! the request, and gets the status once the response is made.

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode};
use opentelemetry::global::get_text_map_propagator;
use opentelemetry::trace::Status;
use opentelemetry_http::HeaderExtractor;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// Returns whether the program set a propagator of trace contexts.
pub(crate) fn is_set_up() -> bool {
    get_text_map_propagator(|propagator| propagator.fields().next().is_some())
}

/// Creates the span of `request`, whose id is `id`.
///
/// `route` is the template of the path, or `None` if no route answers the path. The parent of the
/// span is the span that the headers of the request name, if they name one.
pub(crate) fn span(request: &Request, route: Option<&str>, id: &HeaderValue) -> Span {
    let method = request.method().as_str();
    let path = request.uri().path();
    let separator = if route.is_some() { " " } else { "" };
    let span = tracing::info_span!(
        "request",
        otel.kind = "server",
        otel.name = %format_args!("{method}{separator}{}", route.unwrap_or_default()),
        http.method = method,
        http.path = path,
        request.id = id.to_str().unwrap_or_default()
    );

    let parent = get_text_map_propagator(|propagator| {
        propagator.extract(&HeaderExtractor(request.headers()))
    });
    // This fails if the span is not exported, and then it needs no parent.
    _ = span.set_parent(parent);

    span.set_attribute("http.request.method", method.to_owned());
    span.set_attribute("url.path", path.to_owned());
    if let Some(route) = route {
        span.set_attribute("http.route", route.to_owned());
    }
    span
}

/// Records the status of the response in `span`. A status of 500 or above marks the span as failed.
pub(crate) fn record_status(span: &Span, status: StatusCode) {
    span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.set_status(Status::error(""));
    }
}
