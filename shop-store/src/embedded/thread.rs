//! Threads that own a connection. They end by themselves when nobody needs them any more, and whoever wants to
//! can wait for that: a connection that is closed in order leaves a database that is one file.

use std::thread::Builder;

use super::error::database_error;
use shop_core::{Error, ErrorKind, Result};
use tokio_util::sync::CancellationToken;

/// The end of a thread, to be waited for.
#[derive(Debug, Clone)]
pub(super) struct ThreadExit(CancellationToken);

impl ThreadExit {
    /// Completes when the thread has ended, and everything that it owned is dropped.
    pub(super) async fn wait(self) {
        self.0.cancelled_owned().await;
    }
}

/// Runs `run` in a thread of its own.
pub(super) fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<ThreadExit> {
    let token = CancellationToken::new();
    let guard = token.clone().drop_guard();
    let run = move || {
        // Dropped last, even if the thread panics.
        let _at_the_end = guard;
        run();
    };
    Builder::new().name(name.to_owned()).spawn(run).map_err(|error| {
        database_error(ErrorKind::Unavailable, "no thread could be started").with_source(error)
    })?;
    Ok(ThreadExit(token))
}

/// The thread that should have answered is no more.
pub(super) fn ended() -> Error {
    database_error(ErrorKind::Closed, "the database was closed")
}
