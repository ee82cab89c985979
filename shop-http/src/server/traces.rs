//! The spans of requests for exported traces.

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode};
use opentelemetry::global::get_text_map_propagator;
use opentelemetry::trace::Status;
use opentelemetry_http::HeaderExtractor;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The field that marks these spans.
pub(crate) const KIND: &str = "otel.kind";

/// Whether the program has set a propagator of trace contexts.
pub(crate) fn is_set_up() -> bool {
    get_text_map_propagator(|propagator| propagator.fields().next().is_some())
}

/// The span of `request` for `route`, whose id is `id`. Its parent is the span in the headers, if
/// there is one.
pub(crate) fn span(request: &Request, route: Option<&str>, id: &HeaderValue) -> Span {
    let method = request.method().as_str();
    let path = request.uri().path();
    let span = tracing::info_span!(
        "request",
        otel.kind = "server",
        otel.name = %format_args!("{method}{}{}", if route.is_some() { " " } else { "" }, route.unwrap_or_default()),
        http.method = method,
        http.path = path,
        request.id = id.to_str().unwrap_or_default()
    );
    let parent = get_text_map_propagator(|propagator| {
        propagator.extract(&HeaderExtractor(request.headers()))
    });
    // An error says that no layer exports spans.
    drop(span.set_parent(parent));
    span.set_attribute("http.request.method", method.to_owned());
    span.set_attribute("url.path", path.to_owned());
    if let Some(route) = route {
        span.set_attribute("http.route", route.to_owned());
    }
    span
}

/// Records the status of the response in `span`.
pub(crate) fn answered(span: &Span, status: StatusCode) {
    span.set_attribute("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.set_status(Status::error(""));
    }
}
