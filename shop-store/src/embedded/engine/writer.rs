//! [`Writer`]: the handle through which async callers write to a database file.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use shop_core::log::LogFaults;
use shop_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::checkpoint::WriteAheadLog;
use super::commit_sizer::CommitSizer;
use super::database::{Database, OpenedDatabase, read_pragma};
use super::error::{database_error, is_damage};
use super::file_check::FileCheck;
use super::job::{JobCache, WriteJob, WriteTask, wait_until_durable};
use super::thread::{self, Jobs, closed_error};
use super::writer_thread::{WriteHealth, WriterThread};

/// The maximum time that [`Writer::start`] waits for its thread to open the file.
///
/// A new file takes several syncs, each of which can take seconds while other programs write to the
/// disk. A disk that takes longer than this does not respond. The wait for another process is part
/// of this time, and ends earlier, after [`LOCK_TIMEOUT`](super::lock::LOCK_TIMEOUT).
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);

/// A handle to the writer thread, cheap to clone.
///
/// The thread ends when its queue is empty and either the last handle was dropped or `jobs` was
/// closed.
#[derive(Debug, Clone)]
pub(in crate::embedded) struct Writer {
    /// The sending half of the queue of the thread.
    pub(in crate::embedded) jobs: Jobs<mpsc::Sender<Box<dyn WriteJob>>>,
    /// Cancelled when the file is closed although handles to it still exist.
    pub(in crate::embedded) closing: CancellationToken,
    health: WriteHealth,
    /// The check of the pages of the file, and what it found.
    file_check: FileCheck,
    /// Cancelled when the thread has ended, and so the file is closed.
    exit: CancellationToken,
    database: Arc<Database>,
}

impl Writer {
    /// Starts the writer thread, and waits until the file is open, for at most [`OPEN_TIMEOUT`].
    ///
    /// The thread calls `on_commit` after each committed group with at least one write that is not
    /// a health check.
    ///
    /// # Errors
    /// - The error of [`Database::open_to_write`]
    /// - [`Unavailable`](ErrorKind::Unavailable) after the timeout, or if the thread cannot be
    ///   started
    pub(in crate::embedded) async fn start(
        database: Database,
        queue_capacity: usize,
        on_commit: impl Fn() + Send + 'static,
    ) -> Result<Self> {
        let (jobs, queue) = mpsc::channel(queue_capacity.max(1));
        let (open_sender, open_receiver) = oneshot::channel();
        let database = Arc::new(database);
        let health = WriteHealth::default();
        let thread_database = Arc::clone(&database);
        let thread_health = health.clone();
        let file_check = FileCheck::new(database.path(), database.schema.check_rows);
        let thread_file_check = file_check.clone();
        let open_and_run = move || match thread_database.open_to_write() {
            // A failed send means that the caller has given up after the timeout.
            Err(error) => drop(open_sender.send(Err(error))),
            Ok(OpenedDatabase {
                connection,
                write_lock,
                unchecked_overwrites,
            }) => {
                let running_check =
                    unchecked_overwrites.and_then(|overwrites| thread_file_check.start(overwrites));
                drop(open_sender.send(Ok(())));
                WriterThread {
                    connection,
                    write_lock,
                    path: thread_database.path(),
                    wal: WriteAheadLog::new(thread_database.file("db-wal")),
                    health: thread_health,
                    file_check: thread_file_check,
                    running_check,
                    cache: JobCache::default(),
                    commit_sizer: CommitSizer::new(),
                }
                .run(queue, on_commit);
            }
        };
        let exit = thread::start("shop-writer", open_and_run)?;

        // After a timeout, this function drops the only sender of the queue. So the thread ends as
        // soon as it gets the lock of the file.
        let Ok(open_result) = tokio::time::timeout(OPEN_TIMEOUT, open_receiver).await else {
            let message = "the file was not opened in time: the disk does not respond";
            return Err(Error::new(ErrorKind::Unavailable, message)
                .with_context("file", database.path().display()));
        };
        open_result.unwrap_or_else(|_closed| Err(closed_error()))?;
        Ok(Self {
            jobs: Jobs::new(jobs),
            closing: CancellationToken::new(),
            health,
            file_check,
            exit,
            database,
        })
    }

    /// Returns the faults of the file as a whole, such as that it is a copy whose pages are being
    /// checked.
    pub(in crate::embedded) fn faults(&self) -> LogFaults {
        let mut faults = LogFaults::default();
        faults.files.extend(self.file_check.fault());
        faults
    }

    /// Returns a future that completes when the thread has ended and the file is closed.
    pub(in crate::embedded) fn exit(&self) -> WaitForCancellationFutureOwned {
        self.exit.clone().cancelled_owned()
    }

    /// Enqueues the write `work` with the first poll, and waits until it is durable.
    ///
    /// `work` may be called more than once, each time after a rollback. Dropping the future does
    /// not cancel a write that is in the queue.
    ///
    /// # Errors
    /// - [`Overloaded`](ErrorKind::Overloaded) if the queue is full
    /// - the error of the write or of its group
    pub(in crate::embedded) async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (job, pending) = WriteTask::new(work);
        self.enqueue(job)?;
        wait_until_durable(pending).await
    }

    /// Waits for room in the queue, and enqueues a job.
    ///
    /// # Errors
    /// [`Closed`](ErrorKind::Closed) if the file was closed.
    pub(in crate::embedded) async fn enqueue_when_free(
        &self,
        job: Box<dyn WriteJob>,
    ) -> Result<()> {
        self.jobs
            .sender()?
            .send(job)
            .await
            .map_err(|_closed| closed_error())
    }

    /// Enqueues a job without waiting for room in the queue.
    ///
    /// # Errors
    /// - [`Overloaded`](ErrorKind::Overloaded) if the queue is full
    /// - [`Closed`](ErrorKind::Closed) if the file was closed
    pub(in crate::embedded) fn enqueue(&self, job: Box<dyn WriteJob>) -> Result<()> {
        self.jobs
            .sender()?
            .try_send(job)
            .map_err(|error| match error {
                TrySendError::Full(_) => {
                    database_error(ErrorKind::Overloaded, "the write queue is full")
                }
                TrySendError::Closed(_) => closed_error(),
            })
    }

    /// Checks that writes can succeed: the thread runs, the lock of the file is free in time, and
    /// every table can be read.
    ///
    /// If the last group failed, the check also commits a write without effect. After an error that
    /// reports a damaged file, the check fails until another write succeeds.
    ///
    /// # Errors
    /// The error of the first of these steps that fails, or the stored error that reports the
    /// damage.
    pub(in crate::embedded) async fn check(&self) -> Result<()> {
        // A check must not create the lock file in a folder that a process only reads.
        if !self.database.may_open_lock_file() {
            return Ok(());
        }

        let schema = self.database.schema;
        let last_failure = self.health.borrow().clone();
        let has_failed = last_failure.is_some();
        let (mut job, checked) = WriteTask::new(move |connection: &Connection| {
            schema.check(connection)?;
            if has_failed {
                write_nothing(connection)
            } else {
                Ok(())
            }
        });
        job.is_check = true;
        self.enqueue(job)?;
        wait_until_durable(checked).await?;

        last_failure.filter(is_damage).map_or(Ok(()), Err)
    }
}

/// Writes a page without a change of content, to test that a commit succeeds: sets `user_version`
/// to its present value.
///
/// With `synchronous=FULL`, the commit also syncs all earlier commits to the disk.
fn write_nothing(connection: &Connection) -> rusqlite::Result<()> {
    let version: i32 = read_pragma(connection, "user_version")?;
    connection.pragma_update(None, "user_version", version)
}

#[cfg(test)]
mod tests {
    use super::super::database::FileSchema;
    use super::*;
    use crate::embedded::fixture::*;

    static KIND: FileSchema = FileSchema {
        application_id: 7,
        migrations: &[&["CREATE TABLE numbers (number INTEGER PRIMARY KEY);"]],
        tables: &["numbers"],
        check_rows: |_| Ok(Vec::new()),
    };

    fn insert(number: i64) -> impl Fn(&Connection) -> rusqlite::Result<i64> {
        move |connection| {
            assert_ne!(number, 13, "on purpose");
            connection.execute("INSERT INTO numbers VALUES (?1)", [number])?;
            Ok(number)
        }
    }

    /// A writer to a new file.
    async fn fresh_writer() -> (TempDir, Writer) {
        let folder = fresh_folder();
        let database = Database::new(&KIND, folder.path(), "test", None);
        let writer = Writer::start(database, 100, || ()).await.unwrap();
        (folder, writer)
    }

    /// A write that finds the file damaged.
    fn damaged(_: &Connection) -> rusqlite::Result<()> {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        Err(rusqlite::Error::SqliteFailure(code, None))
    }

    #[tokio::test]
    async fn check_fails_after_damage_until_a_write_succeeds_which_alone_is_announced() {
        let folder = fresh_folder();
        let database = Database::new(&KIND, folder.path(), "test", None);
        let (announced, announcements) = std::sync::mpsc::channel();
        let announce = move || announced.send(()).unwrap();
        let writer = Writer::start(database, 100, announce).await.unwrap();
        writer.check().await.unwrap();
        let error = writer.write(damaged).await.unwrap_err();
        assert_fails(&error, ErrorKind::Corrupt, Outcome::NotApplied);
        for _ in 0..2 {
            assert_eq!(writer.check().await.unwrap_err().kind(), ErrorKind::Corrupt);
        }
        let rejected = writer.write(insert(13)).await.unwrap_err();
        assert_eq!(rejected.kind(), ErrorKind::Internal);
        assert_eq!(writer.check().await.unwrap_err().kind(), ErrorKind::Corrupt);
        writer.write(insert(1)).await.unwrap();
        writer.check().await.unwrap();
        assert_eq!(announcements.try_iter().count(), 1);
    }

    #[tokio::test]
    async fn a_file_that_another_program_removes_replaces_or_cuts_is_not_written() {
        let cases = ["db", "db-wal", "db-shm", "lock"]
            .map(|suffix| [(suffix, "removed"), (suffix, "replaced")]);
        for (suffix, how) in cases.into_iter().flatten().chain([("db-wal", "cut")]) {
            let (folder, writer) = fresh_writer().await;
            writer.write(insert(1)).await.unwrap();
            let path = folder.path().join(format!("test.{suffix}"));
            let file = fs::read(&path).unwrap();
            if how == "cut" {
                let file = fs::File::options().write(true).open(&path).unwrap();
                file.set_len(5_000).unwrap();
            } else {
                fs::remove_file(&path).unwrap();
            }
            if how == "replaced" {
                fs::write(&path, file).unwrap();
            }
            for _ in 0..2 {
                let error = writer.write(insert(2)).await.unwrap_err();
                assert_fails(&error, ErrorKind::Unavailable, Outcome::NotApplied);
                let text = error.chain().to_string();
                let remedy = match how {
                    "cut" => "put the right files back",
                    _ => "restart this program",
                };
                let says_what_to_do = text.contains(remedy);
                let is_named = text.contains(&format!("test.{suffix}")) || how == "cut";
                assert!(says_what_to_do && is_named, "{suffix} {how}: {text}");
                writer.check().await.unwrap_err();
            }
            let exit = writer.exit();
            drop(writer);
            exit.await;
            if how == "cut" {
                assert_eq!(
                    fs::metadata(&path).unwrap().len(),
                    5_000,
                    "it is not copied"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_failed_write_does_not_fail_its_group() {
        let (folder, writer) = fresh_writer().await;
        writer.write(insert(5)).await.unwrap();
        // While another process holds the lock, the writes are collected into one group.
        let lock = fs::File::open(folder.path().join("test.lock")).unwrap();
        lock.lock().unwrap();
        // 5 is a duplicate, and 13 panics.
        let writes: Vec<_> = (1..=20)
            .map(|number| {
                let writer = writer.clone();
                tokio::spawn(async move { writer.write(insert(number)).await })
            })
            .collect();
        tokio::task::yield_now().await;
        lock.unlock().unwrap();
        for (number, write) in (1..=20).zip(writes) {
            match write.await.unwrap() {
                Ok(written) => assert_eq!(written, number),
                Err(error) => {
                    assert!([5, 13].contains(&number), "{number}: {error}");
                    assert_fails(&error, ErrorKind::Internal, Outcome::NotApplied);
                }
            }
        }
        let count =
            writer.write(|connection| Ok(number(connection, "SELECT count(*) FROM numbers")));
        assert_eq!(count.await.unwrap(), 19);
        writer.check().await.expect("the file is healthy");
    }
}
