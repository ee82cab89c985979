//! Serves a router on a listener until shutdown.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;

use crate::options::HttpOptions;

/// A request's head is read up to this multiple of its limits, so that one above the limits gets a response with a body
/// from the router. A longer head gets the status 431 without a body.
const HEAD_READ: usize = 4;

/// Serves `router` on `listener`, within the limits of `options`, until `shutdown` completes. Then accepts no more
/// connections, completes the requests in flight, and returns.
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
pub fn serve<S>(
    listener: TcpListener,
    router: Router,
    options: &HttpOptions,
    shutdown: S,
) -> impl Future<Output = std::io::Result<()>> + Send + use<S>
where
    S: Future<Output = ()> + Send + 'static,
{
    let server = Server {
        connection: connection(options),
        router,
        write_timeout: options.write_timeout,
        slots: Arc::new(Semaphore::new(options.max_connections)),
    };
    server.run(listener, shutdown)
}

/// The options of one connection.
fn connection(options: &HttpOptions) -> http1::Builder {
    let mut connection = http1::Builder::new();
    connection.timer(TokioTimer::new()).header_read_timeout(options.header_read_timeout).max_header_size(
        options.max_uri_bytes.saturating_add(options.max_header_bytes).saturating_mul(HEAD_READ),
    );
    connection
}

struct Server {
    connection: http1::Builder,
    router: Router,
    write_timeout: Duration,
    slots: Arc<Semaphore>,
}

impl Server {
    async fn run(self, mut listener: TcpListener, shutdown: impl Future<Output = ()>) -> std::io::Result<()> {
        let mut shutdown = pin!(shutdown);
        let connections = GracefulShutdown::new();
        loop {
            let accepted = async {
                // A connection beyond the limit waits in the listener's queue.
                let slot = Arc::clone(&self.slots).acquire_owned().await;
                let (stream, _address) = Listener::accept(&mut listener).await;
                (slot, stream)
            };
            let (slot, stream) = tokio::select! {
                accepted = accepted => accepted,
                () = &mut shutdown => break,
            };
            let service = TowerToHyperService::new(self.router.clone());
            let connection = self.connection.serve_connection(TokioIo::new(self.timed(stream)), service);
            let connection = connections.watch(connection);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "connection failed");
                }
                drop(slot);
            });
        }
        drop(listener);
        connections.shutdown().await;
        Ok(())
    }

    /// `stream` with a write time-out, which expires when the client reads nothing of its response.
    fn timed(&self, stream: TcpStream) -> std::pin::Pin<Box<TimeoutStream<TcpStream>>> {
        // Responses are small and written at once: waiting for more to send only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.write_timeout));
        Box::pin(stream)
    }
}
