//! [`EmbeddedLog`]: opens a log file, and creates the sinks, sources and other handles of the log.

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

/// The maximum number of queued reads of the log. Sources use reader threads of their own.
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
    /// Returns the topic in the positions of this log's records.
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
        // The file `shop` also contains the tables of a store.
        let is_shop = options.file == FILE;
        let schema = if is_shop { &SHOP } else { &LOG };
        let mut database = Database::new(schema, &folder, &options.file, options.max_file_bytes)
            .with_create(options.create);
        if is_shop {
            database = database.with_fill(refill_quarters);
        }

        let notifier = watch::Sender::default();
        let commit_notifier = notifier.clone();
        // Wakes the readers of other processes by the times of the lock file, and the readers of
        // this process directly.
        let on_commit = move |lock: &WriteLock| {
            lock.announce();
            commit_notifier.send_replace(());
        };
        let writer = Writer::start(database.clone(), options.queue_capacity, on_commit).await?;
        let readers = Readers::start(&database, &writer, 1, READ_QUEUE)?;
        let now = options.clock.now();
        let (cluster, generation) = if options.create {
            writer
                .write(move |connection| find_or_create_identity(connection, now))
                .await?
        } else {
            // Without permission to create a log, a missing id is an error, and nothing is written.
            readers
                .read(|connection| find_identity(connection)?.ok_or(QueryReturnedNoRows))
                .await?
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
    /// transaction.
    ///
    /// So a purchase is listed as soon as it is acknowledged, and a purchase whose id is in use is
    /// not appended. The consumer of `group` stores the other records in an [`EmbeddedStore`] of
    /// the same file. The position of `group` passes the records of this sink, because their
    /// purchases are stored already.
    ///
    /// # Errors
    /// [`Invalid`](shop_core::ErrorKind::Invalid) if the log's file contains no store; the
    /// error of a write.
    pub async fn storing_sink(&self, group: &str) -> Result<EmbeddedSink> {
        self.require_store()?;
        self.shared.register(group).await?;
        Ok(EmbeddedSink::new(
            Arc::clone(&self.shared),
            Some(group.into()),
        ))
    }

    /// Creates `group` if it is missing, and checks that it feeds the store that
    /// [`feeds`](EmbeddedLogOptions::feeds) names.
    ///
    /// Call it before a consumer starts, because a [source](Self::source) reports the same error
    /// again and again.
    ///
    /// # Errors
    /// [`Invalid`](shop_core::ErrorKind::Invalid) if the group feeds another store; the error of a
    /// write.
    pub async fn register(&self, group: &str) -> Result<()> {
        self.shared.register(group).await
    }

    /// Opens the store in the log's file. It shares the log's writer.
    ///
    /// # Errors
    /// [`Invalid`](shop_core::ErrorKind::Invalid) if the log's file contains no store; the
    /// error of a connection.
    pub async fn store(&self, options: &EmbeddedStoreOptions) -> Result<EmbeddedStore> {
        self.require_store()?;
        EmbeddedStore::with_writer(&self.shared.database, &self.shared.writer, options)
    }

    /// Checks that the file of this log also contains the tables of a store.
    fn require_store(&self) -> Result<()> {
        if self.shared.options.file == FILE {
            return Ok(());
        }
        let message = "the file of this log is not that of a store";
        Err(database_error(ErrorKind::Invalid, message))
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
    pub(crate) fn close(&self) {
        self.shared.writer.closing.cancel();
        self.shared.readers.jobs.close();
        self.shared.writer.jobs.close();
    }

    /// Returns the handle that stores the dead letters of this log.
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

/// The id of a log, and its generation, which was set by the last restore from a backup.
type LogIdentity = (String, Option<String>);

/// Reads the identity of the log, or returns `None` if the file was just created.
fn find_identity(connection: &Connection) -> rusqlite::Result<Option<LogIdentity>> {
    let sql = "SELECT cluster, generation FROM log";
    connection
        .query_row(sql, [], |row| row.try_into())
        .optional()
}

/// Returns the identity of the log, and creates an id if the file does not contain one yet.
///
/// The id is stored in the file, so it does not depend on the path of the file. A new log stores
/// `now` as the last time seen, so that its retention trusts the clock from the beginning.
fn find_or_create_identity(
    connection: &Connection,
    now: Timestamp,
) -> rusqlite::Result<LogIdentity> {
    if let Some(identity) = find_identity(connection)? {
        return Ok(identity);
    }

    let cluster = Uuid::now_v7().to_string();
    connection.execute("INSERT INTO log (cluster) VALUES (?1)", [&cluster])?;
    clock::store_last_seen(connection, clock::LOG, now)?;
    Ok((cluster, None))
}
