//! The layer that selects the dialect of a request and limits the size, the duration and the number of requests.
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::{MatchedPath, NestedPath, Request};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Timeout, timeout};
use tower::Service;
use tower::layer::{LayerFn, layer_fn};
use tower_http::csrf::ProtectionError;
use tracing::{Instrument, Span};

use crate::dialect::{Dialect, RequestDialect};
use crate::metrics::HasPanicked;
use crate::options::HttpOptions;
use crate::response::Failure;
use crate::routes::mount::Mount;
use crate::server::gate::{self, Hosts};
use crate::server::pools::{Pools, ReadSlot};

/// Paths that are served even at the limit of concurrent requests. `/healthz` below a prefix is exempt as well.
const PROBES: [&str; 3] = ["/livez", "/readyz", "/-/healthy"];
/// Paths with a pool of their own, whose requests wait for each other: they query servers, or render all metrics.
const OPERATIONS: [&str; 4] = ["/health", "/ready", "/-/ready", "/metrics"];

/// Wraps a service in a [`LimitsService`].
pub(crate) fn limited<S>(options: &HttpOptions) -> LayerFn<impl Fn(S) -> LimitsService<S> + Clone + use<S>> {
    let limits = Arc::new(Limits {
        configured: options.dialect,
        hosts: options.hosts.clone(),
        uri: options.max_uri_bytes,
        headers: options.max_header_bytes,
        deadline: options.request_timeout,
        write_timeout: can_expire_first(options).then_some(options.request_timeout),
        pools: Arc::new(Pools::new(options)),
    });
    layer_fn(move |inner| LimitsService { limits: Arc::clone(&limits), inner })
}

/// The limits, and the configured dialect.
#[derive(Debug)]
struct Limits {
    configured: &'static Dialect,
    hosts: Hosts,
    uri: usize,
    headers: usize,
    deadline: Duration,
    /// `None` where the time-outs of a write's parts expire first: a timer for every request is not free.
    write_timeout: Option<Duration>,
    pools: Arc<Pools>,
}

/// Whether the time-out of a request can expire before those of a write's parts: reading the body, publishing, and
/// looking up what is stored.
fn can_expire_first(options: &HttpOptions) -> bool {
    let parts = options.body_read_timeout.saturating_add(options.publish_timeout);
    options.request_timeout < parts.saturating_add(options.query_timeout)
}

/// The slot and the time-out of an admitted request.
#[derive(Debug)]
struct Admission {
    slot: Slot,
    deadline: Option<Duration>,
}

/// What a request occupies until it ends.
#[derive(Debug)]
enum Slot {
    /// Nothing: it is exempt.
    Exempt,
    /// A place in the queue for the state or the metrics of the service.
    Operation,
    Write {
        _permit: OwnedSemaphorePermit,
    },
    Read(ReadSlot),
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
        // The path of the route, without the prefix of an outer router.
        let path = request.extensions().get().map_or("", MatchedPath::as_str);
        let outer = request.extensions().get().map_or("", NestedPath::as_str).trim_end_matches('/');
        let inner = path.strip_prefix(outer).unwrap_or_default();
        let is_probe = path.ends_with("/healthz") || PROBES.contains(&inner);
        let is_operation = OPERATIONS.contains(&inner);
        gate::check(request, &self.hosts, is_probe || is_operation)?;
        if is_probe {
            return Ok(Admission { slot: Slot::Exempt, deadline: None });
        }
        if is_operation {
            return Ok(Admission { slot: Slot::Operation, deadline: Some(self.deadline) });
        }
        let writes = writes(request);
        let pool = if writes { &self.pools.writes } else { &self.pools.reads };
        let permit = Arc::clone(pool).try_acquire_owned();
        let permit = permit.map_err(|_taken| Failure::Overloaded { writes })?;
        if writes {
            return Ok(Admission { slot: Slot::Write { _permit: permit }, deadline: self.write_timeout });
        }
        let slot = Slot::Read(ReadSlot::new(Arc::clone(&self.pools), permit));
        Ok(Admission { slot, deadline: Some(self.deadline) })
    }
}

fn writes(request: &Request) -> bool {
    *request.method() == Method::POST
}

fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// Selects the dialect of a request and enforces the limits. A panic gets a response in this dialect as well.
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
        if let Some(mount) = Mount::of(&request) {
            request.extensions_mut().insert(mount);
        }
        let detach_on_drop = writes(&request);
        let Admission { slot, deadline } = match self.limits.admit(&request) {
            Ok(admission) => admission,
            Err(failure) => return LimitsFuture::Refused { failure, dialect },
        };
        if let Slot::Read(slot) = &slot {
            request.extensions_mut().insert(slot.clone());
        }
        let answer = self.inner.call(request);
        let future: InnerFuture = match slot {
            Slot::Operation => Box::pin(queued(Arc::clone(&self.limits.pools), answer)),
            _ => Box::pin(answer),
        };
        let work =
            Work { future: Some(future), slot, limits: Arc::clone(&self.limits), detach_on_drop, dialect };
        match deadline {
            None => LimitsFuture::Unlimited { work },
            Some(deadline) => {
                LimitsFuture::Within { work: timeout(deadline, work), deadline, detach_on_drop, dialect }
            }
        }
    }
}

pin_project! {
    /// A response in progress.
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

/// The same `answer`, when it is its turn.
async fn queued<F: Future>(pools: Arc<Pools>, answer: F) -> F::Output {
    // It is never closed.
    let _turn = Arc::clone(&pools.operations).acquire_owned().await;
    answer.await
}

/// The future of a route.
type InnerFuture = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// The work for a request, with the slot that it occupies until it ends.
struct Work {
    /// `None` once it has ended or panicked.
    future: Option<InnerFuture>,
    slot: Slot,
    limits: Arc<Limits>,
    /// Whether it continues in a separate task when it is dropped: neither a client that disconnects nor a time-out
    /// cancels a write that has begun.
    detach_on_drop: bool,
    dialect: &'static Dialect,
}

impl Future for Work {
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response> {
        // Taken out while it runs: a future that has panicked is not polled again.
        let Some(mut future) = self.future.take() else { return Poll::Pending };
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => {
                self.future = Some(future);
                Poll::Pending
            }
            Ok(Poll::Ready(Ok(refused))) if refused.extensions().get::<ProtectionError>().is_some() => {
                Poll::Ready(Failure::ForeignOrigin.respond(self.dialect))
            }
            Ok(Poll::Ready(Ok(response))) => {
                Poll::Ready(match std::mem::replace(&mut self.slot, Slot::Exempt) {
                    Slot::Read(slot) => match slot.take() {
                        Some(slot) => {
                            let held = self.limits.pools.hold(response, slot);
                            held.unwrap_or_else(|failure| failure.respond(self.dialect))
                        }
                        None => response,
                    },
                    _ => response,
                })
            }
            // The panic hook of the process has logged the panic.
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
            && let Some(future) = self.future.take()
            && let Ok(runtime) = Handle::try_current()
        {
            let slot = std::mem::replace(&mut self.slot, Slot::Exempt);
            let work = async move { (future.await, slot) };
            drop(runtime.spawn(work.instrument(Span::current())));
        }
    }
}
