//! The reader threads of a file, each with a connection of its own.
//!
//! ```text
//! async callers ──ReadJob──▶ one bounded queue ──▶ threads `shop-reader`: the first free thread runs the query
//! ```

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use rusqlite::Connection;
use shop_core::{ErrorKind, Result};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::database::Database;
use super::error::{AtPath as _, database_error};
use super::thread::{self, Jobs, closed_error};
use super::writer::Writer;

/// A query that a reader thread runs on its connection. It sends its result to its caller itself.
pub(in crate::embedded) type ReadJob = Box<dyn FnOnce(&mut Connection) + Send>;

/// The number of steps of SQLite's virtual machine, about a millisecond, after which a query checks
/// whether its caller still waits.
const STEPS: i32 = 100_000;

/// A handle to the reader threads, cheap to clone. The threads end when the last handle is dropped,
/// or a handle closes `jobs`.
#[derive(Debug, Clone)]
pub(in crate::embedded) struct Readers {
    pub(in crate::embedded) jobs: Jobs<mpsc::SyncSender<ReadJob>>,
    path: Arc<Path>,
}

impl Readers {
    /// Opens `thread_count` connections to the file, which must exist, and starts a thread for each.
    ///
    /// Each reader thread keeps the thread of `writer` running until the reader's own connection is
    /// closed, so the writer closes its connection last and removes the write-ahead log. If
    /// connections were closed concurrently, none would remove the log.
    ///
    /// # Errors
    /// The error of [`Database::reader`], or [`Unavailable`](ErrorKind::Unavailable) if a thread
    /// cannot be started.
    pub(in crate::embedded) fn start(
        database: &Database,
        writer: &Writer,
        thread_count: usize,
        queue_capacity: usize,
    ) -> Result<Self> {
        let (jobs, receiver) = mpsc::sync_channel::<ReadJob>(queue_capacity.max(1));
        let queue = Arc::new(Mutex::new(receiver));
        // All connections are opened before a thread is started, so an error leaves no thread
        // behind.
        let connections = (0..thread_count.max(1))
            .map(|_| database.reader())
            .collect::<Result<Vec<_>>>()?;
        for mut connection in connections {
            let queue = Arc::clone(&queue);
            // While this sender exists, the thread of the writer runs.
            let writer_sender = writer.jobs.sender()?;
            // One thread at a time waits in `recv`. The others wait for the mutex.
            let next_job = move || queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            thread::start("shop-reader", move || {
                while let Ok(job) = next_job() {
                    job(&mut connection);
                }
                // The connection is closed before the sender of the writer is dropped, which may
                // end the writer.
                drop(connection);
                drop(writer_sender);
            })?;
        }
        Ok(Self {
            jobs: Jobs::new(jobs),
            path: database.path().into(),
        })
    }

    /// Runs `query` on one of the connections, and waits for its result. Dropping the future
    /// interrupts the query.
    ///
    /// # Errors
    /// - [`Overloaded`](ErrorKind::Overloaded) if the queue is full
    /// - [`Closed`](ErrorKind::Closed) if the file was closed
    /// - The error of `query`
    pub(in crate::embedded) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, pending) = oneshot::channel();
        let cancelled = CancellationToken::new();
        let _cancel_on_drop = cancelled.clone().drop_guard();

        let job = move |connection: &mut Connection| {
            // The caller gave up while the query was in the queue.
            if cancelled.is_cancelled() {
                return;
            }

            let is_interrupted = move || cancelled.is_cancelled();
            let result = connection
                .progress_handler(STEPS, Some(is_interrupted))
                .and_then(|()| query(connection));
            // A failed send means that the caller has gone meanwhile.
            drop(reply.send(result));
        };

        self.jobs
            .sender()?
            .try_send(Box::new(job))
            .map_err(|error| match error {
                mpsc::TrySendError::Full(_) => {
                    database_error(ErrorKind::Overloaded, "the read queue is full")
                }
                mpsc::TrySendError::Disconnected(_) => closed_error(),
            })?;
        pending
            .await
            .map_err(|_closed| closed_error())?
            .at(&self.path)
    }
}
