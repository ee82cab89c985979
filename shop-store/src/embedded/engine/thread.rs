//! Threads that own a connection to a file: the writer and the readers.
//!
//! A thread takes jobs from a queue, and ends when the queue is closed and empty: when its last
//! handle was dropped, or a handle [closed](Jobs::close) it. Callers can wait for the end of the
//! thread. Then the connection is closed, and no write-ahead log is left.

use std::thread::Builder;

use super::error::database_error;
use shop_core::{Error, ErrorKind, Result};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The sender of the jobs of threads. All clones of this value share one sender, so one clone can
/// close the queue for all.
///
/// `S` is the sending half of a channel. The threads end when no clone of the sender is left.
#[derive(Debug, Clone)]
pub(in crate::embedded) struct Jobs<S>(watch::Sender<Option<S>>);

impl<S: Clone> Jobs<S> {
    /// Wraps the sending half of a queue.
    pub(in crate::embedded) fn new(sender: S) -> Self {
        Self(watch::Sender::new(Some(sender)))
    }

    /// Returns a clone of the sender. While the clone lives, the threads go on.
    ///
    /// # Errors
    /// [`Closed`](ErrorKind::Closed) after [`close`](Self::close).
    pub(in crate::embedded) fn sender(&self) -> Result<S> {
        self.0.borrow().clone().ok_or_else(closed_error)
    }

    /// Closes the queue: further jobs are refused, and the threads end after the jobs that are in
    /// the queue.
    pub(in crate::embedded) fn close(&self) {
        self.0.send_replace(None);
    }
}

/// Runs `run` in a new thread called `name`.
///
/// Returns a token that is cancelled when the thread has ended and everything that `run` owned is
/// dropped.
///
/// # Errors
/// [`Unavailable`](ErrorKind::Unavailable) if the system cannot start a thread.
pub(in crate::embedded) fn start(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> Result<CancellationToken> {
    let token = CancellationToken::new();
    let guard = token.clone().drop_guard();
    Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            // The guard is dropped when the thread ends, even by a panic.
            let _guard = guard;
            run();
        })
        .map_err(|error| {
            database_error(ErrorKind::Unavailable, "failed to start a thread").with_source(error)
        })?;
    Ok(token)
}

/// Runs `work`, which blocks, on a thread of tokio's pool for blocking work, and waits for its
/// result.
///
/// Dropping the future does not cancel `work`.
///
/// # Errors
/// The error of `work`, or [`Internal`](ErrorKind::Internal) if it panics.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| {
            Err(database_error(ErrorKind::Internal, "the operation was aborted").with_source(error))
        })
}

/// Returns the error of a call to a thread that ended or was closed.
pub(in crate::embedded) fn closed_error() -> Error {
    database_error(ErrorKind::Closed, "the database was closed")
}
