//! [`EmbeddedLog`], and the state that its ports share.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Error::QueryReturnedNoRows;
use rusqlite::{Connection, OptionalExtension};
use shop_core::log::{DeadLetters, Log, LogAdmin, LogSource, LogWriter, Partition};
use shop_core::{ErrorKind, Result, Timestamp};
use uuid::Uuid;

use super::notifier::CommitNotifier;
use super::schema::LOG;
use super::{EmbeddedDeadLetters, EmbeddedLogOptions, EmbeddedSink, EmbeddedSource, position};
use crate::embedded::clock::{self, Deletions};
use crate::embedded::database::{Database, WriteLock};
use crate::embedded::deferred::Deferred;
use crate::embedded::error::{database_error, from_sqlite};
use crate::embedded::file::StoreFile;
use crate::embedded::readers::Readers;
use crate::embedded::schema::{FILE, SHOP};
use crate::embedded::writer::{Transactions, Writer};
use crate::embedded::{EmbeddedStore, EmbeddedStoreOptions, upgrade};

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
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: EmbeddedLogOptions,
    pub(super) database: Database,
    pub(super) folder: PathBuf,
    pub(super) topic: Arc<str>,
    pub(super) file: Deferred<LogFile>,
    pub(super) notifier: Arc<CommitNotifier>,
    /// The records that the current transaction has appended with their purchases.
    pub(super) stored: Arc<StoredRun>,
}

/// The file of an open log.
#[derive(Debug)]
pub(super) struct LogFile {
    /// Its reader is for reads that must not delay writes.
    pub(super) file: StoreFile,
    pub(super) cluster: Arc<str>,
    /// What the last restore of the file has set.
    pub(super) generation: Option<Arc<str>>,
}

impl AsRef<StoreFile> for LogFile {
    fn as_ref(&self) -> &StoreFile {
        &self.file
    }
}

/// What happens in the transactions of a log.
#[derive(Debug, Clone, Default)]
struct LogTransactions {
    notifier: Arc<CommitNotifier>,
    stored: Arc<StoredRun>,
}

impl Transactions for LogTransactions {
    fn begun(&self) {
        drop(self.stored.take());
    }

    fn before_commit(&self, connection: &Connection) -> rusqlite::Result<()> {
        self.stored.take().map_or(Ok(()), |(group, run)| position::pass(connection, &group, &run))
    }

    fn committed(&self, lock: &WriteLock) {
        lock.announce();
        self.notifier.notify();
    }
}

/// The consecutive records that a transaction has appended with their purchases, for a group.
#[derive(Debug, Default)]
pub(super) struct StoredRun(Mutex<Option<(Arc<str>, Range<u64>)>>);

impl StoredRun {
    /// Adds the record at `offset`. After another record or another group in the same transaction, the rest is left to
    /// the group's consumer.
    pub(super) fn add(&self, group: &Arc<str>, offset: u64) {
        let mut run = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *run {
            Some((of, range)) if of == group && range.end == offset => range.end += 1,
            Some(_) => {}
            None => *run = Some((Arc::clone(group), offset..offset + 1)),
        }
    }

    fn take(&self) -> Option<(Arc<str>, Range<u64>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Shared {
    /// Whether `group`, which feeds the store `known`, may feed that of this process.
    pub(super) fn check_feeds(&self, group: &str, known: &str) -> Result<()> {
        if known == self.options.feeds {
            return Ok(());
        }
        let message = "the group feeds another store: use that store, another group, or forget the group";
        Err(database_error(ErrorKind::Invalid, message)
            .with_context("group", group)
            .with_context("feeds", known)
            .with_context("file", self.database.path().display()))
    }
}

impl LogFile {
    async fn open(
        database: Database,
        options: EmbeddedLogOptions,
        transactions: LogTransactions,
    ) -> Result<Self> {
        let writer = Writer::start(database.clone(), options.queue_capacity, transactions).await?;
        let (cluster, generation) = match options.create {
            true => {
                let now = options.clock.now();
                writer.write(move |connection| identity(connection, now)).await?
            }
            false => known_identity(&database)?,
        };
        let readers = Readers::start(&database, &writer, 1, READ_QUEUE)?;
        let generation = generation.map(Into::into);
        Ok(Self { file: StoreFile { writer, readers }, cluster: cluster.into(), generation })
    }

    /// The partition of `log` in `epoch`.
    pub(super) fn partition(&self, log: &Shared, epoch: u64) -> Partition {
        Partition::new(Arc::clone(&self.cluster), Arc::clone(&log.topic), 0, epoch)
    }
}

impl EmbeddedLog {
    /// Opens the log in `folder`. A missing folder or file is created if
    /// [`create`](EmbeddedLogOptions::create) is set; with [`lazy`](EmbeddedLogOptions::lazy), the file by the first
    /// record.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) if the folder or file cannot be used, or is missing and
    /// `create` is not set; [`Corrupt`](shop_core::ErrorKind::Corrupt) if the file is not an embedded log, or was
    /// written by a newer version.
    pub async fn open(folder: impl AsRef<Path>, options: EmbeddedLogOptions) -> Result<Self> {
        let folder = folder.as_ref().to_owned();
        let kind = if options.file == FILE { &SHOP } else { &LOG };
        upgrade::check(&folder)?;
        let database =
            Database::new(kind, &folder, &options.file, options.max_file_bytes).with_create(options.create);
        let transactions = LogTransactions::default();
        let LogTransactions { notifier, stored } = transactions.clone();
        let parts = (database.clone(), options.clone());
        let open = move || LogFile::open(parts.0.clone(), parts.1.clone(), transactions.clone());
        let file = Deferred::new(database.path(), options.lazy, options.create, open).await?;
        let topic = options.topic.as_str().into();
        Ok(Self { shared: Arc::new(Shared { options, database, folder, topic, file, notifier, stored }) })
    }

    /// Returns a new sink.
    #[must_use]
    pub fn sink(&self) -> EmbeddedSink {
        EmbeddedSink::new(Arc::clone(&self.shared), None)
    }

    /// Returns a new sink that appends the record of a purchase and stores the purchase in one transaction: it is listed
    /// when it is acknowledged, and one whose id is in use is not appended. The position of `group`, whose consumer
    /// stores the other records in an [`EmbeddedStore`] of the same file, passes these records.
    ///
    /// # Errors
    /// [`Invalid`](shop_core::ErrorKind::Invalid) if the log's file is not that of a store; the error of a write.
    pub async fn storing_sink(&self, group: &str) -> Result<EmbeddedSink> {
        self.require_store()?;
        let (name, feeds) = (group.to_owned(), self.shared.options.feeds.clone());
        let register = move |connection: &Connection| position::register(connection, &name, &feeds);
        self.shared.check_feeds(group, &self.shared.file.write(register).await?)?;
        Ok(EmbeddedSink::new(Arc::clone(&self.shared), Some(group.into())))
    }

    /// Opens the store in the log's file. It shares the log's writer.
    ///
    /// # Errors
    /// [`Invalid`](shop_core::ErrorKind::Invalid) if the log's file is not that of a store; the error of a connection.
    pub async fn store(&self, options: &EmbeddedStoreOptions) -> Result<EmbeddedStore> {
        self.require_store()?;
        let file = &self.shared.file.open().await?.file;
        EmbeddedStore::beside(&self.shared.database, &file.writer, options)
    }

    fn require_store(&self) -> Result<()> {
        match self.shared.options.file.as_str() {
            FILE => Ok(()),
            _ => Err(database_error(ErrorKind::Invalid, "the file of this log is not that of a store")),
        }
    }

    /// Starts a new consumer in `group`. Only one consumer of a group is active, over all processes. The others wait
    /// for the group's lock.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) if a file in the folder cannot be opened.
    pub fn source(&self, group: &str) -> Result<EmbeddedSource> {
        EmbeddedSource::start(&self.shared, group)
    }

    /// Completes when all clones, sinks and sources of this log are dropped, their operations have ended, and the file
    /// is closed. If no other process has it open, no write-ahead log is left.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        self.shared.file.closed()
    }

    /// The dead letters of the log.
    #[must_use]
    pub fn dead_letters(&self) -> EmbeddedDeadLetters {
        EmbeddedDeadLetters { log: Arc::clone(&self.shared) }
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
type Identity = (String, Option<String>);

/// Reads the log's identity without writing.
fn known_identity(database: &Database) -> Result<Identity> {
    let known = find_identity(&database.reader()?);
    known.and_then(|id| id.ok_or(QueryReturnedNoRows)).map_err(|error| from_sqlite(error, &database.path()))
}

fn find_identity(connection: &Connection) -> rusqlite::Result<Option<Identity>> {
    let sql = "SELECT cluster, generation FROM log";
    connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

/// Returns the log's identity. Its id is created on first use, stored in the file, and does not depend on the file's path.
/// A new log trusts the clock.
fn identity(connection: &Connection, now: Timestamp) -> rusqlite::Result<Identity> {
    if let Some(known) = find_identity(connection)? {
        return Ok(known);
    }
    let cluster = Uuid::now_v7().to_string();
    connection.execute("INSERT INTO log (cluster) VALUES (?1)", [&cluster])?;
    clock::store(connection, Deletions::Log, now)?;
    Ok((cluster, None))
}
