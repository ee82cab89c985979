//! Runs a service, from its settings to its shutdown.
//!
//! [`service`] does what the settings select: prints a generated text, runs a check or a command,
//! or runs the service. A service starts in steps, each of which can refuse to start:
//!
//! 1. The settings are checked, with the files of keys and certificates. No port is opened or
//!    created.
//! 2. The ports are opened, by their backends.
//! 3. The listeners are bound.
//! 4. The background tasks and the server run until the first signal, or until a listener fails.
//!    The error of a background task is returned at the end.
//!
//! The listener of operators, if there is one, has a thread and a runtime of its own.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use shop_client::ShopClient;
use shop_http::axum::Router;
use shop_http::{HttpOptions, Metrics, RouterBuilder, Tls, routes, serve, serve_tls};
use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tokio::sync::oneshot;

use crate::ports::{Background, Ports};
use crate::settings::{HostPort, ServiceKind, Settings};
use crate::signal::{self, Shutdown};
use crate::{
    CliError, Result, auth, backend, check_config, commands, descriptors, ended, healthcheck,
    telemetry, tls, version,
};

/// The maximum number of connections that wait to be accepted. A full queue would refuse clients at
/// random. Linux allows 4,096 by default.
const BACKLOG: u32 = 4_096;

/// Runs a binary: reads its settings, runs the service or the command, and returns the exit code.
pub async fn service(service: ServiceKind) -> ExitCode {
    // The future is large, because it contains the futures of all commands.
    let result = Box::pin(run(service)).await;
    backend::close(backend::CLOSE_TIMEOUT).await;
    ended(result)
}

/// Reads the settings, and runs what they select: a check, a command, or the service.
///
/// # Errors
/// Returns the errors of the settings, of the check or of the command, and those of a service that
/// cannot start, or has failed.
async fn run(service: ServiceKind) -> Result<()> {
    let settings = Settings::read(service)?;
    if let Some(text) = settings.generated()? {
        return commands::print(text).map(drop);
    }

    let shutdown = signal::shutdown()?;
    // The rest of the log is written when this is dropped.
    let mut telemetry = telemetry::init(&settings)?;
    for warning in settings.warnings() {
        tracing::warn!("{warning}");
    }
    if settings.healthcheck {
        return healthcheck::run(&settings).await;
    }
    if let Some(command) = &settings.command {
        return commands::run(command, &settings, &shutdown).await;
    }
    if settings.check_config {
        return check_config::run(&settings, &shutdown).await;
    }

    // Wrong settings are refused before a port is opened or created.
    auth::require_choice(&settings).await?;
    let tls = tls::of_listener(&settings).await?;
    let metrics = Metrics::new();
    let authenticator = auth::authenticator(&settings, &metrics).await?;
    drop(tls::for_services(ShopClient::builder("https://localhost"), &settings).await?);

    let opened = shutdown.run_until_cancelled(Ports::open(&settings)).await;
    let Some(mut ports) = opened.transpose()? else {
        return Ok(());
    };
    let listeners = Listeners::bind(&settings).await?;

    if let Some(lines) = &telemetry.lines {
        // The log has the address of the service now, for a program that waits for the address.
        lines.write_out();
        metrics.count_dropped_lines(Arc::clone(&lines.dropped), Arc::clone(&lines.is_failing));
    }
    metrics.note_build(version::LABELS);
    if let Some(tls) = &tls {
        tls.expose(&metrics);
    }

    let background = ports.start(&settings, &metrics, &shutdown)?;
    notify_systemd(NotifyState::Ready);
    let stopping = shutdown.clone();
    tokio::spawn(async move {
        stopping.cancelled().await;
        notify_systemd(NotifyState::Stopping);
    });

    let mut options = settings.http_options();
    options.currency = ports.currency();
    let mut router = routes(ports.parts(service, metrics));
    if let Some(authenticator) = authenticator {
        router = router.authenticate(authenticator);
    }
    let server = Box::pin(listeners.serve(router, &settings, options, tls, &shutdown));
    let ended =
        run_until_shutdown(server, background, ports, &shutdown, settings.drain_timeout).await;
    if let Some(exporter) = telemetry.exporter.take() {
        exporter.shutdown().await;
    }
    ended
}

/// Notifies systemd, if systemd has started this process with `Type=notify`.
fn notify_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd cannot be notified");
    }
}

/// The listeners of a service.
struct Listeners {
    public: TcpListener,
    admin: Option<TcpListener>,
}

impl Listeners {
    /// Listens on the addresses of the settings.
    ///
    /// # Errors
    /// Returns an error with the names of the settings if an address cannot be bound.
    async fn bind(settings: &Settings) -> Result<Self> {
        let listen = settings.listen();
        let setting = format!("SHOP_HOST {}, SHOP_PORT {}", listen.host, listen.port);
        let public = bind(&listen, &setting).await?;

        let service = settings.service.name();
        let mut admin = None;
        if let Some(addr) = &settings.admin_addr {
            let listener = bind(addr, &format!("SHOP_ADMIN_ADDR {addr}")).await?;
            let address = listener.local_addr().map_err(CliError::new)?;
            tracing::info!(admin.address = %address, "{service} serves probes and metrics on http://{address}");
            admin = Some(listener);
        }

        let address = public.local_addr().map_err(CliError::new)?;
        let scheme = settings.scheme();
        tracing::info!(http.address = %address, "{service} listens on {scheme}://{address}");
        Ok(Self { public, admin })
    }

    /// Serves `router` on all listeners until the shutdown. The admin listener has no TLS.
    ///
    /// The public listener accepts as many connections as `options` and the limit of open files
    /// allow.
    ///
    /// # Errors
    /// Returns the error of the first listener that fails.
    async fn serve(
        self,
        router: RouterBuilder,
        settings: &Settings,
        mut options: HttpOptions,
        tls: Option<Tls>,
        shutdown: &Shutdown,
    ) -> io::Result<()> {
        options.max_connections = descriptors::raise_limit_for_connections(options.max_connections);
        if settings.hosts.is_none() && self.public.local_addr()?.ip().is_loopback() {
            options.hosts = options.hosts.or_local();
        }

        let router = router.options(options.clone());
        let Some(listener) = self.admin else {
            return serve_public(self.public, router.build(), tls, &options, shutdown).await;
        };
        let (router, admin_router) = router.build_with_admin();
        let admin_options = settings.admin_options();
        tokio::try_join!(
            serve_public(self.public, router, tls, &options, shutdown),
            serve_apart(listener, admin_router, admin_options, shutdown.clone())
        )
        .map(drop)
    }
}

/// Serves `router` until the shutdown, over TLS if the service has a certificate.
async fn serve_public(
    listener: TcpListener,
    router: Router,
    tls: Option<Tls>,
    options: &HttpOptions,
    shutdown: &Shutdown,
) -> io::Result<()> {
    let stopped = shutdown.clone().cancelled_owned();
    match tls {
        Some(tls) => serve_tls(listener, tls, router, options, stopped).await,
        None => serve(listener, router, options, stopped).await,
    }
}

/// Serves `router` until the shutdown, on a thread with a runtime of its own, so that the router is
/// responsive under any load of the public listener.
///
/// The runtime stays until the process ends, because the connections to servers that it has opened
/// are also used by others.
async fn serve_apart(
    listener: TcpListener,
    router: Router,
    options: HttpOptions,
    shutdown: Shutdown,
) -> io::Result<()> {
    let (sender, ended) = oneshot::channel();
    let listener = listener.into_std()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let work = async move {
        let served = async {
            let listener = TcpListener::from_std(listener)?;
            serve(listener, router, &options, shutdown.cancelled_owned()).await
        };
        drop(sender.send(served.await));
        std::future::pending::<()>().await;
    };
    std::thread::Builder::new()
        .name("admin".to_owned())
        .spawn(move || runtime.block_on(work))?;

    ended
        .await
        .unwrap_or_else(|_panicked| Err(io::Error::other("the admin listener has panicked")))
}

/// Listens on `addr`.
///
/// # Errors
/// Returns an error with the text `setting`, which names the settings of the address, if the
/// address cannot be bound.
async fn bind(addr: &HostPort, setting: &str) -> Result<TcpListener> {
    listen_on_first(addr).await.map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another program listens there: end it, or choose another port"
            }
            io::ErrorKind::PermissionDenied => "this user may not: choose a port of 1024 or above",
            _ => "choose another host or port",
        };
        CliError::new(format!("cannot listen on {setting}: {remedy} ({error})"))
    })
}

/// Listens on the first address of the host that can be bound.
///
/// # Errors
/// Returns the error of the last address.
async fn listen_on_first(addr: &HostPort) -> io::Result<TcpListener> {
    let mut last_error = io::ErrorKind::AddrNotAvailable.into();
    for address in lookup_host((addr.host.as_str(), addr.port)).await? {
        match listen(address) {
            Ok(listener) => return Ok(listener),
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

/// Listens on `address`, also if connections of an earlier process still linger there.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Waits until the server and the background tasks have ended, and accepted purchases are durable.
/// Then drops `ports`.
///
/// Once `shutdown` has begun, the wait lasts at most for `drain`. A wait that times out is no
/// error.
///
/// # Errors
/// Returns the error of the server, of the purchases that are not durable, or of a background task.
async fn run_until_shutdown(
    server: impl Future<Output = io::Result<()>> + Send,
    background: Background,
    ports: Ports,
    shutdown: &Shutdown,
    drain: Duration,
) -> Result<()> {
    let complete = async move {
        let served = server.await;
        // A failed server stops the background tasks, too.
        shutdown.cancel();
        let flushed = ports.flush(drain).await;
        let ended = background.ended().await;
        served.map_err(CliError::new)?;
        flushed?;
        ended
    };
    let timed_out = async {
        shutdown.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        ended = complete => ended,
        () = timed_out => {
            tracing::warn!(
                ?drain,
                "drain timed out: purchases without a response may have been accepted, records without a commit are redelivered"
            );
            Ok(())
        }
    }
}
