//! The pipeline: the steps that every request takes, from its head to its response.
//!
//! ```text
//! listener
//!    │
//!    ▼                                                                  ▲
//! observe       gives the request an id, a span and a timer ──────── records the response
//!    ▼                                                                  ▲
//! browsers      answers a preflight request ──────────────────────── adds the headers for browsers
//!    ▼                                                                  ▲
//! head          checks the sizes, the syntax and the host               │
//!    ▼                                                                  │
//! browsers      refuses writes by pages of other origins                │
//!    ▼                                                                  ▲
//! (time-out) ─────────────────────────────────────────────────────── counts rejected requests
//!    ▼                                                                  ▲
//! (layers of the embedder, except around open routes) ───────────────── │
//!    ▼                                                                  │
//! authenticate  finds out who sends the request                         │
//!    ▼                                                                  │
//! admit         counts the request, and acquires its permit             │
//!    ▼                                                                  │
//! handle        calls the handler of the route ─────────────────────────┘
//! ```
//!
//! Each step is a module. The requests for the routes of a [`Role`](crate::Role) take the same
//! steps. The facts that the steps know about a request are its [`RequestState`]. A step that
//! refuses a request returns an [`HttpError`], which the [`ErrorWriter`] of the route writes.

mod access_log;
mod admit;
pub(crate) mod authenticate;
pub(crate) mod browsers;
pub(crate) mod client;
mod handle;
pub(crate) mod head;
mod observe;
pub(crate) mod router;
pub(crate) mod state;
#[cfg(feature = "otel")]
mod traces;

use std::convert::Infallible;
use std::mem::take;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use futures_util::FutureExt;
use tokio::time::Instant;
use tower::{ServiceExt, service_fn};
use tracing::Instrument;

use crate::auth::Authenticate;
use crate::options::HttpOptions;
use crate::response::{HttpError, HttpResult};
use crate::routes::route::{Access, RequestClass};
use crate::service::Service;
use admit::Admission;
use authenticate::authenticate_request;
use browsers::Browsers;
use handle::{handle, respond_to_panic, without_body};
use head::{check_head, check_host};
use observe::RequestObserver;
use state::{Arrival, RequestState};

/// Adds a layer of the embedder around the routes that are not open to all.
pub(crate) type Guard = Arc<dyn Fn(Router) -> Router + Send + Sync>;

/// The pipeline of a router.
///
/// Its functions borrow a request and its state, because each function that owned them would store
/// them once more in the future of the request. hyper moves that future for each request, so its size
/// is a cost of every request.
struct RequestPipeline {
    options: Arc<HttpOptions>,
    observer: RequestObserver,
    browsers: Browsers,
    inner_steps: Arc<InnerSteps>,
    /// The layers of the embedder around the inner steps, if there are any.
    guarded_steps: Option<Router>,
}

/// The steps inside of the layers of the embedder.
struct InnerSteps {
    admission: Admission,
    authenticate: Option<Arc<dyn Authenticate>>,
}

impl RequestPipeline {
    /// Creates the pipeline of `service`, with the tokens of `authenticate` and with `guards`
    /// around the routes that are not open to all.
    fn new(
        service: &Service,
        authenticate: Option<Arc<dyn Authenticate>>,
        guards: &[Guard],
    ) -> Self {
        let needs_credentials = authenticate.is_some() || !guards.is_empty();
        let inner_steps = Arc::new(InnerSteps {
            admission: Admission::new(&service.options),
            authenticate,
        });
        Self {
            options: Arc::clone(&service.options),
            observer: RequestObserver::new(service),
            browsers: Browsers::new(service, needs_credentials),
            guarded_steps: inner_steps.with_guards(guards),
            inner_steps,
        }
    }

    /// Takes a request with this `state` through all steps. Returns the response and the time at
    /// which it was made.
    async fn respond(
        &self,
        request: &mut Request,
        state: &mut RequestState,
        arrival: &mut Arrival,
    ) -> (Response, Instant) {
        let observed = self.observer.begin(request, state, arrival.received_at);
        let is_head = *request.method() == Method::HEAD;

        let span = observed.span.clone();
        let mut response = self
            .respond_to_browsers(request, state, arrival)
            .instrument(span)
            .await;
        if is_head {
            response = without_body(response);
        }
        self.observer.end(observed, response)
    }

    /// Answers a preflight request, or takes a request through the other steps and adds the headers
    /// for browsers to the response.
    async fn respond_to_browsers(
        &self,
        request: &mut Request,
        state: &mut RequestState,
        arrival: &mut Arrival,
    ) -> Response {
        if let Some(preflight) = self.browsers.preflight(request) {
            return preflight;
        }

        let origin = self.browsers.origin_of(request);
        let write_error = state.write_error;
        let mut response = self
            .respond_within_limits(request, state, arrival)
            .await
            .unwrap_or_else(|error| write_error(&error));
        self.browsers.add_headers(&mut response, origin);
        response
    }

    /// Returns the response to a request whose head is valid, within the time-out. Counts a
    /// rejected request towards the rate of its address.
    ///
    /// # Errors
    /// - the errors of [`check_request_head`](Self::check_request_head)
    /// - 503 after the time-out
    async fn respond_within_limits(
        &self,
        request: &mut Request,
        state: &mut RequestState,
        arrival: &mut Arrival,
    ) -> HttpResult {
        let class = state.class;
        let write_error = state.write_error;
        self.check_request_head(request, class, arrival)?;

        let admission = &self.inner_steps.admission;
        let address = admission.counted_address(request, state);
        if let Err(refusal) = self.browsers.check(request) {
            let response = write_error(&refusal);
            return Ok(admission.count_if_rejected(address, class.kind(), response, write_error));
        }

        let response = self.respond_within_timeout(request, state, arrival).await?;
        if !may_count_as_rejected(class, response.status()) {
            return Ok(response);
        }
        Ok(admission.count_if_rejected(address, class.kind(), response, write_error))
    }

    /// Checks the head of a request of `class`.
    ///
    /// # Errors
    /// - the errors of [`check_head`]
    /// - the fault that the listener found in the head
    /// - 421 if the request names a host that is not allowed
    fn check_request_head(
        &self,
        request: &Request,
        class: RequestClass,
        arrival: &mut Arrival,
    ) -> HttpResult<()> {
        check_head(request, &self.options)?;
        if let Some(fault) = arrival.fault.take() {
            return Err(fault);
        }
        match class {
            // Probes and operations may name any host: Kubernetes and Prometheus send the address of
            // the pod as `Host`.
            RequestClass::Probe | RequestClass::Operation => Ok(()),
            _ => check_host(request, &self.options.hosts),
        }
    }

    /// Takes a request through the remaining steps, within the time-out of requests, which begins with
    /// its `arrival`. A panic in one of these steps becomes a response.
    ///
    /// # Errors
    /// 503 after the time-out
    async fn respond_within_timeout(
        &self,
        request: &mut Request,
        state: &mut RequestState,
        arrival: &mut Arrival,
    ) -> HttpResult {
        let class = state.class;
        let write_error = state.write_error;
        let operations = &self.inner_steps.admission.pools.operations;
        let mut response = pin!(async {
            // Operations wait here for each other. The semaphore is never closed.
            let _turn = match class {
                RequestClass::Operation => operations.acquire().await.ok(),
                _ => None,
            };
            AssertUnwindSafe(self.pass_guards(request, state))
                .catch_unwind()
                .await
                .unwrap_or_else(|_panic| Ok(respond_to_panic(write_error)))
        });

        let timeout = self.options.request_timeout;
        let deadline = match class {
            // Each check of a probe has a shorter time-out of its own.
            RequestClass::Probe => None,
            // A time-out that is too long for the clock never ends.
            _ => arrival.received_at.checked_add(timeout),
        };
        let Some(deadline) = deadline else {
            return response.await;
        };
        tokio::select! {
            // A response that is ready at the deadline is in time.
            biased;
            response = &mut response => response,
            () = arrival.timer_until(deadline) => Err(HttpError::timed_out(timeout, class.kind())),
        }
    }

    /// Takes a request through the layers of the embedder, if the route is not open to all, and
    /// through the inner steps.
    async fn pass_guards(&self, request: &mut Request, state: &mut RequestState) -> HttpResult {
        if let Some(guarded_steps) = &self.guarded_steps
            && state.access != Access::Open
        {
            request.extensions_mut().insert(state.clone());
            let Ok(response) = guarded_steps.clone().oneshot(take(request)).await;
            return Ok(response);
        }
        self.inner_steps.respond(request, state).await
    }
}

/// Returns whether a request of `class` whose response has this `status` may have been rejected
/// before it was admitted. Such a request counts towards the rate of its address.
///
/// Probes and operations are never admitted, and no rate applies to them. The exception is an
/// operation with an invalid token: without a rate, a client could try tokens at `/metrics` as fast
/// as it likes.
fn may_count_as_rejected(class: RequestClass, status: StatusCode) -> bool {
    match class {
        RequestClass::Probe => false,
        RequestClass::Operation => status == StatusCode::UNAUTHORIZED,
        _ => true,
    }
}

impl InnerSteps {
    /// Returns these steps inside of `guards`, or `None` if there are none.
    fn with_guards(self: &Arc<Self>, guards: &[Guard]) -> Option<Router> {
        if guards.is_empty() {
            return None;
        }

        let steps = Arc::clone(self);
        let service = service_fn(move |mut request: Request| {
            let steps = Arc::clone(&steps);
            async move {
                // A layer of the embedder may have removed the state.
                let Some(mut state) = request.extensions_mut().remove::<RequestState>() else {
                    return Ok::<_, Infallible>(HttpError::PANICKED.problem());
                };
                state.body_since = Instant::now();
                let write_error = state.write_error;
                let response = steps.respond(&mut request, &mut state).await;
                Ok(response.unwrap_or_else(|error| write_error(&error)))
            }
        });
        let router = Router::new().fallback_service(service);
        Some(guards.iter().fold(router, |router, guard| guard(router)))
    }

    /// Authenticates a request if its route needs a token, admits the request, and calls its handler.
    ///
    /// # Errors
    /// The errors of [`Admission::admit`].
    async fn respond(&self, request: &mut Request, state: &mut RequestState) -> HttpResult {
        if let Some(authenticate) = &self.authenticate
            && state.access != Access::Open
        {
            if let Err(rejection) = authenticate_request(authenticate, request, state).await {
                // A rejection is returned as a response, and not as an error, so that
                // `count_if_rejected` counts it towards the rate of its address.
                return Ok((state.write_error)(&rejection));
            }
            state.body_since = Instant::now();
        }

        match state.class {
            RequestClass::Probe | RequestClass::Operation => Ok(handle(request, state).await),
            _ => self.admission.admit(request, state, handle).await,
        }
    }
}
