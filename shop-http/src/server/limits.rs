//! What stands before every route: the dialect of the path, and what a request may cost: how long its head may be, how
//! long it may take, and how many there may be at once.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::HttpBody;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Timeout, timeout};
use tower::Service;
use tower::layer::{LayerFn, layer_fn};
use tracing::{Instrument, Span};

use crate::dialect::{Dialect, RequestDialect};
use crate::held_body::holding;
use crate::metrics::HasPanicked;
use crate::options::HttpOptions;
use crate::response::Failure;

/// What is asked of a service that is too busy for everything else; `/healthz` below a prefix, too.
const EXEMPT_PATHS: [&str; 7] =
    ["/livez", "/readyz", "/health", "/ready", "/-/healthy", "/-/ready", "/metrics"];

/// Makes a service a [`LimitsService`].
pub(crate) fn limited<S>(options: &HttpOptions) -> LayerFn<impl Fn(S) -> LimitsService<S> + Clone + use<S>> {
    let limits = Arc::new(Limits {
        configured: options.dialect,
        uri: options.max_uri_bytes,
        headers: options.max_header_bytes,
        deadline: options.request_timeout,
        deadline_of_writes: strikes_first(options).then_some(options.request_timeout),
        slots: Arc::new(Semaphore::new(options.max_requests)),
    });
    layer_fn(move |inner| LimitsService { limits: Arc::clone(&limits), inner })
}

/// What requests may cost, and how they are spoken to.
#[derive(Debug)]
struct Limits {
    configured: &'static Dialect,
    uri: usize,
    headers: usize,
    deadline: Duration,
    /// None where each part of a write has a deadline that strikes before: a timer for every request has its price.
    deadline_of_writes: Option<Duration>,
    slots: Arc<Semaphore>,
}

/// Whether a write may meet the deadline of its request before those of what it does: it reads a body, publishes, and
/// looks at what is stored.
fn strikes_first(options: &HttpOptions) -> bool {
    let parts = options.body_read_timeout.saturating_add(options.publish_timeout);
    options.request_timeout < parts.saturating_add(options.query_timeout)
}

/// How a request is let through: as one of so many, unless it always is, and within a deadline, if it has one.
#[derive(Debug, Default)]
struct Admission {
    slot: Option<OwnedSemaphorePermit>,
    deadline: Option<Duration>,
}

impl Limits {
    fn admit(&self, request: &Request) -> Result<Admission, Failure> {
        let uri = request.uri().path_and_query().map_or(0, |uri| uri.as_str().len());
        if uri > self.uri {
            return Err(Failure::UriTooLong(self.uri));
        }
        if size(request.headers()) > self.headers {
            return Err(Failure::HeadersTooLarge(self.headers));
        }
        let path = request.extensions().get().map_or("", MatchedPath::as_str);
        if path.ends_with("/healthz") || EXEMPT_PATHS.contains(&path) {
            return Ok(Admission::default());
        }
        let writes = writes(request);
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        let slot = Some(slot.map_err(|_taken| Failure::Overloaded { writes })?);
        let deadline = if writes { self.deadline_of_writes } else { Some(self.deadline) };
        Ok(Admission { slot, deadline })
    }
}

fn writes(request: &Request) -> bool {
    *request.method() == Method::POST
}

fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// Chooses the request's dialect, and lets it through within the limits. Even a panic is answered in its dialect.
#[derive(Debug, Clone)]
pub(crate) struct LimitsService<S> {
    limits: Arc<Limits>,
    inner: S,
}

impl<S> Service<Request> for LimitsService<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = LimitsFuture;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let dialect = Dialect::from_path(request.uri().path(), self.limits.configured);
        request.extensions_mut().insert(RequestDialect(dialect));
        let detach_on_drop = writes(&request);
        let Admission { slot, deadline } = match self.limits.admit(&request) {
            Ok(admission) => admission,
            Err(failure) => return LimitsFuture::Refused { failure, dialect },
        };
        let work = Work { asked: Some(Box::pin(self.inner.call(request))), slot, detach_on_drop, dialect };
        match deadline {
            None => LimitsFuture::Unlimited { work },
            Some(deadline) => {
                LimitsFuture::Within { work: timeout(deadline, work), deadline, detach_on_drop, dialect }
            }
        }
    }
}

pin_project! {
    /// An answer on its way.
    #[project = LimitsFutureProjection]
    pub(crate) enum LimitsFuture {
        Refused { failure: Failure, dialect: &'static Dialect },
        Unlimited { work: Work },
        Within { #[pin] work: Timeout<Work>, deadline: Duration, detach_on_drop: bool, dialect: &'static Dialect },
    }
}

impl Future for LimitsFuture {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let response = match self.project() {
            LimitsFutureProjection::Refused { failure, dialect } => failure.respond(dialect),
            LimitsFutureProjection::Unlimited { work } => ready!(Pin::new(work).poll(context)),
            LimitsFutureProjection::Within { work, deadline, detach_on_drop, dialect } => {
                ready!(work.poll(context)).unwrap_or_else(|_elapsed| {
                    Failure::TimedOut { deadline: *deadline, writes: *detach_on_drop }.respond(dialect)
                })
            }
        };
        Poll::Ready(Ok(response))
    }
}

/// What a route does for a request.
type InnerFuture = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// What is done for a request, in the slot that counts it as long as anything is.
struct Work {
    /// None once it has ended, or panicked.
    asked: Option<InnerFuture>,
    slot: Option<OwnedSemaphorePermit>,
    /// Whether it continues in its own task when it is dropped: a client that disconnects or a time-out cancels no write
    /// that has begun.
    detach_on_drop: bool,
    dialect: &'static Dialect,
}

impl Future for Work {
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response> {
        // Taken out meanwhile: what has panicked is not gone on with.
        let Some(mut asked) = self.asked.take() else { return Poll::Pending };
        match catch_unwind(AssertUnwindSafe(|| asked.as_mut().poll(context))) {
            Ok(Poll::Pending) => {
                self.asked = Some(asked);
                Poll::Pending
            }
            Ok(Poll::Ready(Ok(response))) => Poll::Ready(match self.slot.take() {
                // It keeps the slot until it is sent, if it is sent piece by piece.
                Some(slot) if response.body().size_hint().exact().is_none() => {
                    response.map(|body| holding(slot, body))
                }
                _ => response,
            }),
            // The process's panic hook has logged the panic's text.
            Err(_panic) => {
                let mut response = Failure::Panicked.respond(self.dialect);
                response.extensions_mut().insert(HasPanicked);
                Poll::Ready(response)
            }
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // Without a runtime the process is about to end.
        if self.detach_on_drop
            && let Some(asked) = self.asked.take()
            && let Ok(runtime) = Handle::try_current()
        {
            let slot = self.slot.take();
            let work = async move { (asked.await, slot) };
            drop(runtime.spawn(work.instrument(Span::current())));
        }
    }
}
