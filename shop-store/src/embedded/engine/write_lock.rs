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
//! between leaves a record that says that a checkpoint runs. The next process that takes the lock
//! then records the file as it is. A checkpoint without the write lock holds another lock meanwhile,
//! so that no process records the file too early ([`WriteLock::begin_checkpoint_beside`]).
//!
//! [`OpenedRecord`](super::opened_record::OpenedRecord) makes the comparison when a process opens the
//! file.

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
    file_lock: Option<FileLock>,
    /// The path of the database file.
    database: PathBuf,
    /// The write-ahead log. SQLite takes no locks on it, so that closing it releases none.
    log: File,
    /// The identities of the database, its write-ahead log, and its shared memory, as they were
    /// opened.
    files: Vec<FileIdentity>,
    /// The number of overwrites in the record when this process began to use the file. `None`
    /// before this process has read the record.
    known_overwrites: Option<u64>,
}

impl WriteLock {
    /// Creates the lock of the database at `database`, which SQLite has opened. `known_overwrites`
    /// is the number of overwrites in the record, if the caller has read the record.
    ///
    /// # Errors
    /// The error of the file system, if the database or a file beside it is missing.
    pub(in crate::embedded) fn new(
        file_lock: Option<FileLock>,
        database: PathBuf,
        known_overwrites: Option<u64>,
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
            file_lock,
            database,
            log,
            files,
            known_overwrites,
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
        let opened_lock = match self.file_lock.take() {
            Some(file_lock) => file_lock,
            // The first write creates a missing lock file. If it cannot, the next write tries again.
            None => FileLock::open(&self.database.with_extension("lock"))?,
        };
        let file_guard = self.file_lock.insert(opened_lock).lock(LOCK_TIMEOUT)?;
        self.files
            .iter()
            .try_for_each(FileIdentity::check_identity)?;

        let write_guard =
            WriteGuard::with_record(file_guard, &self.database, &self.log, self.known_overwrites)?;
        // The number is kept before the file is checked. If the check reports an overwrite, it
        // raises the number in the record, and so all further writes of this process fail too.
        self.known_overwrites = Some(write_guard.known_overwrites);
        write_guard.check_file()?;
        Ok(write_guard)
    }

    /// Records that a checkpoint begins. The checkpoint does not hold this lock, so that other
    /// processes go on writing.
    ///
    /// Returns another lock, which must be held until the checkpoint has ended: while it is held, no
    /// process records the end of the checkpoint. Returns `None` if a process holds that lock
    /// exclusively.
    ///
    /// # Errors
    /// The errors of [`lock`](Self::lock), and the error of the file system.
    pub(in crate::embedded) fn begin_checkpoint_beside(&mut self) -> Result<Option<FileLock>> {
        let path = checkpoint_lock_path(&self.database);
        let guard = self.lock()?;
        let checkpoint_lock = FileLock::open(&path)?.try_hold_shared()?;
        guard.begin_checkpoint()?;
        Ok(checkpoint_lock)
    }

    /// Prepares for closing `connection`: records that a checkpoint begins, because SQLite copies
    /// the rest of the write-ahead log into the file when the last connection is closed.
    ///
    /// After an error, such as that of an overwritten file, SQLite keeps the log and copies nothing.
    /// Without a lock file, this process has written nothing, so it creates none and records
    /// nothing.
    ///
    /// # Errors
    /// The errors of [`lock`](Self::lock), and the error of the file system.
    pub(in crate::embedded) fn prepare_close(&mut self, connection: &Connection) -> Result<()> {
        let has_lock_file =
            self.file_lock.is_some() || self.database.with_extension("lock").exists();
        if !has_lock_file {
            return Ok(());
        }

        let recorded = self.lock().and_then(|guard| {
            guard.check_log(connection)?;
            guard.begin_checkpoint()
        });
        if recorded.is_err() {
            keep_log_at_close(connection).at(&self.database)?;
        }
        recorded
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
    /// The guard of the lock file.
    file_guard: LockGuard<'a>,
    database: &'a Path,
    log: &'a File,
    /// The record in the lock file.
    record: Cell<FileRecord>,
    /// The number of overwrites when this process began to use the file.
    known_overwrites: u64,
}

impl<'a> WriteGuard<'a> {
    /// Creates the guard with the record in the lock file, or writes a new record if there is none
    /// about this file.
    ///
    /// `known_overwrites` is the number of overwrites when this process began to use the file. It is
    /// `None` at the first write of the process, which takes the number from the record.
    fn with_record(
        file_guard: LockGuard<'a>,
        database: &'a Path,
        log: &'a File,
        known_overwrites: Option<u64>,
    ) -> Result<Self> {
        let present_file = FileRecord::from_path(database)?;
        let stored_record = FileRecord::read(file_guard.file())?;
        let record = match stored_record.filter(|record| record.origin == present_file.origin) {
            Some(record) => record,
            // The lock file is new or was emptied, or a command writes to a copy of the folder. A
            // service checks the pages when it opens the file.
            None => {
                let new_record = FileRecord {
                    overwrites: known_overwrites.unwrap_or_default(),
                    is_checked: false,
                    ..present_file
                };
                new_record.write(file_guard.file())?;
                new_record
            }
        };
        Ok(Self {
            file_guard,
            database,
            log,
            record: Cell::new(record),
            known_overwrites: known_overwrites.unwrap_or(record.overwrites),
        })
    }

    /// Returns whether another handle waits for this lock, or for the lock of another file in the
    /// folder.
    pub(in crate::embedded) fn is_awaited(&self) -> bool {
        self.file_guard.is_awaited()
    }

    /// Compares the database file with the record. Also records the end of a checkpoint whose
    /// process died, because the record does not say how far the checkpoint got.
    ///
    /// # Errors
    /// - the error of [`report_overwrite`](Self::report_overwrite) if another program has written
    ///   to the file since the last checkpoint. The overwrite is recorded if no process has
    ///   recorded it before
    /// - the error of the file system
    fn check_file(&self) -> Result<()> {
        let record = self.record.get();
        // Another process has recorded an overwrite since this process opened the file.
        if record.overwrites != self.known_overwrites {
            return Err(overwritten_error(self.database));
        }
        // A checkpoint was recorded and not ended, so the file rightly differs from the record.
        if record.has_open_checkpoint {
            return self.end_checkpoint();
        }
        if record.content != FileRecord::from_path(self.database)?.content {
            return Err(self.report_overwrite());
        }
        Ok(())
    }

    /// Compares the write-ahead log with the record. `connection` tells how many pages SQLite has
    /// in the log.
    ///
    /// # Errors
    /// - the error of [`report_overwrite`](Self::report_overwrite) if another program has overwritten
    ///   the log
    /// - the error of SQLite
    pub(in crate::embedded) fn check_log(&self, connection: &Connection) -> Result<()> {
        match self.record.get().log {
            Some(recorded_log)
                if is_other_log(&recorded_log, self.log, connection).at(self.database)? =>
            {
                Err(self.report_overwrite())
            }
            // The log continues the recorded one, or no log is recorded since the last checkpoint.
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
        let recorded = FileRecord::from_path(self.database).and_then(|present_file| {
            self.write(FileRecord {
                overwrites: self.record.get().overwrites + 1,
                is_checked: false,
                ..present_file
            })?;
            self.file_guard.file().sync()
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
            has_open_checkpoint: true,
            log: None,
            ..self.record.get()
        })
    }

    /// Records the end of a checkpoint, with the file and the log as they are now.
    ///
    /// Records nothing while another process runs a checkpoint without the write lock: the file still
    /// changes, and that process records the end.
    ///
    /// # Errors
    /// The error of the file system. The record then still says that a checkpoint runs.
    pub(in crate::embedded) fn end_checkpoint(&self) -> Result<()> {
        if is_checkpointed_by_another_process(self.database)? {
            return Ok(());
        }
        let present_file = FileRecord::from_path(self.database)?;
        self.write(FileRecord {
            content: present_file.content,
            log: LogContent::from_file(self.log),
            has_open_checkpoint: false,
            ..self.record.get()
        })
    }

    /// Writes `record` into the lock file.
    fn write(&self, record: FileRecord) -> Result<()> {
        self.record.set(record);
        record.write(self.file_guard.file())
    }
}

/// Returns whether the file `log` is another write-ahead log than the `recorded` one, and
/// `connection` would read it.
pub(super) fn is_other_log(
    recorded: &LogContent,
    log: &File,
    connection: &Connection,
) -> rusqlite::Result<bool> {
    if recorded.is_in(log) {
        return Ok(false);
    }
    // If all pages are in the database file, SQLite does not read the log any more.
    let (pages, copied_pages) = page_counts(connection)?;
    if pages == copied_pages {
        return Ok(false);
    }
    // A process that died after its commit has not recorded the commit, and a failed transaction
    // leaves pages behind the last commit. Such a log continues the recorded one.
    Ok(!recorded.is_continued_by(log, pages))
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

/// Returns whether another process runs a checkpoint without the write lock, so that it copies pages
/// of the write-ahead log into the file at `database` now.
pub(super) fn is_checkpointed_by_another_process(database: &Path) -> Result<bool> {
    let path = checkpoint_lock_path(database);
    Ok(path.exists() && FileLock::open(&path)?.try_lock()?.is_none())
}
