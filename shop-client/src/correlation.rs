//! The request id and trace context that link a request of this client to the request that caused
//! it.

use std::sync::Arc;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use shop_core::api::header;
use shop_core::{Clock, RequestContext, SystemClock};
#[cfg(feature = "otel")]
use {
    opentelemetry::global::get_text_map_propagator, opentelemetry_http::HeaderInjector,
    tracing::Span, tracing_opentelemetry::OpenTelemetrySpanExt,
};

const REQUEST_ID: HeaderName = HeaderName::from_static(header::REQUEST_ID);
const TRACEPARENT: HeaderName = HeaderName::from_static(header::TRACEPARENT);

/// The context of a client or of a call, if any.
#[derive(Debug, Clone, Default)]
pub(crate) struct Correlation {
    context: Option<Arc<RequestContext>>,
    /// Whether it is that of the current request rather than one that the caller has passed.
    #[cfg_attr(
        not(feature = "otel"),
        expect(dead_code, reason = "the current span has precedence over it")
    )]
    is_ambient: bool,
}

impl Correlation {
    pub(crate) fn new(context: RequestContext) -> Self {
        Self {
            context: Some(Arc::new(context)),
            is_ambient: false,
        }
    }

    /// The context of the current request, unless there is one of the client.
    pub(crate) fn or_current(self) -> Self {
        match self.context {
            Some(_) => self,
            None => Self {
                context: RequestContext::current(),
                is_ambient: true,
            },
        }
    }

    /// The request id of the context, or a fresh one.
    pub(crate) fn request_id(&self) -> String {
        self.context
            .as_ref()
            .and_then(|context| context.request_id.clone())
            .unwrap_or_else(|| SystemClock.fresh_id().to_string())
    }

    /// Writes the headers. Values that are not valid in a header are left out.
    pub(crate) fn write(&self, head: &mut HeaderMap, id: &str) {
        let put = |head: &mut HeaderMap, name, value: &str| {
            head.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        };
        put(head, REQUEST_ID, id);
        let given = self
            .context
            .as_ref()
            .and_then(|context| context.traceparent.as_deref());
        // The current span belongs to the trace of the current request.
        #[cfg(feature = "otel")]
        if given.is_none() || self.is_ambient {
            // As the program's own propagator writes it.
            get_text_map_propagator(|propagator| {
                propagator.inject_context(&Span::current().context(), &mut HeaderInjector(head));
            });
        }
        if let Some(given) = given
            && !head.contains_key(TRACEPARENT)
        {
            put(head, TRACEPARENT, given);
        }
    }
}
