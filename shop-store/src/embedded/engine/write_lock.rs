//! [`WriteLock`]: the lock between processes that a writer holds during each write, and the checks
//! that the files under it are still the files that this product wrote.
//!
//! | when | what is compared with the [record](FileRecord) in the lock file | if it differs |
//! |---|---|---|
//! | a process opens the file | inode and time of creation; length and modification time; the write-ahead log as below | the file is a copy, or was overwritten: its pages are checked in the background |
//! | each time that the lock is taken | length and modification time | the file was overwritten: no process that has it open writes to it any more |
//! | before a transaction or a checkpoint | length, modification time and salts of the write-ahead log | the log was overwritten: as above |
//!
//! The last two comparisons protect the purchases that would be acknowledged after a `cp` over the
//! files of a running service: the write-ahead log would still take them, and the next start would
//! read them on top of other pages. [`FileIdentity`] notices a file that was *renamed* over another
//! one, because its inode differs.
//!
//! A checkpoint changes the file, so it is recorded before it begins and after it has ended
//! ([`WriteGuard::begin_checkpoint`], [`WriteGuard::end_checkpoint`]). A process that dies in
//! between leaves the record `copying`, and the next process that takes the lock records what it
//! finds. A checkpoint without the write lock holds another lock meanwhile, so that no process
//! records what it finds too early ([`WriteLock::begin_checkpoint_beside`]).

use std::cell::Cell;
use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use shop_core::{Error, ErrorKind, Outcome, Result};

use super::checkpoint::page_counts;
use super::error::{AtPath as _, database_error};
use super::file_record::{FileRecord, LogContent};
use super::lock::{FileIdentity, FileLock, LOCK_TIMEOUT, LockGuard};

/// The lock between processes that a writer holds during each write.
///
/// SQLite's own lock is unfair: of four busy processes, one was starved to 1/5,000 of another's
/// rate.
#[derive(Debug)]
pub(in crate::embedded) struct WriteLock {
    /// The lock file. `None` before the first write of a process that must not create files in the
    /// folder.
    lock: Option<FileLock>,
    /// The path of the database file.
    database: PathBuf,
    /// The write-ahead log. SQLite takes no locks on it, so that closing it releases none.
    log: File,
    /// The identities of the database, its write-ahead log, and its shared memory, as they were
    /// opened.
    files: Vec<FileIdentity>,
    /// The number of overwrites in the record when this process began to use the file. `None`
    /// before it has read the record.
    overwrites: Option<u64>,
}

impl WriteLock {
    /// Creates the lock of the database at `database`, which SQLite has opened. `overwrites` is the
    /// number in the record, if the caller has read the record.
    ///
    /// # Errors
    /// The error of the file system, if the database or a file beside it is missing.
    pub(in crate::embedded) fn new(
        lock: Option<FileLock>,
        database: PathBuf,
        overwrites: Option<u64>,
    ) -> Result<Self> {
        let log_path = database.with_extension("db-wal");
        let log = File::open(&log_path).at(&log_path)?;
        let mut files = Vec::new();
        for extension in ["db", "db-wal", "db-shm"] {
            files.push(FileIdentity::from_path(
                &database.with_extension(extension),
            )?);
        }
        Ok(Self {
            lock,
            database,
            log,
            files,
            overwrites,
        })
    }

    /// Waits for the lock, at most for [`LOCK_TIMEOUT`]. The lock is held until the returned guard
    /// is dropped.
    ///
    /// # Errors
    /// - [`Unavailable`](ErrorKind::Unavailable) if another process holds the lock for too long, or
    ///   if the lock file, the database or a file beside it was deleted or replaced, so that a
    ///   write would be lost
    /// - the error of [`report_overwrite`](WriteGuard::report_overwrite) if the database was
    ///   overwritten
    pub(in crate::embedded) fn lock(&mut self) -> Result<WriteGuard<'_>> {
        let lock = match self.lock.take() {
            Some(lock) => lock,
            None => FileLock::open(&self.database.with_extension("lock"))?,
        };
        let guard = self.lock.insert(lock).lock(LOCK_TIMEOUT)?;
        self.files
            .iter()
            .try_for_each(FileIdentity::check_identity)?;

        let guard = WriteGuard::with_record(guard, &self.database, &self.log, self.overwrites)?;
        self.overwrites = Some(guard.known_overwrites);
        guard.check_file()?;
        Ok(guard)
    }

    /// Records that a checkpoint begins that does not hold this lock, so that other processes go
    /// on writing. The checkpoint must end before the returned lock is dropped.
    ///
    /// # Errors
    /// The errors of [`lock`](Self::lock), and the error of the file system.
    pub(in crate::embedded) fn begin_checkpoint_beside(&mut self) -> Result<Option<FileLock>> {
        let path = checkpoint_lock_path(&self.database);
        let guard = self.lock()?;
        let held = FileLock::open(&path)?.try_hold_shared()?;
        guard.begin_checkpoint()?;
        Ok(held)
    }

    /// Prepares for closing `connection`, after which SQLite copies the rest of the write-ahead log
    /// into the file if no other connection is open: records that a checkpoint begins.
    ///
    /// The log is kept, and nothing is copied, if the file was overwritten. A process that must not
    /// create the lock file records nothing.
    ///
    /// # Errors
    /// The errors of [`lock`](Self::lock), and the error of the file system.
    pub(in crate::embedded) fn prepare_close(&mut self, connection: &Connection) -> Result<()> {
        let has_lock_file = self.lock.is_some() || self.database.with_extension("lock").exists();
        if !has_lock_file {
            return Ok(());
        }

        let begun = self.lock().and_then(|guard| {
            guard.check_log(connection)?;
            guard.begin_checkpoint()
        });
        if begun.is_err() {
            keep_log_at_close(connection).at(&self.database)?;
        }
        begun
    }
}

/// Keeps SQLite from copying the write-ahead log into the file when `connection` is closed, and
/// from removing the log.
pub(in crate::embedded) fn keep_log_at_close(connection: &Connection) -> rusqlite::Result<()> {
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map(drop)
}

/// A guard that holds the lock of a [`WriteLock`], and releases it when it is dropped.
#[derive(Debug)]
pub(in crate::embedded) struct WriteGuard<'a> {
    guard: LockGuard<'a>,
    database: &'a Path,
    log: &'a File,
    /// The record in the lock file.
    record: Cell<FileRecord>,
    /// The number of overwrites when this process began to use the file.
    known_overwrites: u64,
}

impl<'a> WriteGuard<'a> {
    /// Reads the record, or writes one if there is none about this file.
    ///
    /// `known_overwrites` is the number of overwrites when this process began to use the file. If
    /// it is not known yet, it is the number in the record.
    fn with_record(
        guard: LockGuard<'a>,
        database: &'a Path,
        log: &'a File,
        known_overwrites: Option<u64>,
    ) -> Result<Self> {
        let present = FileRecord::from_path(database)?;
        let recorded = FileRecord::read(guard.file())?;
        let record = match recorded.filter(|record| record.origin == present.origin) {
            Some(record) => record,
            // The lock file is new or was emptied, or a command writes to a copy of the folder. A
            // service checks the pages when it opens the file.
            None => {
                let record = FileRecord {
                    overwrites: known_overwrites.unwrap_or_default(),
                    is_checked: false,
                    ..present
                };
                record.write(guard.file())?;
                record
            }
        };
        Ok(Self {
            guard,
            database,
            log,
            record: Cell::new(record),
            known_overwrites: known_overwrites.unwrap_or(record.overwrites),
        })
    }

    /// Returns whether another handle waits for this lock, or for the lock of another file in the
    /// folder.
    pub(in crate::embedded) fn is_awaited(&self) -> bool {
        self.guard.is_awaited()
    }

    /// Compares the database file with the record.
    ///
    /// # Errors
    /// The error of [`report_overwrite`](Self::report_overwrite) if another program has written to
    /// the file since the last checkpoint, or another process has found this; otherwise the error
    /// of the file system.
    fn check_file(&self) -> Result<()> {
        let record = self.record.get();
        if record.overwrites != self.known_overwrites {
            return Err(overwritten_error(self.database));
        }
        if record.is_copying {
            return self.end_checkpoint();
        }
        if record.content != FileRecord::from_path(self.database)?.content {
            return Err(self.report_overwrite());
        }
        Ok(())
    }

    /// Compares the write-ahead log with the record. `connection` tells how many pages the log has
    /// for SQLite.
    ///
    /// # Errors
    /// The error of [`report_overwrite`](Self::report_overwrite) if another program has overwritten
    /// the log; otherwise the error of SQLite.
    pub(in crate::embedded) fn check_log(&self, connection: &Connection) -> Result<()> {
        match self.record.get().log {
            Some(recorded_log)
                if is_other_log(&recorded_log, self.log, connection).at(self.database)? =>
            {
                Err(self.report_overwrite())
            }
            _ => Ok(()),
        }
    }

    /// Records the write-ahead log after a commit.
    ///
    /// A failure is only logged, because the commit is durable: the next check then compares the
    /// log with an earlier commit.
    pub(in crate::embedded) fn record_commit(&self) {
        let mut record = self.record.get();
        if record.log.is_some_and(|log| log.is_in(self.log)) {
            return;
        }
        record.log = LogContent::from_file(self.log);
        if let Err(error) = self.write(record) {
            tracing::warn!(error = %error.chain(), "a commit was not recorded in the lock file");
        }
    }

    /// Records that another program has overwritten the file or its write-ahead log, so that no
    /// process writes to it before the process has opened it again.
    ///
    /// Returns the error of the write, which is [`Unavailable`](ErrorKind::Unavailable).
    fn report_overwrite(&self) -> Error {
        let error = overwritten_error(self.database);
        tracing::error!(error = %error.chain(), "writes are refused");
        let recorded = FileRecord::from_path(self.database).and_then(|present| {
            self.write(FileRecord {
                overwrites: self.record.get().overwrites + 1,
                is_checked: false,
                ..present
            })?;
            self.guard.file().sync()
        });
        if let Err(failure) = recorded {
            tracing::error!(error = %failure.chain(), "an overwritten file was not recorded in the lock file");
        }
        error
    }

    /// Records that a checkpoint begins, which changes the file and may remove the log.
    ///
    /// # Errors
    /// The error of the file system. Then the checkpoint must not begin.
    pub(in crate::embedded) fn begin_checkpoint(&self) -> Result<()> {
        self.write(FileRecord {
            is_copying: true,
            log: None,
            ..self.record.get()
        })
    }

    /// Records the file and the log after a checkpoint, unless another process still copies pages
    /// without the write lock.
    ///
    /// # Errors
    /// The error of the file system. The record then stays at the state `copying`.
    pub(in crate::embedded) fn end_checkpoint(&self) -> Result<()> {
        if is_copied_beside(self.database)? {
            return Ok(());
        }
        self.write(FileRecord {
            content: FileRecord::from_path(self.database)?.content,
            log: LogContent::from_file(self.log),
            is_copying: false,
            ..self.record.get()
        })
    }

    /// Writes `record` into the lock file.
    fn write(&self, record: FileRecord) -> Result<()> {
        self.record.set(record);
        record.write(self.guard.file())
    }
}

/// Returns whether the file `log` is another write-ahead log than the `recorded` one, and
/// `connection` would read it.
fn is_other_log(
    recorded: &LogContent,
    log: &File,
    connection: &Connection,
) -> rusqlite::Result<bool> {
    if recorded.is_in(log) {
        return Ok(false);
    }
    // A process that died after its commit has not recorded it, and a failed transaction leaves
    // pages behind the last commit. If all pages are in the database file, SQLite does not read the
    // log any more.
    let (pages, copied_pages) = page_counts(connection)?;
    Ok(pages != copied_pages && !recorded.is_continued_by(log, pages))
}

/// The message of the error of a write to an overwritten file.
pub(in crate::embedded) const OVERWRITTEN: &str = "another program has overwritten this file, or its write-ahead log, while it was open: stop \
                           the services, put the right files back or restore a backup, and start the services, which \
                           check all pages";

/// Returns the error of a write to an overwritten file.
fn overwritten_error(database: &Path) -> Error {
    database_error(ErrorKind::Unavailable, OVERWRITTEN)
        .with_outcome(Outcome::NotApplied)
        .with_context("file", database.display())
}

/// Returns whether `error` is the error of a write to an overwritten file.
pub(in crate::embedded) fn is_overwritten(error: &Error) -> bool {
    error.message() == OVERWRITTEN
}

/// Returns the path of the lock that a process holds while it copies pages of the write-ahead log
/// into the file at `database` without the write lock.
fn checkpoint_lock_path(database: &Path) -> PathBuf {
    database.with_extension("checkpoint.lock")
}

/// Returns whether a process copies pages of the write-ahead log into the file at `database`
/// without the write lock.
fn is_copied_beside(database: &Path) -> Result<bool> {
    let path = checkpoint_lock_path(database);
    Ok(path.exists() && FileLock::open(&path)?.try_lock()?.is_none())
}

/// What the record says about a file that is being opened.
#[derive(Debug, Clone, Copy)]
pub(in crate::embedded) struct OpenedRecord {
    overwrites: u64,
    is_checked: bool,
    log: Option<LogContent>,
}

impl OpenedRecord {
    /// Compares the file at `database` with the record in its lock file `lock`, whose lock the
    /// caller holds, before SQLite opens the file.
    ///
    /// A file without a record is a copy, because every process that writes to a file records it.
    /// A file that differs from its record may still be open in another process, which must not
    /// write to it any more.
    pub(in crate::embedded) fn compare(lock: &FileLock, database: &Path) -> Result<Self> {
        let present = FileRecord::from_path(database)?;
        let is_empty = database.metadata().is_ok_and(|file| file.len() == 0);
        let Some(record) = FileRecord::read(lock)? else {
            return Ok(Self {
                overwrites: 0,
                is_checked: is_empty,
                log: None,
            });
        };

        let is_same_content = record.is_copying || record.content == present.content;
        if record.origin != present.origin || !is_same_content {
            return Ok(Self {
                overwrites: record.overwrites + 1,
                is_checked: is_empty,
                log: None,
            });
        }
        let log_path = database.with_extension("db-wal");
        let has_log = log_path.metadata().is_ok_and(|log| log.len() > 0);
        Ok(Self {
            overwrites: record.overwrites,
            is_checked: record.is_checked,
            log: record.log.filter(|_| has_log),
        })
    }

    /// Compares the write-ahead log of the file at `database`, which SQLite has opened as
    /// `connection`, with the record. Must be called before the connection writes.
    ///
    /// Returns the record unchanged if the log continues the recorded one. Otherwise, returns a
    /// record that counts one more overwrite and contains no log.
    ///
    /// A log that does not continue the recorded one is no error here, unlike in
    /// [`check_log`](WriteGuard::check_log): the disk may have lost the record of a later log in a
    /// power cut, because records are not synced.
    pub(in crate::embedded) fn compare_log(
        self,
        database: &Path,
        connection: &Connection,
    ) -> Result<Self> {
        let Some(recorded_log) = self.log else {
            return Ok(self);
        };
        let path = database.with_extension("db-wal");
        let log = File::open(&path).at(&path)?;
        if !is_other_log(&recorded_log, &log, connection).at(database)? {
            return Ok(self);
        }
        Ok(Self {
            overwrites: self.overwrites + 1,
            is_checked: false,
            log: None,
        })
    }

    /// Writes the record of the file at `database` as it is now, after SQLite opened it, and
    /// returns the record.
    ///
    /// The record is synced if the file is another one, or is to be checked. The disk may lose the
    /// rest, which only changes what is compared.
    pub(in crate::embedded) fn write(self, lock: &FileLock, database: &Path) -> Result<FileRecord> {
        let record = FileRecord {
            overwrites: self.overwrites,
            is_checked: self.is_checked,
            is_copying: is_copied_beside(database)?,
            log: self.log,
            ..FileRecord::from_path(database)?
        };
        let is_known = FileRecord::read(lock)?.is_some_and(|earlier| {
            let FileRecord {
                content,
                log,
                is_copying,
                ..
            } = record;
            record
                == FileRecord {
                    content,
                    log,
                    is_copying,
                    ..earlier
                }
        });

        record.write(lock)?;
        if !is_known {
            lock.sync()?;
        }
        Ok(record)
    }
}

/// Records that the pages of the file at `database` were checked and are sound, unless the file has
/// changed meanwhile by another program. `overwrites` is the number in the record when the file was
/// opened.
///
/// # Errors
/// The errors of the lock and of the file system.
pub(in crate::embedded) fn record_checked(database: &Path, overwrites: u64) -> Result<()> {
    let lock = FileLock::open(&database.with_extension("lock"))?;
    let _guard = lock.lock(LOCK_TIMEOUT)?;
    let present = FileRecord::from_path(database)?;
    if let Some(record) = FileRecord::read(&lock)?
        && record.origin == present.origin
        && record.overwrites == overwrites
    {
        let checked = FileRecord {
            is_checked: true,
            ..record
        };
        checked.write(&lock)?;
        lock.sync()?;
    }
    Ok(())
}
