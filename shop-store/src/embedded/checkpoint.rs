//! The write-ahead log of a file: when it is written again, and when it is copied into the file.

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

use super::database::{BUSY_TIMEOUT, pragma};
use super::error::is_failed_sync;

/// The length of the log, in pages, at which it is copied: 4 MB. A longer log saves writes of pages that change often,
/// but takes a large part of a small disk, and is written again after an error.
const PAGES: u32 = 1_000;
/// The maximum length of the log, in pages, while a large batch is written and no other write waits: 512 MB. Up to that it
/// is a half of the file.
const MAX_BULK_PAGES: u64 = 131_072;
const BULK_PART: u64 = 2;
/// The bytes that are read at once.
const CHUNK_BYTES: usize = 1 << 20;
/// The bytes of the log's header, and of a page with its header.
const HEADER_BYTES: u64 = 32;
const PAGE_BYTES: u64 = 4_096 + 24;
/// The log is copied when it is larger than this part of the free disk space, so that the file can grow by all of it,
/// and those of other logs too.
const FREE_PART: u64 = 4;
/// The time that a copy waits for readers of the log.
const READERS_TIMEOUT: Duration = Duration::from_millis(100);

/// The write-ahead log as one writer sees it.
#[derive(Debug)]
pub(super) struct WriteAheadLog {
    path: PathBuf,
    /// Whether all that can be read of it is on the disk.
    is_on_disk: bool,
    /// Whether the disk may have some pages only in the log, in a part that SQLite will not copy again.
    is_torn: bool,
    /// The length in pages at which it is copied.
    limit: u32,
}

/// The writes around a commit, which decide how long the log may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// Small writes alone.
    Small,
    /// A large batch, for which no other write waits.
    Bulk,
    /// A large batch, and other writes that must not wait for it.
    Contended,
}

impl WriteAheadLog {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self {
            path,
            is_on_disk: false,
            is_torn: false,
            limit: PAGES,
        }
    }

    /// Writes the log again, within a transaction that writes, if it may not be on the disk: another process may have
    /// ended before its sync, and after a failed sync Linux keeps pages in memory, as if they were written, that are not
    /// on the disk. SQLite appends to what it can read.
    pub(super) fn rewrite(&mut self) -> io::Result<()> {
        if !self.is_on_disk {
            // SQLite has no locks on this file, which closing it would release.
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
        }
        Ok(())
    }

    /// After a failed write.
    pub(super) const fn suspect(&mut self) {
        self.is_on_disk = false;
    }

    /// A copy has failed whose first part was not synced. Until all pages are written again, the log must stay when the
    /// file is closed: the next process to open it copies the log from its beginning.
    fn tear(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.is_torn = true;
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .map(drop)
    }

    /// Returns the number of pages in the log, and how many of them are copied.
    ///
    /// # Errors
    /// If the log is shorter: another program has cut it. Then it is not copied either, also when the file is closed:
    /// the file would get a part of its pages.
    fn pages(&self, connection: &Connection) -> rusqlite::Result<(u32, u32)> {
        let (pages, copied) = look(connection)?;
        let bytes = fs::metadata(&self.path).map_or(0, |found| found.len());
        if pages == 0 || HEADER_BYTES + u64::from(pages) * PAGE_BYTES <= bytes {
            return Ok((pages, copied));
        }
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let message = "another program has cut the write-ahead log: restart this program";
        Err(rusqlite::Error::SqliteFailure(
            Code::new(SQLITE_IOERR_SHORT_READ),
            Some(message.to_owned()),
        ))
    }

    /// Checks the log's length, and writes all pages again if a copy has failed whose first part was not synced. The
    /// write lock must be held.
    pub(super) fn mend(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.pages(connection)?;
        if self.is_torn {
            connection.execute_batch("VACUUM")?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
            self.is_torn = false;
        }
        Ok(())
    }

    /// Returns how the log must be copied now, if it is long or the disk is nearly full.
    ///
    /// With a large batch alone, the log may be longer, because a page that changes with each part is copied once. Beside
    /// other writes, the process with the batch copies earlier than the others: their writes would wait for a copy of theirs.
    pub(super) fn due(
        &self,
        connection: &Connection,
        load: Load,
    ) -> rusqlite::Result<Option<CheckpointMode>> {
        let (pages, copied) = look(connection)?;
        let limit = match load {
            Load::Small => self.limit,
            Load::Bulk => self.limit.max(self.bulk_limit()),
            Load::Contended => self.limit - PAGES / 2,
        };
        let free = self.path.parent().and_then(|folder| statvfs(folder).ok());
        let free = free.map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        Ok(if pages == copied {
            None
        } else if u64::from(pages) * PAGE_BYTES > free / FREE_PART {
            Some(TRUNCATE)
        } else {
            (pages >= limit).then_some(RESTART)
        })
    }

    /// The length in pages at which the log is copied while a large batch is written.
    fn bulk_limit(&self) -> u32 {
        let file = self.path.with_extension("db");
        let bytes = fs::metadata(file).map_or(0, |found| found.len());
        let pages = bytes / PAGE_BYTES / BULK_PART;
        u32::try_from(pages.min(MAX_BULK_PAGES)).unwrap_or(PAGES)
    }

    /// Copies all pages, unless a reader needs older ones or another process copies them. Returns whether all are copied.
    ///
    /// The write lock must be held, except for `PASSIVE`. That mode copies beside the writers of other processes: it neither
    /// waits for them nor blocks them. SQLite syncs the file only after a copy that has reached the end of the log.
    ///
    /// # Errors
    /// After a failed sync the log may need to be [mended](Self::mend), before another process copies the rest.
    pub(super) fn copy(
        &mut self,
        connection: &Connection,
        mode: CheckpointMode,
    ) -> rusqlite::Result<bool> {
        if self.is_torn {
            // After a complete copy, the log is overwritten.
            return Ok(true);
        }
        self.pages(connection)?;
        connection.busy_timeout(READERS_TIMEOUT)?;
        let done = connection.wal_checkpoint_v2(Some("main"), mode);
        connection.busy_timeout(BUSY_TIMEOUT)?;
        match done {
            Err(error) if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) => {
                self.is_on_disk = false;
                // SQLite repeats this copy, but not an earlier one that ended before the end of the log, and so without a
                // sync. Another process may have made that one since this call began.
                if is_failed_sync(&error) && !matches!(look(connection), Ok((_, 0))) {
                    self.tear(connection)?;
                }
                Err(error)
            }
            _done_or_busy => {
                let (pages, copied) = look(connection)?;
                // Not with each commit while a reader needs older pages.
                self.limit = if pages > copied { pages + PAGES } else { PAGES };
                Ok(pages == copied)
            }
        }
    }

    /// Makes room on a full disk: cuts off what a failed transaction has left in the log, and copies the rest. Returns
    /// whether all is copied. The write lock must be held.
    pub(super) fn make_room(&mut self, connection: &mut Connection) -> rusqlite::Result<bool> {
        let version = |connection: &Connection| pragma::<i64>(connection, "data_version");
        let (before, (pages, _)) = (version(connection)?, self.pages(connection)?);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let bytes = HEADER_BYTES + u64::from(pages) * PAGE_BYTES;
        // Another program, which does not take our lock, may have written.
        if version(&transaction)? == before
            && let Ok(file) = File::options().write(true).open(&self.path)
            && file.metadata().is_ok_and(|found| found.len() > bytes)
            && let Err(error) = file.set_len(bytes)
        {
            tracing::debug!(%error, "failed to shorten a write-ahead log");
        }
        drop(transaction);
        self.copy(connection, TRUNCATE)
    }
}

/// Returns the number of pages in the log, and how many of them are copied.
fn look(connection: &Connection) -> rusqlite::Result<(u32, u32)> {
    let (pages, copied) = connection.wal_checkpoint_v2(Some("main"), NOOP)?;
    Ok((pages.unsigned_abs(), copied.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::database::{Database, FileSchema};
    use super::super::writer::Writer;
    use super::*;

    static KIND: FileSchema = FileSchema {
        application_id: 7,
        migrations: &["CREATE TABLE texts (text BLOB);"],
        tables: &[],
    };

    fn database(folder: &Path) -> Database {
        Database::new(&KIND, folder, "test", None)
    }

    /// Adds this many pages.
    fn fill(connection: &Connection, pages: u32) -> rusqlite::Result<usize> {
        connection.execute("INSERT INTO texts VALUES (zeroblob(?1))", [pages * 4_096])
    }

    #[test]
    fn the_log_is_rewritten_at_first_and_after_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wal");
        let mut wal = WriteAheadLog::new(path.clone());
        fs::write(&path, "frames").unwrap();
        wal.rewrite().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "frames");
        fs::remove_file(&path).unwrap();
        wal.rewrite().expect("it is on the disk");
        wal.suspect();
        wal.rewrite().unwrap_err();
    }

    #[tokio::test]
    async fn a_long_log_restarts_unless_a_reader_needs_it() {
        let folder = tempfile::tempdir().unwrap();
        let writer = Writer::start(database(folder.path()), 100, |_| ())
            .await
            .unwrap();
        let mut observer = database(folder.path()).reader().unwrap();
        let pages = |observer: &Connection| look(observer).unwrap().0;
        writer
            .write(|connection| fill(connection, PAGES))
            .await
            .unwrap();
        writer
            .write(|connection| fill(connection, 1))
            .await
            .unwrap();
        assert!((1..20).contains(&pages(&observer)), "{}", pages(&observer));

        let reading = observer.transaction().unwrap();
        reading
            .query_row("SELECT count(*) FROM texts", [], |row| row.get::<_, u32>(0))
            .unwrap();
        for _ in 0..3 {
            writer
                .write(|connection| fill(connection, PAGES))
                .await
                .unwrap();
        }
        drop(reading);
        assert!(
            pages(&observer) > 2 * PAGES,
            "the reader needs the older pages"
        );
        writer
            .write(|connection| fill(connection, PAGES))
            .await
            .unwrap();
        writer
            .write(|connection| fill(connection, 1))
            .await
            .unwrap();
        assert!(pages(&observer) < 20, "{}", pages(&observer));
    }

    #[test]
    fn a_full_disk_gets_the_space_of_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let (mut connection, _lock) = database(folder.path()).open_to_write().unwrap();
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
        let mut reader = database(folder.path()).reader().unwrap();
        let reading = reader.transaction().unwrap();
        reading
            .query_row("SELECT count(*) FROM texts", [], |row| row.get::<_, u32>(0))
            .unwrap();
        let mut wal = WriteAheadLog::new(path.clone());
        wal.make_room(&mut connection).unwrap();
        assert_eq!(length(), committed);
        drop(reading);
        wal.make_room(&mut connection).unwrap();
        assert_eq!(length(), 0);
        let count =
            connection.query_row("SELECT count(*) FROM texts", [], |row| row.get::<_, u32>(0));
        assert_eq!(count.unwrap(), 1);
    }

    #[test]
    fn after_a_partial_copy_all_pages_are_rewritten() {
        let folder = tempfile::tempdir().unwrap();
        let (connection, _lock) = database(folder.path()).open_to_write().unwrap();
        fill(&connection, 10).unwrap();
        let mut wal = WriteAheadLog::new(folder.path().join("test.db-wal"));
        wal.copy(&connection, TRUNCATE).unwrap();
        wal.mend(&connection).unwrap();
        assert_eq!(look(&connection).unwrap().0, 0);
        wal.tear(&connection).unwrap();
        wal.mend(&connection).unwrap();
        assert!(look(&connection).unwrap().0 > 10);
        drop(connection);
        assert!(!wal.path.exists(), "the file has all of it");
    }

    #[test]
    fn a_torn_log_is_kept_when_the_file_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let (connection, lock) = database(folder.path()).open_to_write().unwrap();
        let path = folder.path().join("test.db");
        let mut wal = WriteAheadLog::new(folder.path().join("test.db-wal"));
        fill(&connection, 10).unwrap();
        let on_disk = fs::read(&path).unwrap();
        // The first part of a copy, which is not synced.
        let mut reader = database(folder.path()).reader().unwrap();
        let reading = reader.transaction().unwrap();
        reading
            .query_row("SELECT count(*) FROM texts", [], |row| row.get::<_, u32>(0))
            .unwrap();
        fill(&connection, 10).unwrap();
        wal.copy(&connection, RESTART).unwrap();
        drop(reading);
        drop(reader);
        assert_ne!(fs::read(&path).unwrap(), on_disk);
        wal.tear(&connection).unwrap();
        wal.copy(&connection, TRUNCATE).unwrap();
        drop((connection, lock));
        // The memory of the machine forgets what the disk does not have.
        fs::write(&path, on_disk).unwrap();
        let (connection, _lock) = database(folder.path()).open_to_write().unwrap();
        let count =
            connection.query_row("SELECT count(*) FROM texts", [], |row| row.get::<_, u32>(0));
        assert_eq!(count.unwrap(), 2);
        let checked =
            connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
        assert_eq!(checked.unwrap(), "ok");
    }
}
