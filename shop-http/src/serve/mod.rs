//! Serves the routes of a service, or a router, on a listener until shutdown, within the limits of
//! connections.
//!
//! The way of a connection, which has one task:
//!
//! ```text
//! Connections::wait_for_room ─▶ accept ─▶ Connections::register ─▶ TLS ─▶ hyper ─▶ routes
//!        │ chooses idle ones                       │              └────┬────┘        │
//!        ▼                                         ▼                   ▼             ▼
//! Connection::closing ◀──────────────────── Connection ◀──────── ClientStream, InFlightRequest
//! ```
//!
//! `ClientStream` and `InFlightRequest` record in the `Connection` what the client does.
//! `Connection::closing` completes when the client keeps the server waiting for too long, or when a
//! full listener needs room; the task closes the connection then.
//!
//! Over HTTP/2 a client sends many requests on one connection, and may read some responses and not
//! others. `create_http2_builder` sets the limits of one connection, and all connections of a
//! listener share the pool of unread responses.

mod connection;
mod connections;
mod stream;
#[cfg(feature = "tls")]
mod tls;

use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, Request};
use axum::http::{Response, StatusCode, Version, header};
use axum::response::IntoResponse;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
#[cfg(feature = "tls")]
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
#[cfg(feature = "tls")]
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower::Service;

use crate::options::{HttpOptions, TrustedProxies};
use crate::permits::{ClientId, FairPool};
use crate::pipeline::client::network;
use crate::pipeline::head::find_fault;
use crate::pipeline::router::{HttpService, ServedRoutes};
use crate::pipeline::state::Arrival;
use connection::Connection;
use connections::Connections;
use stream::ClientStream;
#[cfg(feature = "tls")]
pub use tls::Tls;

/// Serves `service` on `listener`, within the limits of `options`, until `shutdown` completes.
///
/// A service is made by [`RouterBuilder::build_service`](crate::RouterBuilder::build_service), or is
/// a [`Router`](axum::Router), in which an embedder may have put routes of its own.
///
/// After `shutdown`, it accepts no more connections, completes the requests in flight, and returns.
///
/// The caller binds the listener, so a test can bind port 0 and read the port.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::memory::{InMemoryLog, InMemoryStore};
/// use shop_http::{HttpOptions, Parts, routes, serve};
/// use tokio::net::TcpListener;
/// use tokio::sync::oneshot;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let options = HttpOptions::default();
/// let parts = Parts::facing(Arc::new(InMemoryLog::default().sink()), Arc::new(InMemoryStore::new()));
/// let service = routes(parts).options(options.clone()).build_service();
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let address = listener.local_addr()?;
///
/// let (stop, stopped) = oneshot::channel::<()>();
/// let shutdown = async { drop(stopped.await) };
/// let server = tokio::spawn(serve(listener, service, &options, shutdown));
/// // Requests to `address` are served, until:
/// drop(stop);
/// server.await??;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// None so far: accepting is retried when the listener fails, for example without free file
/// handles.
pub fn serve<R: Into<HttpService>, S: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    service: R,
    options: &HttpOptions,
    shutdown: S,
) -> impl Future<Output = std::io::Result<()>> + Send + use<R, S> {
    HttpServer::new(service.into(), options).run(listener, shutdown)
}

/// Serves `service` on `listener` over TLS, with HTTP/1.1 or HTTP/2 as the client chooses.
///
/// Everything else is as in [`serve`].
///
/// ```no_run
/// use std::sync::Arc;
///
/// use shop_core::memory::{InMemoryLog, InMemoryStore};
/// use shop_http::{HttpOptions, Parts, Tls, routes, serve_tls};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let parts = Parts::facing(Arc::new(InMemoryLog::default().sink()), Arc::new(InMemoryStore::new()));
/// let options = HttpOptions::default();
/// let service = routes(parts).options(options.clone()).build_service();
/// let tls = Tls::from_files("tls.crt", "tls.key", None).await?;
/// let listener = tokio::net::TcpListener::bind("0.0.0.0:3443").await?;
/// serve_tls(listener, tls, service, &options, std::future::pending()).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// None so far: accepting is retried when the listener fails, for example without free file
/// handles.
#[cfg(feature = "tls")]
pub fn serve_tls<R: Into<HttpService>, S: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    tls: Tls,
    service: R,
    options: &HttpOptions,
    shutdown: S,
) -> impl Future<Output = std::io::Result<()>> + Send + use<R, S> {
    let mut server = HttpServer::new(service.into(), options);
    server.tls = Some(tls);
    server.run(listener, shutdown)
}

/// The time in which a client may notice the end of its connection, and read the response that is
/// in flight.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A server of one service on one listener.
struct HttpServer {
    service: HttpService,
    connections: Arc<Connections>,
    http1: http1::Builder,
    #[cfg(feature = "tls")]
    http2: http2::Builder<TokioExecutor>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    /// The pool of responses over HTTP/2 that clients have not read to the end. A request takes one
    /// unit when it begins, so each stream of a connection can occupy one unit.
    unread_responses: Arc<FairPool>,
    /// Hashes the addresses of clients.
    hasher: RandomState,
    trusted_proxies: TrustedProxies,
}

impl HttpServer {
    fn new(service: HttpService, options: &HttpOptions) -> Self {
        let max_head = max_head_bytes(options);
        let mut http1 = http1::Builder::new();
        http1
            // hyper's time-out would begin with the last response, and so end idle connections as
            // well. `Connection::closing` limits the time of a head instead.
            .header_read_timeout(None)
            // `ClientStream` notices the end of a client instead.
            .half_close(true)
            .max_header_size(max_head)
            // The buffer also holds the part of a response that a slow client has not read yet.
            // hyper panics below 8 KiB.
            .max_buf_size(max_head.max(8_192));
        Self {
            service,
            connections: Connections::new(options),
            http1,
            #[cfg(feature = "tls")]
            http2: create_http2_builder(max_head),
            #[cfg(feature = "tls")]
            tls: None,
            unread_responses: FairPool::new(2 * options.max_requests),
            hasher: RandomState::new(),
            trusted_proxies: options.trusted_proxies.clone(),
        }
    }

    /// Accepts connections until `shutdown` completes, and then waits for the end of those that are
    /// open.
    async fn run(
        self,
        mut listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> std::io::Result<()> {
        let server = Arc::new(self);
        let mut shutdown = pin!(shutdown);
        // Every connection holds a receiver until it ends.
        // `closed` below waits for all receivers, so only connections have one.
        let stop_sender = watch::Sender::new(());

        loop {
            let accepting = async {
                // A connection beyond the limit waits in the listener's queue.
                let room = server.connections.wait_for_room().await;
                // Waits and tries again when the listener fails, such as without free file handles.
                let (stream, peer) = Listener::accept(&mut listener).await;
                (room, stream, peer)
            };
            let (room, stream, peer) = tokio::select! {
                accepted = accepting => accepted,
                () = &mut shutdown => break,
            };

            let client = server.client_at(peer);
            let Some(registered) = server.connections.register(client, room) else {
                tracing::debug!(client = %peer.ip(), "connection closed: this client has too many");
                continue;
            };

            let server = Arc::clone(&server);
            let mut stop_receiver = stop_sender.subscribe();
            tokio::spawn(async move {
                server
                    .serve_connection(stream, peer, &registered.connection, &mut stop_receiver)
                    .await;
                // `run` returns once every task has dropped its `stop_receiver`. So the connection
                // is removed from the listener before the receiver is dropped.
                drop(registered);
            });
        }

        drop(listener);
        stop_sender.send_replace(());
        stop_sender.closed().await;
        Ok(())
    }

    /// Serves a connection until one of three things happens: the connection ends, it is to be
    /// closed, or the server stopped and the requests in flight are completed.
    async fn serve_connection(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        connection: &Arc<Connection>,
        stop_receiver: &mut watch::Receiver<()>,
    ) {
        // Responses are small and written at once: waiting for more to send only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let stream = ClientStream::new(stream, Arc::clone(connection));

        let server = Arc::clone(self);
        let request_connection = Arc::clone(connection);
        let service = service_fn(move |request| {
            Arc::clone(&server).respond(request, peer, &request_connection)
        });

        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            // Boxed, because this future would make the future of every connection four times as
            // large, also without TLS.
            let serving = async {
                let accepted = tokio::select! {
                    accepted = tls.accept(stream) => accepted,
                    _ = stop_receiver.changed() => None,
                    () = connection.closing() => None,
                };
                let Some(stream) = accepted else { return };

                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(tls::HTTP2);
                let io = TokioIo::new(stream);
                if is_http2 {
                    let http = self.http2.serve_connection(io, service);
                    serve_until_end(http, connection, stop_receiver).await;
                } else {
                    // The end of a client's TLS session is data to its socket, so hyper reads it.
                    let mut http1 = self.http1.clone();
                    let http = http1.half_close(false).serve_connection(io, service);
                    serve_until_end(http, connection, stop_receiver).await;
                }
            };
            Box::pin(serving).await;
            return;
        }

        let http = self.http1.serve_connection(TokioIo::new(stream), service);
        serve_until_end(http, connection, stop_receiver).await;
    }

    /// Returns the response of the service to a request on `connection`. The request is in flight
    /// until the response is sent.
    ///
    /// Over HTTP/2, the response is a 503 if the client has not read too many other responses yet.
    fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
        connection: &Arc<Connection>,
    ) -> impl Future<
        Output = Result<
            Response<impl HttpBody<Data = Bytes, Error = axum::Error> + Send + use<>>,
            Infallible,
        >,
    > + Send
    + use<> {
        let version = request.version();
        let mut unread_permit = None;
        let mut has_room = true;
        if version == Version::HTTP_2 {
            unread_permit = self.unread_responses.try_acquire(connection.client, 1);
            has_room = unread_permit.is_some();
        }
        let mut in_flight = connection.begin(version, unread_permit);
        let mut request = request.map(Body::new);

        async move {
            if !has_room {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                let response = (status, [(header::RETRY_AFTER, "1")]).into_response();
                let made_at = None;
                return Ok(response.map(|body| in_flight.until_sent(body, made_at)));
            }

            let (response, made_at) = match &self.service.0 {
                ServedRoutes::Routes(routes) => {
                    let fault = find_fault(version, request.headers());
                    let mut arrival = Arrival::new(Some(peer), fault);
                    arrival.timer = in_flight.timer.take();
                    let (response, made_at) = routes.respond(&mut request, &mut arrival).await;
                    in_flight.timer = arrival.timer;
                    (response, Some(made_at))
                }
                ServedRoutes::Router(router) => (call_router(router, request, peer).await, None),
            };
            Ok(response.map(|body| in_flight.until_sent(body, made_at)))
        }
    }

    /// Returns the client at `peer`. The client behind a trusted proxy is unknown.
    fn client_at(&self, peer: SocketAddr) -> ClientId {
        if self.trusted_proxies.contains(peer.ip()) {
            return ClientId::Unknown;
        }
        ClientId::Fair(self.hasher.hash_one(network(peer.ip())))
    }
}

/// Returns the response of `router` to a request from `peer`. The extensions of the request tell the
/// router the address of the peer, and the fault in the head if there is one.
async fn call_router(router: &Router, mut request: Request, peer: SocketAddr) -> Response<Body> {
    let fault = find_fault(request.version(), request.headers());
    let extensions = request.extensions_mut();
    extensions.insert(ConnectInfo(peer));
    if let Some(fault) = fault {
        extensions.insert(fault);
    }
    let Ok(response) = router.clone().call(request).await;
    response
}

/// Returns the maximum size of the head of a request.
///
/// The maximum is larger than the limits of the options, so that the router responds to a head that
/// exceeds them a little, with a body. hyper responds to a head beyond the maximum: with a 431
/// without a body.
fn max_head_bytes(options: &HttpOptions) -> usize {
    options
        .max_uri_bytes
        .saturating_add(options.max_header_bytes)
        // The rest of the request line, and what separates names and values.
        .saturating_add(4 << 10)
}

/// Creates the builder of connections over HTTP/2, with the limits of one connection.
#[cfg(feature = "tls")]
fn create_http2_builder(max_head: usize) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        // The maximum number of concurrent requests on a connection.
        .max_concurrent_streams(100)
        // The bytes that a client may send before handlers read them: of one body, and of all
        // bodies on a connection.
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(1 << 20)
        // The bytes of a response that wait for a client that does not read.
        .max_send_buf_size(16 << 10)
        .max_header_list_size(u32::try_from(max_head).unwrap_or(u32::MAX))
        // A client that does not respond to a ping is disconnected.
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}

/// Serves a connection until it ends. When the server stops, the requests in flight are completed.
async fn serve_until_end<C: GracefulConnection<Error = hyper::Error>>(
    http: C,
    connection: &Connection,
    stop_receiver: &mut watch::Receiver<()>,
) {
    let mut http = pin!(http);
    let is_stopping = tokio::select! {
        result = &mut http => return log_failure(result),
        _ = stop_receiver.changed() => true,
        () = connection.closing() => {
            tracing::debug!("connection closed: its client does nothing");
            false
        }
    };

    http.as_mut().graceful_shutdown();
    // Requests in flight when the server stops keep their time limits. In any case, the client gets
    // some time to notice the end of the connection.
    let time_to_close = async {
        if is_stopping {
            connection.closing().await;
        }
        tokio::time::sleep(CLOSE_TIMEOUT).await;
    };
    tokio::select! {
        result = http => log_failure(result),
        () = time_to_close => {}
    }
}

/// Logs the error with which a connection ended, if there is one.
fn log_failure(result: hyper::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "connection failed");
    }
}
