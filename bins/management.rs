//! The service behind facing: carries purchases from the log into the store, answers listings.

use shop_bins::run::{self, RunningIngest};
use shop_bins::{Result, Service, Settings, check_config, commands, healthcheck, resolve, signal, telemetry};
use shop_http::{Metrics, management, serve};

#[tokio::main]
async fn main() -> Result<()> {
    let settings = Settings::read(Service::Management, resolve::unbuilt)?;
    let shutdown = signal::shutdown()?;
    telemetry::init(&settings)?;
    if settings.healthcheck {
        return healthcheck::run(&settings).await;
    }
    if let Some(command) = &settings.command {
        return commands::run(command, &settings, &shutdown).await;
    }
    let opened = shutdown.before(resolve::ports(&settings)).await;
    let Some(ports) = opened.transpose()? else { return Ok(()) };
    if settings.check_config {
        return check_config::run(&settings, ports).await;
    }
    let listener = run::listen(&settings).await?;
    let metrics = Metrics::new();
    let ingest = RunningIngest::start(ports.ingest(&settings, &metrics)?, &shutdown);
    let monitor = ingest.as_ref().map(RunningIngest::monitor);
    let router = management(ports.management(monitor, metrics)?, settings.http.clone());
    let stop = shutdown.clone();
    let server = serve(listener, router, &settings.http, async move { stop.begun().await });
    run::until_the_end(server, ingest, ports, &shutdown, settings.drain).await
}
