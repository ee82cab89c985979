//! The log: records, positions and dead letters, in a file for each topic.

mod dead_letters;
#[cfg(test)]
mod log_test;
mod position;
mod reading;
mod retention;
mod settling;
#[cfg(test)]
mod settling_test;
mod sink;
mod source;
mod walking;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Error::QueryReturnedNoRows;
use rusqlite::OptionalExtension;
use shop_core::{Clock, Result, SystemClock};
use uuid::Uuid;

use super::database::{Database, Kind};
use super::error::from_sqlite;
use super::writer::Writer;

pub use dead_letters::EmbeddedDeadLetters;
pub use sink::EmbeddedSink;
pub use source::EmbeddedSource;

/// AUTOINCREMENT: an offset is never used again, even if the newest records are deleted.
const VERSION_1: &str = "
    CREATE TABLE log (cluster TEXT NOT NULL) STRICT;
    CREATE TABLE records (
        offset INTEGER PRIMARY KEY AUTOINCREMENT,
        time INTEGER NOT NULL,
        key BLOB,
        headers BLOB NOT NULL,
        value BLOB
    ) STRICT;
    CREATE TABLE groups (
        name TEXT PRIMARY KEY,
        epoch INTEGER NOT NULL,
        next INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE dead_letters (
        topic TEXT NOT NULL,
        partition INTEGER NOT NULL,
        offset INTEGER NOT NULL,
        time INTEGER NOT NULL,
        key BLOB,
        headers BLOB NOT NULL,
        value BLOB,
        reason TEXT NOT NULL,
        detail TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        version TEXT NOT NULL,
        PRIMARY KEY (topic, partition, offset)
    ) STRICT;
";

/// What is remembered of letters that are kept no longer.
const VERSION_2: &str = "
    CREATE TABLE settled_letters (
        topic TEXT NOT NULL,
        partition INTEGER NOT NULL,
        offset INTEGER NOT NULL,
        place TEXT NOT NULL,
        purchase TEXT,
        settlement TEXT NOT NULL,
        PRIMARY KEY (offset, partition, topic)
    ) STRICT;
";

/// `Shop` and a letter, as the `file` command shows it.
const LOG: Kind = Kind {
    application_id: 0x5368_6f4c,
    migrations: &[VERSION_1, VERSION_2],
    checkpoint_pages: None,
    touch: &[
        "SELECT cluster FROM log",
        "SELECT max(offset) FROM records",
        "SELECT seq FROM sqlite_sequence",
        "SELECT next FROM groups LIMIT 1",
        "SELECT max(rowid) FROM dead_letters",
        "SELECT 1 FROM dead_letters ORDER BY topic, partition, offset LIMIT 1",
        "SELECT max(rowid) FROM settled_letters",
        "SELECT 1 FROM settled_letters ORDER BY offset, partition, topic LIMIT 1",
    ],
};

/// A log in a file: one partition, durable on the local disk, shared by the processes of one machine.
///
/// Clones share the file's writer.
#[derive(Debug, Clone)]
pub struct EmbeddedLog {
    shared: Arc<Shared>,
}

/// How an [`EmbeddedLog`] is opened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EmbeddedLogOptions {
    /// The topic that records are said to be of, `purchases` unless chosen.
    pub topic: String,
    /// The name of the topic's file without its ending, `log` unless chosen.
    pub file: String,
    /// The most records of a batch, 1,000 unless chosen.
    pub batch_records: usize,
    /// The size in bytes at which a batch is closed, 1 MiB unless chosen.
    pub batch_bytes: usize,
    /// How long records stay after every group has consumed them, 7 days unless chosen. What some group has
    /// not consumed stays for ever.
    pub retention: Duration,
    /// How often a reader looks for what other processes have written, 5 ms unless chosen. What this process
    /// writes it learns of at once.
    pub poll_interval: Duration,
    /// The most writes that may wait, 10,000 unless chosen; a further one is refused at once.
    pub queue: usize,
    /// The largest size of the file in bytes; no limit but the disk's unless chosen.
    pub max_bytes: Option<u64>,
    /// Whether folder and file are made if they are missing, and a file of an earlier version is brought to ours. They
    /// are unless chosen; else such a log is refused.
    pub create: bool,
    /// What gives records their time.
    pub clock: Arc<dyn Clock>,
}

impl Default for EmbeddedLogOptions {
    fn default() -> Self {
        Self {
            topic: "purchases".to_owned(),
            file: FILE.to_owned(),
            batch_records: 1_000,
            batch_bytes: 1 << 20,
            retention: Duration::from_secs(7 * 24 * 3_600),
            poll_interval: Duration::from_millis(5),
            queue: 10_000,
            max_bytes: None,
            create: true,
            clock: Arc::new(SystemClock),
        }
    }
}

impl EmbeddedLogOptions {
    /// Those of a topic of events, in a file of its own beside the purchases', from which nothing is ever deleted: who
    /// rebuilds what it has heard reads all of it.
    #[must_use]
    pub fn of_events(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            file: file_name(&format!("{FILE}-{topic}")),
            retention: Duration::MAX,
            ..Self::default()
        }
    }
}

/// The file of the purchases.
const FILE: &str = "log";
/// With hash and ending it is less than the 255 bytes of every file system in use.
const LONGEST_NAME: usize = 190;

/// `text` as far as it is fit for a file's name, every other byte as two hex digits behind a percent sign, and a hash at
/// the end of what would be too long.
fn file_name(text: &str) -> String {
    let mut name = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            name.push(char::from(byte));
        } else {
            // Writing into a String does not fail.
            let _infallible = write!(name, "%{byte:02x}");
        }
    }
    if name.len() > LONGEST_NAME {
        name.truncate(LONGEST_NAME);
        let hash = Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes());
        let _infallible = write!(name, "~{}", hash.simple());
    }
    name
}

#[derive(Debug)]
struct Shared {
    options: EmbeddedLogOptions,
    database: Database,
    folder: PathBuf,
    cluster: Arc<str>,
    topic: Arc<str>,
    writer: Writer,
    bell: Arc<Bell>,
}

impl EmbeddedLog {
    /// Opens the log in `folder`; makes both if they are missing, unless the options say otherwise.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) when the folder or the file cannot be used, or is missing and
    /// not to be made, [`Corrupt`](shop_core::ErrorKind::Corrupt) when the file is no log of ours, or one of a newer
    /// version.
    pub async fn open(folder: impl AsRef<Path>, options: EmbeddedLogOptions) -> Result<Self> {
        let folder = folder.as_ref().to_owned();
        let database =
            Database::new(&LOG, &folder, &options.file, options.max_bytes).creating(options.create);
        let bell = Arc::new(Bell::default());
        let ringing = Arc::clone(&bell);
        let writer = Writer::start(database.clone(), options.queue, move || ringing.ring()).await?;
        let cluster = match options.create {
            true => writer.write(cluster_id).await?,
            false => known_cluster_id(&database)?,
        };
        let cluster = cluster.into();
        let topic = options.topic.as_str().into();
        Ok(Self { shared: Arc::new(Shared { options, database, folder, cluster, topic, writer, bell }) })
    }

    /// A new writer.
    #[must_use]
    pub fn sink(&self) -> EmbeddedSink {
        EmbeddedSink::new(Arc::clone(&self.shared))
    }

    /// A new member of `group`. It reads when no other member does, in whatever process; until then it waits
    /// for its turn.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) when the files of the folder cannot be opened.
    pub fn source(&self, group: &str) -> Result<EmbeddedSource> {
        EmbeddedSource::start(&self.shared, group)
    }

    /// Completes when all that was opened of this log is gone, what it has begun has ended, and the file is
    /// closed: if nobody else has it open, it then is one file without a write-ahead log.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        self.shared.writer.ending().wait()
    }

    /// Where the log keeps its dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> EmbeddedDeadLetters {
        EmbeddedDeadLetters::new(Arc::clone(&self.shared))
    }
}

/// The id of a log that is not written into.
fn known_cluster_id(database: &Database) -> Result<String> {
    let known = find_cluster_id(&database.reader()?);
    known.and_then(|id| id.ok_or(QueryReturnedNoRows)).map_err(|error| from_sqlite(error, &database.path()))
}

fn find_cluster_id(connection: &rusqlite::Connection) -> rusqlite::Result<Option<String>> {
    connection.query_row("SELECT cluster FROM log", [], |row| row.get(0)).optional()
}

/// The id of the log, made once: it stays with the file wherever that is moved.
fn cluster_id(connection: &rusqlite::Connection) -> rusqlite::Result<String> {
    if let Some(cluster) = find_cluster_id(connection)? {
        return Ok(cluster);
    }
    let cluster = Uuid::now_v7().to_string();
    connection.execute("INSERT INTO log (cluster) VALUES (?1)", [&cluster])?;
    Ok(cluster)
}

/// Wakes the readers of this process after a commit.
#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<u64>,
    heard: Condvar,
}

impl Bell {
    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.heard.notify_all();
    }

    /// How often it was rung.
    fn count(&self) -> u64 {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it was rung more often than `known`, at most for `time`.
    fn wait(&self, known: u64, time: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        // Whether it was rung or the time is over: the caller looks for itself.
        drop(self.heard.wait_timeout_while(rung, time, |rung| *rung <= known));
    }
}
