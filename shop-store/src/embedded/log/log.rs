//! The log: what its ports share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::Error::QueryReturnedNoRows;
use rusqlite::OptionalExtension;
use shop_core::Result;
use shop_core::log::{DeadLetters, Log, LogAdmin, LogSource, LogWriter};
use uuid::Uuid;

use super::notifier::CommitNotifier;
use super::schema::LOG;
use super::{EmbeddedDeadLetters, EmbeddedLogOptions, EmbeddedSink, EmbeddedSource};
use crate::embedded::database::Database;
use crate::embedded::error::from_sqlite;
use crate::embedded::writer::Writer;

/// A log in a file: one partition, durable on the local disk, shared by the processes of one machine.
///
/// Clones share the file's writer.
#[derive(Debug, Clone)]
pub struct EmbeddedLog {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: EmbeddedLogOptions,
    pub(super) database: Database,
    pub(super) folder: PathBuf,
    pub(super) cluster: Arc<str>,
    pub(super) topic: Arc<str>,
    pub(super) writer: Writer,
    pub(super) notifier: Arc<CommitNotifier>,
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
            Database::new(&LOG, &folder, &options.file, options.max_file_bytes).creating(options.create);
        let notifier = Arc::new(CommitNotifier::default());
        let notifying = Arc::clone(&notifier);
        let writer =
            Writer::start(database.clone(), options.queue_capacity, move || notifying.notify()).await?;
        let cluster = match options.create {
            true => writer.write(cluster_id).await?,
            false => known_cluster_id(&database)?,
        };
        let cluster = cluster.into();
        let topic = options.topic.as_str().into();
        Ok(Self { shared: Arc::new(Shared { options, database, folder, cluster, topic, writer, notifier }) })
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
