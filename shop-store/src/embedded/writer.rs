//! The writer thread of a file, one for each process. It commits queued writes in groups.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, TransactionBehavior};
use shop_core::{Error, ErrorKind, Outcome, Result};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::checkpoint::{Load, WriteAheadLog};
use super::database::{Database, WriteLock, pragma};
use super::delay::gather;
use super::error::{
    AtPath as _, database_error, from_sqlite, is_damage, is_disk_full, outcome_of_commit,
};
use super::log::{PublishJob, publish_jobs};
use super::parts::CommitSizer;
use super::store::BuyerCache;
use super::thread::{self, Jobs, closed};

/// Maximum number of jobs in a transaction: enough to amortize the cost of a commit, and few enough for a short
/// latency.
const MAX_BATCH: usize = 1_024;

/// The maximum number of passes over the write-ahead log beside the writers of other processes.
const MAX_PASSES: usize = 8;

/// The timeout for opening a file whose lock another process may hold.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// A handle to the writer thread. Cheap to clone. The thread ends when the last handle is dropped, or one has closed it,
/// and the queue is empty.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    pub(super) jobs: Jobs<mpsc::Sender<Box<dyn WriteJob>>>,
    /// Cancelled when the file is closed under its handles.
    pub(super) closing: CancellationToken,
    health: WriteHealth,
    /// Cancelled when the thread has ended.
    exit: CancellationToken,
    database: Arc<Database>,
}

/// The error of the last group of writes, if it failed.
type WriteHealth = watch::Sender<Option<Error>>;

/// A queued write. It may be applied more than once, each time after a rollback.
pub(super) trait WriteJob: Send {
    fn apply(&mut self, connection: &Connection, buyers: &mut BuyerCache) -> rusqlite::Result<()>;
    fn complete(self: Box<Self>, outcome: Result<()>);

    /// Whether there are more parts of a job that can be committed in parts, after what was applied.
    fn has_more(&self) -> bool {
        false
    }

    /// Applies the next part, in the transaction of [`apply`](Self::apply).
    fn apply_more(
        &mut self,
        connection: &Connection,
        buyers: &mut BuyerCache,
    ) -> rusqlite::Result<()> {
        self.apply(connection, buyers)
    }

    /// Whether it is a health check. Its success does not prove that writes succeed.
    fn is_check(&self) -> bool {
        false
    }

    /// The publish, if it is one. Those that follow each other are applied together.
    fn publish(&mut self) -> Option<&mut PublishJob> {
        None
    }
}

/// A job with the result of its work, once that is applied.
pub(super) struct WriteTask<W, T> {
    is_check: bool,
    pub(super) work: W,
    pub(super) result: Option<T>,
    reply: oneshot::Sender<Result<T>>,
}

impl<W, T> WriteTask<W, T> {
    pub(super) fn new(work: W) -> (Box<Self>, PendingWrite<T>) {
        let (reply, pending) = oneshot::channel();
        (
            Box::new(Self {
                is_check: false,
                work,
                result: None,
                reply,
            }),
            pending,
        )
    }

    pub(super) fn reply(self, outcome: Result<()>) {
        let not_applied = || {
            Error::new(
                ErrorKind::Internal,
                "a write was completed before it was applied",
            )
        };
        // The caller may have been cancelled. The write is committed nevertheless.
        let _caller_gone = self
            .reply
            .send(outcome.and_then(|()| self.result.ok_or_else(not_applied)));
    }
}

impl<F, T> WriteJob for WriteTask<F, T>
where
    F: Fn(&Connection) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn apply(&mut self, connection: &Connection, buyers: &mut BuyerCache) -> rusqlite::Result<()> {
        if !self.is_check {
            // It may remove buyers.
            *buyers = BuyerCache::default();
        }
        self.result = Some((self.work)(connection)?);
        Ok(())
    }

    fn is_check(&self) -> bool {
        self.is_check
    }

    fn complete(self: Box<Self>, outcome: Result<()>) {
        self.reply(outcome);
    }
}

/// A queued write, whose result is not known yet.
pub(super) type PendingWrite<T> = oneshot::Receiver<Result<T>>;

/// Waits until `write` is durable.
pub(super) async fn written<T>(write: PendingWrite<T>) -> Result<T> {
    write.await.unwrap_or_else(|_closed| Err(closed()))
}

impl Writer {
    /// Starts the thread, which opens the file. It calls `committed` after each transaction with a write.
    pub(super) async fn start(
        database: Database,
        queue_capacity: usize,
        committed: impl Fn(&WriteLock) + Send + 'static,
    ) -> Result<Self> {
        let (jobs, waiting) = mpsc::channel(queue_capacity.max(1));
        let (ready, mut opened) = oneshot::channel();
        let database = Arc::new(database);
        let health = WriteHealth::default();
        let opening = Arc::clone(&database);
        let thread_health = health.clone();
        let exit = thread::start("shop-writer", move || match opening.open_to_write() {
            Err(error) => drop(ready.send(Err(error))),
            Ok((connection, lock)) => {
                drop(ready.send(Ok(())));
                let writer = WriterThread {
                    connection,
                    lock,
                    path: opening.path(),
                    wal: WriteAheadLog::new(opening.file("db-wal")),
                    health: thread_health,
                    buyers: BuyerCache::default(),
                    parts: CommitSizer::new(),
                };
                writer.run(waiting, committed);
            }
        })?;
        // After a timeout, the thread ends as soon as it gets the lock, because no handle is left.
        let opened = loop {
            match tokio::time::timeout(OPEN_TIMEOUT, &mut opened).await {
                Ok(opened) => break opened,
                Err(_elapsed) if database.is_migrating.load(Ordering::Relaxed) => {}
                Err(_elapsed) => {
                    let message = "the file was not opened in time: the disk is slow, or another process writes to the file";
                    return Err(Error::new(ErrorKind::Unavailable, message)
                        .with_context("file", database.path().display()));
                }
            }
        };
        opened.unwrap_or_else(|_closed| Err(closed()))?;
        Ok(Self {
            jobs: Jobs::new(jobs),
            closing: CancellationToken::new(),
            health,
            exit,
            database,
        })
    }

    /// Completes after the last handle is dropped, when the thread has ended and the file is closed.
    pub(super) fn exit(&self) -> WaitForCancellationFutureOwned {
        self.exit.clone().cancelled_owned()
    }

    /// Enqueues a write with the first poll, and waits until it is durable.
    ///
    /// # Errors
    /// [`Overloaded`](ErrorKind::Overloaded) if the queue is full; otherwise the error of the write or of its group.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (job, pending) = WriteTask::new(work);
        self.enqueue(job)?;
        written(pending).await
    }

    /// Enqueues a job as soon as the queue has room.
    pub(super) async fn enqueue_when_free(&self, job: Box<dyn WriteJob>) -> Result<()> {
        self.jobs
            .sender()?
            .send(job)
            .await
            .map_err(|_closed| closed())
    }

    /// Enqueues a job.
    ///
    /// # Errors
    /// [`Overloaded`](ErrorKind::Overloaded) if the queue is full.
    pub(super) fn enqueue(&self, job: Box<dyn WriteJob>) -> Result<()> {
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

    /// Checks that writes can succeed: the thread runs, the file is not locked, and every table can be read. If the
    /// last group failed, a write is tried. After an error that reports a damaged file, the check fails until another
    /// write has succeeded.
    pub(super) async fn check(&self) -> Result<()> {
        if !self.database.has_lock() {
            return Ok(());
        }
        let kind = self.database.kind;
        let failure = self.health.borrow().clone();
        let has_failed = failure.is_some();
        let (mut job, checked) = WriteTask::new(move |connection: &Connection| {
            kind.check(connection)?;
            if has_failed {
                write_nothing(connection)
            } else {
                Ok(())
            }
        });
        job.is_check = true;
        self.enqueue(job)?;
        written(checked).await?;
        failure.filter(is_damage).map_or(Ok(()), Err)
    }
}

/// Rewrites the same value, so that the commit writes a page. With `synchronous=FULL`, all earlier commits are then on
/// the disk too.
fn write_nothing(connection: &Connection) -> rusqlite::Result<()> {
    let version: i32 = pragma(connection, "user_version")?;
    connection.pragma_update(None, "user_version", version)
}

struct WriterThread {
    connection: Connection,
    lock: WriteLock,
    path: PathBuf,
    wal: WriteAheadLog,
    health: WriteHealth,
    buyers: BuyerCache,
    parts: CommitSizer,
}

/// Why a group of writes was not committed.
enum CommitFailure {
    /// The write at this position cannot be applied, or one of those that were applied together. The others can.
    Some(Range<usize>, Error),
    /// The file cannot be written.
    All(Error),
}

impl CommitFailure {
    /// The failure of the writes at the positions `jobs`.
    fn of(jobs: Range<usize>, error: Error) -> Self {
        if is_about_write(&error) {
            Self::Some(jobs, error)
        } else {
            Self::All(error)
        }
    }
}

/// Whether an error says that a write cannot be applied, and others can.
pub(super) fn is_about_write(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Corrupt | ErrorKind::Internal | ErrorKind::TooLarge
    )
}

impl WriterThread {
    fn run(
        mut self,
        mut waiting: mpsc::Receiver<Box<dyn WriteJob>>,
        committed: impl Fn(&WriteLock),
    ) {
        let mut group = Vec::new();
        let mut sizes = [0; 2];
        while waiting.blocking_recv_many(&mut group, MAX_BATCH) > 0 {
            gather(&mut group, MAX_BATCH, &mut sizes, &mut waiting);
            let mut joins = true;
            while !group.is_empty() {
                let outcome = match self.commit(&mut group, joins, &waiting) {
                    Err(CommitFailure::Some(jobs, error)) if jobs.len() == 1 => {
                        self.reject(group.remove(jobs.start), error);
                        continue;
                    }
                    Err(CommitFailure::Some(..)) => {
                        // Alone, the one that cannot be applied is found.
                        joins = false;
                        continue;
                    }
                    Err(CommitFailure::All(error)) => {
                        self.recover(&error);
                        Err(error)
                    }
                    Ok(()) => Ok(()),
                };
                self.record_outcome(&outcome, &group);
                if outcome.is_ok() && !group.iter().all(|job| job.is_check()) {
                    committed(&self.lock);
                }
                for job in group.drain(..) {
                    job.complete(outcome.clone());
                }
            }
            let load = self.parts.take_load();
            self.copy_wal_if_due(load);
        }
        // Other processes may still have the file open.
        self.copy_wal_if_due(Load::Small);
    }

    fn copy_wal_if_due(&mut self, load: Load) {
        match self.wal.due(&self.connection, load) {
            Ok(None) => {}
            Ok(Some(mode)) => {
                let passed = match load {
                    Load::Contended => self.copy_beside_writers(),
                    _ => Ok(()),
                };
                self.shorten_wal(|wal, connection| {
                    passed?;
                    wal.copy(connection, mode)
                });
            }
            Err(error) => tracing::warn!(%error, "the length of a write-ahead log is unknown"),
        }
    }

    /// Copies the write-ahead log while other processes write, so that few pages are left for the copy for which they wait.
    ///
    /// Each pass has only the pages that were written during the one before, so one of the first few reaches the end of the
    /// log and syncs the file.
    fn copy_beside_writers(&mut self) -> rusqlite::Result<()> {
        for _ in 0..MAX_PASSES {
            if self.wal.copy(&self.connection, CheckpointMode::PASSIVE)? {
                break;
            }
        }
        Ok(())
    }

    /// Completes a write that cannot be applied.
    fn reject(&self, job: Box<dyn WriteJob>, error: Error) {
        // The file's error, unless the others are committed.
        if is_damage(&error) {
            self.health.send_replace(Some(error.clone()));
        }
        job.complete(Err(error));
    }

    /// Prepares for the next group after one that was not committed.
    fn recover(&mut self, error: &Error) {
        self.wal.suspect();
        if is_disk_full(error) {
            self.shorten_wal(WriteAheadLog::make_room);
        }
    }

    /// Shortens the write-ahead log. If that fails, it grows until the next attempt.
    fn shorten_wal(
        &mut self,
        shorten: impl FnOnce(&mut WriteAheadLog, &mut Connection) -> rusqlite::Result<bool>,
    ) {
        let Self {
            connection,
            lock,
            path,
            wal,
            ..
        } = self;
        let shortened = lock.lock().and_then(|_guard| {
            let shortened = shorten(wal, connection);
            // At once, before another process copies the rest of a torn log.
            wal.mend(connection).at(path)?;
            shortened.at(path)
        });
        // A full disk is reported by the writes.
        if let Err(error) = shortened
            && !is_disk_full(&error)
        {
            tracing::warn!(error = %error.chain(), "checkpoint failed");
        }
    }

    /// Records the outcome of a group. A successful check does not clear damage that a write has reported.
    fn record_outcome(&self, outcome: &Result<()>, group: &[Box<dyn WriteJob>]) {
        let are_checks = outcome.is_ok() && group.iter().all(|job| job.is_check());
        if !(are_checks && self.health.borrow().as_ref().is_some_and(is_damage)) {
            self.health.send_replace(outcome.as_ref().err().cloned());
        }
    }

    /// Commits all of the group or nothing. A single job that can be committed in parts goes on until another write is
    /// `waiting`, or another process is.
    fn commit(
        &mut self,
        group: &mut [Box<dyn WriteJob>],
        joins: bool,
        waiting: &mpsc::Receiver<Box<dyn WriteJob>>,
    ) -> Result<(), CommitFailure> {
        let Self {
            connection,
            lock,
            path,
            wal,
            buyers,
            parts,
            ..
        } = self;
        let guard = lock.lock().map_err(CommitFailure::All)?;
        let mended = wal.mend(connection);
        let started = mended
            .and_then(|()| connection.transaction_with_behavior(TransactionBehavior::Immediate));
        let transaction = started.at(path).map_err(CommitFailure::All)?;
        wal.rewrite()
            .at(path)
            .map_err(|error| CommitFailure::All(error.with_outcome(Outcome::NotApplied)))?;
        // Forgotten if the transaction is rolled back, when it is dropped.
        let mut known = std::mem::take(buyers).checked(&transaction);
        let mut next = 0;
        while next < group.len() {
            let most = if joins { MAX_BATCH } else { 1 };
            let joined = group[next..]
                .iter_mut()
                .take(most)
                .map_while(|job| job.publish())
                .count();
            let jobs = next..next + joined.max(1);
            let is_alone = group.len() == 1;
            let applied = catch_unwind(AssertUnwindSafe(|| match &mut group[jobs.clone()] {
                [job] => {
                    job.apply(&transaction, &mut known)?;
                    if is_alone {
                        let is_awaited = || !waiting.is_empty() || guard.is_awaited();
                        parts.apply(&mut **job, &transaction, &mut known, is_awaited)?;
                    }
                    Ok(())
                }
                jobs => {
                    let jobs = jobs.iter_mut().filter_map(|job| job.publish());
                    publish_jobs(&transaction, &mut known, jobs.collect())
                }
            }));
            match applied {
                Ok(Ok(())) => next = jobs.end,
                Ok(Err(error)) => return Err(CommitFailure::of(jobs, from_sqlite(error, path))),
                Err(_panic) => {
                    let error = database_error(ErrorKind::Internal, "a write panicked")
                        .with_outcome(Outcome::NotApplied);
                    return Err(CommitFailure::of(jobs, error));
                }
            }
        }
        // `Transaction::commit` compiles the statement each time.
        let committed = transaction
            .prepare_cached("COMMIT")
            .and_then(|mut commit| commit.execute([]));
        // Rolls back what is not committed.
        drop(transaction);
        committed.map_err(|failed| {
            let outcome = outcome_of_commit(&failed);
            CommitFailure::All(from_sqlite(failed, path).with_outcome(outcome))
        })?;
        *buyers = known.committed(connection);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use shop_core::conformance::assert_fails;

    use super::super::database::FileSchema;
    use super::*;

    static KIND: FileSchema = FileSchema {
        application_id: 7,
        migrations: &["CREATE TABLE numbers (number INTEGER PRIMARY KEY);"],
        tables: &["numbers"],
    };

    fn insert(number: i64) -> impl Fn(&Connection) -> rusqlite::Result<i64> {
        move |connection| {
            assert_ne!(number, 13, "on purpose");
            connection.execute("INSERT INTO numbers VALUES (?1)", [number])?;
            Ok(number)
        }
    }

    /// A write that finds the file damaged.
    fn damaged(_: &Connection) -> rusqlite::Result<()> {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        Err(rusqlite::Error::SqliteFailure(code, None))
    }

    #[tokio::test]
    async fn every_write_waits_for_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::new(&KIND, folder.path(), "test", None);
        let writer = Writer::start(database, 100, |_| ()).await.unwrap();
        let mode = |connection: &Connection| {
            connection.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0))
        };
        let full = 2;
        assert_eq!(writer.write(mode).await.unwrap(), full);
    }

    #[tokio::test]
    async fn check_fails_after_damage_until_a_write_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::new(&KIND, folder.path(), "test", None);
        let writer = Writer::start(database, 100, |_| ()).await.unwrap();
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
    }

    #[tokio::test]
    async fn only_writes_are_announced() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::new(&KIND, folder.path(), "test", None);
        let (announced, announcements) = std::sync::mpsc::channel();
        let writer = Writer::start(database, 100, move |_| announced.send(()).unwrap())
            .await
            .unwrap();
        writer.check().await.unwrap();
        writer.write(insert(1)).await.unwrap();
        assert_eq!(announcements.try_iter().count(), 1);
    }

    #[tokio::test]
    async fn a_file_that_another_program_removes_replaces_or_cuts_is_not_written() {
        let cases = ["db", "db-wal", "db-shm", "lock"]
            .map(|suffix| [(suffix, "removed"), (suffix, "replaced")]);
        for (suffix, how) in cases.into_iter().flatten().chain([("db-wal", "cut")]) {
            let folder = tempfile::tempdir().unwrap();
            let database = Database::new(&KIND, folder.path(), "test", None);
            let writer = Writer::start(database.clone(), 100, |_| ()).await.unwrap();
            writer.write(insert(1)).await.unwrap();
            let path = folder.path().join(format!("test.{suffix}"));
            let file = std::fs::read(&path).unwrap();
            match how {
                "cut" => std::fs::File::options()
                    .write(true)
                    .open(&path)
                    .unwrap()
                    .set_len(5_000)
                    .unwrap(),
                _ => std::fs::remove_file(&path).unwrap(),
            }
            if how == "replaced" {
                std::fs::write(&path, file).unwrap();
            }
            for _ in 0..2 {
                let error = writer.write(insert(2)).await.unwrap_err();
                assert_eq!(error.outcome(), Outcome::NotApplied, "{suffix} {how}");
                let text = error.chain().to_string();
                assert!(
                    text.contains("restart this program"),
                    "{suffix} {how}: {text}"
                );
                writer.check().await.unwrap_err();
            }
            let exit = writer.exit();
            drop(writer);
            exit.await;
            if how == "cut" {
                assert_eq!(
                    std::fs::metadata(&path).unwrap().len(),
                    5_000,
                    "it is not copied"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_failed_write_does_not_fail_its_group() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::new(&KIND, folder.path(), "test", None);
        let writer = Writer::start(database.clone(), 100, |_| ()).await.unwrap();
        writer.write(insert(5)).await.unwrap();
        // While another process holds the lock, the writes are collected into one group.
        let lock = std::fs::File::open(folder.path().join("test.lock")).unwrap();
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
        let count = writer.write(|connection| {
            connection.query_row("SELECT count(*) FROM numbers", [], |row| {
                row.get::<_, i64>(0)
            })
        });
        assert_eq!(count.await.unwrap(), 19);
        writer.check().await.expect("the file is healthy");
    }
}
