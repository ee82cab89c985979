//! What every request gets first, and loses last: its id, its lines in the log, and its metrics.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use axum::response::Response;
use bytes::Bytes;
use tokio::time::Instant;
use tracing::Span;
use tracing::level_filters::LevelFilter;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::header_names::{CORRELATION_ID, REQUEST_ID};
use crate::metrics::{HasPanicked, Metrics, RequestTimer, RouteSeries};
use crate::response::error::FailedCall;
use crate::response::failure_log::FailureLog;
use crate::routes::matched::{Matched, outer_template};
use crate::server::access_log::{AccessLogEntry, AccessLogger};
#[cfg(feature = "otel")]
use crate::server::traces;
use crate::service::Service;

/// The maximum length of a client's id.
const MAX_ID_BYTES: usize = 128;

/// What observes the requests of a router.
pub(crate) struct RequestObserver {
    metrics: Metrics,
    /// Of requests without a route.
    unrouted: Arc<RouteSeries>,
    failures: FailureLog,
    access_log: Option<AccessLogger>,
    #[cfg(feature = "otel")]
    has_traces: bool,
}

impl RequestObserver {
    /// Records to the metrics of `service`.
    pub(crate) fn new(service: &Service) -> Self {
        Self {
            metrics: service.metrics.clone(),
            unrouted: Arc::default(),
            failures: FailureLog::default(),
            access_log: AccessLogger::new(&service.options),
            #[cfg(feature = "otel")]
            has_traces: traces::is_set_up(),
        }
    }

    /// The span of `request`, if spans are exported or the log has the level `debug`. At other
    /// levels most requests log nothing: the span is made for the lines of those that do.
    #[cfg_attr(
        not(feature = "otel"),
        expect(unused_variables, reason = "the span of a trace has more of it")
    )]
    fn span(&self, request: &Request, route: &RouteSeries, outer: &str, head: &Head) -> Span {
        #[cfg(feature = "otel")]
        if self.has_traces {
            return traces::span(request, route.template(outer).as_deref(), &head.id);
        }
        // `enabled!` is always true where layers have filters.
        if LevelFilter::current() >= LevelFilter::DEBUG {
            head.span()
        } else {
            Span::none()
        }
    }

    /// Logs why `response` is a failure, if it is one.
    fn note(&self, response: &Response, span: &Span, head: &Head) {
        let has_panicked = response.extensions().get::<HasPanicked>().is_some();
        let cause = response.extensions().get::<Arc<FailedCall>>();
        if !has_panicked && cause.is_none() {
            return;
        }
        let made = span.is_none().then(|| head.span());
        let span = made.as_ref().unwrap_or(span);
        if has_panicked {
            tracing::error!(parent: span, "a route has panicked");
        }
        if let Some(call) = cause {
            self.failures.note(call, span);
        }
    }

    /// Gives a request its id, which the log lines about it contain, and begins to measure it.
    pub(crate) fn begin(&self, request: &mut Request, matched: &mut Matched) -> Observed {
        let correlation = sent(request.headers(), &CORRELATION_ID).cloned();
        let id = identify(request.headers_mut(), correlation.as_ref());
        let head = Head {
            method: request.method().clone(),
            uri: request.uri().clone(),
            id,
        };
        let series = matched
            .route
            .as_ref()
            .map_or(&self.unrouted, |route| &route.series);
        let outer = outer_template(request);
        let span = self.span(request, series, outer, &head);
        let begun = Instant::now();
        let logger = self.access_log.as_ref();
        let entry = logger.map(|logger| {
            logger.begin(
                request,
                Arc::clone(series),
                outer.to_owned(),
                &head.id,
                begun,
            )
        });
        let timer =
            self.metrics
                .start_request(Arc::clone(series), outer.to_owned(), &head.method, begun);
        matched.trail = entry.as_ref().map(|entry| Arc::clone(&entry.trail));
        Observed {
            head,
            correlation,
            span,
            timer,
            entry,
        }
    }

    /// The response to a request with its id, measured until it is sent.
    pub(crate) fn end(&self, observed: Observed, mut response: Response) -> Response {
        let Observed {
            head,
            correlation,
            span,
            timer,
            entry,
        } = observed;
        self.note(&response, &span, &head);
        #[cfg(feature = "otel")]
        if span.has_field(traces::KIND) {
            traces::answered(&span, response.status());
        }
        tracing::debug!(parent: &span, http.status = response.status().as_u16(), "answered");
        response.headers_mut().insert(REQUEST_ID, head.id);
        response
            .headers_mut()
            .extend(correlation.map(|id| (CORRELATION_ID, id)));
        let response = timer.until_sent(response);
        match entry {
            Some(entry) => entry.until_sent(response),
            None => response,
        }
    }
}

/// What the span of a request has.
struct Head {
    method: Method,
    uri: Uri,
    id: HeaderValue,
}

impl Head {
    fn span(&self) -> Span {
        tracing::info_span!(
            "request",
            http.method = self.method.as_str(),
            http.path = self.uri.path(),
            request.id = self.id.to_str().unwrap_or_default()
        )
    }
}

/// A request that is observed.
pub(crate) struct Observed {
    head: Head,
    correlation: Option<HeaderValue>,
    pub(crate) span: Span,
    timer: RequestTimer,
    entry: Option<AccessLogEntry>,
}

/// An id that the client has sent. It is used in the log and in the pipeline, so it must be short
/// and visible ASCII.
fn sent<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    headers.get(name).filter(|id| {
        (1..=MAX_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
    })
}

/// The id of a request: the client's, else its correlation id, else a fresh one.
fn identify(headers: &mut HeaderMap, correlation: Option<&HeaderValue>) -> HeaderValue {
    if let Some(id) = sent(headers, &REQUEST_ID) {
        return id.clone();
    }
    let id = correlation.cloned().unwrap_or_else(fresh);
    headers.insert(REQUEST_ID, id.clone());
    id
}

fn fresh() -> HeaderValue {
    let mut text = [0; Hyphenated::LENGTH];
    Uuid::now_v7().hyphenated().encode_lower(&mut text);
    // Its copies share the bytes.
    HeaderValue::from_maybe_shared(Bytes::from_owner(text))
        .unwrap_or(HeaderValue::from_static("none"))
}
