//! The threads that read a file, each with a connection of its own.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use rusqlite::Connection;
use shop_core::{ErrorKind, Result};
use tokio::sync::oneshot;

use super::database::Database;
use super::error::{database_error, from_sqlite};
use super::thread::{self, ended};
use super::writer::Writer;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// Where reads are handed in. Cheap to clone; the threads end when the last one is gone.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    jobs: mpsc::SyncSender<Job>,
    path: Arc<Path>,
}

impl Readers {
    /// Opens the file, which must be there, in `threads` threads. They keep the file's `writer` until their own
    /// connections are closed: connections that are closed at once take each other for users of the file who
    /// stay, and none of them cleans up the write-ahead log.
    pub(super) fn start(database: &Database, writer: &Writer, threads: usize, queue: usize) -> Result<Self> {
        let (jobs, waiting) = mpsc::sync_channel::<Job>(queue.max(1));
        let waiting = Arc::new(Mutex::new(waiting));
        // All connections before any thread: what fails, fails before something runs.
        let connections = (0..threads.max(1)).map(|_| database.reader()).collect::<Result<Vec<_>>>()?;
        for connection in connections {
            let (waiting, writer) = (Arc::clone(&waiting), writer.clone());
            let next = move || waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
            thread::start("shop-reader", move || {
                while let Ok(job) = next() {
                    job(&connection);
                }
                drop(connection);
                drop(writer);
            })?;
        }
        Ok(Self { jobs, path: database.path().into() })
    }

    /// Runs `query` on one of the connections.
    ///
    /// # Errors
    /// [`Overloaded`](ErrorKind::Overloaded) when the queue is full; else as `query`.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let job = move |connection: &Connection| {
            // Whoever asked may have stopped waiting: then there is nothing to do.
            if !reply.is_closed() {
                drop(reply.send(query(connection)));
            }
        };
        self.jobs.try_send(Box::new(job)).map_err(|refused| match refused {
            mpsc::TrySendError::Full(_) => {
                database_error(ErrorKind::Overloaded, "the queue of reads is full")
            }
            mpsc::TrySendError::Disconnected(_) => ended(),
        })?;
        let found = answer.await.map_err(|_ended| ended())?;
        found.map_err(|error| from_sqlite(error, &self.path))
    }
}
