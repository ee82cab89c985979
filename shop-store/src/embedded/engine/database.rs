//! Opens a database file: checks its type and version, migrates it, and configures durability.
//!
//! A [`Database`] names a file and its options. [`Database::open_to_write`] opens the connection of
//! the writer, and [`Database::reader`] a connection of a reader. Two numbers in the header of the
//! file decide whether it can be opened: `application_id` is the type of the file, and
//! `user_version` the number of migrations that were applied to it.
//!
//! Every connection of a writer commits with `synchronous=FULL`, so a commit is on the disk when it
//! returns.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::FromSql;
use rusqlite::{Connection, OpenFlags};
use shop_core::{Error, ErrorKind, Result};

use super::error::{AtPath as _, database_error};
use super::integrity::RowsCheck;
use super::lock::{FileLock, LOCK_TIMEOUT};
use super::opened_record::OpenedRecord;
use super::permissions::{create_file, create_folder, restrict};
use super::wal;
use super::write_lock::{WriteLock, keep_log_at_close};

/// A type of database file: its tables, and how its older versions are migrated.
#[derive(Debug)]
pub struct FileSchema {
    /// SQLite's `application_id`, which identifies the type. The first three bytes are `Sho` in
    /// ASCII, because a backup leaves out the files of other programs.
    pub application_id: i32,
    /// The statements that upgrade each version to the next: the first list creates the tables. The
    /// number of migrations is the current version.
    ///
    /// A migration that a release has had is never changed, because files exist that it was applied
    /// to. New ones are appended. A program of an earlier version may have the file open meanwhile,
    /// so a change that it would not respect renames a column, and the old program fails.
    pub migrations: &'static [&'static [&'static str]],
    /// The names of the tables, separated by spaces, in one text for each part of the schema.
    pub tables: &'static [&'static str],
    /// Checks the rows of a file that this product did not write last, such as a copy.
    pub check_rows: RowsCheck,
}

impl FileSchema {
    /// Reads one row of every table and of every index, to detect a damaged file.
    ///
    /// The index of the primary key of a table `WITHOUT ROWID` is the table itself, so it is read
    /// twice.
    ///
    /// # Errors
    /// The error of SQLite, such as `SQLITE_CORRUPT`, or a missing table.
    pub(in crate::embedded) fn check(&self, connection: &Connection) -> rusqlite::Result<()> {
        for table in self.tables.iter().flat_map(|tables| tables.split(' ')) {
            let read_row = |index_clause: &str| {
                let sql = format!("SELECT 1 FROM {table} {index_clause} LIMIT 1");
                connection.prepare_cached(&sql)?.exists([]).map(drop)
            };
            read_row("NOT INDEXED")?;

            // A partial index answers only a query with the condition of the index. The pragma does
            // not list the condition, so it is cut from the statement that created the index.
            let sql = "SELECT name, (SELECT substr(sql, instr(sql, ' WHERE ')) FROM sqlite_schema
                       WHERE name = list.name AND instr(sql, ' WHERE ') > 0) FROM pragma_index_list(?1) AS list";
            let mut indexes = connection.prepare_cached(sql)?;
            for index in indexes.query_map([table], |row| row.try_into())? {
                let (index, condition): (String, Option<String>) = index?;
                read_row(&format!(
                    "INDEXED BY \"{index}\"{}",
                    condition.unwrap_or_default()
                ))?;
            }
        }
        Ok(())
    }

    /// Migrates a file from `version` to the current version, in one transaction.
    ///
    /// Version 0 is an empty file, which gets all tables. The caller must close the connection after
    /// an error.
    pub(in crate::embedded) fn migrate(
        &self,
        connection: &Connection,
        version: usize,
    ) -> rusqlite::Result<()> {
        let missing_migrations = &self.migrations[version..];
        if missing_migrations.is_empty() {
            return Ok(());
        }

        // An error leaves the transaction open. The caller then closes the connection, which rolls
        // back.
        let statements = missing_migrations.concat().concat();
        connection.execute_batch(&format!(
            "BEGIN IMMEDIATE; {statements} PRAGMA application_id = {}; PRAGMA user_version = {}; COMMIT",
            self.application_id,
            self.migrations.len(),
        ))
    }
}

/// A database file that was opened for writing.
#[derive(Debug)]
pub(in crate::embedded) struct OpenedDatabase {
    pub(in crate::embedded) connection: Connection,
    pub(in crate::embedded) write_lock: WriteLock,
    /// The number of overwrites in the record of the file, if the file is not the one that this
    /// product wrote last, such as a copy, and its pages must be checked.
    pub(in crate::embedded) unchecked_overwrites: Option<u64>,
}

/// A database file in the data folder.
#[derive(Debug, Clone)]
pub(in crate::embedded) struct Database {
    pub(in crate::embedded) schema: &'static FileSchema,
    folder: PathBuf,
    /// The name of the file without its extension.
    file_stem: String,
    /// The maximum size of the file in bytes.
    max_file_bytes: Option<u64>,
    /// Whether a missing folder and file are created, and an older file is migrated.
    create: bool,
}

/// SQLite's busy timeout: the maximum time that a statement waits for a lock of another program,
/// such as the sqlite3 tool.
///
/// The processes of this product take turns with the lock file, so they do not wait here. The
/// timeout is shorter than the timeouts of the callers.
pub(in crate::embedded) const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// The size in bytes to which a grown write-ahead log is truncated.
const WAL_BYTES: i64 = 8 << 20;

/// The size of a writer's page cache in KiB. Each purchase changes one leaf page for its buyer, so
/// the writer needs many pages again. Readers keep SQLite's default of 2,000 KiB.
const CACHE_KIB: i64 = 16_000;

impl Database {
    /// Names the file `{file_stem}.db` in `folder`. Opens nothing.
    pub(in crate::embedded) fn new(
        schema: &'static FileSchema,
        folder: &Path,
        file_stem: &str,
        max_file_bytes: Option<u64>,
    ) -> Self {
        Self {
            schema,
            folder: folder.to_owned(),
            file_stem: file_stem.to_owned(),
            max_file_bytes,
            create: true,
        }
    }

    /// Sets whether a missing folder and file are created and an older file is migrated (default
    /// true).
    pub(in crate::embedded) fn with_create(self, create: bool) -> Self {
        Self { create, ..self }
    }

    /// Returns the path of the database file.
    pub(in crate::embedded) fn path(&self) -> PathBuf {
        self.file("db")
    }

    /// Returns the path of the file with this suffix: `db`, `db-wal`, `db-shm` or `lock`.
    pub(in crate::embedded) fn file(&self, suffix: &str) -> PathBuf {
        self.folder.join(format!("{}.{suffix}", self.file_stem))
    }

    /// Returns whether the write lock can be taken without creating a lock file in a folder that
    /// must not change.
    ///
    /// A service, which creates missing files, creates the lock file on its first start.
    pub(in crate::embedded) fn may_open_lock_file(&self) -> bool {
        self.create || self.file("lock").exists()
    }

    /// Opens the file for writing. Creates a missing folder and file, and migrates the file to the
    /// current version.
    ///
    /// Without [`create`](Self::with_create), a missing or older file is an error, and the file is
    /// not modified before the first write.
    ///
    /// The steps, in this order: lock the file, refuse a layout or a log that SQLite would
    /// overwrite, create the file, compare it with its record, check the write-ahead log for
    /// damage, check type and version, compare the log with the record, configure, migrate, record
    /// the file.
    ///
    /// # Errors
    /// - [`Corrupt`](ErrorKind::Corrupt) if the file or its log is damaged, belongs to another
    ///   program, or is of a version that cannot be opened
    /// - [`Unavailable`](ErrorKind::Unavailable) if there is no file, it cannot be used, or it
    ///   stays locked
    pub(in crate::embedded) fn open_to_write(&self) -> Result<OpenedDatabase> {
        let path = self.path();
        // Without `create`, the folder must not change, so the lock file is opened only with the
        // first write.
        let file_lock = self.create.then(|| self.create_folder()).transpose()?;
        let file_guard = file_lock
            .as_ref()
            .map(|file_lock| file_lock.lock(LOCK_TIMEOUT))
            .transpose()?;

        self.check_missing_file()?;
        if self.create {
            create_file(&path).at(&path)?;
        } else if !path.try_exists().at(&path)? {
            return Err(self.not_found_error());
        }

        // The record is compared before SQLite opens the file, which may change it.
        let opened_record = file_lock
            .as_ref()
            .map(|file_lock| OpenedRecord::compare(file_lock, &path))
            .transpose()?;

        // The log is checked before SQLite opens it, because SQLite overwrites the frames that it
        // cannot read.
        if self.create {
            wal::check_log(&self.file("db-wal"))?;
        } else {
            wal::check_idle(&path)?;
        }
        let connection = self.open()?;

        // The file is inspected before any change, because a file of another program must stay
        // unmodified.
        let (is_new, version) = self.inspect(&connection)?;
        if self.create {
            ["db", "db-wal", "db-shm"]
                .iter()
                .for_each(|suffix| restrict(&self.file(suffix)));
        } else {
            self.check_present_version(is_new, version)?;
        }

        let opened_record = opened_record
            .map(|record| record.compare_log(&path, &connection))
            .transpose()?;

        self.with_path(configure(&connection, is_new))?;
        self.require_wal(&connection)?;

        self.migrate(&connection, version)?;
        self.limit_size(&connection)?;

        // Reading the file once more makes SQLite create the log and the shared memory beside it,
        // whose identities are read below.
        self.inspect(&connection)?;
        let mut known_overwrites = None;
        let mut unchecked_overwrites = None;
        if let (Some(opened_record), Some(file_lock)) = (opened_record, &file_lock) {
            let record = opened_record.write(file_lock, &path)?;
            known_overwrites = Some(record.overwrites);
            unchecked_overwrites = known_overwrites.filter(|_| !record.is_checked);
        }
        drop(file_guard);

        Ok(OpenedDatabase {
            connection,
            write_lock: WriteLock::new(file_lock, path, known_overwrites)?,
            unchecked_overwrites,
        })
    }

    /// Checks that a file which must not be created is there, and is of the present version.
    ///
    /// # Errors
    /// - [`Unavailable`](ErrorKind::Unavailable) if the file `is_new`: it contains no tables
    /// - [`Corrupt`](ErrorKind::Corrupt) if `version` is an earlier one
    fn check_present_version(&self, is_new: bool, version: usize) -> Result<()> {
        if is_new {
            return Err(self.not_found_error());
        }
        if version < self.schema.migrations.len() {
            let message = "the file was written by an earlier version of this program: start a service of this \
                           version on it first, which migrates it for good, or use that version for an old copy";
            return Err(self
                .corrupt_error(message)
                .with_context("file_version", version));
        }
        Ok(())
    }

    /// Migrates the file from `version` to the present version, and logs the migration of a file that
    /// is not new.
    fn migrate(&self, connection: &Connection, version: usize) -> Result<()> {
        let current_version = self.schema.migrations.len();
        if (1..current_version).contains(&version) {
            tracing::info!(
                file = %self.path().display(),
                from = version,
                to = current_version,
                "migrating the file of an earlier version"
            );
        }
        self.with_path(self.schema.migrate(connection, version))
    }

    /// If the file is missing, checks that it may be created.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) if the folder contains the write-ahead log of the missing
    /// file.
    fn check_missing_file(&self) -> Result<()> {
        let path = self.path();
        // The log may hold everything that the missing file contained, and SQLite would overwrite
        // the log for a new file. The file is looked for again, because a service may have created
        // it meanwhile.
        let log = self.file("db-wal");
        if !path.exists() && log.metadata().is_ok_and(|metadata| metadata.len() > 0) {
            let message = "the write-ahead log is there without its file: put the file back, or move the log away";
            return Err(self
                .corrupt_error(message)
                .with_context("wal", log.display()));
        }
        Ok(())
    }

    /// Creates a missing folder and lock file, and opens the lock file.
    fn create_folder(&self) -> Result<FileLock> {
        create_folder(&self.folder).at(&self.folder)?;
        FileLock::open(&self.file("lock"))
    }

    /// Rewrites the file without its unused parts, which may still contain copies of erased rows.
    ///
    /// Blocks the writers of all processes meanwhile. Readers go on.
    ///
    /// # Errors
    /// The errors of [`open_to_write`](Self::open_to_write), and
    /// [`Overloaded`](ErrorKind::Overloaded) if a write takes too long.
    pub(in crate::embedded) fn vacuum(&self) -> Result<()> {
        let OpenedDatabase {
            connection,
            mut write_lock,
            ..
        } = self.open_to_write()?;
        // The end of the checkpoint is not recorded, because SQLite may copy the rest of the log when
        // the connection is closed. The next process that takes the lock records it.
        write_lock.prepare_close(&connection)?;
        let guard = write_lock.lock()?;
        guard.begin_checkpoint()?;
        self.keep_temporary_files(&connection)?;
        // The checkpoint writes the pages of the new file over the old pages. If a reader keeps it
        // from doing so, a later checkpoint writes the pages.
        self.with_path(connection.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)"))
    }

    /// Makes a connection keep its temporary files, such as the new file of a `VACUUM`, in the data
    /// folder. The rest of the file system may be read-only or smaller.
    ///
    /// The pragma is deprecated, but the alternative is an environment variable, which applies to
    /// the whole process.
    fn keep_temporary_files(&self, connection: &Connection) -> Result<()> {
        let folder = self.folder.to_string_lossy();
        self.with_path(connection.pragma_update(None, "temp_store_directory", folder))
    }

    /// Returns the error of a missing or empty file that must not be created.
    fn not_found_error(&self) -> Error {
        database_error(
            ErrorKind::Unavailable,
            "there is nothing here: name the folder that the services use",
        )
        .with_context("missing", self.path().display())
    }

    /// Limits the size of the file to `max_file_bytes`, if it is set. The limit applies to the
    /// connection and is not stored in the file.
    fn limit_size(&self, connection: &Connection) -> Result<()> {
        let Some(bytes) = self.max_file_bytes else {
            return Ok(());
        };
        let page_size: u32 = self.with_path(read_pragma(connection, "page_size"))?;
        let max_pages = i64::try_from(bytes / u64::from(page_size)).unwrap_or(i64::MAX);
        self.with_path(connection.pragma_update(None, "max_page_count", max_pages))
    }

    /// Opens a connection that refuses to write, for a reader. The file must exist.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if the file does not use a write-ahead log, or the
    /// error of SQLite.
    pub(in crate::embedded) fn reader(&self) -> Result<Connection> {
        let connection = self.open()?;
        self.require_wal(&connection)?;
        self.with_path(connection.pragma_update(None, "query_only", true))?;
        Ok(connection)
    }

    /// Opens a connection with the settings that readers and writers share. Creates no file.
    fn open(&self) -> Result<Connection> {
        // Not SQLITE_OPEN_READ_ONLY: the last connection to close must be able to remove the
        // write-ahead log. Every connection is used by a single thread, so SQLite needs no mutex.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(self.path(), flags);
        self.with_path(opened.and_then(|connection| {
            // The timeout is set first, so that all later statements wait for locks instead of
            // failing.
            connection.busy_timeout(BUSY_TIMEOUT)?;
            // Each cached statement is compiled once. A writer uses 48 statements for the insertion
            // of rows alone.
            connection.set_prepared_statement_cache_capacity(128);
            // With this setting, plans do not depend on bound values such as a limit. Without it,
            // SQLite would compile a cached statement again on each run.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
            Ok(connection)
        }))
    }

    /// Returns whether the file is a new, empty database, and the version of the file. Changes nothing.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt) if the file belongs to another program, or a newer version
    /// of this program wrote it.
    fn inspect(&self, connection: &Connection) -> Result<(bool, usize)> {
        let read_number = |name| self.with_path(read_pragma::<i32>(connection, name));
        let application_id = read_number("application_id")?;
        let version = read_number("user_version")?;
        let is_new = application_id == 0 && version == 0 && read_number("schema_version")? == 0;

        if !is_new && application_id != self.schema.application_id {
            let message =
                "the file is another program's database: move it, or set another data folder";
            return Err(self
                .corrupt_error(message)
                .with_context("application_id", application_id));
        }

        let current_version = self.schema.migrations.len();
        // A negative version, which no release has written, counts as 0.
        let version = usize::try_from(version).unwrap_or_default();
        if version > current_version {
            let message = "the file was written by a newer version of this program, and is never migrated back: use \
                           that version or a later one, or restore a copy from before the upgrade";
            return Err(self
                .corrupt_error(message)
                .with_context("file_version", version)
                .with_context("known", current_version));
        }
        Ok((is_new, version))
    }

    /// Checks that the file uses a write-ahead log, which a file system without shared memory does
    /// not support.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if it does not.
    fn require_wal(&self, connection: &Connection) -> Result<()> {
        let mode: String = self.with_path(read_pragma(connection, "journal_mode"))?;
        if mode == "wal" {
            return Ok(());
        }
        Err(database_error(
            ErrorKind::Unavailable,
            "the file system does not support a write-ahead log: use a local disk",
        )
        .with_context("file", self.path().display()))
    }

    /// Adds the path of this file to an error of SQLite.
    fn with_path<T>(&self, result: rusqlite::Result<T>) -> Result<T> {
        result.at(&self.path())
    }

    /// Returns an error of the kind [`Corrupt`](ErrorKind::Corrupt) about this file.
    fn corrupt_error(&self, message: &str) -> Error {
        database_error(ErrorKind::Corrupt, message).with_context("file", self.path().display())
    }
}

/// Opens a connection to the file at `path` that refuses to write, after a check of its write-ahead
/// log.
///
/// If no service runs, this may be the last connection to be closed. A write-ahead log with content
/// is kept nevertheless, because copying it would change the file without a record of it.
///
/// # Errors
/// [`Corrupt`](ErrorKind::Corrupt) if the write-ahead log is damaged, or the error of SQLite.
pub(in crate::embedded) fn open_to_read(path: &Path) -> Result<Connection> {
    wal::check_idle(path)?;
    let log = path.with_extension("db-wal");
    let has_log = log.metadata().is_ok_and(|log| log.len() > 0);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "query_only", true)?;
        if has_log {
            keep_log_at_close(&connection)?;
        }
        Ok(connection)
    });
    opened.at(path)
}

/// Returns the value of a pragma.
pub(in crate::embedded) fn read_pragma<T: FromSql>(
    connection: &Connection,
    name: &str,
) -> rusqlite::Result<T> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

/// The maximum number of free pages that [`free_pages`] returns to the file system after one slice
/// of deletions.
const MAX_FREED_PAGES: i64 = 256;

/// Returns up to [`MAX_FREED_PAGES`] free pages of the file to the file system, which makes the
/// file shorter.
pub(in crate::embedded) fn free_pages(connection: &Connection) -> rusqlite::Result<()> {
    // The pragma frees one page with each step of its statement, so it must be stepped to its end.
    let mut vacuum =
        connection.prepare_cached(&format!("PRAGMA incremental_vacuum({MAX_FREED_PAGES})"))?;
    let mut pages = vacuum.query([])?;
    while pages.next()?.is_some() {}
    Ok(())
}

/// Configures the connection of a writer. Most of these settings are not stored in the file, so
/// each connection sets them.
fn configure(connection: &Connection, is_new: bool) -> rusqlite::Result<()> {
    if is_new {
        // These settings take effect only in an empty file, before the switch to the write-ahead
        // log.
        connection.pragma_update(None, "page_size", wal::PAGE_BYTES)?;
        connection.pragma_update(None, "auto_vacuum", "incremental")?;
    }
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "full")?;
    // Deleted content is overwritten with zeros, so that erased data is not in the file any more.
    connection.pragma_update_and_check(None, "secure_delete", true, |_| Ok(()))?;
    // The writer thread decides itself when the log is copied into the file.
    connection.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES)
}
