//! Serves a router on a listener until shutdown.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower::ServiceExt;

use crate::options::HttpOptions;
use crate::server::client_stream::{ClientStream, Pace};
use crate::server::connection_service::ConnectionService;
use crate::server::connections::{Connection, Connections};
use crate::server::gate::HeadFault;
#[cfg(feature = "tls")]
use crate::server::{
    http2::Http2,
    tls::{HTTP2, Tls},
};

/// A request's head is read up to this multiple of its limits, so that one above the limits gets a response with a body
/// from the router. A longer head gets the status 431 without a body.
const HEAD_READ: usize = 4;
/// hyper's minimum.
const MIN_BUFFER: usize = 8_192;
/// The pause after a failure to accept.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Serves `router` on `listener`, within the limits of `options`, until `shutdown` completes. Then accepts no more connections, completes the requests in flight, and returns.
///
/// The caller binds the listener, so a test can bind port 0 and read the port.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::memory::{InMemoryLog, InMemoryStore};
/// use shop_http::{Facing, HttpOptions, facing, serve};
/// use tokio::net::TcpListener;
/// use tokio::sync::oneshot;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let options = HttpOptions::default();
/// let parts = Facing::new(Arc::new(InMemoryLog::default().sink()), Arc::new(InMemoryStore::new()));
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let address = listener.local_addr()?;
///
/// let (stop, stopped) = oneshot::channel::<()>();
/// let shutdown = async { drop(stopped.await) };
/// let server = tokio::spawn(serve(listener, facing(parts, options.clone()), &options, shutdown));
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
/// use shop_http::{Facing, HttpOptions, Tls, facing, serve_tls};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let parts = Facing::new(Arc::new(InMemoryLog::default().sink()), Arc::new(InMemoryStore::new()));
/// let options = HttpOptions::default();
/// let router = facing(parts, options.clone());
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
    server.tls = Some((tls, Http2::new(options, max_head(options))));
    server.run(listener, shutdown)
}

/// The maximum size of a request's head.
const fn max_head(options: &HttpOptions) -> usize {
    options.max_uri_bytes.saturating_add(options.max_header_bytes).saturating_mul(HEAD_READ)
}

struct Server {
    http1: http1::Builder,
    router: Router,
    connections: Arc<Connections>,
    options: HttpOptions,
    #[cfg(feature = "tls")]
    tls: Option<(Tls, Http2)>,
}

impl Server {
    fn new(router: Router, options: &HttpOptions) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            // `Connections::close_idle` is cheaper.
            .header_read_timeout(None)
            .max_header_size(max_head(options))
            // Of a response, so much is held for a client that reads it slowly.
            .max_buf_size(max_head(options).max(MIN_BUFFER));
        let per_client = options.client_connections.map(NonZeroU32::get);
        Self {
            http1,
            router,
            connections: Connections::new(options.max_connections, per_client),
            options: options.clone(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    async fn run(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> std::io::Result<()> {
        let mut shutdown = pin!(shutdown);
        let server = Arc::new(self);
        // Every connection has a receiver until it ends.
        let (stop, _) = watch::channel(());
        let mut close_idle = pin!(server.connections.close_idle(server.options.header_read_timeout));
        loop {
            let accepted = async {
                // A connection beyond the limit waits in the listener's queue.
                let room = server.connections.room().await;
                let (stream, peer) = accept(&listener).await;
                (room, stream, peer)
            };
            let (room, stream, peer) = tokio::select! {
                accepted = accepted => accepted,
                never = &mut close_idle => match never {},
                () = &mut shutdown => break,
            };
            let is_limited = !server.options.trusted_proxies.contains(peer.ip());
            let Some(registered) = server.connections.register(room, peer.ip(), is_limited) else {
                tracing::debug!(client = %peer.ip(), "connection closed: this client has too many");
                continue;
            };
            let (server, mut stopping) = (Arc::clone(&server), stop.subscribe());
            tokio::spawn(async move {
                let peer = server.options.needs_client().then_some(peer);
                let connection = &registered.connection;
                tokio::select! {
                    () = server.serve(stream, peer, connection, &mut stopping) => {}
                    () = connection.evicted() => {}
                }
                drop((registered, stopping));
            });
        }
        drop(listener);
        stop.send_replace(());
        tokio::select! {
            () = stop.closed() => {}
            never = close_idle => match never {},
        }
        Ok(())
    }

    /// Serves a connection until it ends, or until its requests in flight are completed after the server has stopped.
    async fn serve(
        &self,
        stream: TcpStream,
        peer: Option<SocketAddr>,
        connection: &Arc<Connection>,
        stopping: &mut watch::Receiver<()>,
    ) {
        let stream = self.limited(stream, connection);
        let client = Client { peer, connection };
        #[cfg(feature = "tls")]
        if let Some((tls, http2)) = &self.tls {
            // Boxed, as it would make the future of every connection four times as large.
            return Box::pin(self.serve_tls(stream, client, (tls, http2), stopping)).await;
        }
        log_failure(self.serve_http1(stream, client, stopping).await);
    }

    #[cfg(feature = "tls")]
    async fn serve_tls(
        &self,
        stream: ClientStream<TcpStream>,
        client: Client<'_>,
        (tls, http2): (&Tls, &Http2),
        stopping: &mut watch::Receiver<()>,
    ) {
        let handshake = tokio::time::timeout(self.options.tls_handshake_timeout, tls.accept(stream));
        let accepted = tokio::select! {
            accepted = handshake => accepted,
            _ = stopping.changed() => return,
        };
        let stream = match accepted {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
            Err(_elapsed) => return tracing::debug!("TLS handshake timed out"),
        };
        log_failure(match stream.get_ref().1.alpn_protocol() {
            Some(HTTP2) => http2.serve(stream, self.router.clone(), client, stopping).await,
            _ => self.serve_http1(stream, client, stopping).await,
        });
    }

    async fn serve_http1<S>(
        &self,
        stream: S,
        Client { peer, connection }: Client<'_>,
        stopping: &mut watch::Receiver<()>,
    ) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        connection.set_closes_idle();
        let router = self.router.clone();
        let router = router.map_request(move |request: Request<Incoming>| received(request, peer));
        let service = ConnectionService::new(TowerToHyperService::new(router), Arc::clone(connection));
        let mut connection = pin!(self.http1.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            ended = &mut connection => return ended,
            _ = stopping.changed() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    }

    /// `stream` with the limits of a slow client.
    fn limited(&self, stream: TcpStream, connection: &Arc<Connection>) -> ClientStream<TcpStream> {
        // Responses are small and written at once: waiting for more to send only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let pace = Pace::new(self.options.write_timeout, self.options.min_read_rate);
        ClientStream::new(stream, Arc::clone(connection), self.options.first_byte_timeout, pace)
    }
}

/// The other end of a connection.
#[derive(Clone, Copy)]
pub(super) struct Client<'a> {
    /// Its address, if requests need it.
    pub(super) peer: Option<SocketAddr>,
    pub(super) connection: &'a Arc<Connection>,
}

/// The next connection. Waits and tries again when the listener fails, such as without free file handles.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut has_failed = false;
    loop {
        let error = match listener.accept().await {
            Ok(accepted) => {
                if has_failed {
                    tracing::info!("accepting connections again");
                }
                return accepted;
            }
            Err(error) => error,
        };
        // Of the connection, not of the listener.
        let is_of_client = matches!(
            error.kind(),
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
        );
        if is_of_client {
            continue;
        }
        if !has_failed {
            tracing::error!(%error, "cannot accept connections, retrying");
            has_failed = true;
        }
        tokio::time::sleep(ACCEPT_RETRY).await;
    }
}

/// Adds to a request what its head and its connection say about it: a fault, and the address of the client.
pub(super) fn received<B>(mut request: Request<B>, peer: Option<SocketAddr>) -> Request<B> {
    if let Some(fault) = HeadFault::find(request.version(), request.headers()) {
        request.extensions_mut().insert(fault);
    }
    if let Some(peer) = peer {
        request.extensions_mut().insert(ConnectInfo(peer));
    }
    request
}

fn log_failure(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection failed");
    }
}
