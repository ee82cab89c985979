//! Opening a database file: ours, of a version that we know, and set up to be durable.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension};
use shop_core::{Error, ErrorKind, Result};

use super::error::{database_error, from_io, from_sqlite};
use super::lock::{FileLock, Identity, LockGuard};

/// One of our kinds of database file.
#[derive(Debug)]
pub(super) struct Kind {
    /// What tells our files from others: SQLite's `application_id`.
    pub(super) application_id: i32,
    /// What makes each version from the one before; as many as the version's number.
    pub(super) migrations: &'static [&'static str],
    /// A checkpoint, which keeps the next commit waiting, comes when so many pages stand in the write-ahead log. At
    /// SQLite's own 1,000 unless given.
    pub(super) checkpoint_pages: Option<u32>,
    /// Reads a row of every table and every index, which takes microseconds: what finds out that the file is damaged.
    pub(super) touch: &'static [&'static str],
}

impl Kind {
    /// Reads where each table and each index begins.
    pub(super) fn touch(&self, connection: &Connection) -> rusqlite::Result<()> {
        for query in self.touch {
            connection.prepare_cached(query)?.query_row([], |_| Ok(())).optional()?;
        }
        Ok(())
    }
}

/// A file of some kind in the data folder.
#[derive(Debug, Clone)]
pub(super) struct Database {
    kind: &'static Kind,
    folder: PathBuf,
    /// The file's name without its ending.
    name: String,
    /// The largest size that the file may have, in bytes.
    max_file_bytes: Option<u64>,
    /// Whether folder and file are made if they are missing.
    create: bool,
}

/// How long SQLite waits for a lock that a program which is not ours may hold: less than anybody waits for an
/// answer. Among our own processes the lock file sees to it that nobody waits here.
const BUSY: Duration = Duration::from_secs(1);
/// A write-ahead log that has grown is cut back to this size.
const WAL_BYTES: i64 = 64 << 20;

/// What a file says of itself.
#[derive(Debug)]
struct Found {
    is_new: bool,
    version: usize,
}

impl Database {
    pub(super) fn new(kind: &'static Kind, folder: &Path, name: &str, max_bytes: Option<u64>) -> Self {
        Self {
            kind,
            folder: folder.to_owned(),
            name: name.to_owned(),
            max_file_bytes: max_bytes,
            create: true,
        }
    }

    /// Whether folder and file are made if they are missing, and the file is brought to our version. They are unless
    /// chosen.
    pub(super) fn creating(self, create: bool) -> Self {
        Self { create, ..self }
    }

    pub(super) const fn kind(&self) -> &'static Kind {
        self.kind
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.join(format!("{}.db", self.name))
    }

    fn lock_path(&self) -> PathBuf {
        self.folder.join(format!("{}.lock", self.name))
    }

    /// Whether a turn to write can be had without making the lock file: it is there as soon as a service was.
    pub(super) fn has_lock(&self) -> bool {
        self.create || self.lock_path().exists()
    }

    /// Opens the file to write. What is missing is made or refused, see `creating`.
    pub(super) fn open_to_write(&self) -> Result<(Connection, WriteLock)> {
        if self.create { self.create() } else { self.open_existing() }
    }

    /// Opens a file of our version. Nothing is made, and nothing of the file changed, before the first write.
    fn open_existing(&self) -> Result<(Connection, WriteLock)> {
        let path = self.path();
        if !path.try_exists().map_err(|error| from_io(error, &path))? {
            return Err(self.nothing_there());
        }
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let found = self.inspect(&connection)?;
        if found.is_new {
            return Err(self.nothing_there());
        }
        if found.version < self.kind.migrations.len() {
            let message = "the file was written by an earlier version of this program: start a service of this \
                           version on it first";
            return Err(self.refused(message).with_context("file_version", found.version));
        }
        self.sqlite(set_up(&connection, &found, self.kind.checkpoint_pages))?;
        self.demand_wal(&connection)?;
        self.limit_size(&connection)?;
        Ok((connection, WriteLock { lock: None, path: self.lock_path(), file: Identity::from_path(&path)? }))
    }

    fn nothing_there(&self) -> Error {
        database_error(ErrorKind::Unavailable, "there is nothing here: name the folder that the services use")
            .with_context("missing", self.path().display())
    }

    /// Makes folder and file if they are missing, and brings the file to our version.
    fn create(&self) -> Result<(Connection, WriteLock)> {
        make_folder(&self.folder).map_err(|error| from_io(error, &self.folder))?;
        let lock = FileLock::open(&self.lock_path())?;
        let turn = lock.turn()?;
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        // Looked at before anything is changed: another program's file stays as it is.
        let found = self.inspect(&connection)?;
        self.sqlite(set_up(&connection, &found, self.kind.checkpoint_pages))?;
        self.demand_wal(&connection)?;
        self.sqlite(self.migrate(&connection, found.version))?;
        self.limit_size(&connection)?;
        drop(turn);
        let file = Identity::from_path(&self.path())?;
        Ok((connection, WriteLock { lock: Some(lock), path: self.lock_path(), file }))
    }

    /// The limit belongs to the connection: nothing of the file is changed.
    fn limit_size(&self, connection: &Connection) -> Result<()> {
        let Some(bytes) = self.max_file_bytes else { return Ok(()) };
        let page = connection.pragma_query_value(None, "page_size", |row| row.get::<_, u32>(0));
        let pages = i64::try_from(bytes / u64::from(self.sqlite(page)?)).unwrap_or(i64::MAX);
        self.sqlite(connection.pragma_update(None, "max_page_count", pages))
    }

    /// Another connection, which only reads. The file must be there.
    pub(super) fn reader(&self) -> Result<Connection> {
        // Not SQLITE_OPEN_READ_ONLY: the last reader to leave must be able to clean up the write-ahead log.
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        self.demand_wal(&connection)?;
        self.sqlite(connection.pragma_update(None, "query_only", true))?;
        Ok(connection)
    }

    fn open(&self, flags: OpenFlags) -> Result<Connection> {
        // Every connection stays with one thread, so SQLite needs no mutex of its own.
        let opened = Connection::open_with_flags(self.path(), flags | OpenFlags::SQLITE_OPEN_NO_MUTEX);
        self.sqlite(opened.and_then(|connection| {
            // First of all, so that everything after it waits for locks instead of failing.
            connection.busy_timeout(BUSY)?;
            connection.set_prepared_statement_cache_capacity(32);
            Ok(connection)
        }))
    }

    fn inspect(&self, connection: &Connection) -> Result<Found> {
        let number = |pragma: &str| {
            self.sqlite(connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0)))
        };
        let (application, version) = (number("application_id")?, number("user_version")?);
        let is_new = application == 0 && version == 0 && number("schema_version")? == 0;
        if !is_new && application != self.kind.application_id {
            let message =
                "the file is another program's database: move it away, or choose another data folder";
            return Err(self.refused(message).with_context("application_id", application));
        }
        let (known, version) = (self.kind.migrations.len(), usize::try_from(version).unwrap_or_default());
        if version > known {
            let message =
                "the file was written by a newer version of this program: use that version or a later one";
            return Err(self
                .refused(message)
                .with_context("file_version", version)
                .with_context("known", known));
        }
        Ok(Found { is_new, version })
    }

    fn demand_wal(&self, connection: &Connection) -> Result<()> {
        let mode = connection.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0));
        if self.sqlite(mode)? == "wal" {
            return Ok(());
        }
        Err(database_error(
            ErrorKind::Unavailable,
            "the file system has no write-ahead log: use a local disk",
        )
        .with_context("file", self.path().display()))
    }

    fn migrate(&self, connection: &Connection, version: usize) -> rusqlite::Result<()> {
        let missing = &self.kind.migrations[version..];
        if missing.is_empty() {
            return Ok(());
        }
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {} PRAGMA application_id = {}; PRAGMA user_version = {}; COMMIT;",
            missing.concat(),
            self.kind.application_id,
            self.kind.migrations.len(),
        ))
    }

    fn sqlite<T>(&self, result: rusqlite::Result<T>) -> Result<T> {
        result.map_err(|error| from_sqlite(error, &self.path()))
    }

    fn refused(&self, message: &str) -> Error {
        database_error(ErrorKind::Corrupt, message).with_context("file", self.path().display())
    }
}

/// Makes `folder`, and sees to it that it is still there after a power cut.
fn make_folder(folder: &Path) -> std::io::Result<()> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<&Path> = folder.ancestors().take_while(is_missing).collect();
    fs::create_dir_all(folder)?;
    for made in missing {
        let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

/// What must be as we need it, whoever has changed it.
fn set_up(connection: &Connection, found: &Found, checkpoint_pages: Option<u32>) -> rusqlite::Result<()> {
    if found.is_new {
        // Of effect only in a file that is still empty, which the write-ahead log ends.
        connection.pragma_update(None, "auto_vacuum", "incremental")?;
    }
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")?;
    if let Some(pages) = checkpoint_pages {
        connection.pragma_update_and_check(None, "wal_autocheckpoint", pages, |_| Ok(()))?;
    }
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES)
}

/// The lock that processes take in turns around each write. SQLite's own waiting is unfair: of four busy
/// processes one was starved to a five-thousandth of another's rate.
#[derive(Debug)]
pub(super) struct WriteLock {
    /// Opened with the first turn, unless it was before: a reader makes no lock file.
    lock: Option<FileLock>,
    path: PathBuf,
    file: Identity,
}

impl WriteLock {
    /// Waits for this process's turn, which lasts as long as the answer lives.
    ///
    /// # Errors
    /// When lock or file was deleted or replaced: what is written then, nobody will find.
    pub(super) fn turn(&mut self) -> Result<LockGuard<'_>> {
        let lock = match self.lock.take() {
            Some(lock) => lock,
            None => FileLock::open(&self.path)?,
        };
        let turn = self.lock.insert(lock).turn()?;
        self.file.check_identity()?;
        Ok(turn)
    }
}
