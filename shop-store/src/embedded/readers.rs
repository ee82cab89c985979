//! The threads that read a file, each with a connection of its own.

use std::sync::{Arc, Mutex, PoisonError, mpsc};

use rusqlite::Connection;
use shop_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use super::database::Database;
use super::thread::{self, ended};
use super::writer::Writer;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// Where reads are handed in. Cheap to clone; the threads end when the last one is gone.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    jobs: mpsc::SyncSender<Job>,
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
        Ok(Self { jobs })
    }

    /// Runs `work` on one of the connections.
    ///
    /// # Errors
    /// [`Overloaded`](ErrorKind::Overloaded) when the queue is full; else as `work`.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T>
    where
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = move |connection: &Connection| {
            // Whoever asked may have stopped waiting: then there is nothing to do.
            if !reply.is_closed() {
                drop(reply.send(work(connection)));
            }
        };
        self.jobs.try_send(Box::new(job)).map_err(|refused| match refused {
            mpsc::TrySendError::Full(_) => Error::new(ErrorKind::Overloaded, "the queue of reads is full")
                .with_origin("embedded database"),
            mpsc::TrySendError::Disconnected(_) => ended(),
        })?;
        answer.await.unwrap_or_else(|_ended| Err(ended()))
    }
}
