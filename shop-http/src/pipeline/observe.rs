//! Observes a request: gives it an id before all other steps, and records its response after them,
//! in the diagnostic log and in the metrics.

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

use super::access_log::{AccessLogEntry, AccessLogger};
use super::state::{RequestState, outer_template};
#[cfg(feature = "otel")]
use super::traces;
use crate::header_names::{CORRELATION_ID, REQUEST_ID};
use crate::metrics::{HasPanicked, Metrics, RequestTimer, RouteSeries};
use crate::response::error::FailedCall;
use crate::response::failure_log::FailureLog;
use crate::service::Service;

/// The maximum length of an id that a client sends.
const MAX_ID_BYTES: usize = 128;

/// Observes the requests of a router.
pub(crate) struct RequestObserver {
    metrics: Metrics,
    /// The series of requests without a route.
    unrouted: Arc<RouteSeries>,
    failures: FailureLog,
    access_log: Option<AccessLogger>,
    #[cfg(feature = "otel")]
    has_traces: bool,
}

/// A request that is observed.
pub(crate) struct ObservedRequest {
    head: LoggedHead,
    /// The correlation id, which the response repeats.
    correlation_id: Option<HeaderValue>,
    pub(crate) span: Span,
    timer: RequestTimer,
    /// Boxed, because most services write no access log.
    access_log_entry: Option<Box<AccessLogEntry>>,
}

/// The parts of a request head that its span contains.
struct LoggedHead {
    method: Method,
    uri: Uri,
    id: HeaderValue,
}

impl LoggedHead {
    /// Creates the span of the request for its log lines.
    fn create_span(&self) -> Span {
        tracing::info_span!(
            "request",
            http.method = self.method.as_str(),
            http.path = self.uri.path(),
            request.id = self.id.to_str().unwrap_or_default()
        )
    }
}

impl RequestObserver {
    /// Creates an observer that records to the metrics of `service`.
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

    /// Gives a request its id, which its log lines contain, and begins to measure the request. If
    /// there is an access log, adds the trail of its entry to `state`.
    pub(crate) fn begin(
        &self,
        request: &mut Request,
        state: &mut RequestState,
        received_at: Instant,
    ) -> ObservedRequest {
        let correlation_id = usable_id(request.headers(), &CORRELATION_ID).cloned();
        let head = LoggedHead {
            method: request.method().clone(),
            uri: request.uri().clone(),
            id: assign_id(request.headers_mut(), correlation_id.as_ref()),
        };
        let series = match &state.route {
            Some(route) => &route.series,
            None => &self.unrouted,
        };
        let outer_prefix = outer_template(request);
        let span = self.create_span(request, series, outer_prefix, &head);

        let mut access_log_entry = None;
        if let Some(logger) = &self.access_log {
            let entry = logger.begin(
                request,
                state.peer,
                Arc::clone(series),
                outer_prefix.to_owned(),
                &head.id,
                received_at,
            );
            state.trail = Some(Arc::clone(&entry.trail));
            access_log_entry = Some(Box::new(entry));
        }
        let timer = self.metrics.start_request(
            Arc::clone(series),
            outer_prefix.to_owned(),
            &head.method,
            received_at,
        );
        ObservedRequest {
            head,
            correlation_id,
            span,
            timer,
            access_log_entry,
        }
    }

    /// Creates the span of a request if spans are exported, or if the diagnostic log includes the
    /// level `debug`.
    ///
    /// At other levels, most requests log no line, so [`log_failure`](Self::log_failure) creates the
    /// span only once there is a line to log.
    #[cfg_attr(
        not(feature = "otel"),
        expect(unused_variables, reason = "the span of a trace has more fields")
    )]
    fn create_span(
        &self,
        request: &Request,
        route: &RouteSeries,
        outer_prefix: &str,
        head: &LoggedHead,
    ) -> Span {
        #[cfg(feature = "otel")]
        if self.has_traces {
            return traces::span(request, route.template(outer_prefix).as_deref(), &head.id);
        }
        // `enabled!` is always true where layers use filters.
        if LevelFilter::current() >= LevelFilter::DEBUG {
            head.create_span()
        } else {
            Span::none()
        }
    }

    /// Adds the ids of a request to its response, logs a failure, and measures the request until the
    /// response is sent. Returns the response, and the time at which the response was made.
    pub(crate) fn end(
        &self,
        observed: ObservedRequest,
        mut response: Response,
    ) -> (Response, Instant) {
        let made_at = Instant::now();
        let ObservedRequest {
            head,
            correlation_id,
            span,
            timer,
            access_log_entry,
        } = observed;
        self.log_failure(&response, &span, &head);
        #[cfg(feature = "otel")]
        if self.has_traces {
            traces::record_status(&span, response.status());
        }
        tracing::debug!(parent: &span, http.status = response.status().as_u16(), "answered");

        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, head.id);
        if let Some(correlation_id) = correlation_id {
            headers.insert(CORRELATION_ID, correlation_id);
        }
        let mut response = timer.until_sent(response, made_at);
        if let Some(entry) = access_log_entry {
            response = entry.until_sent(response);
        }
        (response, made_at)
    }

    /// Logs why `response` is a failure, if it is one.
    fn log_failure(&self, response: &Response, span: &Span, head: &LoggedHead) {
        let has_panicked = response.extensions().get::<HasPanicked>().is_some();
        let failed_call = response.extensions().get::<Arc<FailedCall>>();
        if !has_panicked && failed_call.is_none() {
            return;
        }

        // `create_span` makes no span at most log levels, so it is made here.
        let late_span = span.is_none().then(|| head.create_span());
        let span = late_span.as_ref().unwrap_or(span);
        if has_panicked {
            tracing::error!(parent: span, "a route has panicked");
        }
        if let Some(failed_call) = failed_call {
            self.failures.log_if_due(failed_call, span);
        }
    }
}

/// Returns the id that a client sent as the header `name`, if the id can be used in logs and sent to
/// other services: it must be short and visible ASCII.
fn usable_id<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let id = headers.get(name)?;
    let is_usable =
        (1..=MAX_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic);
    is_usable.then_some(id)
}

/// Returns the id of a request: the `X-Request-Id` that the client sent, or else the correlation id,
/// or else a new id. Adds the id to the headers if the client did not send it.
fn assign_id(headers: &mut HeaderMap, correlation_id: Option<&HeaderValue>) -> HeaderValue {
    if let Some(id) = usable_id(headers, &REQUEST_ID) {
        return id.clone();
    }
    let id = correlation_id.cloned().unwrap_or_else(create_id);
    headers.insert(REQUEST_ID, id.clone());
    id
}

/// Creates a new id.
fn create_id() -> HeaderValue {
    let mut text = [0; Hyphenated::LENGTH];
    Uuid::now_v7().hyphenated().encode_lower(&mut text);
    // The copies of the value share the bytes. A UUID is always a valid value, so the default is
    // never used.
    HeaderValue::from_maybe_shared(Bytes::from_owner(text))
        .unwrap_or(HeaderValue::from_static("none"))
}
