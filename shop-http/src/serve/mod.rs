//! Serves a router on a listener until shutdown, within the limits of connections.
//!
//! ```text
//! listener ─▶ HttpServer ── OpenConnection ──▶ a task for each connection: ClientStream ─▶ TLS ─▶ hyper ─▶ router
//!                 │                                         ▲
//!                 └──▶ Connections: room and time-outs ─────┘ closes
//! ```
//!
//! | policy | is about clients that |
//! |---|---|
//! | `SlowReaderPolicy` in `connection` | read a response slowly or not at all |
//! | `HalfHeadPolicy` in `half_heads` | send the head of a request in part |
//!
//! Over HTTP/2 a client sends many requests on one connection, and may read some responses and not
//! others. `create_http2_builder` sets the limits of one connection. All connections of a listener
//! share the pool of unread responses. Each `Connection` records since when its client leaves
//! responses unread.

mod connection;
mod connections;
mod half_heads;
#[cfg(feature = "tls")]
mod tls;

use std::convert::Infallible;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::{StatusCode, Version, header};
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

use crate::options::HttpOptions;
use crate::permits::{ClientId, FairPool};
use crate::pipeline::client::network;
use crate::pipeline::head::find_fault;
use connection::{ClientStream, Connection, reset_on_close};
use connections::Connections;
use half_heads::max_head_bytes;
#[cfg(feature = "tls")]
pub use tls::Tls;

/// Serves `router` on `listener`, within the limits of `options`, until `shutdown` completes.
///
/// After `shutdown`, it accepts no more connections, completes the requests in flight, and returns.
///
/// The caller binds the listener, so a test can bind port 0 and read the port.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::memory::{InMemoryLog, InMemoryStore};
/// use shop_http::{HttpOptions, Parts, router, serve};
/// use tokio::net::TcpListener;
/// use tokio::sync::oneshot;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let options = HttpOptions::default();
/// let parts = Parts::facing(Arc::new(InMemoryLog::default().sink()), Arc::new(InMemoryStore::new()));
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let address = listener.local_addr()?;
///
/// let (stop, stopped) = oneshot::channel::<()>();
/// let shutdown = async { drop(stopped.await) };
/// let server = tokio::spawn(serve(listener, router(parts, options.clone()), &options, shutdown));
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
pub fn serve<S: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    router: Router,
    options: &HttpOptions,
    shutdown: S,
) -> impl Future<Output = std::io::Result<()>> + Send + use<S> {
    HttpServer::new(router, options).run(listener, shutdown)
}

/// Serves `router` on `listener` over TLS, with HTTP/1.1 or HTTP/2 as the client chooses.
///
/// Everything else is as in [`serve`].
///
/// ```no_run
/// use std::sync::Arc;
///
/// use shop_core::memory::{InMemoryLog, InMemoryStore};
/// use shop_http::{HttpOptions, Parts, Tls, router, serve_tls};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let parts = Parts::facing(Arc::new(InMemoryLog::default().sink()), Arc::new(InMemoryStore::new()));
/// let options = HttpOptions::default();
/// let router = router(parts, options.clone());
/// let tls = Tls::from_files("tls.crt", "tls.key", None).await?;
/// let listener = tokio::net::TcpListener::bind("0.0.0.0:3443").await?;
/// serve_tls(listener, tls, router, &options, std::future::pending()).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// None so far: accepting is retried when the listener fails, for example without free file
/// handles.
#[cfg(feature = "tls")]
pub fn serve_tls<S: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    tls: Tls,
    router: Router,
    options: &HttpOptions,
    shutdown: S,
) -> impl Future<Output = std::io::Result<()>> + Send + use<S> {
    let mut server = HttpServer::new(router, options);
    server.tls = Some(tls);
    server.run(listener, shutdown)
}

/// A server of one router on one listener.
struct HttpServer {
    router: Router,
    connections: Arc<Connections>,
    http1: http1::Builder,
    #[cfg(feature = "tls")]
    http2: http2::Builder<TokioExecutor>,
    /// The pool of responses over HTTP/2 that clients have not read to the end, each counted from
    /// the beginning of its request: each stream of a connection can occupy one unit.
    unread_responses: Arc<FairPool>,
    /// Hashes the addresses of clients.
    hasher: RandomState,
    options: HttpOptions,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

impl HttpServer {
    fn new(router: Router, options: &HttpOptions) -> Self {
        let max_head = max_head_bytes(options);
        let mut http1 = http1::Builder::new();
        http1
            // `Connections::close_overdue` is cheaper.
            .header_read_timeout(None)
            .max_header_size(max_head)
            // This is also the size of what is held of a response for a client that reads it
            // slowly. hyper panics below 8 KiB.
            .max_buf_size(max_head.max(8_192));
        Self {
            router,
            connections: Connections::new(options),
            http1,
            #[cfg(feature = "tls")]
            http2: create_http2_builder(max_head),
            unread_responses: FairPool::new(2 * options.max_requests),
            hasher: RandomState::new(),
            options: options.clone(),
            #[cfg(feature = "tls")]
            tls: None,
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
        let mut close_overdue = pin!(server.connections.close_overdue());
        // Every connection holds a receiver until it ends.
        let (stop, _) = watch::channel(());

        loop {
            let accepted = async {
                // A connection beyond the limit waits in the listener's queue.
                server.connections.wait_for_room().await;
                // Waits and tries again when the listener fails, such as without free file handles.
                Listener::accept(&mut listener).await
            };
            let (stream, peer) = tokio::select! {
                accepted = accepted => accepted,
                never = &mut close_overdue => match never {},
                () = &mut shutdown => break,
            };

            let Some(registered) = server.connections.register(server.client_at(peer)) else {
                tracing::debug!(client = %peer.ip(), "connection closed: this client has too many");
                continue;
            };

            let server = Arc::clone(&server);
            let mut stopping = stop.subscribe();
            tokio::spawn(async move {
                server
                    .serve_connection(stream, peer, &registered.connection, &mut stopping)
                    .await;
                // Only then the receiver is dropped, which `run` waits for.
                drop(registered);
            });
        }

        drop(listener);
        stop.send_replace(());
        tokio::select! {
            () = stop.closed() => {}
            never = close_overdue => match never {},
        }
        Ok(())
    }

    /// Serves a connection until it ends, is evicted, or its requests in flight are completed after
    /// the server stopped.
    async fn serve_connection(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        connection: &Arc<Connection>,
        stopping: &mut watch::Receiver<()>,
    ) {
        // Responses are small and written at once: waiting for more to send only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let stream = ClientStream::new(stream, Arc::clone(connection), reset_on_close);

        let server = Arc::clone(self);
        let counted = Arc::clone(connection);
        let service = service_fn(move |mut request: Request<Incoming>| {
            if let Some(fault) = find_fault(request.version(), request.headers()) {
                request.extensions_mut().insert(fault);
            }
            request.extensions_mut().insert(ConnectInfo(peer));

            let mut in_flight = counted.begin(request.version());
            let mut has_room = true;
            if request.version() == Version::HTTP_2 {
                let permit = server.unread_responses.try_acquire(counted.client, 1);
                has_room = permit.is_some();
                in_flight.permit = permit.map(Arc::new);
            }
            let response = has_room.then(|| server.router.clone().call(request));

            async move {
                let response = match response {
                    Some(response) => response.await?,
                    None => (
                        StatusCode::SERVICE_UNAVAILABLE,
                        [(header::RETRY_AFTER, "1")],
                    )
                        .into_response(),
                };
                Ok::<_, Infallible>(response.map(|body| in_flight.until_sent(body)))
            }
        });

        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            // Boxed, because it would make the future of every connection four times as large.
            let served = async {
                let accepted = tokio::select! {
                    accepted = tls.accept(stream, self.options.tls_handshake_timeout) => accepted,
                    _ = stopping.changed() => None,
                    () = connection.evicted() => None,
                };
                let Some(stream) = accepted else { return };

                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(tls::HTTP2);
                let io = TokioIo::new(stream);
                if is_http2 {
                    serve_until_end(
                        self.http2.serve_connection(io, service),
                        connection,
                        stopping,
                        // A client of HTTP/2 gets this time to notice the end.
                        Duration::from_secs(1),
                    )
                    .await;
                } else {
                    serve_until_end(
                        self.http1.serve_connection(io, service),
                        connection,
                        stopping,
                        Duration::ZERO,
                    )
                    .await;
                }
            };
            Box::pin(served).await;
            return;
        }

        let http = self.http1.serve_connection(TokioIo::new(stream), service);
        serve_until_end(http, connection, stopping, Duration::ZERO).await;
    }

    /// Returns the client at `peer`, which is unknown behind a trusted proxy.
    fn client_at(&self, peer: SocketAddr) -> ClientId {
        if self.options.trusted_proxies.contains(peer.ip()) {
            return ClientId::Unknown;
        }
        ClientId::Fair(self.hasher.hash_one(network(peer.ip())))
    }
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
///
/// When the connection is evicted, its end may take `close_time`: over HTTP/1 a client without a
/// request in flight waits for nothing.
async fn serve_until_end<C: GracefulConnection<Error = hyper::Error>>(
    http: C,
    connection: &Connection,
    stopping: &mut watch::Receiver<()>,
    close_time: Duration,
) {
    let mut http = pin!(http);
    let is_stopping = tokio::select! {
        ended = &mut http => return log_failure(ended),
        _ = stopping.changed() => true,
        () = connection.evicted() => {
            tracing::debug!("connection closed: its client does nothing");
            false
        }
    };

    http.as_mut().graceful_shutdown();
    let evicted = async {
        if is_stopping {
            connection.evicted().await;
        }
        // The client may not read the end of the connection.
        tokio::time::sleep(close_time).await;
    };
    tokio::select! {
        biased;
        ended = http => log_failure(ended),
        () = evicted => {}
    }
}

fn log_failure(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection failed");
    }
}
