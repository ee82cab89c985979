//! Runs a binary: completions or the manual page, a check, a command, or the service, as its
//! settings select.

use std::process::ExitCode;

use crate::service::Service;
use crate::settings::{ServiceKind, Settings};
use crate::{Result, check_config, commands, healthcheck, report_result, signal, telemetry};

/// Runs a binary with the settings of this process, and returns its exit code.
///
/// A service serves until the first SIGTERM or SIGINT.
pub async fn run(service: ServiceKind) -> ExitCode {
    // The future is large, because it contains the futures of all commands.
    report_result(Box::pin(run_selected(service)).await)
}

/// Reads the settings, and runs what they select.
///
/// # Errors
/// Returns the errors of the settings, of the check or of the command, or the error of a service
/// that cannot start, or that fails.
async fn run_selected(service: ServiceKind) -> Result<()> {
    let settings = Settings::read(service)?;
    if let Some(text) = settings.completions_or_man_page()? {
        return commands::print_unless_closed(text).map(drop);
    }

    let shutdown = signal::handle_shutdown_signals()?;
    // The rest of the diagnostic log is written when `telemetry` is dropped.
    let mut telemetry = telemetry::init(&settings)?;
    for warning in settings.warnings() {
        tracing::warn!("{warning}");
    }
    if settings.process.healthcheck {
        return healthcheck::run(&settings).await;
    }
    if let Some(command) = &settings.command {
        return commands::run(command, &settings, &shutdown).await;
    }
    if settings.process.check_config {
        return check_config::run(&settings, &shutdown).await;
    }

    // `None` if the shutdown began before the service was open.
    let Some(mut service) = Service::open_until(&shutdown, settings).await? else {
        return Ok(());
    };
    service.lines.clone_from(&telemetry.lines);
    let result = service.serve(shutdown).await;
    if let Some(exporter) = telemetry.exporter.take() {
        exporter.shutdown().await;
    }
    result
}
