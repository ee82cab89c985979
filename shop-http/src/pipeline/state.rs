//! The state of a request in the pipeline, and the parts that handlers read.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{ConnectInfo, NestedPath, Request};
use axum::http::{Extensions, Method};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::auth::{Caller, Principal, Trail};
use crate::permits::RequestPermit;
use crate::response::{ErrorWriter, HttpError, HttpResult};
use crate::routes::route::{Access, RequestClass, Route};

/// A timer that a connection reuses from request to request.
///
/// A timer that is reset to a later time stays registered with the runtime, while each new timer
/// takes a lock of the runtime.
pub(crate) type ReusedTimer = Pin<Box<Sleep>>;

/// The facts that the listener of a request knows about the request beside its head.
pub(crate) struct Arrival {
    /// When the head was complete. The clock is read once, for all time limits and metrics that
    /// begin with the head.
    pub(crate) received_at: Instant,
    /// The address at the other end of the connection, if it is known.
    pub(crate) peer: Option<SocketAddr>,
    /// The fault that the listener found in the head.
    pub(crate) fault: Option<HttpError>,
    /// The timer for the time-out of the request. The pipeline creates one if there is none, and
    /// leaves it here.
    pub(crate) timer: Option<ReusedTimer>,
}

impl Arrival {
    /// Returns the arrival of a request that is received now, without a timer.
    pub(crate) fn new(peer: Option<SocketAddr>, fault: Option<HttpError>) -> Self {
        Self {
            received_at: Instant::now(),
            peer,
            fault,
            timer: None,
        }
    }

    /// Returns the arrival of a request that is received now, with the facts that the listener put
    /// into its extensions. The request came through an outer router.
    pub(crate) fn take_from(extensions: &mut Extensions) -> Self {
        let peer = extensions.get().map(|ConnectInfo(peer)| *peer);
        Self::new(peer, extensions.remove())
    }

    /// Returns the timer after setting it to complete at `deadline`. Creates a timer if there is none.
    pub(crate) fn timer_until(&mut self, deadline: Instant) -> Pin<&mut Sleep> {
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        timer.as_mut().reset(deadline);
        timer.as_mut()
    }
}

/// The facts that the steps of the pipeline know about a request.
///
/// A step passes the state to the next step as an argument. The layers of an embedder and the
/// handlers that read get the state as an extension of the request.
#[derive(Clone)]
pub(crate) struct RequestState {
    /// The route of the path, or `None` if there is none.
    pub(crate) route: Option<Arc<Route>>,
    pub(crate) class: RequestClass,
    /// Who may send the request. A request that no handler answers is open.
    pub(crate) access: Access,
    pub(crate) write_error: ErrorWriter,
    /// The address at the other end of the connection, if it is known.
    pub(crate) peer: Option<SocketAddr>,
    /// Since when the client may take its time to send the body: since its head was received, or
    /// since the request passed authentication and the layers of an embedder.
    pub(crate) body_since: Instant,
    /// The trail for the access log and the audit log, if there are these logs.
    pub(crate) trail: Option<Arc<Trail>>,
    /// The permit of the request, from its admission on. It holds nothing until the request is
    /// admitted.
    pub(crate) permit: Option<RequestPermit>,
}

impl RequestState {
    /// Creates the state of a request with `method` from its `arrival`. `route` is the route of its
    /// path, or `None` if the path matches no route.
    pub(crate) fn new(
        route: Option<Arc<Route>>,
        method: &Method,
        write_error: ErrorWriter,
        arrival: &Arrival,
    ) -> Self {
        let mut class = RequestClass::from_method(method);
        let mut access = Access::Open;
        if let Some(route) = &route {
            class = route.class(method);
            if route.endpoint(method).is_some() {
                access = route.access;
            }
        }
        Self {
            route,
            class,
            access,
            write_error,
            peer: arrival.peer,
            body_since: arrival.received_at,
            trail: None,
            permit: None,
        }
    }

    /// Returns the state of the request with these extensions.
    ///
    /// # Errors
    /// 500 if a layer of the embedder removed the state.
    pub(crate) fn from_extensions(extensions: &Extensions) -> HttpResult<&Self> {
        extensions.get().ok_or(HttpError::PANICKED)
    }
}

/// Returns the template of the prefix of outer routers, without a slash at its end.
pub(crate) fn outer_template(request: &Request) -> &str {
    request
        .extensions()
        .get()
        .map_or("", NestedPath::as_str)
        .trim_end_matches('/')
}

impl RequestPermit {
    /// Returns the permit of the request with these extensions.
    ///
    /// # Errors
    /// 500 if the request was not admitted, which only happens to probes and operations.
    pub(crate) fn from_extensions(extensions: &Extensions) -> HttpResult<Self> {
        let state = RequestState::from_extensions(extensions)?;
        state.permit.clone().ok_or(HttpError::PANICKED)
    }
}

impl Caller {
    /// Returns the sender of the request with these extensions.
    pub fn from_extensions(extensions: &Extensions) -> Self {
        let principal = extensions.get().cloned().unwrap_or(Principal::anonymous());
        let state = extensions.get::<RequestState>();
        Self::new(principal, state.and_then(|state| state.trail.clone()))
    }
}
