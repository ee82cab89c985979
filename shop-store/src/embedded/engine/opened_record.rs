//! [`OpenedRecord`]: tells whether a file that is being opened is the one that this product wrote, by
//! the record in its lock file.
//!
//! A file that is a copy, or that another program has overwritten, is opened all the same, but its
//! pages are checked in the background. [`record_checked`] records the end of that check.
//! [`write_lock`](super::write_lock) describes the comparisons of a file that is open.

use std::fs::File;
use std::path::Path;

use rusqlite::Connection;
use shop_core::Result;

use super::error::AtPath as _;
use super::file_record::{FileRecord, LogContent};
use super::lock::{FileLock, LOCK_TIMEOUT};
use super::write_lock::{is_checkpointed_by_another_process, is_other_log};

/// What the record says about a file that is being opened.
#[derive(Debug, Clone, Copy)]
pub(in crate::embedded) struct OpenedRecord {
    overwrites: u64,
    is_checked: bool,
    log: Option<LogContent>,
}

impl OpenedRecord {
    /// Compares the file at `database` with the record in its lock file, before SQLite opens the
    /// file. The caller holds the lock of `file_lock`.
    ///
    /// A file without a record is a copy, because every process that writes to a file records it.
    /// If a file differs from its record, the returned record counts one more overwrite: another
    /// process that still has the file open must not write to it any more.
    ///
    /// # Errors
    /// The error of the file system.
    pub(in crate::embedded) fn compare(file_lock: &FileLock, database: &Path) -> Result<Self> {
        let present_file = FileRecord::from_path(database)?;
        // An empty file has no pages to check.
        let is_empty = database.metadata().is_ok_and(|file| file.len() == 0);
        let Some(record) = FileRecord::read(file_lock)? else {
            return Ok(Self {
                overwrites: 0,
                is_checked: is_empty,
                log: None,
            });
        };

        // A process that died during a checkpoint has changed the content without recording it.
        let is_same_content = record.has_open_checkpoint || record.content == present_file.content;
        if record.origin != present_file.origin || !is_same_content {
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
    /// [`check_log`](super::write_lock::WriteGuard::check_log): the disk may have lost the record of a later log in a
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
    /// # Errors
    /// The error of the file system.
    pub(in crate::embedded) fn write(
        self,
        file_lock: &FileLock,
        database: &Path,
    ) -> Result<FileRecord> {
        let record = FileRecord {
            overwrites: self.overwrites,
            is_checked: self.is_checked,
            has_open_checkpoint: is_checkpointed_by_another_process(database)?,
            log: self.log,
            ..FileRecord::from_path(database)?
        };
        let stored_record = FileRecord::read(file_lock)?;
        record.write(file_lock)?;
        if record.must_be_synced_over(stored_record.as_ref()) {
            file_lock.sync()?;
        }
        Ok(record)
    }
}

/// Records that the pages of the file at `database` were checked and are sound.
///
/// Records nothing if another program has overwritten the file since it was opened. `overwrites` is
/// the number of overwrites in the record when the file was opened.
///
/// # Errors
/// The errors of the lock and of the file system.
pub(in crate::embedded) fn record_checked(database: &Path, overwrites: u64) -> Result<()> {
    let file_lock = FileLock::open(&database.with_extension("lock"))?;
    let _file_guard = file_lock.lock(LOCK_TIMEOUT)?;
    let present_file = FileRecord::from_path(database)?;
    if let Some(record) = FileRecord::read(&file_lock)?
        && record.origin == present_file.origin
        && record.overwrites == overwrites
    {
        let checked_record = FileRecord {
            is_checked: true,
            ..record
        };
        checked_record.write(&file_lock)?;
        file_lock.sync()?;
    }
    Ok(())
}
