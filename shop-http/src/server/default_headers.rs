//! The layer that adds the same headers to all responses: those of browsers' security, and those of CORS.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::response::Response;
use futures_util::FutureExt;
use pin_project_lite::pin_project;
use tower::{Layer, Service, service_fn};
use tower_http::cors::{Cors, CorsLayer, ResponseFuture};

/// Pages of other origins may not embed a response, whatever CORS allows their scripts to read.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Headers of responses that do not have them.
static DEFAULTS: [(HeaderName, HeaderValue); 4] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
];

/// The headers of a router.
#[derive(Debug)]
pub(crate) struct DefaultHeaders {
    cors: Option<CorsLayer>,
    /// What CORS adds to a response, if that does not depend on the request.
    of_cors: Option<HeaderMap>,
}

impl DefaultHeaders {
    /// `allows_all` says whether pages of all origins are allowed: CORS then adds the same to every response that is not
    /// one to a preflight request.
    pub(crate) fn new(cors: Option<CorsLayer>, allows_all: bool) -> Arc<Self> {
        let of_cors = match &cors {
            None => Some(HeaderMap::new()),
            Some(cors) => allows_all.then(|| added_by(cors)).flatten(),
        };
        Arc::new(Self { cors, of_cors })
    }
}

/// The headers that `cors` adds to a response without any.
fn added_by(cors: &CorsLayer) -> Option<HeaderMap> {
    let mut empty = cors
        .layer(service_fn(|_: Request| std::future::ready(Ok::<Response, Infallible>(Response::default()))));
    let response: Response = empty.call(Request::new(Body::empty())).now_or_never()?.ok()?;
    Some(response.into_parts().0.headers)
}

/// Adds the headers to the responses of a service.
#[derive(Debug, Clone)]
pub(crate) struct DefaultHeadersService<S> {
    headers: Arc<DefaultHeaders>,
    inner: S,
}

impl<S> DefaultHeadersService<S> {
    pub(crate) const fn new(headers: Arc<DefaultHeaders>, inner: S) -> Self {
        Self { headers, inner }
    }
}

impl<S> Service<Request> for DefaultHeadersService<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone,
{
    type Response = Response;
    type Error = Infallible;
    type Future = DefaultHeadersFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let is_fixed = self.headers.of_cors.is_some() && *request.method() != Method::OPTIONS;
        let answer = match &self.headers.cors {
            Some(cors) if !is_fixed => {
                let mut cors: Cors<S> = cors.layer(self.inner.clone());
                Answer::Cors { answer: cors.call(request) }
            }
            _ => Answer::Inner { answer: self.inner.call(request), headers: Arc::clone(&self.headers) },
        };
        DefaultHeadersFuture { answer }
    }
}

pin_project! {
    /// A response in progress.
    pub(crate) struct DefaultHeadersFuture<F> {
        #[pin]
        answer: Answer<F>,
    }
}

pin_project! {
    #[project = AnswerProjection]
    enum Answer<F> {
        Inner { #[pin] answer: F, headers: Arc<DefaultHeaders> },
        Cors { #[pin] answer: ResponseFuture<F> },
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for DefaultHeadersFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut response = match self.project().answer.project() {
            AnswerProjection::Cors { answer } => ready!(answer.poll(context))?,
            AnswerProjection::Inner { answer, headers } => {
                let mut response = ready!(answer.poll(context))?;
                for (name, value) in headers.of_cors.iter().flatten() {
                    // A response may vary by more.
                    if *name == header::VARY {
                        response.headers_mut().append(name, value.clone());
                    } else {
                        response.headers_mut().insert(name, value.clone());
                    }
                }
                response
            }
        };
        for (name, value) in &DEFAULTS {
            response.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        Poll::Ready(Ok(response))
    }
}
