//! The write-ahead log of a database file: when it is copied into the file, and how errors of the
//! disk are repaired.
//!
//! SQLite appends each commit to the log `*.db-wal`. A *checkpoint* copies the pages of the log
//! into the file, after which the log is overwritten from its beginning. The writer thread decides
//! when:
//!
//! | state of the log | what the writer does | function |
//! |---|---|---|
//! | long, or the disk is nearly full | copies the log into the file | `due_checkpoint_mode`, `copy_pages` |
//! | perhaps not on the disk | writes the log again, before the next commit | `mark_unsynced`, `rewrite` |
//! | torn: the disk may have pages only in a part that SQLite will not copy again | writes all pages again | `mark_torn`, `repair` |
//! | longer than its commits, on a full disk | cuts the log, and copies it | `make_room` |

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::ffi::{Error as Code, SQLITE_IOERR_SHORT_READ};
use rusqlite::wal::CheckpointMode::{self, NOOP, RESTART, TRUNCATE};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use rustix::fs::statvfs;

use super::database::{BUSY_TIMEOUT, read_pragma};
use super::error::is_failed_sync;
use super::wal::{PAGE_BYTES, log_bytes};

/// The length of the log, in pages, at which the log is copied: 4 MB. A longer log saves writes of
/// pages that change often, but takes a large part of a small disk, and is written again after an
/// error.
const CHECKPOINT_PAGES: u32 = 1_000;
/// The maximum length of the log, in pages, while a large batch is written and no other write
/// waits: 512 MB.
const MAX_BULK_PAGES: u64 = 131_072;
/// The divisor of the file's length that gives the maximum length of the log during a large batch:
/// half of the file.
const BULK_DIVISOR: u64 = 2;
/// The number of bytes that [`WriteAheadLog::rewrite`] reads and writes at once.
const CHUNK_BYTES: usize = 1 << 20;
/// The divisor of the free disk space: the log is copied when it is larger than a quarter of the
/// free space. Then the file can still grow by all pages of the log, and the files of other logs
/// can grow too.
const FREE_SPACE_DIVISOR: u64 = 4;
/// The maximum time that a copy waits for readers of the log.
const READERS_TIMEOUT: Duration = Duration::from_millis(100);

/// The write-ahead log of one file, as the writer of this process sees it.
pub(in crate::embedded) struct WriteAheadLog {
    path: PathBuf,
    /// Whether everything that can be read from the log is on the disk, not only in the memory of
    /// the kernel.
    is_on_disk: bool,
    /// Whether some pages may be on the disk only in the log, in a part that SQLite will not copy
    /// again.
    is_torn: bool,
    /// The length in pages at which the log is copied next. It grows while a reader keeps the log
    /// from being copied.
    next_checkpoint_pages: u32,
}

/// The kind of writes around a commit, which decides how long the log may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::embedded) enum Load {
    /// No large batch, only small writes.
    Small,
    /// A large batch, while no other write waits.
    Bulk,
    /// A large batch, beside other writes that must not wait long.
    Contended,
}

impl WriteAheadLog {
    /// Returns the state of the log at `path` after a start. It is unknown whether the log is on
    /// the disk, so the first transaction writes it again.
    pub(in crate::embedded) const fn new(path: PathBuf) -> Self {
        Self {
            path,
            is_on_disk: false,
            is_torn: false,
            next_checkpoint_pages: CHECKPOINT_PAGES,
        }
    }

    /// Writes the content of the log again and syncs it, unless all of it is known to be on the
    /// disk. Must be called within a write transaction.
    ///
    /// SQLite appends to everything that it can read, and the kernel may serve a read from memory:
    /// another process may have ended before its sync, and after a failed sync Linux keeps pages in
    /// memory as if they were written. A commit behind such pages would be acknowledged and then
    /// lost by a power cut.
    ///
    /// # Errors
    /// The error of the file system. The next call writes the log again.
    pub(in crate::embedded) fn rewrite(&mut self) -> io::Result<()> {
        if self.is_on_disk {
            return Ok(());
        }

        // POSIX locks of a process are released when it closes any handle to the file. SQLite takes
        // no locks on this file, so none is lost here.
        let file = File::options().read(true).write(true).open(&self.path)?;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut offset = 0;
        loop {
            let length = file.read_at(&mut chunk, offset)?;
            if length == 0 {
                break;
            }
            file.write_all_at(&chunk[..length], offset)?;
            offset += length as u64;
        }

        file.sync_data()?;
        self.is_on_disk = true;
        Ok(())
    }

    /// Records that a write failed, so that the next transaction [writes the log
    /// again](Self::rewrite).
    pub(in crate::embedded) const fn mark_unsynced(&mut self) {
        self.is_on_disk = false;
    }

    /// Records that the log is torn: a copy failed after an earlier copy whose pages were not
    /// synced.
    ///
    /// SQLite believes that the earlier pages are in the file, but on the disk they may be only in
    /// the log. Until all pages are [written again](Self::repair), the log must stay when the file
    /// is closed. Then the next process that opens the file copies the log from its beginning.
    fn mark_torn(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.is_torn = true;
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .map(drop)
    }

    /// Returns the number of pages in the log, and the number of these pages that are copied into
    /// the file.
    ///
    /// # Errors
    /// `SQLITE_IOERR_SHORT_READ` if the file of the log is shorter than its pages, because another
    /// program cut it. Then the log must never be copied, since the file would get only some of the
    /// pages. After this error, SQLite does not copy the log when the connection is closed either.
    fn checked_page_counts(&self, connection: &Connection) -> rusqlite::Result<(u32, u32)> {
        let (pages, copied) = page_counts(connection)?;
        // A missing file counts as an empty one.
        let file_bytes = fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        if pages == 0 || log_bytes(pages) <= file_bytes {
            return Ok((pages, copied));
        }

        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let message = "another program has cut the write-ahead log: restart this program";
        Err(rusqlite::Error::SqliteFailure(
            Code::new(SQLITE_IOERR_SHORT_READ),
            Some(message.to_owned()),
        ))
    }

    /// Checks the length of the log, and repairs a [torn](Self::mark_torn) log: a `VACUUM` writes
    /// all pages of the file to the log again.
    ///
    /// The write lock must be held.
    ///
    /// # Errors
    /// The error of SQLite, or `SQLITE_IOERR_SHORT_READ` if another program cut the log.
    pub(in crate::embedded) fn repair(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.checked_page_counts(connection)?;
        if self.is_torn {
            connection.execute_batch("VACUUM")?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
            self.is_torn = false;
        }
        Ok(())
    }

    /// Returns the mode in which the log must be copied now, or `None` if it need not be copied.
    ///
    /// The log is copied when it is long, and also truncated when the disk is nearly full. How long
    /// it may become depends on `load`:
    ///
    /// - During a large batch alone, the log may be longer, because a page that changes with each
    ///   part is copied only once.
    /// - During a large batch beside other writes, the limit is lower. So the process with the
    ///   batch copies the log before the other processes reach their limit, and their small writes
    ///   do not wait for a copy of their own.
    pub(in crate::embedded) fn due_checkpoint_mode(
        &self,
        connection: &Connection,
        load: Load,
    ) -> rusqlite::Result<Option<CheckpointMode>> {
        let (pages, copied) = page_counts(connection)?;
        if pages == copied {
            return Ok(None);
        }

        // If the free space is unknown, only the length of the log counts.
        let disk = self.path.parent().and_then(|folder| statvfs(folder).ok());
        let free_bytes = disk.map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        if log_bytes(pages) > free_bytes / FREE_SPACE_DIVISOR {
            return Ok(Some(TRUNCATE));
        }

        let max_pages = match load {
            Load::Small => self.next_checkpoint_pages,
            Load::Bulk => self.next_checkpoint_pages.max(self.max_bulk_pages()),
            Load::Contended => self.next_checkpoint_pages - CHECKPOINT_PAGES / 2,
        };
        Ok((pages >= max_pages).then_some(RESTART))
    }

    /// Returns the length in pages at which the log is copied while a large batch is written: half
    /// of the file, at most [`MAX_BULK_PAGES`].
    fn max_bulk_pages(&self) -> u32 {
        let database_path = self.path.with_extension("db");
        // A length that cannot be read counts as 0, so the limit of small writes is in effect.
        let file_bytes = fs::metadata(database_path).map_or(0, |metadata| metadata.len());
        let pages = file_bytes / u64::from(PAGE_BYTES) / BULK_DIVISOR;
        u32::try_from(pages.min(MAX_BULK_PAGES)).unwrap_or(CHECKPOINT_PAGES)
    }

    /// Copies the pages of the log into the file (a checkpoint). Returns `false` if some pages are
    /// not copied, because a reader needs older pages, or another process copies the log.
    ///
    /// A [torn](Self::mark_torn) log is not copied, and this function returns `true`: there is
    /// nothing to try again before the log is repaired.
    ///
    /// The write lock must be held, except for the mode `PASSIVE`. That mode copies beside the
    /// writers of other processes: it neither waits for them nor blocks them. SQLite syncs the file
    /// only after a copy that reaches the end of the log.
    ///
    /// # Errors
    /// The error of SQLite. After a failed sync the log may need to be [repaired](Self::repair),
    /// before another process copies the rest.
    pub(in crate::embedded) fn copy_pages(
        &mut self,
        connection: &Connection,
        mode: CheckpointMode,
    ) -> rusqlite::Result<bool> {
        if self.is_torn {
            // SQLite overwrites a log that is completely copied. A torn log must stay until it is
            // repaired.
            return Ok(true);
        }

        // A log that another program cut must not be copied, so its error ends this function.
        self.checked_page_counts(connection)?;

        // A reader may hold the log for long. The writes that wait for this copy must not wait for
        // the reader.
        connection.busy_timeout(READERS_TIMEOUT)?;
        let checkpoint_result = connection.wal_checkpoint_v2(Some("main"), mode);
        connection.busy_timeout(BUSY_TIMEOUT)?;

        match checkpoint_result {
            Err(error) if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) => {
                self.is_on_disk = false;
                // SQLite repeats the copy that failed now. It does not repeat an earlier copy that
                // stopped before the end of the log, and SQLite did not sync the pages of that copy.
                // The number of copied pages is read after the failure, because another process may
                // have made such a copy since this call began.
                if is_failed_sync(&error) && may_have_copied_pages(connection) {
                    self.mark_torn(connection)?;
                }
                Err(error)
            }
            _done_or_busy => {
                let (pages, copied) = page_counts(connection)?;
                // While a reader needs older pages, a new attempt after each commit would be
                // useless. The next attempt waits until the log is longer by `CHECKPOINT_PAGES`.
                self.next_checkpoint_pages = if pages > copied {
                    pages + CHECKPOINT_PAGES
                } else {
                    CHECKPOINT_PAGES
                };
                Ok(pages == copied)
            }
        }
    }

    /// Makes room on a full disk: cuts off the uncommitted pages that a failed transaction left at
    /// the end of the log, copies the committed pages into the file, and truncates the log. Returns
    /// what [`copy_pages`](Self::copy_pages) returns.
    ///
    /// The write lock must be held.
    ///
    /// # Errors
    /// The errors of [`copy_pages`](Self::copy_pages). If the log cannot be cut off, this is only
    /// logged, because copying it may make room too.
    pub(in crate::embedded) fn make_room(
        &mut self,
        connection: &mut Connection,
    ) -> rusqlite::Result<bool> {
        let version_before: i64 = read_pragma(connection, "data_version")?;
        let (pages, _) = self.checked_page_counts(connection)?;

        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let committed_bytes = log_bytes(pages);
        // Another program that does not take the write lock, such as the sqlite3 tool, may have
        // committed after `pages` was read. `data_version` changes with the commits of other
        // connections, so then nothing is cut off.
        let version_after: i64 = read_pragma(&transaction, "data_version")?;
        if version_after == version_before
            && let Ok(file) = File::options().write(true).open(&self.path)
            && file
                .metadata()
                .is_ok_and(|metadata| metadata.len() > committed_bytes)
            && let Err(error) = file.set_len(committed_bytes)
        {
            tracing::debug!(%error, "failed to shorten a write-ahead log");
        }
        drop(transaction);

        self.copy_pages(connection, TRUNCATE)
    }
}

/// Returns the number of pages in the log, and the number of these pages that are copied into the
/// file.
///
/// A checkpoint of the mode `NOOP` reports these numbers and copies nothing.
pub(in crate::embedded) fn page_counts(connection: &Connection) -> rusqlite::Result<(u32, u32)> {
    let (pages, copied) = connection.wal_checkpoint_v2(Some("main"), NOOP)?;
    Ok((pages.unsigned_abs(), copied.unsigned_abs()))
}

/// Returns `false` if SQLite reports that no page of the log is copied into the file, and `true` if
/// some pages are, or if their number is unknown.
fn may_have_copied_pages(connection: &Connection) -> bool {
    match page_counts(connection) {
        Ok((_, copied)) => copied > 0,
        Err(_unknown) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::database::{Database, FileSchema};
    use super::super::writer::Writer;
    use super::*;
    use crate::embedded::fixture::*;

    static KIND: FileSchema = FileSchema {
        application_id: 7,
        migrations: &[&["CREATE TABLE texts (text BLOB);"]],
        tables: &[],
        check_rows: |_| Ok(Vec::new()),
    };

    const COUNT: &str = "SELECT count(*) FROM texts";

    fn database(folder: &TempDir) -> Database {
        Database::new(&KIND, folder.path(), "test", None)
    }

    /// Adds this many pages.
    fn fill(connection: &Connection, pages: u32) -> rusqlite::Result<usize> {
        connection.execute(
            "INSERT INTO texts VALUES (zeroblob(?1))",
            [pages * PAGE_BYTES],
        )
    }

    #[test]
    fn the_log_is_rewritten_at_first_and_after_an_error() {
        let folder = fresh_folder();
        let path = folder.path().join("wal");
        let mut wal = WriteAheadLog::new(path.clone());
        fs::write(&path, "frames").unwrap();
        wal.rewrite().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "frames");
        fs::remove_file(&path).unwrap();
        wal.rewrite().expect("it is on the disk");
        wal.mark_unsynced();
        wal.rewrite().unwrap_err();
    }

    #[tokio::test]
    async fn a_long_log_restarts_unless_a_reader_needs_it() {
        let folder = fresh_folder();
        let writer = Writer::start(database(&folder), 100, || ()).await.unwrap();
        let mut observer = database(&folder).reader().unwrap();
        let pages = |observer: &Connection| page_counts(observer).unwrap().0;
        let write = async |pages| {
            let written = writer
                .write(move |connection| fill(connection, pages))
                .await;
            written.unwrap();
        };
        write(CHECKPOINT_PAGES).await;
        write(1).await;
        assert!((1..20).contains(&pages(&observer)), "{}", pages(&observer));

        let reading = observer.transaction().unwrap();
        number(&reading, COUNT);
        for _ in 0..3 {
            write(CHECKPOINT_PAGES).await;
        }
        drop(reading);
        assert!(
            pages(&observer) > 2 * CHECKPOINT_PAGES,
            "the reader needs the older pages"
        );
        write(CHECKPOINT_PAGES).await;
        write(1).await;
        assert!(pages(&observer) < 20, "{}", pages(&observer));
    }

    #[test]
    fn a_full_disk_gets_the_space_of_the_log() {
        let folder = fresh_folder();
        let mut connection = database(&folder).open_to_write().unwrap().connection;
        let path = folder.path().join("test.db-wal");
        let length = || fs::metadata(&path).unwrap().len();
        fill(&connection, 10).unwrap();
        let committed = length();
        // A transaction that is larger than the cache leaves pages in the log.
        connection.pragma_update(None, "cache_size", 10).unwrap();
        connection
            .pragma_update(None, "max_page_count", 500)
            .unwrap();
        fill(&connection, 1_000).unwrap_err();
        assert!(length() > committed, "{}", length());
        // With a reader, the log stays, and is cut to what is committed.
        let mut reader = database(&folder).reader().unwrap();
        let reading = reader.transaction().unwrap();
        number(&reading, COUNT);
        let mut wal = WriteAheadLog::new(path.clone());
        wal.make_room(&mut connection).unwrap();
        assert_eq!(length(), committed);
        drop(reading);
        wal.make_room(&mut connection).unwrap();
        assert_eq!(length(), 0);
        assert_eq!(number(&connection, COUNT), 1);
    }

    #[test]
    fn after_a_partial_copy_all_pages_are_rewritten() {
        let folder = fresh_folder();
        let connection = database(&folder).open_to_write().unwrap().connection;
        fill(&connection, 10).unwrap();
        let mut wal = WriteAheadLog::new(folder.path().join("test.db-wal"));
        wal.copy_pages(&connection, TRUNCATE).unwrap();
        wal.repair(&connection).unwrap();
        assert_eq!(page_counts(&connection).unwrap().0, 0);
        wal.mark_torn(&connection).unwrap();
        wal.repair(&connection).unwrap();
        assert!(page_counts(&connection).unwrap().0 > 10);
        drop(connection);
        assert!(!wal.path.exists(), "the file has all of it");
    }

    #[test]
    fn a_torn_log_is_kept_when_the_file_is_closed() {
        let folder = fresh_folder();
        let connection = database(&folder).open_to_write().unwrap().connection;
        let path = folder.path().join("test.db");
        let mut wal = WriteAheadLog::new(folder.path().join("test.db-wal"));
        fill(&connection, 10).unwrap();
        let on_disk = fs::read(&path).unwrap();
        // The first part of a copy, which is not synced.
        let mut reader = database(&folder).reader().unwrap();
        let reading = reader.transaction().unwrap();
        number(&reading, COUNT);
        fill(&connection, 10).unwrap();
        wal.copy_pages(&connection, RESTART).unwrap();
        drop(reading);
        drop(reader);
        assert_ne!(fs::read(&path).unwrap(), on_disk);
        wal.mark_torn(&connection).unwrap();
        wal.copy_pages(&connection, TRUNCATE).unwrap();
        drop(connection);
        // The memory of the machine forgets what the disk does not have.
        fs::write(&path, on_disk).unwrap();
        let connection = database(&folder).open_to_write().unwrap().connection;
        assert_eq!(number(&connection, COUNT), 2);
        let checked =
            connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
        assert_eq!(checked.unwrap(), "ok");
    }
}
