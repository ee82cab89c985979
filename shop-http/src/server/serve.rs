//! Serves a router on a listener until shutdown.

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
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower::Service;
#[cfg(feature = "tls")]
use {
    crate::server::tls::{HTTP2, Tls},
    hyper::server::conn::http2,
    hyper_util::rt::{TokioExecutor, TokioTimer},
};

use crate::options::HttpOptions;
use crate::permits::{ClientId, FairPool};
use crate::server::client::network;
use crate::server::client_stream::{ClientStream, reset_on_close};
use crate::server::connection::Connection;
use crate::server::connections::Connections;
use crate::server::gate;

/// hyper's minimum.
const MIN_BUFFER: usize = 8_192;

/// Serves `router` on `listener`, within the limits of `options`, until `shutdown` completes. Then accepts no more connections, completes the requests in flight, and returns.
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
/// None so far: accepting is retried when the listener fails, for example without free file handles.
pub fn serve<S: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    router: Router,
    options: &HttpOptions,
    shutdown: S,
) -> impl Future<Output = std::io::Result<()>> + Send + use<S> {
    Server::new(router, options).run(listener, shutdown)
}

/// Serves `router` over TLS, with HTTP/1.1 or HTTP/2 as the client chooses, within the limits of `options`. Everything
/// else is as in [`serve`].
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
/// None so far, as [`serve`].
#[cfg(feature = "tls")]
pub fn serve_tls<S: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    tls: Tls,
    router: Router,
    options: &HttpOptions,
    shutdown: S,
) -> impl Future<Output = std::io::Result<()>> + Send + use<S> {
    let mut server = Server::new(router, options);
    server.tls = Some((tls, http2(max_head(options))));
    server.run(listener, shutdown)
}

#[cfg(feature = "tls")]
fn http2(max_head: usize) -> http2::Builder<TokioExecutor> {
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
    builder
}

/// What a head has beside its URI and the names and values of its headers: the request line, and separators.
const HEAD_SLACK: usize = 4 << 10;

/// The maximum size of a request's head. One below it and above a limit gets a response with a body from the router. A
/// longer head gets the status 431 without a body.
const fn max_head(options: &HttpOptions) -> usize {
    options
        .max_uri_bytes
        .saturating_add(options.max_header_bytes)
        .saturating_add(HEAD_SLACK)
}

struct Server {
    http1: http1::Builder,
    router: Router,
    connections: Arc<Connections>,
    /// Responses over HTTP/2 that a client has not read: each of its streams can have one.
    streams: Arc<FairPool>,
    hasher: RandomState,
    options: HttpOptions,
    #[cfg(feature = "tls")]
    tls: Option<(Tls, http2::Builder<TokioExecutor>)>,
}

impl Server {
    fn new(router: Router, options: &HttpOptions) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            // `Connections::close_overdue` is cheaper.
            .header_read_timeout(None)
            .max_header_size(max_head(options))
            // Of a response, so much is held for a client that reads it slowly.
            .max_buf_size(max_head(options).max(MIN_BUFFER));
        Self {
            http1,
            router,
            connections: Connections::new(options),
            streams: FairPool::new(2 * options.max_requests),
            hasher: RandomState::new(),
            options: options.clone(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    async fn run(
        self,
        mut listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> std::io::Result<()> {
        let mut shutdown = pin!(shutdown);
        let server = Arc::new(self);
        // Every connection has a receiver until it ends.
        let (stop, _) = watch::channel(());
        let mut close_overdue = pin!(server.connections.close_overdue());
        loop {
            let accepted = async {
                // A connection beyond the limit waits in the listener's queue.
                server.connections.room().await;
                // Waits and tries again when the listener fails, such as without free file handles.
                Listener::accept(&mut listener).await
            };
            let (stream, peer) = tokio::select! {
                accepted = accepted => accepted,
                never = &mut close_overdue => match never {},
                () = &mut shutdown => break,
            };
            let Some(registered) = server.connections.register(server.client(peer)) else {
                tracing::debug!(client = %peer.ip(), "connection closed: this client has too many");
                continue;
            };
            let server = Arc::clone(&server);
            let mut stopping = stop.subscribe();
            tokio::spawn(async move {
                server
                    .serve(stream, peer, &registered.connection, &mut stopping)
                    .await;
                drop((registered, stopping));
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

    /// Serves a connection until it ends, is evicted, or its requests in flight are completed after the server has
    /// stopped.
    async fn serve(
        &self,
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
        let router = self.router.clone();
        let counted = Arc::clone(connection);
        let streams = Arc::clone(&self.streams);
        let client = self.client(peer);
        let service = service_fn(move |mut request: Request<Incoming>| {
            if let Some(fault) = gate::fault(request.version(), request.headers()) {
                request.extensions_mut().insert(fault);
            }
            request.extensions_mut().insert(ConnectInfo(peer));
            let is_http2 = request.version() == Version::HTTP_2;
            let permit = if is_http2 {
                streams.try_acquire(client, 1)
            } else {
                None
            };
            let has_room = permit.is_some() || !is_http2;
            let in_flight = counted.begin(request.version(), permit);
            let response = has_room.then(|| router.clone().call(request));
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
        if let Some((tls, http2)) = &self.tls {
            // Boxed, as it would make the future of every connection four times as large.
            let served = async {
                let stream = tokio::select! {
                    accepted = tls.accept(stream, self.options.tls_handshake_timeout) => accepted?,
                    _ = stopping.changed() => return None,
                    () = connection.evicted() => return None,
                };
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
                let io = TokioIo::new(stream);
                if is_http2 {
                    /// What a client of HTTP/2 has to notice the end.
                    const CLOSE_TIME: Duration = Duration::from_secs(1);
                    until_end(
                        http2.serve_connection(io, service),
                        connection,
                        stopping,
                        CLOSE_TIME,
                    )
                    .await;
                } else {
                    until_end(
                        self.http1.serve_connection(io, service),
                        connection,
                        stopping,
                        Duration::ZERO,
                    )
                    .await;
                }
                Some(())
            };
            Box::pin(served).await;
            return;
        }
        let http = self.http1.serve_connection(TokioIo::new(stream), service);
        until_end(http, connection, stopping, Duration::ZERO).await;
    }

    /// The client at `peer`.
    fn client(&self, peer: SocketAddr) -> ClientId {
        if self.options.trusted_proxies.contains(peer.ip()) {
            return ClientId::Unknown;
        }
        ClientId::Fair(self.hasher.hash_one(network(peer.ip())))
    }
}

/// Serves a connection until it ends. When the server stops, the requests in flight are completed. When the connection is
/// evicted, its end may take `close_time`: over HTTP/1 a client that has no request in flight has nothing to wait for.
async fn until_end<C: GracefulConnection<Error = hyper::Error>>(
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
