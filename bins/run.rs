//! Runs a binary: a generated text, a check, a command, or the service, as its settings select.

use std::process::ExitCode;

use crate::ports::Ports;
use crate::service::Service;
use crate::settings::{ServiceKind, Settings};
use crate::{Result, backend, check_config, commands, ended, healthcheck, signal, telemetry};

/// Runs a binary with the settings of this process, and returns its exit code.
///
/// A service opens its ports with `open_ports`, and serves until the first SIGTERM or SIGINT.
/// Commands and checks do not call `open_ports`.
pub async fn run(
    service: ServiceKind,
    open_ports: impl AsyncFnOnce(&Settings) -> Result<Ports>,
) -> ExitCode {
    // The future is large, because it contains the futures of all commands.
    let result = Box::pin(run_selected(service, open_ports)).await;
    backend::close(backend::CLOSE_TIMEOUT).await;
    ended(result)
}

/// Reads the settings, and runs what they select.
///
/// # Errors
/// Returns the errors of the settings, of the check or of the command, or the error of a service
/// that cannot start, or that fails.
async fn run_selected(
    service: ServiceKind,
    open_ports: impl AsyncFnOnce(&Settings) -> Result<Ports>,
) -> Result<()> {
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

    let opened = shutdown
        .run_until_cancelled(Service::open(settings, open_ports))
        .await;
    let Some(mut service) = opened.transpose()? else {
        return Ok(());
    };
    service.lines.clone_from(&telemetry.lines);
    let ended = service.serve(shutdown).await;
    if let Some(exporter) = telemetry.exporter.take() {
        exporter.shutdown().await;
    }
    ended
}
