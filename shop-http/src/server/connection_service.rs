//! The service of one HTTP/1.1 connection.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::HttpBody;
use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::Service;
use pin_project_lite::pin_project;

use crate::held_body::holding;
use crate::server::connections::{Connection, InFlight};

/// Counts the requests of a connection.
#[derive(Debug)]
pub(crate) struct ConnectionService<S> {
    inner: S,
    connection: Arc<Connection>,
}

impl<S> ConnectionService<S> {
    pub(crate) fn new(inner: S, connection: Arc<Connection>) -> Self {
        Self { inner, connection }
    }
}

impl<S> Service<Request<Incoming>> for ConnectionService<S>
where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = ConnectionFuture<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let in_flight = Some(self.connection.begin());
        ConnectionFuture { response: self.inner.call(request), in_flight }
    }
}

pin_project! {
    /// A response in progress.
    pub(crate) struct ConnectionFuture<F> {
        #[pin]
        response: F,
        in_flight: Option<InFlight>,
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for ConnectionFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.response.poll(context))?;
        let in_flight = this.in_flight.take();
        Poll::Ready(Ok(match response.body().size_hint().exact() {
            // It is written at once. A client that does not read it blocks the connection, which is not idle then.
            Some(_) => response,
            None => response.map(|body| holding(in_flight, body)),
        }))
    }
}
