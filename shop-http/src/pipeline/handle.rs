//! Calls the handler of a route: a write is completed in any case, and a panic becomes a response.

use std::mem::{replace, take};
use std::panic::AssertUnwindSafe;

use axum::Extension;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Fuse, FusedFuture};
use tokio::runtime::Handle;
use tracing::{Instrument, Span};

use super::state::RequestState;
use crate::metrics::HasPanicked;
use crate::permits::RequestPermit;
use crate::request::write_request::WriteRequest;
use crate::response::{ErrorWriter, HttpError, HttpResult};

/// Calls the handler of a request, and writes its error.
pub(super) async fn handle(request: &mut Request, state: &RequestState) -> Response {
    let write_error = state.write_error;
    let Some(route) = &state.route else {
        return write_error(&HttpError::NO_ROUTE);
    };
    let Some(endpoint) = route.endpoint(request.method()) else {
        return route.refuse_method();
    };

    let write_permit = if state.class.writes() {
        state.permit.clone()
    } else {
        None
    };
    let handler_request = WriteRequest {
        request: take(request),
        state: state.clone(),
    };
    let mut running = RunningHandler {
        handler: (endpoint.handler)(handler_request).fuse(),
        write_permit,
    };
    match AssertUnwindSafe(&mut running.handler).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => write_error(&error),
        Err(_panic) => {
            // Without the permit, the drop below does not continue the handler. A future that
            // panicked must not be polled again.
            running.write_permit = None;
            respond_to_panic(write_error)
        }
    }
}

/// Returns the response to a request whose handler or authentication panicked. The panic hook of
/// the process logs a panic.
pub(super) fn respond_to_panic(write_error: ErrorWriter) -> Response {
    (Extension(HasPanicked), write_error(&HttpError::PANICKED)).into_response()
}

/// Returns the response to `HEAD`, with the length of the body if it is known.
pub(super) fn without_body(mut response: Response) -> Response {
    if let Some(length) = response.body().size_hint().exact() {
        response
            .headers_mut()
            .entry(header::CONTENT_LENGTH)
            .or_insert_with(|| length.into());
    }
    response.map(|_body| Body::empty())
}

/// The handler of a request while it runs.
///
/// If it is dropped before it ends, a read is cancelled, and a write continues in a separate task:
/// neither a client that disconnects nor a time-out cancels a write.
struct RunningHandler {
    handler: Fuse<BoxFuture<'static, HttpResult>>,
    /// The permit of a write, which is held until the handler ends. `None` for a read.
    write_permit: Option<RequestPermit>,
}

impl Drop for RunningHandler {
    fn drop(&mut self) {
        // Without a runtime, the process is about to end, and nothing can run the rest of the write.
        if let Some(permit) = self.write_permit.take()
            && !self.handler.is_terminated()
            && let Ok(runtime) = Handle::try_current()
        {
            let handler = replace(&mut self.handler, Fuse::terminated());
            let rest_of_write = async move {
                // The client disconnected, or got the response of the time-out, so the result is not
                // needed.
                drop(handler.await);
                drop(permit);
            };
            drop(runtime.spawn(rest_of_write.instrument(Span::current())));
        }
    }
}
