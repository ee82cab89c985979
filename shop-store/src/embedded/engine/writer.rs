//! The writer thread of a database file, one for each process. It commits queued writes in groups.
//!
//! ```text
//! async callers ──WriteJob──▶ queue ──▶ thread `shop-writer`: lock, apply each job, COMMIT
//!       ▲                                        │
//!       └──────────── result of the job ─────────┘
//! ```
//!
//! Group commit: each commit costs one sync of the disk, so the thread takes all jobs that are
//! queued and applies them in one transaction. A caller gets its result after the commit, when the
//! write is durable. A job that cannot be applied is rejected alone: the transaction is rolled
//! back, and the other jobs are applied again without it.
//!
//! Between two groups, the thread copies the write-ahead log into the file (a checkpoint) if the
//! log is long.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, TransactionBehavior};
use shop_core::log::LogFaults;
use shop_core::{Error, ErrorKind, Outcome, Result};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::checkpoint::{Load, WriteAheadLog};
use super::commit_sizer::CommitSizer;
use super::database::{Database, OpenedDatabase, read_pragma};
use super::error::{
    AtPath as _, database_error, is_damage, is_disk_full, outcome_of_commit, sqlite_error,
};
use super::file_check::{FileCheck, RunningCheck};
use super::gather::gather;
use super::job::{JobCache, WriteJob, WriteTask, wait_until_durable};
use super::thread::{self, Jobs, closed};
use super::write_lock::{WriteLock, is_overwritten, keep_log_at_close};

/// The maximum number of jobs in a transaction: enough to amortize the cost of a commit, and few
/// enough for a short latency.
const MAX_BATCH: usize = 1_024;

/// The maximum number of copies of the write-ahead log that run in a row beside the writers of
/// other processes.
const MAX_PASSES: usize = 8;

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
    /// What is known of the file as a whole.
    file_check: FileCheck,
    /// Cancelled when the thread has ended, and so the file is closed.
    exit: CancellationToken,
    database: Arc<Database>,
}

/// The error of the last group of writes, or `None` if the group was committed. The thread sets it,
/// and [`Writer::check`] reads it.
type WriteHealth = watch::Sender<Option<Error>>;

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
        let (ready, opened) = oneshot::channel();
        let database = Arc::new(database);
        let health = WriteHealth::default();
        let opening = Arc::clone(&database);
        let thread_health = health.clone();
        let file_check = FileCheck::new(database.path(), database.schema.check_rows);
        let thread_file_check = file_check.clone();
        let exit = thread::start("shop-writer", move || match opening.open_to_write() {
            Err(error) => drop(ready.send(Err(error))),
            Ok(OpenedDatabase {
                connection,
                lock,
                unchecked_overwrites,
            }) => {
                let running_check =
                    unchecked_overwrites.and_then(|overwrites| thread_file_check.start(overwrites));
                drop(ready.send(Ok(())));
                WriterThread {
                    connection,
                    lock,
                    path: opening.path(),
                    wal: WriteAheadLog::new(opening.file("db-wal")),
                    health: thread_health,
                    file_check: thread_file_check,
                    running_check,
                    cache: JobCache::default(),
                    parts: CommitSizer::new(),
                }
                .run(queue, on_commit);
            }
        })?;

        // After a timeout, this function drops the only sender of the queue. So the thread ends as
        // soon as it gets the lock of the file.
        let Ok(opened) = tokio::time::timeout(OPEN_TIMEOUT, opened).await else {
            let message = "the file was not opened in time: the disk does not respond";
            return Err(Error::new(ErrorKind::Unavailable, message)
                .with_context("file", database.path().display()));
        };
        opened.unwrap_or_else(|_closed| Err(closed()))?;
        Ok(Self {
            jobs: Jobs::new(jobs),
            closing: CancellationToken::new(),
            health,
            file_check,
            exit,
            database,
        })
    }

    /// Returns what is wrong with the file as a whole, such as that it is a copy whose pages are
    /// being checked.
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
    /// [`Overloaded`](ErrorKind::Overloaded) if the queue is full; otherwise the error of the write
    /// or of its group.
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
            .map_err(|_closed| closed())
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
                TrySendError::Closed(_) => closed(),
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

/// The state of the writer thread.
struct WriterThread {
    connection: Connection,
    /// The lock between processes, held during each transaction.
    lock: WriteLock,
    path: PathBuf,
    wal: WriteAheadLog,
    health: WriteHealth,
    file_check: FileCheck,
    /// The check of the pages of the file, if it was not the file that was written here last.
    running_check: Option<RunningCheck>,
    /// What the jobs keep, as of the last commit of this thread.
    cache: JobCache,
    /// Decides how many parts of a large job are committed together.
    parts: CommitSizer,
}

/// Why a group of writes was not committed.
enum CommitFailure {
    /// The job at this position of the group, or one that is applied together with it, cannot be
    /// applied. The other jobs can.
    Job(usize, Error),
    /// The file cannot be written, so every job of the group fails.
    All(Error),
}

impl CommitFailure {
    /// Classifies `error`, with which the job at the position `index` of the group failed.
    fn from_job(index: usize, error: Error) -> Self {
        if is_about_write(&error) {
            Self::Job(index, error)
        } else {
            Self::All(error)
        }
    }
}

/// Returns whether an error is about one write, so that other writes can still be applied.
pub(in crate::embedded) fn is_about_write(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Corrupt | ErrorKind::Internal | ErrorKind::TooLarge
    )
}

impl WriterThread {
    /// Commits the queued jobs in groups until the queue is closed and empty.
    fn run(mut self, mut queue: mpsc::Receiver<Box<dyn WriteJob>>, on_commit: impl Fn()) {
        let mut group = Vec::new();
        // The sizes of the two groups before, from which `gather` guesses how many jobs will come.
        let mut earlier_sizes = [0; 2];

        while queue.blocking_recv_many(&mut group, MAX_BATCH) > 0 {
            gather(&mut group, MAX_BATCH, &mut earlier_sizes, &mut queue);
            let mut joins = group.len() > 1;

            // Each turn commits the group, or stops to join jobs, or removes a job that cannot be
            // applied.
            while !group.is_empty() {
                let outcome = match self.commit(&mut group, joins, &queue) {
                    Err(CommitFailure::Job(..)) if joins => {
                        // One of several jobs that were applied together may be the one that cannot
                        // be applied. The next attempt applies each job alone.
                        joins = false;
                        continue;
                    }
                    Err(CommitFailure::Job(index, error)) => {
                        self.reject(group.remove(index), error);
                        continue;
                    }
                    Err(CommitFailure::All(error)) => {
                        self.recover(&error);
                        Err(error)
                    }
                    Ok(()) => Ok(()),
                };

                let are_checks = group.iter().all(|job| job.is_check());
                self.record_outcome(&outcome, are_checks);
                if outcome.is_ok() && !are_checks {
                    on_commit();
                }
                for job in group.drain(..) {
                    job.complete(outcome.clone());
                }
            }

            let load = self.parts.take_load();
            self.copy_wal_if_due(load);
        }
        // The connections of the check must be closed before the last connection.
        if let Some(running_check) = self.running_check.take() {
            running_check.stop();
        }
        // SQLite copies the log when the last connection is closed. Other processes may still have
        // the file open.
        self.copy_wal_if_due(Load::Small);
        if let Err(error) = self.lock.prepare_close(&self.connection) {
            tracing::warn!(error = %error.chain(), "the write-ahead log stays when the file is closed");
        }
    }

    /// Copies the write-ahead log into the file if it is longer than the limit for this load, or
    /// the disk is nearly full.
    fn copy_wal_if_due(&mut self, load: Load) {
        match self.wal.due_checkpoint_mode(&self.connection, load) {
            Ok(None) => {}
            Ok(Some(mode)) => {
                let copied_beside = match load {
                    Load::Contended => self.copy_beside_writers(),
                    _ => Ok(()),
                };
                self.shorten_wal(copied_beside, |wal, connection| {
                    wal.copy_pages(connection, mode)
                });
            }
            Err(error) => tracing::warn!(%error, "the length of a write-ahead log is unknown"),
        }
    }

    /// Copies the write-ahead log without the write lock, while other processes write.
    ///
    /// The copy that follows needs the lock, for which the other processes wait. After these
    /// passes, few pages are left for it: each pass copies only the pages that were written during
    /// the pass before, and is shorter than that pass. When a pass copies all pages, SQLite also
    /// syncs the file, and no further pass is made.
    fn copy_beside_writers(&mut self) -> Result<()> {
        let _checkpoint_lock = self.lock.begin_checkpoint_beside()?;
        for _ in 0..MAX_PASSES {
            let are_all_copied = self
                .wal
                .copy_pages(&self.connection, CheckpointMode::PASSIVE)
                .at(&self.path)?;
            if are_all_copied {
                break;
            }
        }
        Ok(())
    }

    /// Completes a job that cannot be applied with its `error`.
    fn reject(&self, job: Box<dyn WriteJob>, error: Error) {
        // A damaged file is reported by the health check, until a later group is committed.
        if is_damage(&error) {
            self.health.send_replace(Some(error.clone()));
        }
        job.complete(Err(error));
    }

    /// Prepares the next group after a group that the file did not accept: the log is written again
    /// before the next commit, and a full disk gets room.
    fn recover(&mut self, error: &Error) {
        self.wal.mark_unsynced();
        if is_disk_full(error) {
            self.shorten_wal(Ok(()), WriteAheadLog::make_room);
        }
        if is_overwritten(error) {
            self.file_check.set_overwritten();
            // The log must not be copied into a file that it does not belong to.
            if let Err(error) = keep_log_at_close(&self.connection) {
                tracing::error!(%error, "the write-ahead log of an overwritten file may be copied");
            }
        }
    }

    /// Runs `shorten` under the write lock, to copy the write-ahead log into the file, and repairs
    /// a torn log at once. If `copied_beside`, the copy before it, failed, a torn log is repaired
    /// only.
    ///
    /// A failure is logged, not returned: the log grows until the next attempt.
    fn shorten_wal(
        &mut self,
        copied_beside: Result<()>,
        shorten: impl FnOnce(&mut WriteAheadLog, &mut Connection) -> rusqlite::Result<bool>,
    ) {
        let Self {
            connection,
            lock,
            path,
            wal,
            ..
        } = self;
        let outcome = lock.lock().and_then(|guard| {
            guard.check_log(connection)?;
            guard.begin_checkpoint()?;
            let shortened = copied_beside.and_then(|()| shorten(wal, connection).at(path));
            // The log is repaired before the lock is released, so that no other process copies the
            // rest of a torn log.
            wal.repair(connection).at(path)?;
            guard.end_checkpoint()?;
            shortened
        });

        // A full disk needs no warning here, because the failed writes report it.
        if let Err(error) = outcome
            && !is_disk_full(&error)
        {
            tracing::warn!(error = %error.chain(), "checkpoint failed");
        }
    }

    /// Records the outcome of a group for the health check. `are_checks` tells whether the group
    /// consists of checks alone.
    ///
    /// A group of successful checks alone does not clear damage that a write reported.
    fn record_outcome(&self, outcome: &Result<()>, are_checks: bool) {
        let only_checks_succeeded = outcome.is_ok() && are_checks;
        if !(only_checks_succeeded && self.health.borrow().as_ref().is_some_and(is_damage)) {
            self.health.send_replace(outcome.as_ref().err().cloned());
        }
    }

    /// Applies all jobs of the group in one transaction, and commits it. After an error, nothing of
    /// the group is applied, unless the error's outcome is unknown.
    ///
    /// With `joins`, neighboring jobs of one type are applied together. A single job that can be
    /// committed in parts applies further parts until another write is in the `queue`, or another
    /// process waits for the lock.
    ///
    /// # Errors
    /// [`CommitFailure::Job`] if a job cannot be applied or panics; [`CommitFailure::All`] if the
    /// file cannot be locked or written.
    fn commit(
        &mut self,
        group: &mut [Box<dyn WriteJob>],
        joins: bool,
        queue: &mpsc::Receiver<Box<dyn WriteJob>>,
    ) -> Result<(), CommitFailure> {
        let Self {
            connection,
            lock,
            path,
            wal,
            cache,
            parts,
            ..
        } = self;
        let guard = lock.lock().map_err(CommitFailure::All)?;
        guard.check_log(connection).map_err(CommitFailure::All)?;

        // A torn log is repaired before the transaction, because a `VACUUM` cannot run within one.
        let transaction = wal
            .repair(connection)
            .and_then(|()| connection.transaction_with_behavior(TransactionBehavior::Immediate))
            .at(path)
            .map_err(CommitFailure::All)?;

        // The log is written again within the transaction, so that no other program can append to
        // it meanwhile.
        wal.rewrite()
            .at(path)
            .map_err(|error| CommitFailure::All(error.with_outcome(Outcome::NotApplied)))?;

        // The cache moves into this function. An early return drops it together with the
        // transaction.
        let mut valid_cache = std::mem::take(cache).checked(&transaction);
        let is_alone = group.len() == 1;
        let mut remaining = &mut *group;
        while let [job, next @ ..] = remaining {
            // A panic of one job must not end the thread, which serves all callers.
            let applied = catch_unwind(AssertUnwindSafe(|| {
                if is_alone {
                    job.apply(&transaction, &mut valid_cache)?;
                    let is_awaited = || !queue.is_empty() || guard.is_awaited();
                    parts.apply(&mut **job, &transaction, &mut valid_cache, is_awaited)?;
                    Ok(0)
                } else if joins {
                    job.apply_joined(next, &transaction, &mut valid_cache)
                } else {
                    job.apply(&transaction, &mut valid_cache).map(|()| 0)
                }
            }));
            let error = match applied {
                Ok(Ok(joined)) => {
                    remaining = &mut next[joined..];
                    continue;
                }
                Ok(Err(error)) => sqlite_error(error, path),
                Err(_panic) => database_error(ErrorKind::Internal, "a write panicked")
                    .with_outcome(Outcome::NotApplied),
            };
            let index = next.len();
            return Err(CommitFailure::from_job(group.len() - 1 - index, error));
        }

        // `Transaction::commit` would compile the statement each time.
        let committed = transaction
            .prepare_cached("COMMIT")
            .and_then(|mut commit| commit.execute([]));
        // After a failed COMMIT, the drop rolls the transaction back.
        drop(transaction);
        committed.map_err(|failed| {
            let outcome = outcome_of_commit(&failed);
            CommitFailure::All(sqlite_error(failed, path).with_outcome(outcome))
        })?;
        guard.record_commit();
        *cache = valid_cache.committed(connection);
        Ok(())
    }
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
