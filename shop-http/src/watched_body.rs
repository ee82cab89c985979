//! A body that something watches until it is sent, or dropped.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};

/// The result of polling a body.
pub(crate) type Polled = Poll<Option<Result<Frame<Bytes>, axum::Error>>>;

/// A body whose frames pass through `watch`, which is dropped with the body.
pub(crate) struct WatchedBody<F> {
    pub(crate) body: Body,
    pub(crate) watch: F,
}

/// `response`, whose frames pass through `watch`.
pub(crate) fn watched(
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
