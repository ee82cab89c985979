//! The layer that selects the dialect of a request and limits its size and its duration.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{MatchedPath, NestedPath, Request};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Fuse, FusedFuture};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tower_http::csrf::ProtectionError;
use tracing::{Instrument, Span};

use crate::dialect::Dialect;
use crate::metrics::HasPanicked;
use crate::options::HttpOptions;
use crate::response::{HttpError, HttpResult};
use crate::routes::mount::Mount;
use crate::server::admission::Admission;
use crate::server::gate;
use crate::server::layers::Inner;

/// Paths that are served even at the limit of concurrent requests. `/healthz` below a prefix is exempt as well.
const PROBES: [&str; 3] = ["/livez", "/readyz", "/-/healthy"];
/// Paths with a separate pool, whose requests wait for each other: they query servers, or render all metrics.
const OPERATIONS: [&str; 5] = ["/health", "/ready", "/-/ready", "/v1", "/metrics"];

/// The limits of a router, and its configured dialect.
#[derive(Debug)]
pub(crate) struct Limits {
    options: Arc<HttpOptions>,
    admission: Arc<Admission>,
}

/// Marks a request that has no place among the reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IsOperation;

/// Selects the dialect of a request and enforces the limits. A panic gets a response in this dialect as well.
pub(crate) async fn limit<S: Inner>(
    limits: Arc<Limits>,
    inner: S,
    mut request: Request,
) -> Result<Response, Infallible> {
    let dialect = Dialect::from_path(request.uri().path(), limits.options.dialect);
    request.extensions_mut().insert(dialect);
    if let Some(mount) = Mount::of(&request) {
        request.extensions_mut().insert(mount);
    }
    let response = limits.respond(inner, request).await.unwrap_or_else(HttpError::into_response);
    Ok(dialect.render(response))
}

/// How a request is limited.
enum Class {
    Probe,
    Operation,
    Write,
    Read,
}

impl Limits {
    /// The limits of `options`.
    pub(crate) fn new(options: &Arc<HttpOptions>, admission: &Arc<Admission>) -> Arc<Self> {
        Arc::new(Self { options: Arc::clone(options), admission: Arc::clone(admission) })
    }

    async fn respond<S: Inner>(&self, inner: S, mut request: Request) -> HttpResult {
        let class = self.classify(&request)?;
        let (address, writes) = (self.admission.counted_address(&request), matches!(class, Class::Write));
        let response = match class {
            Class::Probe => return response(inner, request).boxed().await,
            Class::Operation => {
                request.extensions_mut().insert(IsOperation);
                let in_turn = async {
                    // It is never closed.
                    let _turn = self.admission.pools.operations.acquire().await;
                    response(inner, request).await
                };
                return self.in_time(in_turn.boxed(), false).await;
            }
            Class::Write => {
                let mut write = Write(entered(Arc::clone(&self.admission), inner, request).boxed().fuse());
                self.in_time(&mut write.0, true).await?
            }
            Class::Read => {
                let entered = entered(Arc::clone(&self.admission), inner, request);
                self.in_time(entered.boxed(), false).await?
            }
        };
        Ok(self.admission.count(address, writes, response))
    }

    /// Checks the head of a request, and selects its class.
    fn classify(&self, request: &Request) -> HttpResult<Class> {
        let uri = request.uri().path_and_query().map_or(0, |uri| uri.as_str().len());
        if uri > self.options.max_uri_bytes {
            let text = format!("Path and query must not have more than {} bytes", self.options.max_uri_bytes);
            return Err(HttpError::too_large(StatusCode::URI_TOO_LONG, text));
        }
        if size(request.headers()) > self.options.max_header_bytes {
            let limit = self.options.max_header_bytes;
            let text = format!("Headers must not have more than {limit} bytes together");
            return Err(HttpError::too_large(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, text));
        }
        // The path of the route, without the prefix of an outer router.
        let path = request.extensions().get().map_or("", MatchedPath::as_str);
        let outer = request.extensions().get().map_or("", NestedPath::as_str).trim_end_matches('/');
        let inner = path.strip_prefix(outer).unwrap_or_default();
        let class = match *request.method() {
            _ if path.ends_with("/healthz") || PROBES.contains(&inner) => Class::Probe,
            _ if OPERATIONS.contains(&inner) => Class::Operation,
            Method::POST => Class::Write,
            _ => Class::Read,
        };
        let is_exempt = matches!(class, Class::Probe | Class::Operation);
        gate::check(request, &self.options.hosts, is_exempt)?;
        Ok(class)
    }

    /// The result of `work`, which is boxed: each future around it would be as large as all futures in it, and moves
    /// when it is called.
    async fn in_time<F>(&self, work: F, writes: bool) -> HttpResult
    where
        F: Future<Output = HttpResult>,
    {
        let deadline = self.options.request_timeout;
        timeout(deadline, work).await.unwrap_or_else(|_elapsed| Err(HttpError::timed_out(deadline, writes)))
    }
}

fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// The response of `inner` to a request that enters here, unless it does behind an authentication layer.
async fn entered<S: Inner>(admission: Arc<Admission>, inner: S, request: Request) -> HttpResult {
    if admission.is_inner {
        return response(inner, request).await;
    }
    admission.admit(request, |request| response(inner, request)).await
}

/// The response of `inner`, unless it panics. The panic hook of the process logs a panic.
async fn response<S: Inner>(mut inner: S, request: Request) -> HttpResult {
    let work = AssertUnwindSafe(async { inner.call(request).await });
    let Ok(Ok(response)) = work.catch_unwind().await else {
        return Ok((Extension(HasPanicked), HttpError::PANICKED).into_response());
    };
    match response.extensions().get::<ProtectionError>() {
        Some(_) => Err(HttpError::FOREIGN_ORIGIN),
        None => Ok(response),
    }
}

/// A write that has begun. It continues in a separate task when it is dropped: neither a client that disconnects nor a
/// time-out cancels it.
struct Write(Fuse<BoxFuture<'static, HttpResult>>);

impl Drop for Write {
    fn drop(&mut self) {
        // Without a runtime the process is about to end.
        if !self.0.is_terminated()
            && let Ok(runtime) = Handle::try_current()
        {
            let rest = std::mem::replace(&mut self.0, Fuse::terminated());
            drop(runtime.spawn(rest.instrument(Span::current())));
        }
    }
}
