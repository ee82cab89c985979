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
use tower_http::csrf::ProtectionError;
use tracing::{Instrument, Span};

use crate::dialect::{Dialect, RequestDialect};
use crate::metrics::HasPanicked;
use crate::options::HttpOptions;
use crate::response::Failure;
use crate::routes::fixed_route::FixedRoute;
use crate::routes::mount::Mount;
use crate::server::gate::{self, Hosts};
use crate::server::layers::BoxedAnswer;
use crate::server::pools::{Pools, ReadSlot};

/// Paths that are served even at the limit of concurrent requests. `/healthz` below a prefix is exempt as well.
const PROBES: [&str; 3] = ["/livez", "/readyz", "/-/healthy"];
/// Paths with a pool of their own, whose requests wait for each other: they query servers, or render all metrics.
const OPERATIONS: [&str; 4] = ["/health", "/ready", "/-/ready", "/metrics"];

/// The limits, and the configured dialect.
#[derive(Debug)]
pub(crate) struct Limits {
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
    /// The limits of `options`.
    pub(crate) fn new(options: &HttpOptions) -> Arc<Self> {
        Arc::new(Self {
            configured: options.dialect,
            hosts: options.hosts.clone(),
            uri: options.max_uri_bytes,
            headers: options.max_header_bytes,
            deadline: options.request_timeout,
            write_timeout: can_expire_first(options).then_some(options.request_timeout),
            pools: Arc::new(Pools::new(options)),
        })
    }

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
    route: Option<&'static FixedRoute>,
    inner: S,
}

impl<S> LimitsService<S> {
    pub(crate) const fn new(limits: Arc<Limits>, route: Option<&'static FixedRoute>, inner: S) -> Self {
        Self { limits, route, inner }
    }

    /// Selects the dialect, and adds it to `request` if the route does not know it.
    fn select_dialect(&self, request: &mut Request) -> &'static Dialect {
        if let Some(route) = self.route {
            return route.dialect(self.limits.configured);
        }
        let dialect = Dialect::from_path(request.uri().path(), self.limits.configured);
        request.extensions_mut().insert(RequestDialect(dialect));
        if let Some(mount) = Mount::of(request) {
            request.extensions_mut().insert(mount);
        }
        dialect
    }
}

impl<S> Service<Request> for LimitsService<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: MovableAnswer>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = LimitsFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let dialect = self.select_dialect(&mut request);
        let detach_on_drop = writes(&request);
        let Admission { slot, deadline } = match self.limits.admit(&request) {
            Ok(admission) => admission,
            Err(failure) => return LimitsFuture::Refused { failure, dialect },
        };
        if let Slot::Read(slot) = &slot {
            request.extensions_mut().insert(slot.clone());
        }
        let answer = self.inner.call(request);
        let future = match slot {
            Slot::Operation => RouteFuture::Queued(Box::pin(queued(Arc::clone(&self.limits.pools), answer))),
            _ => RouteFuture::Direct(answer),
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
    pub(crate) enum LimitsFuture<F: MovableAnswer> {
        Refused { failure: Failure, dialect: &'static Dialect },
        Unlimited { work: Work<F> },
        Within {
            #[pin]
            work: Timeout<Work<F>>,
            deadline: Duration,
            detach_on_drop: bool,
            dialect: &'static Dialect,
        },
    }
}

impl<F: MovableAnswer> Future for LimitsFuture<F> {
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

/// The future of a route. It can be moved while it is in progress, into a task of its own.
pub(crate) trait MovableAnswer:
    Future<Output = Result<Response, Infallible>> + Unpin + Send + 'static
{
}

impl<F: Future<Output = Result<Response, Infallible>> + Unpin + Send + 'static> MovableAnswer for F {}

/// The future of a request that may wait for its turn.
enum RouteFuture<F> {
    Direct(F),
    Queued(BoxedAnswer),
}

impl<F: MovableAnswer> Future for RouteFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Direct(answer) => Pin::new(answer).poll(context),
            Self::Queued(answer) => answer.as_mut().poll(context),
        }
    }
}

/// The work for a request, with the slot that it occupies until it ends.
pub(crate) struct Work<F: MovableAnswer> {
    /// `None` once it has ended or panicked.
    future: Option<RouteFuture<F>>,
    slot: Slot,
    limits: Arc<Limits>,
    /// Whether it continues in a separate task when it is dropped: neither a client that disconnects nor a time-out
    /// cancels a write that has begun.
    detach_on_drop: bool,
    dialect: &'static Dialect,
}

impl<F: MovableAnswer> Future for Work<F> {
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response> {
        // Taken out while it runs: a future that has panicked is not polled again.
        let Some(mut future) = self.future.take() else { return Poll::Pending };
        match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut future).poll(context))) {
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

impl<F: MovableAnswer> Drop for Work<F> {
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
