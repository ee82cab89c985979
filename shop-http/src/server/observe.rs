//! The outermost layer: request ids, log, metrics.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use pin_project_lite::pin_project;
use tower::Service as TowerService;
use tower::layer::{LayerFn, layer_fn};
use tracing::instrument::Instrumented;
use tracing::{Instrument, Span};

use crate::header_names::REQUEST_ID;
use crate::metrics::{RequestTimer, Requests};
use crate::response::FailureLog;
use crate::server::access_log::{AccessLogger, Entry};
#[cfg(feature = "otel")]
use crate::server::traces;
use crate::service::Service;

/// The maximum length of a client's request id.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Wraps a service in an [`ObserveService`] that records to the metrics of `service`.
pub(crate) fn observed<S>(service: &Service) -> LayerFn<impl Fn(S) -> ObserveService<S> + Clone + use<S>> {
    let (requests, failures) = (Requests::new(&service.metrics), Arc::<FailureLog>::default());
    let access_log = AccessLogger::new(&service.options);
    #[cfg(feature = "otel")]
    let has_traces = traces::is_set_up();
    layer_fn(move |inner| ObserveService {
        requests: Arc::clone(&requests),
        failures: Arc::clone(&failures),
        access_log: access_log.clone(),
        #[cfg(feature = "otel")]
        has_traces,
        inner,
    })
}

/// Gives each request its id, which its response repeats and every log line contains, and measures the request.
#[derive(Clone)]
pub(crate) struct ObserveService<S> {
    requests: Arc<Requests>,
    failures: Arc<FailureLog>,
    access_log: Option<Arc<AccessLogger>>,
    #[cfg(feature = "otel")]
    has_traces: bool,
    inner: S,
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
        let id = identify(request.headers_mut());
        let span = self.span(&request, &id);
        let matched = request.extensions().get().cloned();
        let measuring = Arc::clone(&self.requests).begin(matched, request.method());
        let entry = self.access_log.as_ref().map(|log| log.begin(&mut request, &id));
        let failures = Arc::clone(&self.failures);
        ObserveFuture {
            answer: self.inner.call(request).instrument(span),
            on: Some((id, measuring)),
            entry,
            failures,
        }
    }
}

impl<S> ObserveService<S> {
    /// The span of `request`, whose id is `id`.
    fn span(&self, request: &Request, id: &HeaderValue) -> Span {
        #[cfg(feature = "otel")]
        if self.has_traces {
            return traces::span(request, id);
        }
        tracing::info_span!(
            "request",
            http.method = request.method().as_str(),
            http.path = request.uri().path(),
            request.id = id.to_str().unwrap_or_default()
        )
    }
}

pin_project! {
    /// A response in progress.
    pub(crate) struct ObserveFuture<F> {
        #[pin]
        answer: Instrumented<F>,
        on: Option<(HeaderValue, RequestTimer)>,
        entry: Option<Entry>,
        failures: Arc<FailureLog>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for ObserveFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Ok(mut response) = ready!(this.answer.as_mut().poll(context));
        this.failures.note(&response, this.answer.span());
        #[cfg(feature = "otel")]
        if this.answer.span().has_field(traces::KIND) {
            traces::answered(this.answer.span(), response.status());
        }
        tracing::debug!(parent: this.answer.span(), http.status = response.status().as_u16(), "answered");
        let Some((id, measuring)) = this.on.take() else { return Poll::Ready(Ok(response)) };
        response.headers_mut().insert(REQUEST_ID, id);
        let response = measuring.until_sent(response);
        Poll::Ready(Ok(match this.entry.take() {
            Some(entry) => entry.until_sent(response),
            None => response,
        }))
    }
}

/// The id of a request, or a fresh one. A client's id is used in the log and in the pipeline, so it must be short and
/// visible ASCII.
fn identify(headers: &mut HeaderMap) -> HeaderValue {
    let sensible = |id: &&HeaderValue| {
        (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
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
