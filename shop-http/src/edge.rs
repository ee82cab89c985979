//! What stands before every route: the dialect of the path, and what a request may cost: how long its head may be, how
//! long it may take, and how many there may be at once.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tracing::{Instrument, Span};

use crate::dialect::{Dialect, Speaks};
use crate::failure::Failure;
use crate::metrics::HasPanicked;
use crate::options::HttpOptions;

/// What is asked of a service that is too busy for everything else.
const ALWAYS_ANSWERED: [&str; 6] = ["/healthz", "/health", "/ready", "/-/healthy", "/-/ready", "/metrics"];

/// What stands before every route: what requests may cost, and how they are spoken to.
#[derive(Debug)]
pub(crate) struct Guard {
    configured: &'static Dialect,
    uri: usize,
    headers: usize,
    deadline: Duration,
    slots: Arc<Semaphore>,
}

impl Guard {
    pub(crate) fn of(options: &HttpOptions) -> Arc<Self> {
        Arc::new(Self {
            configured: options.dialect,
            uri: options.uri_limit,
            headers: options.header_limit,
            deadline: options.request_deadline,
            slots: Arc::new(Semaphore::new(options.max_requests)),
        })
    }

    fn check_head(&self, request: &Request) -> Result<(), Failure> {
        let uri = request.uri().path_and_query().map_or(0, |uri| uri.as_str().len());
        if uri > self.uri {
            return Err(Failure::UriTooLong(self.uri));
        }
        if size(request.headers()) > self.headers {
            return Err(Failure::HeadersTooLarge(self.headers));
        }
        Ok(())
    }

    /// The answer to `request`, or at once why there is none.
    async fn within(
        &self,
        dialect: &'static Dialect,
        matched: Option<&MatchedPath>,
        request: Request,
        next: Next,
    ) -> Response {
        if let Err(failure) = self.check_head(&request) {
            return failure.respond(dialect);
        }
        let path = matched.map_or("", MatchedPath::as_str);
        if ALWAYS_ANSWERED.iter().any(|always| path.ends_with(always)) {
            return next.run(request).await;
        }
        let writes = *request.method() == Method::POST;
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            return Failure::Overloaded { writes }.respond(dialect);
        };
        // The slot goes with the work, so that what nobody waits for counts all the same.
        let work = async move { (next.run(request).await, slot) };
        let answered = if writes {
            timeout(self.deadline, Lasting::new(work)).await
        } else {
            timeout(self.deadline, work).await
        };
        match answered {
            Ok((response, slot)) => holding(slot, response),
            Err(_elapsed) => Failure::TimedOut { deadline: self.deadline, writes }.respond(dialect),
        }
    }
}

fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// Chooses the request's dialect, and lets it through within the limits. Even a panic is answered in its dialect.
pub(crate) async fn guard(
    State(guard): State<Arc<Guard>>,
    matched: Option<MatchedPath>,
    mut request: Request,
    next: Next,
) -> Response {
    let dialect = Dialect::of_path(request.uri().path(), guard.configured);
    request.extensions_mut().insert(Speaks(dialect));
    // The panic's text has been written by whoever was told of it first, the process's panic hook.
    let answer =
        AssertUnwindSafe(guard.within(dialect, matched.as_ref(), request, next)).catch_unwind().await;
    answer.unwrap_or_else(|_panic| {
        let mut response = Failure::Panicked.respond(dialect);
        response.extensions_mut().insert(HasPanicked);
        response
    })
}

/// Work that goes on in a task of its own when nobody waits for it any more: whoever gives up, the client or the
/// deadline, takes back nothing that has begun.
struct Lasting<T: Send + 'static> {
    /// None once it has ended, or panicked.
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    span: Span,
}

impl<T: Send + 'static> Lasting<T> {
    fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self { work: Some(Box::pin(work)), span: Span::current() }
    }
}

impl<T: Send + 'static> Future for Lasting<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Taken out meanwhile: what has panicked is not gone on with.
        let Some(mut work) = self.work.take() else { return Poll::Pending };
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Lasting<T> {
    fn drop(&mut self) {
        // Without a runtime the process is about to end.
        if let Some(work) = self.work.take()
            && let Ok(runtime) = Handle::try_current()
        {
            drop(runtime.spawn(work.instrument(self.span.clone())));
        }
    }
}

/// `response`, which keeps `slot` until it is written, if it is written piece by piece.
fn holding(slot: OwnedSemaphorePermit, response: Response) -> Response {
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _held = &slot;
            frame
        }))
    })
}
