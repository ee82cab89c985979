//! [`EmbeddedLog`]: opens a log file with its options, and creates the sinks, sources and other
//! handles of the log, which share its state.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Error::QueryReturnedNoRows;
use rusqlite::{Connection, OptionalExtension};
use shop_core::log::Partition;
use shop_core::{Backend, Clock, ErrorKind, Result, SystemClock, Timestamp};
use tokio::sync::watch;
use uuid::Uuid;

use super::notifier::Waiter;
use super::rows::PARTITION;
use super::schema::LOG;
use super::{EmbeddedSink, EmbeddedSource, position};
use crate::embedded::clock;
use crate::embedded::engine::database::Database;
use crate::embedded::engine::error::database_error;
use crate::embedded::engine::readers::Readers;
use crate::embedded::engine::writer::Writer;
use crate::embedded::schema::{FILE, SHOP};
use crate::embedded::{EmbeddedStore, EmbeddedStoreOptions};

shop_core::options! {
    /// Options of an [`EmbeddedLog`].
    #[derive(Debug, Clone)]
    pub struct EmbeddedLogOptions {
        /// The topic in the records' positions (default `purchases`).
        pub topic: String as impl Into<String> = "purchases".to_owned(),
        /// The file's name without its extension (default `shop`: the file that also contains the
        /// purchases of an [`EmbeddedStore`](crate::embedded::EmbeddedStore)).
        pub file: String as impl Into<String> = FILE.to_owned(),
        /// Maximum number of records in a batch (default 1,000).
        pub batch_records: usize = 1_000,
        /// Size in bytes at which a batch is closed (default 1 MiB).
        pub batch_bytes: usize = 1 << 20,
        /// How long records are kept (default 7 days). Records that a group has not consumed are
        /// never deleted.
        pub retention: Duration = Duration::from_secs(7 * 24 * 3_600),
        /// How often a reader looks for records of other processes (default 250 ms). Records of
        /// this process are delivered without delay.
        pub poll_interval: Duration = Duration::from_millis(250),
        /// Maximum number of queued writes (default 10,000). If the queue is full, a write fails at
        /// once with [`Overloaded`](shop_core::ErrorKind::Overloaded).
        pub queue_capacity: usize = 10_000,
        /// Maximum size of the file in bytes (default none).
        pub max_file_bytes: Option<u64> = None,
        /// Whether a missing folder or file is created and a file of an earlier version is migrated
        /// (default true). If false, opening such a log is an error.
        pub create: bool = true,
        /// The name of the store that the groups feed (default: the one in the log's file). The
        /// file stores this name for each group: a consumer with another name is refused, because
        /// the records before the group's position are in the store of the first one.
        pub feeds: String as impl Into<String> = "the store in this file".to_owned(),
        /// The clock for the records' timestamps.
        pub clock: Arc<dyn Clock> = Arc::new(SystemClock),
    }
}

impl EmbeddedLogOptions {
    /// Returns the maximum number of records of a batch, and the size in bytes at which a batch is
    /// closed.
    pub(super) fn batch_limits(&self) -> (usize, usize) {
        (self.batch_records.max(1), self.batch_bytes)
    }

    /// Returns the default options for a topic of events: a separate file, without deletion of old
    /// records.
    ///
    /// Old events are kept because a projection is rebuilt from the first event.
    #[must_use]
    pub fn for_events(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            file: file_name(&format!("log-{topic}")),
            retention: Duration::MAX,
            ..Self::default()
        }
    }
}

/// The length in bytes to which [`file_name`] shortens a name, before it adds a hash.
///
/// With hash and extension, the name stays below the 255 bytes that common file systems allow.
const MAX_NAME_BYTES: usize = 190;

/// Converts `text` to a file name, so that different texts become different names.
///
/// Escapes all bytes but ASCII letters, digits, `-` and `_` as `%` and two hex digits. Shortens a
/// long name to a prefix with a hash of `text`.
pub(super) fn file_name(text: &str) -> String {
    let mut name = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            name.push(char::from(byte));
        } else {
            name += &format!("%{byte:02x}");
        }
    }
    if name.len() > MAX_NAME_BYTES {
        name.truncate(MAX_NAME_BYTES);
        let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes());
        name += &format!("~{}", hash.simple());
    }
    name
}

/// The number of reader threads of the log.
const READ_THREADS: usize = 1;
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
        let schema = if options.file == FILE { &SHOP } else { &LOG };
        let database = Database::new(schema, &folder, &options.file, options.max_file_bytes)
            .with_create(options.create);

        let notifier = watch::Sender::default();
        let commit_notifier = notifier.clone();
        let on_commit = move || {
            commit_notifier.send_replace(());
        };
        let writer = Writer::start(database.clone(), options.queue_capacity, on_commit).await?;
        let readers = Readers::start(&database, &writer, READ_THREADS, READ_QUEUE)?;
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

    /// Returns the parts of this log, whose records the consumer group `group` stores. They have no
    /// [sink](Self::sink) yet.
    #[must_use]
    pub fn backend(&self, group: &str) -> Backend {
        let mut backend = Backend::of_log(&*self.shared.topic, Arc::new(self.clone()));
        backend.has_local_log = true;
        backend.with_group(group)
    }

    /// Returns a new sink.
    #[must_use]
    pub fn sink(&self) -> EmbeddedSink {
        let no_group = None;
        EmbeddedSink::new(Arc::clone(&self.shared), no_group)
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
    /// Outside of a tokio runtime with time.
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
    let no_generation = None;
    connection.execute("INSERT INTO log (cluster) VALUES (?1)", [&cluster])?;
    clock::store_last_seen(connection, clock::LOG, now)?;
    Ok((cluster, no_generation))
}

/// The shared state of an open log.
#[derive(Debug)]
pub(super) struct EmbeddedLogInner {
    pub(super) options: EmbeddedLogOptions,
    pub(super) database: Database,
    /// The folder of the log's file, which also contains the lock files of groups.
    pub(super) folder: PathBuf,
    pub(super) topic: Arc<str>,
    pub(super) writer: Writer,
    /// The thread for reads, which do not delay the writes of the writer thread.
    pub(super) readers: Readers,
    /// The id of the log, which was created with its file.
    pub(super) cluster: Arc<str>,
    /// The generation of the log, which was set by the last restore of the file from a backup.
    /// `None` if the file was never restored.
    pub(super) generation: Option<Arc<str>>,
    /// Notifies the readers in this process of the commits of this process.
    pub(super) notifier: watch::Sender<()>,
}

impl EmbeddedLogInner {
    /// Creates `group` if it is missing, and checks that it feeds the store of this process.
    ///
    /// The purchases of the records before the group's position are in the store that the group has
    /// fed so far. Another store would lack them.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) if the group feeds another store; the error of a write.
    pub(super) async fn register(&self, group: &str) -> Result<()> {
        let name = group.to_owned();
        let feeds = self.options.feeds.clone();
        let fed_store = self
            .writer
            .write(move |connection| position::register_group(connection, &name, &feeds))
            .await?;
        if fed_store == self.options.feeds {
            return Ok(());
        }

        let message = format!(
            "the group feeds another store: use that store, another folder, or run `management groups forget {group}`, \
             after which it begins again at the oldest record"
        );
        Err(database_error(ErrorKind::Invalid, message)
            .with_context("feeds", fed_store)
            .with_context("file", self.database.path().display()))
    }

    /// Returns the only partition of the log, in `epoch`: the number of the turn of the consumer that
    /// reads it, or 0 for a read without a consumer.
    pub(super) fn partition(&self, epoch: u64) -> Partition {
        Partition::new(
            Arc::clone(&self.cluster),
            Arc::clone(&self.topic),
            PARTITION,
            epoch,
        )
    }

    /// Creates a waiter for commits to the log.
    pub(super) fn waiter(&self) -> Waiter {
        Waiter::new(&self.notifier)
    }
}
