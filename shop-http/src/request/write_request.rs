//! The request that a handler of a write gets.

use axum::extract::Request;
use axum::http::{HeaderMap, Uri};

use crate::auth::{Caller, Principal};
use crate::permits::RequestPermit;
use crate::pipeline::state::RequestState;
use crate::response::{HttpError, HttpResult};
use crate::routes::mount::Mount;

/// A request that writes, with its state in the pipeline.
///
/// The request and its state are separate, because a state among the extensions would cost a table
/// and two boxes per request. [`into_request`](Self::into_request) adds the state to the
/// extensions, for code that reads it there.
pub struct WriteRequest {
    pub(crate) request: Request,
    pub(crate) state: RequestState,
}

impl std::fmt::Debug for WriteRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("WriteRequest").field(&self.request).finish()
    }
}

impl WriteRequest {
    /// Returns the headers of the request.
    pub fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }

    /// Returns the path and the query of the request, below outer routers.
    pub fn uri(&self) -> &Uri {
        self.request.uri()
    }

    /// Returns the sender of the request.
    pub fn caller(&self) -> Caller {
        let principal = self
            .request
            .extensions()
            .get()
            .cloned()
            .unwrap_or(Principal::anonymous());
        Caller::new(principal, self.state.trail.clone())
    }

    /// Returns the prefix that outer routers removed from the path of the request.
    pub fn mount(&self) -> Mount {
        Mount::from_request(self.request.uri(), self.request.extensions())
    }

    /// Returns the permit of the request.
    ///
    /// # Errors
    /// 500 if the request was not admitted, which cannot happen to a write.
    pub(crate) fn permit(&self) -> HttpResult<RequestPermit> {
        self.state.permit.clone().ok_or(HttpError::PANICKED)
    }

    /// Returns the request with its state in the pipeline among its extensions.
    pub(crate) fn into_request(self) -> Request {
        let mut request = self.request;
        request.extensions_mut().insert(self.state);
        request
    }
}
