//! Runs a service, from its settings to its shutdown.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use shop_client::ShopClient;
use shop_core::domain::Currency;
use shop_http::axum::Router;
use shop_http::{HttpOptions, Metrics, RouterBuilder, Tls, routes, serve, serve_tls};
use tokio::net::{TcpListener, TcpSocket, lookup_host};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::ports::{Background, Ports};
use crate::settings::{HostPort, ServiceKind, Settings};
use crate::signal::{self, Shutdown};
use crate::{
    CliError, Result, auth, backend, check_config, commands, descriptors, ended, healthcheck,
    telemetry, tls, version,
};

/// Runs a binary: reads its settings, runs the service or the command, and returns the exit code.
pub async fn service(service: ServiceKind) -> ExitCode {
    // Large, with the futures of all commands in it.
    let result = Box::pin(work(service)).await;
    backend::close(backend::CLOSE_TIMEOUT).await;
    ended(result)
}

async fn work(service: ServiceKind) -> Result<()> {
    let settings = Settings::read(service)?;
    if let Some(text) = settings.generated()? {
        return commands::print(text).map(drop);
    }
    let shutdown = signal::shutdown()?;
    // Flushes the log at the end.
    let mut telemetry = telemetry::init(&settings)?;
    settings
        .warnings()
        .for_each(|warning| tracing::warn!("{warning}"));
    if settings.healthcheck {
        return healthcheck::run(&settings).await;
    }
    if let Some(command) = &settings.command {
        return commands::run(command, &settings, &shutdown).await;
    }
    if settings.check_config {
        return check_config::run(&settings, &shutdown).await;
    }
    auth::require_choice(&settings).await?;
    let tls = tls::of_listener(&settings).await?;
    let metrics = Metrics::new();
    // Wrong settings are refused before anything is opened or created.
    let authenticator = auth::authenticator(&settings, &metrics).await?;
    drop(tls::for_services(ShopClient::builder("https://localhost"), &settings).await?);
    let opened = shutdown.run_until_cancelled(Ports::open(&settings)).await;
    let Some(mut ports) = opened.transpose()? else {
        return Ok(());
    };
    let listeners = Listeners::bind(&settings).await?;
    if let Some(lines) = &telemetry.lines {
        // A program that waits for the address has it before anything else happens.
        lines.write_out();
        metrics.count_dropped_lines(Arc::clone(&lines.dropped), Arc::clone(&lines.is_failing));
    }
    metrics.note_build(version::LABELS);
    tls.iter().for_each(|tls| tls.expose(&metrics));
    let background = ports.start(&settings, &metrics, &shutdown)?;
    notify_systemd(NotifyState::Ready);
    let stopping = shutdown.clone();
    tokio::spawn(async move {
        stopping.cancelled().await;
        notify_systemd(NotifyState::Stopping);
    });
    let currency = ports.currency();
    let router = routes(ports.parts(service, metrics));
    let router = authenticator
        .into_iter()
        .fold(router, RouterBuilder::authenticate);
    let server = Box::pin(listeners.serve(router, &settings, currency, tls, &shutdown));
    let ended =
        run_until_shutdown(server, background, ports, &shutdown, settings.drain_timeout).await;
    if let Some(exporter) = telemetry.exporter.take() {
        exporter.shutdown().await;
    }
    ended
}

/// Notifies systemd, if it has started this process with `Type=notify`.
fn notify_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd cannot be notified");
    }
}

/// Connections that wait to be accepted: a full queue would refuse clients at random. Linux allows 4,096 by default.
const BACKLOG: u32 = 4_096;

/// The listeners of a service.
struct Listeners {
    public: TcpListener,
    admin: Option<TcpListener>,
}

impl Listeners {
    /// Listens on the addresses of the settings.
    ///
    /// # Errors
    /// When an address cannot be bound, with the settings that name it.
    async fn bind(settings: &Settings) -> Result<Self> {
        let listen = settings.listen();
        let names = format!("SHOP_HOST {}, SHOP_PORT {}", listen.host, listen.port);
        let public = bind(&listen, &names).await?;
        let name = settings.service.name();
        let mut admin = None;
        if let Some(addr) = &settings.admin_addr {
            let listener = bind(addr, &format!("SHOP_ADMIN_ADDR {addr}")).await?;
            let address = listener.local_addr().map_err(CliError::new)?;
            tracing::info!(admin.address = %address, "{name} serves probes and metrics on http://{address}");
            admin = Some(listener);
        }
        let address = public.local_addr().map_err(CliError::new)?;
        let scheme = settings.scheme();
        tracing::info!(http.address = %address, "{name} listens on {scheme}://{address}");
        Ok(Self { public, admin })
    }

    /// Serves `router` on all of them until the shutdown. The admin listener has no TLS.
    async fn serve(
        self,
        router: RouterBuilder,
        settings: &Settings,
        currency: Option<Currency>,
        tls: Option<Tls>,
        shutdown: &Shutdown,
    ) -> io::Result<()> {
        let mut options = settings.http_options();
        options.currency = currency;
        options.max_connections = descriptors::for_connections(options.max_connections);
        if settings.hosts.is_none() && self.public.local_addr()?.ip().is_loopback() {
            options.hosts = options.hosts.or_local();
        }
        let router = router.options(options.clone());
        let stopped = || shutdown.clone().cancelled_owned();
        let (router, admin) = match self.admin {
            None => (router.build(), None),
            Some(listener) => {
                let (router, admin) = router.build_with_admin();
                let served = serve_apart(listener, admin, settings.admin_options(), stopped());
                (router, Some(served))
            }
        };
        let public = async {
            match tls {
                Some(tls) => serve_tls(self.public, tls, router, &options, stopped()).await,
                None => serve(self.public, router, &options, stopped()).await,
            }
        };
        let admin = async {
            match admin {
                Some(served) => served.await,
                None => Ok(()),
            }
        };
        tokio::try_join!(public, admin).map(drop)
    }
}

/// Serves `router` on a thread with a runtime for it alone, so that it is responsive under any load of the other
/// listeners. The runtime stays until the process ends: the connections to servers that it has opened are used by others.
async fn serve_apart(
    listener: TcpListener,
    router: Router,
    options: HttpOptions,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (ended, end) = oneshot::channel();
    let listener = listener.into_std()?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let work = move || {
        runtime.block_on(async {
            let served =
                async { serve(TcpListener::from_std(listener)?, router, &options, stopped).await };
            drop(ended.send(served.await));
            std::future::pending::<()>().await;
        });
    };
    std::thread::Builder::new()
        .name("admin".to_owned())
        .spawn(work)?;
    end.await
        .unwrap_or_else(|_panicked| Err(io::Error::other("the admin listener has panicked")))
}

/// Listens on `addr`. The error names `settings`, which have this address.
async fn bind(addr: &HostPort, settings: &str) -> Result<TcpListener> {
    listen_on_first(addr).await.map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another program listens there: end it, or choose another port"
            }
            io::ErrorKind::PermissionDenied => "this user may not: choose a port of 1024 or above",
            _ => "choose another host or port",
        };
        CliError::new(format!("cannot listen on {settings}: {remedy} ({error})"))
    })
}

/// Listens on the first address of the host that can be bound.
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

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Waits until the server and the background tasks have ended, and accepted purchases are durable; after `shutdown` has
/// begun, at most for `drain`. Then `ports` are dropped.
///
/// # Errors
/// When the server or a background task failed.
async fn run_until_shutdown(
    server: impl Future<Output = io::Result<()>> + Send,
    background: Background,
    ports: Ports,
    shutdown: &Shutdown,
    drain: Duration,
) -> Result<()> {
    let all = async move {
        let served = server.await;
        // A failed server stops the background tasks too.
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
        ended = all => ended,
        () = timed_out => {
            tracing::warn!(
                ?drain,
                "drain timed out: purchases without a response may have been accepted, records without a commit are \
                 redelivered"
            );
            Ok(())
        }
    }
}
