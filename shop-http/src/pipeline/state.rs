//! The state of a request in the pipeline, and the parts that handlers read.

use std::sync::Arc;

use axum::extract::{NestedPath, Request};
use axum::http::{Extensions, Method};

use crate::auth::{Caller, Principal, Trail};
use crate::permits::RequestPermit;
use crate::response::{ErrorWriter, HttpError, HttpResult};
use crate::routes::route::{Access, RequestClass, Route};

/// The facts that the steps of the pipeline know about a request.
///
/// It is an extension of every request, because the layers of an embedder are between the steps of
/// the pipeline.
#[derive(Clone)]
pub(crate) struct RequestState {
    /// The route of the path, or `None` if there is none.
    pub(crate) route: Option<Arc<Route>>,
    pub(crate) class: RequestClass,
    /// Who may send the request. A request that no handler answers is open.
    pub(crate) access: Access,
    pub(crate) write_error: ErrorWriter,
    /// The trail for the access log and the audit log, if there are these logs.
    pub(crate) trail: Option<Arc<Trail>>,
    /// The permit of the request, from its admission on. It holds nothing until the request is
    /// admitted.
    pub(crate) permit: Option<RequestPermit>,
}

impl RequestState {
    /// Creates the state of a request with `method`, whose path is that of `route`, or matches no
    /// route.
    pub(crate) fn new(
        route: Option<Arc<Route>>,
        method: &Method,
        write_error: ErrorWriter,
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

    /// Returns the error writer of the request with these extensions.
    pub(crate) fn error_writer(extensions: &Extensions) -> ErrorWriter {
        let state = extensions.get::<Self>();
        state.map_or(HttpError::problem, |state| state.write_error)
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
