//! The reader threads of a file, each with its connection.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use rusqlite::Connection;
use shop_core::{ErrorKind, Result};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::database::Database;
use super::error::{AtPath as _, database_error};
use super::thread::{self, Jobs, closed};
use super::writer::Writer;

pub(super) type ReadJob = Box<dyn FnOnce(&mut Connection) + Send>;

/// The number of steps of SQLite's virtual machine, about a millisecond, after which a query looks for its caller.
const STEPS: i32 = 100_000;

/// A handle to the reader threads. Cheap to clone. The threads end when the last handle is dropped, or one has closed
/// them.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    pub(super) jobs: Jobs<mpsc::SyncSender<ReadJob>>,
    path: Arc<Path>,
}

impl Readers {
    /// Opens the file, which must exist, in `threads` threads. Each thread keeps the thread of `writer` running until its
    /// connection is closed, so the writer closes last: of connections that are closed concurrently, none removes the
    /// write-ahead log.
    pub(super) fn start(
        database: &Database,
        writer: &Writer,
        threads: usize,
        queue: usize,
    ) -> Result<Self> {
        let (jobs, waiting) = mpsc::sync_channel::<ReadJob>(queue.max(1));
        let waiting = Arc::new(Mutex::new(waiting));
        // All connections are opened before a thread is started, so an error leaves no thread behind.
        let connections = (0..threads.max(1))
            .map(|_| database.reader())
            .collect::<Result<Vec<_>>>()?;
        for mut connection in connections {
            let waiting = Arc::clone(&waiting);
            let writer = writer.jobs.sender()?;
            let next = move || {
                waiting
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .recv()
            };
            thread::start("shop-reader", move || {
                while let Ok(job) = next() {
                    job(&mut connection);
                }
                drop(connection);
                drop(writer);
            })?;
        }
        Ok(Self {
            jobs: Jobs::new(jobs),
            path: database.path().into(),
        })
    }

    /// Runs `query` on one of the connections. Dropping the future interrupts it.
    ///
    /// # Errors
    /// [`Overloaded`](ErrorKind::Overloaded) if the queue is full; otherwise the error of `query`.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, result) = oneshot::channel();
        let gone = CancellationToken::new();
        let _caller = gone.clone().drop_guard();
        let job = move |connection: &mut Connection| {
            if gone.is_cancelled() {
                return;
            }
            let interrupts = move || gone.is_cancelled();
            let found = connection
                .progress_handler(STEPS, Some(interrupts))
                .and_then(|()| query(connection));
            drop(reply.send(found));
        };
        self.jobs
            .sender()?
            .try_send(Box::new(job))
            .map_err(|error| match error {
                mpsc::TrySendError::Full(_) => {
                    database_error(ErrorKind::Overloaded, "the read queue is full")
                }
                mpsc::TrySendError::Disconnected(_) => closed(),
            })?;
        let found = result.await.map_err(|_closed| closed())?;
        found.at(&self.path)
    }
}
