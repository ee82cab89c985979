//! Shutdown by signals.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{CliError, Result};

/// Is cancelled by the first SIGTERM or SIGINT.
pub(crate) type Shutdown = CancellationToken;

/// Handles SIGTERM and SIGINT: the first begins a graceful shutdown, the second ends the process at once.
///
/// # Errors
/// When no handler can be registered.
pub(crate) fn shutdown() -> Result<Shutdown> {
    let terminate = signal(SignalKind::terminate()).map_err(CliError::new)?;
    let interrupt = signal(SignalKind::interrupt()).map_err(CliError::new)?;
    let shutdown = Shutdown::new();
    tokio::spawn(watch(terminate, interrupt, shutdown.clone()));
    Ok(shutdown)
}

/// The exit code of a process that a signal has ended is this plus the signal.
const ENDED_BY_SIGNAL: i32 = 128;

async fn watch(mut terminate: Signal, mut interrupt: Signal, shutdown: Shutdown) {
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => SignalKind::terminate(),
            _ = interrupt.recv() => SignalKind::interrupt(),
        }
    };
    next().await;
    // Before logging, which may block when the log is not read any more.
    shutdown.cancel();
    tracing::info!(
        "shutting down: finishing requests and records in flight; a second signal ends the process at once"
    );
    std::process::exit(ENDED_BY_SIGNAL + next().await.as_raw_value());
}
