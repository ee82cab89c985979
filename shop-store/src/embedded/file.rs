//! [`SqliteFile`]: a database file beside the shop, with the tables of another crate.
//!
//! This module is for crates of this workspace that keep more than purchases in the data folder.
//! The documentation of the crate hides it, and it may change in any version.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use shop_core::Result;
use tokio::sync::Notify;

pub use super::engine::database::FileSchema;
pub use super::engine::error::{parse_column, sqlite_error, unreadable};
pub use super::engine::integrity::RowsCheck;
pub use super::engine::thread::blocking;

use super::EmbeddedStoreOptions;
use super::engine::database::Database;
use super::engine::readers::Readers;
use super::engine::writer::Writer;

/// A database file on the local disk, shared by the processes of one machine.
///
/// A writer thread commits the writes in groups, and reader threads run the queries. Clones share
/// these threads.
#[derive(Debug, Clone)]
pub struct SqliteFile {
    writer: Writer,
    readers: Readers,
    /// Notified after every commit of this process, for [`wait_for_commit`](Self::wait_for_commit).
    commit_signal: Arc<Notify>,
}

impl SqliteFile {
    /// Opens the file `{file_stem}.db` in `folder`, with the tables of `schema`. A missing folder or
    /// file is created if [`create`](EmbeddedStoreOptions::create) is set in `options`.
    ///
    /// # Errors
    /// The errors of [`EmbeddedStore::open`](super::EmbeddedStore::open).
    pub async fn open(
        folder: &Path,
        file_stem: &str,
        schema: &'static FileSchema,
        options: EmbeddedStoreOptions,
    ) -> Result<Self> {
        let database = Database::new(schema, folder, file_stem, options.max_file_bytes)
            .with_create(options.create);
        let commit_signal = Arc::new(Notify::new());
        let writer_signal = Arc::clone(&commit_signal);
        // The writer and the readers have a queue each, of the same capacity.
        let writer = Writer::start(database.clone(), options.queue_capacity, move || {
            writer_signal.notify_one();
        })
        .await?;
        let readers = Readers::start(&database, &writer, options.readers, options.queue_capacity)?;
        Ok(Self {
            writer,
            readers,
            commit_signal,
        })
    }

    /// Applies the write `work` in a transaction, and waits until it is durable.
    ///
    /// `work` may be called more than once, each time after a rollback.
    ///
    /// # Errors
    /// - [`Overloaded`](shop_core::ErrorKind::Overloaded) if the queue of writes is full
    /// - [`Closed`](shop_core::ErrorKind::Closed) if the file was closed
    /// - the error of `work`, or of the commit
    ///
    /// # Cancel safety
    /// Dropping the future does not cancel a write that is in the queue.
    pub async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.writer.write(work).await
    }

    /// Runs `query` on a reader thread, and waits for its result.
    ///
    /// # Errors
    /// - [`Overloaded`](shop_core::ErrorKind::Overloaded) if the queue of queries is full
    /// - [`Closed`](shop_core::ErrorKind::Closed) if the file was closed
    /// - the error of `query`
    ///
    /// # Cancel safety
    /// Dropping the future interrupts the query.
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.readers.read(query).await
    }

    /// Checks that writes can succeed, and that every table can be read.
    ///
    /// # Errors
    /// The reason why writes fail, such as [`Corrupt`](shop_core::ErrorKind::Corrupt) for a damaged
    /// file.
    pub async fn check(&self) -> Result<()> {
        self.writer.check().await
    }

    /// Waits until this process has committed a write since the last call returned.
    pub async fn wait_for_commit(&self) {
        self.commit_signal.notified().await;
    }

    /// Returns a future that completes when all clones of this file are dropped, their operations
    /// have ended, and the file is closed.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        self.writer.exit()
    }

    /// Rewrites the file `{file_stem}.db` in `folder` without its unused parts, if there is such a
    /// file. Other processes may use the file meanwhile.
    ///
    /// # Errors
    /// The errors of [`vacuum`](super::vacuum()).
    ///
    /// # Cancel safety
    /// Dropping the future does not cancel the rewriting.
    pub async fn vacuum(folder: &Path, file_stem: &str, schema: &'static FileSchema) -> Result<()> {
        let max_file_bytes = None;
        let database = Database::new(schema, folder, file_stem, max_file_bytes).with_create(false);
        blocking(move || {
            if database.path().exists() {
                database.vacuum()
            } else {
                Ok(())
            }
        })
        .await
    }
}
