//! Links the requests of a client to the request that causes them, in logs and in traces.
//!
//! Each request carries an id in `X-Request-Id`, which is the id of its context, or else a fresh
//! id. If a trace is known, the request also carries a W3C trace context in `traceparent`:
//!
//! | context of the request | trace |
//! |---|---|
//! | passed by the caller | of the context, or else of the current span |
//! | of the current request | of the current span, or else of the context |
//! | none | of the current span |
//!
//! The current span is used only with the feature `otel`.

use std::sync::Arc;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use shop_api::header;
use shop_core::{Clock, RequestContext, SystemClock};
#[cfg(feature = "otel")]
use {
    opentelemetry::global::get_text_map_propagator, opentelemetry_http::HeaderInjector,
    tracing::Span, tracing_opentelemetry::OpenTelemetrySpanExt,
};

/// The header with the id of the request, which the service logs.
const REQUEST_ID: HeaderName = HeaderName::from_static(header::REQUEST_ID);
/// The header with the W3C trace context of the request.
const TRACEPARENT: HeaderName = HeaderName::from_static(header::TRACEPARENT);

/// The context to which the requests of a client, or of one call, belong.
///
/// Without any context, each request gets a fresh id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Correlation {
    /// The context that the caller passed, or else the context of the current request.
    context: Option<Arc<RequestContext>>,
    /// Whether the caller passed the context.
    is_from_caller: bool,
}

impl Correlation {
    /// Creates a correlation with the context that the caller passed.
    pub(crate) fn new(context: RequestContext) -> Self {
        Self {
            context: Some(Arc::new(context)),
            is_from_caller: true,
        }
    }

    /// Adds the context of the [current request](RequestContext::scope), unless a context was
    /// passed.
    pub(crate) fn or_current(mut self) -> Self {
        if !self.is_from_caller {
            self.context = RequestContext::current();
        }
        self
    }

    /// Returns the request id of the context, or a fresh id.
    pub(crate) fn request_id(&self) -> String {
        self.context
            .as_ref()
            .and_then(|context| context.request_id.clone())
            .unwrap_or_else(|| SystemClock.fresh_id().to_string())
    }

    /// Writes the headers of the request with the id `request_id`: the id, and the trace context.
    /// Leaves out a value that is not valid in a header.
    pub(crate) fn write_headers(&self, headers: &mut HeaderMap, request_id: &str) {
        insert_if_valid(headers, REQUEST_ID, request_id);

        let traceparent = self
            .context
            .as_ref()
            .and_then(|context| context.traceparent.as_deref());
        // The current span belongs to the trace of the current request, and is more specific than
        // the context of this request. A context from the caller may belong to another trace, and
        // takes precedence.
        #[cfg(feature = "otel")]
        if traceparent.is_none() || !self.is_from_caller {
            // The propagator of the program decides which headers there are.
            get_text_map_propagator(|propagator| {
                propagator.inject_context(&Span::current().context(), &mut HeaderInjector(headers));
            });
        }

        if let Some(traceparent) = traceparent
            && !headers.contains_key(TRACEPARENT)
        {
            insert_if_valid(headers, TRACEPARENT, traceparent);
        }
    }
}

/// Inserts a header if `value` is valid in a header, and otherwise leaves `headers` unchanged.
fn insert_if_valid(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
