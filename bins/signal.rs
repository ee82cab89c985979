//! The shutdown of a process by signals.
//!
//! [`handle_shutdown_signals`] registers the handlers, and returns the token that the first SIGTERM or SIGINT
//! cancels. The server and most background tasks hold a clone of this token, and end after its
//! cancellation; the others end after the server. The second signal is for an operator who does not
//! want to wait for that.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{CliError, Result};

/// The token that is cancelled when the process shuts down, by the first SIGTERM or SIGINT at the
/// latest.
pub(crate) type Shutdown = CancellationToken;

/// The exit code of a process that a signal ended is this number plus the number of the signal.
const ENDED_BY_SIGNAL: i32 = 128;

/// Handles SIGTERM and SIGINT: the first signal begins a graceful shutdown, and the second one ends
/// the process at once. Returns the token that the first signal cancels.
///
/// # Errors
/// An error if a handler cannot be registered.
pub(crate) fn handle_shutdown_signals() -> Result<Shutdown> {
    let terminate = signal(SignalKind::terminate()).map_err(CliError::new)?;
    let interrupt = signal(SignalKind::interrupt()).map_err(CliError::new)?;
    let shutdown = Shutdown::new();
    tokio::spawn(handle_signals(terminate, interrupt, shutdown.clone()));
    Ok(shutdown)
}

/// Waits for signals: cancels `shutdown` at the first one, and exits at the second one.
async fn handle_signals(mut terminate: Signal, mut interrupt: Signal, shutdown: Shutdown) {
    for is_second in [false, true] {
        let signal_kind = tokio::select! {
            _ = terminate.recv() => SignalKind::terminate(),
            _ = interrupt.recv() => SignalKind::interrupt(),
        };
        if is_second {
            std::process::exit(ENDED_BY_SIGNAL + signal_kind.as_raw_value());
        }

        // The token is cancelled before the log line, which may block while no program reads the
        // log.
        shutdown.cancel();
        tracing::info!(
            "shutting down: finishing requests and records in flight; a second signal ends the process at once"
        );
    }
}
