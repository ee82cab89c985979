//! Shutdown by signals.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{CliError, Result};

/// Completes at the first SIGTERM or SIGINT. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Shutdown(CancellationToken);

impl Shutdown {
    /// The result of `work`; `None` when the shutdown begins first.
    pub(crate) async fn run_until_cancelled<T>(&self, work: impl Future<Output = T> + Send) -> Option<T> {
        self.0.run_until_cancelled(work).await
    }

    /// Begins the shutdown, as a signal does.
    pub(crate) fn cancel(&self) {
        self.0.cancel();
    }

    /// Completes when the shutdown begins.
    pub(crate) async fn cancelled(&self) {
        self.0.cancelled().await;
    }
}

/// Handles SIGTERM and SIGINT: the first begins a graceful shutdown, the second ends the process at once.
///
/// # Errors
/// When no handler can be registered.
pub(crate) fn shutdown() -> Result<Shutdown> {
    let listen = |kind: SignalKind| signal(kind).map_err(CliError::new);
    let (terminate, interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let token = CancellationToken::new();
    tokio::spawn(watch(terminate, interrupt, token.clone()));
    Ok(Shutdown(token))
}

/// The exit code of a process that a signal has ended is this plus the signal.
const ENDED_BY_SIGNAL: i32 = 128;

async fn watch(mut terminate: Signal, mut interrupt: Signal, token: CancellationToken) {
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => SignalKind::terminate(),
            _ = interrupt.recv() => SignalKind::interrupt(),
        }
    };
    next().await;
    // Before logging, which may block when the log is not read any more.
    token.cancel();
    tracing::info!(
        "shutting down: finishing requests and records in flight; a second signal ends the process at once"
    );
    let second = next().await;
    std::process::exit(ENDED_BY_SIGNAL + second.as_raw_value());
}
