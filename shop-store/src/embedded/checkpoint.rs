//! Syncs and checkpoints outside of commits, so that no commit waits for them.

use std::fs::OpenOptions;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use shop_core::{Error, Result};

use super::database::Database;
use super::error::{from_io, from_sqlite};

/// The number of checkpoints in a row. SQLite syncs the file in one during which nothing is committed, so a later one,
/// which has little to copy, does it more likely.
const ROUNDS: usize = 4;
/// The bytes of a page and its header in the write-ahead log.
const PAGE_BYTES: u64 = 4_096 + 24;

/// Makes commits durable that did not wait for the disk, and copies them from the write-ahead log into the file.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    /// Whether a sync in the background is about to begin.
    is_scheduled: AtomicBool,
    /// The error of a sync in the background. The kernel reports it once.
    failure: Mutex<Option<Error>>,
    /// Opened when the write-ahead log is long for the first time.
    connection: Mutex<Option<Connection>>,
    /// Whether nearly all is copied.
    is_copied: AtomicBool,
}

impl Checkpoints {
    /// Returns true if the caller must begin a sync in the background.
    pub(super) fn schedule(&self) -> bool {
        !self.is_scheduled.swap(true, Ordering::AcqRel)
    }

    /// Blocks until all commits are durable that were completed when a scheduled sync begins. Keeps the error for
    /// [`sync`](Self::sync).
    pub(super) fn sync_scheduled(&self, database: &Database) {
        self.is_scheduled.store(false, Ordering::Release);
        if let Err(error) = self.sync_file(database) {
            *locked(&self.failure) = Some(error);
        }
    }

    /// Blocks until all completed commits are durable. Others are committed meanwhile.
    pub(super) fn sync(&self, database: &Database) -> Result<()> {
        self.sync_file(database)?;
        locked(&self.failure).take().map_or(Ok(()), Err)
    }

    fn sync_file(&self, database: &Database) -> Result<()> {
        let path = database.wal_path();
        // SQLite has no locks on this file, which closing it would release. A commit that is not in it any more was
        // synced when it was copied.
        let wal = OpenOptions::new().write(true).open(&path);
        let synced = wal.and_then(|wal| wal.sync_data().and_then(|()| wal.metadata()));
        let bytes = synced.map_err(|error| from_io(error, &path))?.len();
        if let Some(pages) = database.kind().checkpoint_pages.map(|pages| pages / 2)
            && bytes >= u64::from(pages) * PAGE_BYTES
            && let Err(error) = self.copy(database, pages)
        {
            // A commit copies it when it is twice as long.
            tracing::warn!(error = %error.chain(), "checkpoint failed");
        }
        Ok(())
    }

    /// Copies the write-ahead log if it has this many pages.
    fn copy(&self, database: &Database, pages: u32) -> Result<()> {
        let mut connection = locked(&self.connection);
        let connection = match &mut *connection {
            Some(connection) => connection,
            none => none.insert(database.reader()?),
        };
        let copied = checkpoint(connection, "NOOP").and_then(|written| {
            if written < pages {
                return Ok(());
            }
            (0..ROUNDS).try_for_each(|_| checkpoint(connection, "PASSIVE").map(drop))?;
            self.is_copied.store(true, Ordering::Release);
            Ok(())
        });
        copied.map_err(|error| from_sqlite(error, &database.path()))
    }

    /// Copies the rest after a commit. SQLite begins the write-ahead log anew when all is copied, which is never the
    /// case while others commit.
    pub(super) fn finish(&self, writer: &Connection) {
        if self.is_copied.swap(false, Ordering::AcqRel)
            && let Err(error) = checkpoint(writer, "PASSIVE")
        {
            tracing::warn!(%error, "checkpoint failed");
        }
    }
}

/// Runs a checkpoint in `mode`. Returns the number of pages in the write-ahead log.
fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<u32> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(1))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use shop_core::ErrorKind;

    use super::super::database::Kind;
    use super::super::writer::Writer;
    use super::*;

    static KIND: Kind = Kind {
        application_id: 7,
        migrations: &["CREATE TABLE numbers (number INTEGER PRIMARY KEY);"],
        checkpoint_pages: Some(40),
        check_queries: &[],
    };

    fn database(folder: &Path) -> Database {
        Database::new(&KIND, folder, "test", None)
    }

    #[tokio::test]
    async fn a_long_write_ahead_log_begins_anew_after_a_sync() {
        let folder = tempfile::tempdir().unwrap();
        let writer = Writer::start(database(folder.path()), 100, |_| ()).await.unwrap();
        let insert = |connection: &Connection| connection.execute("INSERT INTO numbers VALUES (NULL)", []);
        let observer = database(folder.path()).reader().unwrap();
        for _ in 0..30 {
            writer.write_unsynced(insert).await.unwrap();
        }
        writer.sync().await.unwrap();
        // The first write is followed by the last checkpoint, and the second one finds all copied.
        for _ in 0..2 {
            writer.write_unsynced(insert).await.unwrap();
        }
        let pages = checkpoint(&observer, "NOOP").unwrap();
        assert!((1..20).contains(&pages), "{pages}: each write adds one, and a commit copies 40");
        let count = observer.query_row("SELECT count(*) FROM numbers", [], |row| row.get::<_, u32>(0));
        assert_eq!(count.unwrap(), 32);
    }

    #[test]
    fn an_error_in_the_background_is_an_error_of_the_next_sync() {
        let folder = tempfile::tempdir().unwrap();
        let (database, checkpoints) = (database(folder.path()), Checkpoints::default());
        assert!(checkpoints.schedule());
        assert!(!checkpoints.schedule(), "one is scheduled");
        checkpoints.sync_scheduled(&database);
        assert!(checkpoints.schedule());
        std::fs::write(database.wal_path(), "").unwrap();
        assert_eq!(checkpoints.sync(&database).unwrap_err().kind(), ErrorKind::Unavailable);
        checkpoints.sync(&database).unwrap();
    }
}
