//! The way of every request: it is matched, observed, limited, authenticated, admitted and handled.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::mem::take;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Fuse, FusedFuture};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tower::{ServiceExt, service_fn};
use tracing::{Instrument, Span};

use crate::auth::Authenticate;
use crate::metrics::HasPanicked;
use crate::options::HttpOptions;
use crate::permits::RequestPermit;
use crate::response::{HttpError, HttpResult};
use crate::routes::groups::RouteGroup;
use crate::routes::identify::identify;
use crate::routes::matched::Matched;
use crate::routes::route::{Access, Listed, RequestClass, Route};
use crate::routes::table;
use crate::server::admission::Admission;
use crate::server::browsers::Browsers;
use crate::server::gate;
use crate::server::observe::RequestObserver;
use crate::service::Service;

/// Adds a layer of the embedder around the routes that are not open to all.
pub(crate) type Guard = Arc<dyn Fn(Router) -> Router + Send + Sync>;

/// The routes of a service, with what is around all of them. Its functions borrow a request: each
/// that owned it would store it once more in the future of the request.
struct Site {
    options: Arc<HttpOptions>,
    observer: RequestObserver,
    browsers: Browsers,
    gate: Arc<Gate>,
    /// The layers of the embedder, around [`Gate::enter`].
    guarded: Option<Router>,
}

/// What is inside of the layers of the embedder.
struct Gate {
    admission: Admission,
    authenticate: Option<Arc<dyn Authenticate>>,
}

/// The router of `service`, with `guards` and the tokens of `authenticate` around the routes that
/// are not open to all.
pub(crate) fn router(
    service: Service,
    authenticate: Option<Arc<dyn Authenticate>>,
    guards: &[Guard],
) -> Router {
    let service = Arc::new(service);
    let source = Arc::downgrade(&service);
    service.metrics.set_scrape_source(source);
    if service.has(RouteGroup::Dialects) {
        service
            .metrics
            .enable_flask(service.options.dialect.has_flask_durations);
    }
    let routes = table::routes(&service);
    service.listed.get_or_init(|| Listed::new(&routes));
    // A path of the router ends with its parameter: what follows it, such as `:refund`, is found in
    // the request.
    let mut routes_by_path = BTreeMap::<String, Vec<(String, Arc<Route>)>>::new();
    for route in routes {
        let (path, end) = route.action().unwrap_or((&route.path, ""));
        routes_by_path
            .entry(path.to_owned())
            .or_default()
            .push((end.to_owned(), Arc::new(route)));
    }
    let authenticates = authenticate.is_some() || !guards.is_empty();
    let gate = Arc::new(Gate {
        admission: Admission::new(&service.options),
        authenticate,
    });
    let guarded = (!guards.is_empty()).then(|| {
        let gate = Arc::clone(&gate);
        let entered = service_fn(move |mut request: Request| {
            let gate = Arc::clone(&gate);
            async move { Ok::<_, Infallible>(gate.enter(&mut request).await.into_response()) }
        });
        guards
            .iter()
            .fold(Router::new().fallback_service(entered), |router, guard| {
                guard(router)
            })
    });
    let site = Arc::new(Site {
        options: Arc::clone(&service.options),
        observer: RequestObserver::new(&service),
        browsers: Browsers::new(&service, authenticates),
        gate,
        guarded,
    });
    let served = |routes: Vec<(String, Arc<Route>)>| {
        let routes: Arc<[_]> = routes.into();
        let site = Arc::clone(&site);
        service_fn(move |mut request: Request| {
            let path = request.uri().path();
            // An action is listed after what it acts on.
            let route = routes
                .iter()
                .rev()
                .find(|(end, _)| path.ends_with(end.as_str()))
                .map(|(_, route)| Arc::clone(route));
            let site = Arc::clone(&site);
            async move { Ok::<_, Infallible>(site.respond(&mut request, route).await) }
        })
    };
    // A fallback alone is outside of the embedder's `route_layer`, behind its wildcards, and
    // replaced by its fallback.
    let router = Router::new().fallback_service(served(Vec::new()));
    routes_by_path
        .into_iter()
        .fold(router, |router, (path, routes)| {
            router.route_service(&path, served(routes))
        })
}

impl Site {
    async fn respond(&self, request: &mut Request, route: Option<Arc<Route>>) -> Response {
        let mut matched = Matched::new(request, route, self.options.dialect);
        let observed = self.observer.begin(request, &mut matched);
        let is_head = *request.method() == Method::HEAD;
        let dialect = matched.dialect;
        let class = matched.class;
        request.extensions_mut().insert(matched);
        let span = observed.span.clone();
        let mut response = async {
            if let Some(preflight) = self.browsers.preflight(request) {
                return preflight;
            }
            let asked = self.browsers.asked(request);
            let response = self
                .limited(request, class)
                .await
                .unwrap_or_else(IntoResponse::into_response);
            let mut response = dialect.render(response);
            self.browsers.add_headers(&mut response, asked);
            response
        }
        .instrument(span)
        .await;
        if is_head {
            response = without_body(response);
        }
        self.observer.end(observed, response)
    }

    /// The response to a request within its limits.
    async fn limited(&self, request: &mut Request, class: RequestClass) -> HttpResult {
        self.check_head(request, class)?;
        let admission = &self.gate.admission;
        let address = admission.counted_address(request);
        if let Err(refused) = self.browsers.check(request) {
            let response = refused.into_response();
            return Ok(admission.rate_limit_rejected(address, class.writes(), response));
        }
        let response = async {
            let _turn = match class {
                // It is never closed.
                RequestClass::Operation => admission.pools.operations.acquire().await.ok(),
                _ => None,
            };
            AssertUnwindSafe(self.guarded(request))
                .catch_unwind()
                .await
                .unwrap_or_else(|_| Ok(panicked()))
        };
        if class == RequestClass::Probe {
            return response.await;
        }
        let deadline = self.options.request_timeout;
        let response = timeout(deadline, response)
            .await
            .unwrap_or_else(|_elapsed| Err(HttpError::timed_out(deadline, class.writes())))?;
        // Keys must not be tried without limit.
        if class == RequestClass::Operation && response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        Ok(admission.rate_limit_rejected(address, class.writes(), response))
    }

    fn check_head(&self, request: &Request, class: RequestClass) -> HttpResult<()> {
        let uri = request
            .uri()
            .path_and_query()
            .map_or(0, |uri| uri.as_str().len());
        let limit = self.options.max_uri_bytes;
        if uri > limit {
            let text = format!("Path and query must not have more than {limit} bytes");
            return Err(HttpError::too_large(StatusCode::URI_TOO_LONG, text));
        }
        let header_sizes = request
            .headers()
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len());
        let limit = self.options.max_header_bytes;
        if header_sizes.sum::<usize>() > limit {
            let text = format!("Headers must not have more than {limit} bytes together");
            return Err(HttpError::too_large(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                text,
            ));
        }
        gate::check(
            request,
            &self.options.hosts,
            matches!(class, RequestClass::Probe | RequestClass::Operation),
        )
    }

    /// The response within the layers of the embedder.
    async fn guarded(&self, request: &mut Request) -> HttpResult {
        match &self.guarded {
            Some(guarded) if Matched::of(request.extensions())?.access != Access::Open => {
                let Ok(response) = guarded.clone().oneshot(take(request)).await;
                Ok(response)
            }
            _ => self.gate.enter(request).await,
        }
    }
}

impl Gate {
    /// The response to a request that has a valid token, where it needs one, and a permit.
    async fn enter(&self, request: &mut Request) -> HttpResult {
        let matched = Matched::of(request.extensions())?;
        let class = matched.class;
        if let Some(authenticate) = self
            .authenticate
            .as_ref()
            .filter(|_| matched.access != Access::Open)
        {
            // A response, as a rejection counts for the rate of its address.
            if let Err(rejected) = identify(authenticate, request).await {
                return Ok(rejected.into_response());
            }
        }
        match class {
            RequestClass::Probe | RequestClass::Operation => Ok(handled(request).await),
            _ => self.admission.admit(request, handled).await,
        }
    }
}

/// The response to a request whose handler or authentication has panicked. The panic hook of the
/// process logs a panic.
fn panicked() -> Response {
    (Extension(HasPanicked), HttpError::PANICKED).into_response()
}

/// The response of the handler, unless it panics.
async fn handled(request: &mut Request) -> Response {
    let Ok(Matched {
        route: Some(route),
        class,
        permit,
        ..
    }) = Matched::of(request.extensions())
    else {
        return HttpError::NO_ROUTE.into_response();
    };
    let route = Arc::clone(route);
    let write_permit = if class.writes() { permit.clone() } else { None };
    let Some(endpoint) = route.endpoint(request.method()) else {
        return route.not_allowed();
    };
    let mut work = Work {
        rest: (endpoint.call)(take(request)).fuse(),
        write_permit,
    };
    AssertUnwindSafe(&mut work.rest)
        .catch_unwind()
        .await
        .unwrap_or_else(|_panic| {
            work.write_permit = None;
            panicked()
        })
}

/// What a handler does. A write that has begun continues in a separate task when it is dropped:
/// neither a client that disconnects nor a time-out cancels it.
struct Work {
    rest: Fuse<BoxFuture<'static, Response>>,
    /// The permit of a write, which is held until the handler ends.
    write_permit: Option<RequestPermit>,
}

impl Drop for Work {
    fn drop(&mut self) {
        // Without a runtime the process is about to end.
        if let Some(permit) = self.write_permit.take()
            && !self.rest.is_terminated()
            && let Ok(runtime) = Handle::try_current()
        {
            let rest = std::mem::replace(&mut self.rest, Fuse::terminated());
            let rest = async move {
                rest.await;
                drop(permit);
            };
            drop(runtime.spawn(rest.instrument(Span::current())));
        }
    }
}

/// The response to `HEAD`, with the length of the body if it is known.
fn without_body(mut response: Response) -> Response {
    if let Some(length) = response.body().size_hint().exact() {
        response
            .headers_mut()
            .entry(header::CONTENT_LENGTH)
            .or_insert_with(|| length.into());
    }
    response.map(|_body| Body::empty())
}
