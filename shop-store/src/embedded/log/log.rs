//! [`EmbeddedLog`].

use std::path::Path;
use std::sync::Arc;

use rusqlite::Error::QueryReturnedNoRows;
use rusqlite::{Connection, OptionalExtension};
use shop_core::log::{DeadLetters, Log, LogAdmin, LogSource, LogWriter};
use shop_core::{ErrorKind, Result, Timestamp};
use tokio::sync::watch;
use uuid::Uuid;

use super::schema::LOG;
use super::shared::EmbeddedLogInner;
use super::{EmbeddedDeadLetters, EmbeddedLogOptions, EmbeddedSink, EmbeddedSource};
use crate::embedded::clock;
use crate::embedded::database::{Database, WriteLock};
use crate::embedded::error::database_error;
use crate::embedded::readers::Readers;
use crate::embedded::schema::{FILE, SHOP};
use crate::embedded::store::refill_quarters;
use crate::embedded::writer::Writer;
use crate::embedded::{EmbeddedStore, EmbeddedStoreOptions};

/// Maximum number of queued reads.
const READ_QUEUE: usize = 64;

/// A log with one partition, in a file on the local disk, shared by the processes of one machine.
///
/// Clones share the file's writer.
///
/// ```
/// use shop_store::embedded::{EmbeddedLog, EmbeddedLogOptions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> shop_core::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// let log = EmbeddedLog::open(folder.path(), EmbeddedLogOptions::default()).await?;
/// let (sink, source) = (log.sink(), log.source("purchase-group")?);
///
/// // An orderly end: the file is closed when all handles are dropped.
/// let closed = log.closed();
/// drop((log, sink, source));
/// closed.await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct EmbeddedLog {
    pub(super) shared: Arc<EmbeddedLogInner>,
}

impl EmbeddedLog {
    pub(crate) fn topic(&self) -> &str {
        &self.shared.topic
    }

    /// Opens the log in `folder`. A missing folder or file is created if
    /// [`create`](EmbeddedLogOptions::create) is set.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) if the folder or file cannot be used, or
    /// is missing and `create` is not set; [`Corrupt`](shop_core::ErrorKind::Corrupt) if the file
    /// is not an embedded log, or was written by a newer version.
    pub async fn open(folder: impl AsRef<Path>, options: EmbeddedLogOptions) -> Result<Self> {
        let folder = folder.as_ref().to_owned();
        let is_shop = options.file == FILE;
        let kind = if is_shop { &SHOP } else { &LOG };
        let mut database = Database::new(kind, &folder, &options.file, options.max_file_bytes)
            .with_create(options.create);
        if is_shop {
            database = database.with_fill(refill_quarters);
        }
        let notifier = watch::Sender::default();
        let committed = notifier.clone();
        let committed = move |lock: &WriteLock| {
            lock.announce();
            committed.send_replace(());
        };
        let writer = Writer::start(database.clone(), options.queue_capacity, committed).await?;
        let readers = Readers::start(&database, &writer, 1, READ_QUEUE)?;
        let now = options.clock.now();
        let (cluster, generation) = match options.create {
            true => {
                writer
                    .write(move |connection| identity(connection, now))
                    .await?
            }
            false => {
                let known =
                    |connection: &Connection| find_identity(connection)?.ok_or(QueryReturnedNoRows);
                readers.read(known).await?
            }
        };
        let shared = EmbeddedLogInner {
            topic: options.topic.as_str().into(),
            options,
            database,
            folder,
            writer,
            readers,
            cluster: cluster.into(),
            generation: generation.map(Into::into),
            notifier,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// Returns a new sink.
    #[must_use]
    pub fn sink(&self) -> EmbeddedSink {
        EmbeddedSink::new(Arc::clone(&self.shared), None)
    }

    /// Returns a new sink that appends the record of a purchase and stores the purchase in one
    /// transaction: it is listed when it is acknowledged, and one whose id is in use is not
    /// appended. The position of `group`, whose consumer stores the other records in an
    /// [`EmbeddedStore`] of the same file, passes these records.
    ///
    /// # Errors
    /// [`Invalid`](shop_core::ErrorKind::Invalid) if the log's file is not that of a store; the
    /// error of a write.
    pub async fn storing_sink(&self, group: &str) -> Result<EmbeddedSink> {
        self.require_store()?;
        self.shared.register(group).await?;
        Ok(EmbeddedSink::new(
            Arc::clone(&self.shared),
            Some(group.into()),
        ))
    }

    /// Checks that `group` feeds the store that [`feeds`](EmbeddedLogOptions::feeds) names, and
    /// creates it if it is missing. A [source](Self::source) reports the same error, again and
    /// again.
    ///
    /// # Errors
    /// [`Invalid`](shop_core::ErrorKind::Invalid) if it feeds another store; the error of a write.
    pub async fn register(&self, group: &str) -> Result<()> {
        self.shared.register(group).await
    }

    /// Opens the store in the log's file. It shares the log's writer.
    ///
    /// # Errors
    /// [`Invalid`](shop_core::ErrorKind::Invalid) if the log's file is not that of a store; the
    /// error of a connection.
    pub async fn store(&self, options: &EmbeddedStoreOptions) -> Result<EmbeddedStore> {
        self.require_store()?;
        EmbeddedStore::beside(&self.shared.database, &self.shared.writer, options)
    }

    fn require_store(&self) -> Result<()> {
        match self.shared.options.file.as_str() {
            FILE => Ok(()),
            _ => Err(database_error(
                ErrorKind::Invalid,
                "the file of this log is not that of a store",
            )),
        }
    }

    /// Starts a new consumer in `group`. Only one consumer of a group is active, over all
    /// processes. The others wait for the group's lock.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) if a file in the folder cannot be opened.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time.
    pub fn source(&self, group: &str) -> Result<EmbeddedSource> {
        EmbeddedSource::start(&self.shared, group)
    }

    /// Completes when all clones, sinks and sources of this log are dropped, their operations have
    /// ended, and the file is closed. If no other process has it open, no write-ahead log is left.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        self.shared.writer.exit()
    }

    /// Closes the file for all clones, sinks and sources, after the operations in their queues.
    /// Further calls fail with [`Closed`](ErrorKind::Closed).
    pub(in crate::embedded) fn close(&self) {
        self.shared.writer.closing.cancel();
        self.shared.readers.jobs.close();
        self.shared.writer.jobs.close();
    }

    /// The dead letters of the log.
    #[must_use]
    pub fn dead_letters(&self) -> EmbeddedDeadLetters {
        EmbeddedDeadLetters {
            log: Arc::clone(&self.shared),
        }
    }
}

impl Log for EmbeddedLog {
    fn writer(&self) -> Arc<dyn LogWriter> {
        Arc::new(self.clone())
    }

    fn source(&self, group: &str) -> Result<Arc<dyn LogSource>> {
        Ok(Arc::new(Self::source(self, group)?))
    }

    fn dead_letters(&self) -> Arc<dyn DeadLetters> {
        Arc::new(Self::dead_letters(self))
    }

    fn admin(&self) -> Arc<dyn LogAdmin> {
        Arc::new(self.clone())
    }
}

/// The log's id, and what its last restore has set.
type LogIdentity = (String, Option<String>);

fn find_identity(connection: &Connection) -> rusqlite::Result<Option<LogIdentity>> {
    let sql = "SELECT cluster, generation FROM log";
    connection
        .query_row(sql, [], |row| row.try_into())
        .optional()
}

/// Returns the log's identity. Its id is created on first use, stored in the file, and does not
/// depend on the file's path. A new log trusts the clock.
fn identity(connection: &Connection, now: Timestamp) -> rusqlite::Result<LogIdentity> {
    if let Some(known) = find_identity(connection)? {
        return Ok(known);
    }
    let cluster = Uuid::now_v7().to_string();
    connection.execute("INSERT INTO log (cluster) VALUES (?1)", [&cluster])?;
    clock::store(connection, clock::LOG, now)?;
    Ok((cluster, None))
}
