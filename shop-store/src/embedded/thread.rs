//! Threads that own a connection. They end when their last handle is dropped, or one has closed them. Callers can wait
//! for the end, after which the connection is closed and no write-ahead log is left.

use std::thread::Builder;

use super::error::database_error;
use shop_core::{Error, ErrorKind, Result};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The sender of the jobs of threads, which end once no clone of it is left. Clones of this value share it.
#[derive(Debug, Clone)]
pub(super) struct Jobs<S>(watch::Sender<Option<S>>);

impl<S: Clone> Jobs<S> {
    pub(super) fn new(sender: S) -> Self {
        Self(watch::Sender::new(Some(sender)))
    }

    pub(super) fn sender(&self) -> Result<S> {
        self.0.borrow().clone().ok_or_else(closed)
    }

    /// Ends the threads after the jobs in their queue. Further jobs are refused.
    pub(super) fn close(&self) {
        self.0.send_replace(None);
    }
}

/// Runs `run` in a new thread. The token is cancelled when the thread has ended and everything that it owned is dropped.
pub(super) fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<CancellationToken> {
    let token = CancellationToken::new();
    let guard = token.clone().drop_guard();
    let run = move || {
        // Dropped when the thread ends, even by a panic.
        let _guard = guard;
        run();
    };
    Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|error| {
            database_error(ErrorKind::Unavailable, "failed to start a thread").with_source(error)
        })?;
    Ok(token)
}

/// Runs `work` outside of the runtime's threads. Dropping the future does not cancel it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(database_error(ErrorKind::Internal, "the operation was aborted").with_source(error))
        })
}

/// The error if the thread has ended.
pub(super) fn closed() -> Error {
    database_error(ErrorKind::Closed, "the database was closed")
}
