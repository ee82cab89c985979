//! The service behind facing: carries purchases from the log into the store, answers listings.

use std::process::ExitCode;

use shop_bins::{
    Result, Service, Settings, check_config, commands, ended, healthcheck, resolve, run, signal, telemetry,
};
use shop_http::{Metrics, management, serve};

#[tokio::main]
async fn main() -> ExitCode {
    ended(work().await)
}

async fn work() -> Result<()> {
    let settings = Settings::read(Service::Management, resolve::unbuilt)?;
    let shutdown = signal::shutdown()?;
    telemetry::init(&settings)?;
    if settings.healthcheck {
        return healthcheck::run(&settings).await;
    }
    if let Some(command) = &settings.command {
        return commands::run(command, &settings, &shutdown).await;
    }
    if settings.check_config {
        return check_config::run(&settings, &shutdown).await;
    }
    let opened = shutdown.before(resolve::ports(&settings)).await;
    let Some(ports) = opened.transpose()? else { return Ok(()) };
    let listener = run::listen(&settings).await?;
    let metrics = Metrics::new();
    let running = ports.start(&settings, &metrics, &shutdown)?;
    let router = management(ports.management(&running, metrics)?, settings.http.clone());
    let stop = shutdown.clone();
    let server = serve(listener, router, &settings.http, async move { stop.begun().await });
    run::until_the_end(server, running, ports, &shutdown, settings.drain).await
}
