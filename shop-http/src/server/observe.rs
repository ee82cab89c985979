//! The outermost layer: request ids, log, metrics.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use axum::response::Response;
use bytes::Bytes;
use pin_project_lite::pin_project;
use tower::Service as TowerService;
use tracing::instrument::Instrumented;
use tracing::{Instrument, Level, Span};
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use crate::header_names::{CORRELATION_ID, REQUEST_ID};
use crate::metrics::{HasPanicked, RequestTimer, Requests};
use crate::response::FailureLog;
use crate::routes::fixed_route::{FixedRoute, MatchedRoute};
use crate::server::access_log::{AccessLogger, Entry};
#[cfg(feature = "otel")]
use crate::server::traces;
use crate::service::Service;

/// The maximum length of a client's id.
const MAX_ID_BYTES: usize = 128;

/// What observes the requests of a router.
pub(crate) struct Observer {
    requests: Arc<Requests>,
    failures: FailureLog,
    access_log: Option<Arc<AccessLogger>>,
    #[cfg(feature = "otel")]
    has_traces: bool,
}

impl Observer {
    /// Records to the metrics of `service`.
    pub(crate) fn new(service: &Service) -> Arc<Self> {
        Arc::new(Self {
            requests: Requests::new(&service.metrics),
            failures: FailureLog::default(),
            access_log: AccessLogger::new(&service.options),
            #[cfg(feature = "otel")]
            has_traces: traces::is_set_up(),
        })
    }

    /// The span of `request`, whose id is `id`, if spans are exported or the log has the level `debug`. At other levels
    /// most requests log nothing: the span is made for the lines of those that do.
    #[cfg_attr(
        not(feature = "otel"),
        expect(unused_variables, reason = "the span of a trace has more of it")
    )]
    fn span(&self, request: &Request, route: &MatchedRoute, head: &Head, id: &HeaderValue) -> Span {
        #[cfg(feature = "otel")]
        if self.has_traces {
            return traces::span(request, route.template(), id);
        }
        if tracing::enabled!(Level::DEBUG) { head.span(id) } else { Span::none() }
    }

    /// Logs why `response` is a failure, if it is one.
    fn note(&self, response: &Response, span: &Span, head: &Head, id: &HeaderValue) {
        let has_panicked = response.extensions().get::<HasPanicked>().is_some();
        if !has_panicked && !FailureLog::has_line(response) {
            return;
        }
        let made = span.is_none().then(|| head.span(id));
        let span = made.as_ref().unwrap_or(span);
        if has_panicked {
            tracing::error!(parent: span, "a route has panicked");
        }
        self.failures.note(response, span);
    }
}

/// What the span of a request has besides the id.
struct Head {
    method: Method,
    /// The path of a route without parameters, or else the one that was requested.
    path: Result<&'static FixedRoute, Uri>,
}

impl Head {
    fn of(route: Option<&'static FixedRoute>, request: &Request) -> Self {
        let path = route.ok_or_else(|| request.uri().clone());
        Self { method: request.method().clone(), path }
    }

    fn path(&self) -> &str {
        match &self.path {
            Ok(route) => route.path,
            Err(uri) => uri.path(),
        }
    }

    fn span(&self, id: &HeaderValue) -> Span {
        tracing::info_span!(
            "request",
            http.method = self.method.as_str(),
            http.path = self.path(),
            request.id = id.to_str().unwrap_or_default()
        )
    }
}

/// Gives each request its id, which its response repeats and the log lines about it contain, and measures the request.
#[derive(Clone)]
pub(crate) struct ObserveService<S> {
    observer: Arc<Observer>,
    route: Option<&'static FixedRoute>,
    inner: S,
}

impl<S> ObserveService<S> {
    pub(crate) const fn new(observer: Arc<Observer>, route: Option<&'static FixedRoute>, inner: S) -> Self {
        Self { observer, route, inner }
    }
}

impl<S> TowerService<Request> for ObserveService<S>
where
    S: TowerService<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = ObserveFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let correlation = sent(request.headers(), &CORRELATION_ID).cloned();
        let id = identify(request.headers_mut(), correlation.as_ref());
        let head = Head::of(self.route, &request);
        let route = MatchedRoute::of(self.route, &request);
        let span = self.observer.span(&request, &route, &head, &id);
        let entry = self.observer.access_log.as_ref().map(|log| log.begin(&mut request, route.clone(), &id));
        let measuring = Arc::clone(&self.observer.requests).begin(route, request.method());
        ObserveFuture {
            answer: self.inner.call(request).instrument(span),
            on: Some((id, head, measuring)),
            correlation,
            entry,
            observer: Arc::clone(&self.observer),
        }
    }
}

pin_project! {
    /// A response in progress.
    pub(crate) struct ObserveFuture<F> {
        #[pin]
        answer: Instrumented<F>,
        on: Option<(HeaderValue, Head, RequestTimer)>,
        correlation: Option<HeaderValue>,
        entry: Option<Entry>,
        observer: Arc<Observer>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for ObserveFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Ok(mut response) = ready!(this.answer.as_mut().poll(context));
        let Some((id, head, measuring)) = this.on.take() else { return Poll::Ready(Ok(response)) };
        let span = this.answer.span();
        this.observer.note(&response, span, &head, &id);
        #[cfg(feature = "otel")]
        if span.has_field(traces::KIND) {
            traces::answered(span, response.status());
        }
        tracing::debug!(parent: span, http.status = response.status().as_u16(), "answered");
        response.headers_mut().insert(REQUEST_ID, id);
        if let Some(correlation) = this.correlation.take() {
            response.headers_mut().insert(CORRELATION_ID, correlation);
        }
        let response = measuring.until_sent(response);
        Poll::Ready(Ok(match this.entry.take() {
            Some(entry) => entry.until_sent(response),
            None => response,
        }))
    }
}

/// An id that the client has sent. It is used in the log and in the pipeline, so it must be short and visible ASCII.
fn sent<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    headers
        .get(name)
        .filter(|id| (1..=MAX_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic))
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
    let fresh = HeaderValue::from_maybe_shared(Bytes::from_owner(text));
    fresh.unwrap_or(HeaderValue::from_static("none"))
}
