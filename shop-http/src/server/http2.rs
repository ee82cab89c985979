//! HTTP/2 connections, with the limits and time-outs of HTTP/1.1 connections.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tower::ServiceExt;

use crate::options::HttpOptions;
use crate::server::connections::{Connection, InFlight};
use crate::server::serve::{Client, received};

/// The maximum of concurrent requests on a connection.
const MAX_STREAMS: u32 = 100;
/// How much a client may send of one body, and of all bodies on a connection, before a handler reads it.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// How much of a response waits for a client that does not read.
const SEND_BUFFER: usize = 16 << 10;
/// A client that does not respond to a ping for this time is disconnected.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves HTTP/2 connections.
pub(super) struct Http2 {
    builder: http2::Builder<TokioExecutor>,
    idle_timeout: Duration,
    write_timeout: Duration,
}

impl Http2 {
    pub(super) fn new(options: &HttpOptions, max_head: usize) -> Self {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(u32::try_from(max_head).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        Self { builder, idle_timeout: options.header_read_timeout, write_timeout: options.write_timeout }
    }

    /// Serves a connection until it ends, is idle for too long, its client does not read its responses, or the server
    /// stops.
    pub(super) async fn serve<S>(
        &self,
        stream: S,
        router: Router,
        Client { peer, connection }: Client<'_>,
        stopping: &mut watch::Receiver<()>,
    ) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let streams = Arc::new(Streams::new());
        let (opened, connection) = (Arc::clone(&streams), Arc::clone(connection));
        let service = service_fn(move |request: Request<Incoming>| {
            let (router, stream) = (router.clone(), OpenStream::new(&opened, &connection));
            async move {
                let response = router.oneshot(received(request.map(Body::new), peer)).await?;
                stream.waits_for_client();
                Ok::<_, Infallible>(response.map(|body| StreamBody { body, stream }))
            }
        });
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        let end = tokio::select! {
            ended = &mut connection => return ended,
            _ = stopping.changed() => End::Stopping,
            end = streams.until_end(self.idle_timeout, self.write_timeout) => end,
        };
        connection.as_mut().graceful_shutdown();
        match end {
            End::Stopping => connection.await,
            // The client may not read the end of the connection.
            End::Idle => timeout(self.write_timeout, connection).await.unwrap_or(Ok(())),
            End::Stalled => Ok(()),
        }
    }
}

/// Why a connection is ended by the server.
enum End {
    Stopping,
    Idle,
    Stalled,
}

/// The requests in progress on one connection.
struct Streams(Mutex<State>);

struct State {
    open: usize,
    idle_since: Instant,
    next: u64,
    /// The responses whose next part the client has not accepted yet, with the time since when.
    sending: BTreeMap<u64, Instant>,
}

impl Streams {
    fn new() -> Self {
        Self(Mutex::new(State { open: 0, idle_since: Instant::now(), next: 0, sending: BTreeMap::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there was no request for `idle`, or a client has not read a response for `stalled`.
    async fn until_end(&self, idle: Duration, stalled: Duration) -> End {
        loop {
            let (end, deadline) = self.lock().next_deadline(idle, stalled);
            // A time-out that is too long for the clock never expires.
            match deadline {
                Some(deadline) if deadline <= Instant::now() => {
                    if let Some(end) = end {
                        return end;
                    }
                }
                Some(deadline) => sleep_until(deadline).await,
                None => pending().await,
            }
        }
    }
}

impl State {
    /// The next time to look at the connection, and how it ends if nothing has changed by then.
    fn next_deadline(&self, idle: Duration, stalled: Duration) -> (Option<End>, Option<Instant>) {
        match (self.open, self.sending.values().min()) {
            (0, _) => (Some(End::Idle), self.idle_since.checked_add(idle)),
            (_, Some(oldest)) => (Some(End::Stalled), oldest.checked_add(stalled)),
            (_, None) => (None, Instant::now().checked_add(idle.min(stalled).max(Duration::from_millis(1)))),
        }
    }
}

/// A request in progress.
struct OpenStream {
    streams: Arc<Streams>,
    id: u64,
    _in_flight: InFlight,
}

impl OpenStream {
    fn new(streams: &Arc<Streams>, connection: &Arc<Connection>) -> Self {
        let mut state = streams.lock();
        state.open += 1;
        state.next += 1;
        Self { streams: Arc::clone(streams), id: state.next, _in_flight: connection.begin() }
    }

    /// The next part of the response is ready.
    fn waits_for_client(&self) {
        self.streams.lock().sending.insert(self.id, Instant::now());
    }

    /// The client accepts the next part of the response, which is not ready.
    fn waits_for_server(&self) {
        self.streams.lock().sending.remove(&self.id);
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut state = self.streams.lock();
        state.open -= 1;
        state.sending.remove(&self.id);
        state.idle_since = Instant::now();
    }
}

/// The body of a response. It is read only when the client accepts more.
struct StreamBody {
    body: Body,
    stream: OpenStream,
}

impl HttpBody for StreamBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match polled {
            Poll::Ready(_) => self.stream.waits_for_client(),
            Poll::Pending => self.stream.waits_for_server(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
