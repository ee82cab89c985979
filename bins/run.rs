//! Runs a service, from its settings to its shutdown.

use std::process::ExitCode;
use std::time::Duration;

use futures_util::FutureExt as _;
use shop_http::{Metrics, routes, serve, serve_tls};
use tokio::net::TcpListener;

use crate::ports::{Background, Ports};
use crate::settings::{ServiceKind, Settings};
use crate::signal::{self, Shutdown};
use crate::{CliError, Result, auth, check_config, commands, ended, healthcheck, telemetry, tls};

/// Runs a binary: reads its settings, runs the service or the command, and returns the exit code.
pub async fn service(service: ServiceKind) -> ExitCode {
    ended(work(service).await)
}

async fn work(service: ServiceKind) -> Result<()> {
    let settings = Settings::read(service)?;
    if let Some(text) = settings.generated()? {
        return commands::print(&String::from_utf8_lossy(&text)).map(drop);
    }
    let shutdown = signal::shutdown()?;
    let exporter = telemetry::init(&settings)?;
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
    let opened = shutdown.run_until_cancelled(Ports::open(&settings)).await;
    let Some(mut ports) = opened.transpose()? else { return Ok(()) };
    let listener = listen(&settings).await?;
    let metrics = Metrics::new();
    let background = ports.start(&settings, &metrics, &shutdown)?;
    let options = settings.http_options();
    let router = match service {
        ServiceKind::Facing => routes(ports.facing(metrics)),
        ServiceKind::Management => routes(ports.management(metrics)?),
    };
    let router = match auth::authenticator(&settings).await? {
        Some(authenticator) => router.authenticate(authenticator),
        None => router,
    };
    let router = router.options(options.clone()).build();
    let stop = shutdown.clone();
    let stopped = async move { stop.cancelled().await };
    let server = match tls {
        Some(tls) => serve_tls(listener, tls, router, &options, stopped).left_future(),
        None => serve(listener, router, &options, stopped).right_future(),
    };
    let ended = run_until_shutdown(server, background, ports, &shutdown, settings.drain()).await;
    if let Some(exporter) = exporter {
        exporter.shutdown().await;
    }
    ended
}

/// Listens on the address of the settings.
///
/// # Errors
/// When the address cannot be bound, with the settings that name it.
async fn listen(settings: &Settings) -> Result<TcpListener> {
    let (host, port) = settings.listen();
    let listener = TcpListener::bind((host, port)).await.map_err(|error| {
        let what = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another program listens there: end it, or choose another PORT",
            std::io::ErrorKind::PermissionDenied => "this user may not: choose a PORT of 1024 or above",
            _ => "choose another HOST or PORT",
        };
        CliError::new(format!("cannot listen on HOST {host}, PORT {port}: {what} ({error})"))
    })?;
    let address = listener.local_addr().map_err(CliError::new)?;
    let (service, scheme) = (settings.service.name(), settings.scheme());
    tracing::info!(http.address = %address, "{service} listens on {scheme}://{address}");
    Ok(listener)
}

/// Waits until the server and the background tasks have ended, accepted purchases are durable, and `ports` are closed;
/// after `shutdown` has begun, at most for `drain`.
///
/// # Errors
/// When the server or a background task failed.
async fn run_until_shutdown(
    server: impl Future<Output = std::io::Result<()>> + Send,
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
        ports.close().await;
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
