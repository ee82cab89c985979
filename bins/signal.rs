//! When to stop.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{CliError, Result};

/// Learns of the first SIGTERM or SIGINT. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Shutdown(CancellationToken);

impl Shutdown {
    /// The result of `work`; `None` when the process is to stop before there is one.
    pub(crate) async fn run_until_cancelled<T>(&self, work: impl Future<Output = T> + Send) -> Option<T> {
        self.0.run_until_cancelled(work).await
    }

    /// Begins the shutdown as a signal does.
    pub(crate) fn cancel(&self) {
        self.0.cancel();
    }

    /// Completes when the process is to stop.
    pub(crate) async fn cancelled(&self) {
        self.0.cancelled().await;
    }
}

/// Listens for SIGTERM and SIGINT: the first begins an orderly shutdown, the second ends the process at once.
///
/// # Errors
/// When the signals cannot be listened for.
pub(crate) fn shutdown() -> Result<Shutdown> {
    let listen = |kind: SignalKind| signal(kind).map_err(CliError::new);
    let (terminate, interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let token = CancellationToken::new();
    tokio::spawn(watch(terminate, interrupt, token.clone()));
    Ok(Shutdown(token))
}

/// What a shell answers for a process that a signal has ended.
const ENDED_BY_SIGNAL: i32 = 128;

async fn watch(mut terminate: Signal, mut interrupt: Signal, token: CancellationToken) {
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => SignalKind::terminate(),
            _ = interrupt.recv() => SignalKind::interrupt(),
        }
    };
    next().await;
    // Before it is said: whoever reads the log may have stopped reading.
    token.cancel();
    tracing::info!("shutting down: finishing what is on its way; a second signal ends at once");
    let second = next().await;
    std::process::exit(ENDED_BY_SIGNAL + second.as_raw_value());
}
