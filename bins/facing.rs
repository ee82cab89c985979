//! The service that customers meet: takes purchases, answers listings. Alone, it is the whole system.

use std::process::ExitCode;

use shop_bins::{
    Result, Service, Settings, check_config, ended, healthcheck, resolve, run, signal, telemetry,
};
use shop_http::{Metrics, facing, serve};

/// Requests allocate on one thread what is freed on another, for which the system's takes locks: a quarter of a request's
/// processor time. Management does not have it: it would take more memory, and carry no faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    ended(work().await)
}

async fn work() -> Result<()> {
    let settings = Settings::read(Service::Facing, resolve::unbuilt)?;
    let shutdown = signal::shutdown()?;
    telemetry::init(&settings)?;
    if settings.healthcheck {
        return healthcheck::run(&settings).await;
    }
    if settings.check_config {
        return check_config::run(&settings, &shutdown).await;
    }
    let opened = shutdown.before(resolve::ports(&settings)).await;
    let Some(ports) = opened.transpose()? else { return Ok(()) };
    let listener = run::listen(&settings).await?;
    let metrics = Metrics::new();
    let running = ports.start(&settings, &metrics, &shutdown)?;
    let router = facing(ports.facing(&running, metrics), settings.http.clone());
    let stop = shutdown.clone();
    let server = serve(listener, router, &settings.http, async move { stop.begun().await });
    run::until_the_end(server, running, ports, &shutdown, settings.drain).await
}
