//! A response body with a callback for each frame.
//!
//! The pools, the connections, the metrics and the access log use it to learn how much of a body
//! was sent, and when: the callback receives the result of each poll, may replace it, and is
//! dropped with the body, which is when the response was sent or the client disconnected.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};

/// The result of polling a body for its next frame.
pub(crate) type Polled = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

/// A body that passes the result of each poll through `watch`. `watch` is dropped with the body.
pub(crate) struct WatchedBody<F> {
    pub(crate) body: Body,
    pub(crate) watch: F,
}

/// Returns `response` with a body that passes the result of each poll through `watch`. `watch` is
/// dropped with the body.
pub(crate) fn watch_body(
    response: Response,
    watch: impl FnMut(Polled) -> Polled + Send + Unpin + 'static,
) -> Response {
    response.map(|body| Body::new(WatchedBody { body, watch }))
}

impl<F: FnMut(Polled) -> Polled + Unpin> HttpBody for WatchedBody<F> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        (self.watch)(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
