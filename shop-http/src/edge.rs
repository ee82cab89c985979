//! What a request may cost: how long its head may be, how long it may take, and how many there may be at once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tracing::{Instrument, Span};

use crate::dialect::Speaks;
use crate::failure::Failure;
use crate::options::HttpOptions;

/// What is asked of a service that is too busy for everything else.
const ALWAYS_ANSWERED: [&str; 6] = ["/healthz", "/health", "/ready", "/-/healthy", "/-/ready", "/metrics"];

/// What requests may cost.
#[derive(Debug)]
pub(crate) struct Limits {
    uri: usize,
    headers: usize,
    deadline: Duration,
    slots: Arc<Semaphore>,
}

impl Limits {
    pub(crate) fn new(options: &HttpOptions) -> Arc<Self> {
        Arc::new(Self {
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
}

fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// Lets a request through within `limits`, or says at once that it cannot be.
pub(crate) async fn within(
    State(limits): State<Arc<Limits>>,
    Speaks(dialect): Speaks,
    matched: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    if let Err(failure) = limits.check_head(&request) {
        return failure.respond(dialect);
    }
    let path = matched.as_ref().map_or("", MatchedPath::as_str);
    if ALWAYS_ANSWERED.iter().any(|always| path.ends_with(always)) {
        return next.run(request).await;
    }
    let buys = *request.method() == Method::POST;
    let Ok(slot) = Arc::clone(&limits.slots).try_acquire_owned() else {
        return Failure::Overloaded { buys }.respond(dialect);
    };
    // The slot goes with the work, so that what nobody waits for counts all the same.
    let work = async move { (next.run(request).await, slot) };
    let answered = if buys {
        timeout(limits.deadline, Lasting::new(work)).await
    } else {
        timeout(limits.deadline, work).await
    };
    match answered {
        Ok((response, slot)) => holding(slot, response),
        Err(_elapsed) => Failure::TimedOut { deadline: limits.deadline, buys }.respond(dialect),
    }
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
