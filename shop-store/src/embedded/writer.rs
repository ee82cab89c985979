//! The one thread of a process that writes into a file: whatever waits is committed together.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};
use shop_core::{Error, ErrorKind, Outcome, Result};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;

use super::database::{Database, WriteLock};
use super::error::{database_error, from_sqlite, is_damage, outcome_of_commit};
use super::thread::{self, ThreadExit, ended};

/// The most jobs of one transaction: enough for the cost of a commit to vanish among them, few enough that
/// nobody waits long.
const MAX_BATCH: usize = 1_024;

/// How long a group is added to at most, while there are many writes: a commit takes processor time that those who are
/// still on their way lack. With 512 connections there were 5 writes in a commit without it, and 20 with it.
const GATHERING: Duration = Duration::from_millis(1);
/// The steps of that. Linux lets a thread sleep up to 50 µs longer (`PR_SET_TIMERSLACK` in `prctl(2)`).
const PAUSE: Duration = Duration::from_micros(100);
/// What a step has to bring for another one.
const MIN_GAIN: usize = 4;
/// So many groups are not added to after a step that brought less.
const COOLDOWN_BATCHES: u32 = 16;

/// How long it may take to open a file, in which another process may hold the lock.
const OPENING: Duration = Duration::from_secs(5);

/// Where writes are handed in. Cheap to clone; the thread ends when the last one is gone and its queue is
/// empty.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    health: Arc<Health>,
    ending: ThreadExit,
    database: Arc<Database>,
}

/// What went wrong with the last group of writes, if anything did.
#[derive(Debug, Default)]
struct Health(Mutex<Option<Error>>);

impl Health {
    fn set(&self, failure: Option<Error>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    fn failure(&self) -> Option<Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A write that waits for its turn. It may be applied more than once, each time after a rollback.
trait Job: Send {
    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    fn complete(self: Box<Self>, outcome: Result<()>);
    /// Whether it only looks: that it works says little about other writes.
    fn is_check(&self) -> bool;
}

struct Write<F, T> {
    is_check: bool,
    work: F,
    result: Option<T>,
    reply: oneshot::Sender<Result<T>>,
}

impl<F, T> Job for Write<F, T>
where
    F: Fn(&Connection) -> rusqlite::Result<T> + Send,
    T: Send,
{
    fn apply(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.result = Some((self.work)(connection)?);
        Ok(())
    }

    fn is_check(&self) -> bool {
        self.is_check
    }

    fn complete(self: Box<Self>, outcome: Result<()>) {
        let not_applied = || Error::new(ErrorKind::Internal, "a write was settled before it was applied");
        let Self { result, reply, .. } = *self;
        // Whoever asked may have stopped waiting; the write stands all the same.
        let _not_waiting = reply.send(outcome.and_then(|()| result.ok_or_else(not_applied)));
    }
}

impl Writer {
    /// Opens the file in a thread of its own. `committed` is called after every commit.
    pub(super) async fn start(
        database: Database,
        queue_capacity: usize,
        committed: impl Fn() + Send + 'static,
    ) -> Result<Self> {
        let (jobs, waiting) = mpsc::channel(queue_capacity.max(1));
        let (ready, opened) = oneshot::channel();
        let (database, health) = (Arc::new(database), Arc::new(Health::default()));
        let (path, thread_health) = (database.path(), Arc::clone(&health));
        let opening = Arc::clone(&database);
        let ending = thread::start("shop-writer", move || {
            let path = opening.path();
            match opening.open_to_write() {
                Err(error) => drop(ready.send(Err(error))),
                Ok((connection, lock)) => {
                    drop(ready.send(Ok(())));
                    WriterThread { connection, lock, path, health: thread_health }.run(waiting, committed);
                }
            }
        })?;
        // A thread that is given up goes on waiting for its turn; then it finds nobody to work for, and ends.
        let opened = tokio::time::timeout(OPENING, opened).await.map_err(|_elapsed| {
            let message = "the file was not opened in time: another process holds its lock, end that or wait";
            Error::new(ErrorKind::Unavailable, message).with_context("file", path.display())
        })?;
        opened.unwrap_or_else(|_ended| Err(ended()))?;
        Ok(Self { jobs, health, ending, database })
    }

    /// The end of the thread, which comes after the last clone of this is gone.
    pub(super) fn ending(&self) -> ThreadExit {
        self.ending.clone()
    }

    /// Puts a write into the queue with the first poll, and waits until it is durable.
    ///
    /// # Errors
    /// [`Overloaded`](ErrorKind::Overloaded) when the queue is full; else as the group that it was part of.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.enqueue(false, work)?.await.unwrap_or_else(|_ended| Err(ended()))
    }

    /// As [`write`](Self::write), for a thread that may block.
    pub(super) fn write_blocking<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.enqueue(false, work)?.blocking_recv().unwrap_or_else(|_ended| Err(ended()))
    }

    fn enqueue<T: Send + 'static>(
        &self,
        is_check: bool,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T>>> {
        let (reply, answer) = oneshot::channel();
        let job = Write { is_check, work, result: None, reply };
        match self.jobs.try_send(Box::new(job)) {
            Ok(()) => Ok(answer),
            Err(TrySendError::Full(_)) => {
                let message = "the queue of writes is full: slow down";
                Err(database_error(ErrorKind::Overloaded, message))
            }
            Err(TrySendError::Closed(_)) => Err(ended()),
        }
    }

    /// Whether a write has a chance now: the thread lives, the file is not locked, every table can be read, and if
    /// the last write has failed, another one works. After one that has met damage the next that is applied shows
    /// that; until then this fails.
    pub(super) async fn check(&self) -> Result<()> {
        if !self.database.has_lock() {
            return Ok(());
        }
        let (kind, failure) = (self.database.kind(), self.health.failure());
        let has_failed = failure.is_some();
        let checked = self.enqueue(true, move |connection| {
            kind.touch(connection)?;
            if has_failed {
                // Writes what is there already: a page that must reach the disk.
                let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
                connection.pragma_update(None, "user_version", version)?;
            }
            Ok(())
        })?;
        checked.await.unwrap_or_else(|_ended| Err(ended()))?;
        failure.filter(is_damage).map_or(Ok(()), Err)
    }
}

/// Decides how long to wait for more before a commit: not at all for whoever writes alone.
#[derive(Debug, Default)]
struct GroupCommitDelay {
    /// Groups that are still to be committed as they are.
    cooldown: u32,
}

impl GroupCommitDelay {
    /// Adds to `group` what comes within a moment, as long as enough of it comes.
    #[expect(clippy::disallowed_methods, reason = "a thread of its own, which has nothing else to do")]
    fn add(&mut self, group: &mut Vec<Box<dyn Job>>, waiting: &mut mpsc::Receiver<Box<dyn Job>>) {
        if group.len() < 2 || self.cooldown > 0 {
            self.cooldown = self.cooldown.saturating_sub(1);
            return;
        }
        let begun = Instant::now();
        while group.len() < MAX_BATCH && begun.elapsed() < GATHERING {
            std::thread::sleep(PAUSE);
            let before = group.len();
            while group.len() < MAX_BATCH
                && let Ok(job) = waiting.try_recv()
            {
                group.push(job);
            }
            if group.len() - before < MIN_GAIN {
                // Who writes is waiting in this group: nothing more would come.
                self.cooldown = COOLDOWN_BATCHES;
                return;
            }
        }
    }
}

struct WriterThread {
    connection: Connection,
    lock: WriteLock,
    path: PathBuf,
    health: Arc<Health>,
}

/// Why a group of writes was not committed.
enum Failed {
    /// One of them, by its position, cannot be applied; the others can.
    One(usize, Error),
    /// The file takes nothing now.
    All(Error),
}

impl WriterThread {
    fn run(mut self, mut waiting: mpsc::Receiver<Box<dyn Job>>, committed: impl Fn()) {
        let (mut group, mut gathering) = (Vec::new(), GroupCommitDelay::default());
        while waiting.blocking_recv_many(&mut group, MAX_BATCH) > 0 {
            gathering.add(&mut group, &mut waiting);
            let mut damage = None;
            while !group.is_empty() {
                let outcome = match self.commit(&mut group) {
                    Err(Failed::One(position, error)) => {
                        let refused = group.remove(position);
                        self.refuse(refused, error, &mut damage, group.is_empty());
                        continue;
                    }
                    Err(Failed::All(error)) => Err(error),
                    Ok(()) => Ok(()),
                };
                self.note(&outcome, &group, damage.take());
                if outcome.is_ok() {
                    committed();
                }
                for job in group.drain(..) {
                    job.complete(outcome.clone());
                }
            }
        }
    }

    /// Answers a write that cannot be applied. When it is the last of its group, nothing of that is committed: then
    /// the `damage` that any of them has met is what is wrong with the file.
    fn refuse(&self, job: Box<dyn Job>, error: Error, damage: &mut Option<Error>, is_last: bool) {
        if is_damage(&error) {
            damage.get_or_insert_with(|| error.clone());
        }
        if is_last && damage.is_some() {
            self.health.set(damage.take());
        }
        job.complete(Err(error));
    }

    /// A check that works does not show that damage is gone which a write has met, now or before.
    fn note(&self, outcome: &Result<()>, group: &[Box<dyn Job>], damage: Option<Error>) {
        let are_checks = outcome.is_ok() && group.iter().all(|job| job.is_check());
        let known = || self.health.failure().filter(is_damage);
        self.health.set(match outcome {
            Ok(()) if are_checks => damage.or_else(known),
            outcome => outcome.as_ref().err().cloned(),
        });
    }

    /// All of the group or nothing.
    fn commit(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), Failed> {
        let _turn = self.lock.turn().map_err(Failed::All)?;
        let path = &self.path;
        let begun = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let transaction = begun.map_err(|error| Failed::All(from_sqlite(error, path)))?;
        for (position, job) in group.iter_mut().enumerate() {
            // The transaction is rolled back when it is dropped.
            let applied = catch_unwind(AssertUnwindSafe(|| job.apply(&transaction)));
            let error = match applied {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => from_sqlite(error, path),
                Err(_panic) => Error::new(ErrorKind::Internal, "a write has panicked")
                    .with_outcome(Outcome::NotApplied)
                    .with_origin("embedded database"),
            };
            let is_its_own =
                matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Internal | ErrorKind::TooLarge);
            return Err(if is_its_own { Failed::One(position, error) } else { Failed::All(error) });
        }
        transaction.commit().map_err(|failed| {
            let outcome = outcome_of_commit(&failed);
            Failed::All(from_sqlite(failed, path).with_outcome(outcome))
        })
    }
}

impl fmt::Debug for dyn Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Job")
    }
}

#[cfg(test)]
mod tests {
    use super::super::database::Kind;
    use super::*;

    static KIND: Kind = Kind {
        application_id: 7,
        migrations: &["CREATE TABLE numbers (number INTEGER PRIMARY KEY);"],
        checkpoint_pages: None,
        touch: &["SELECT max(number) FROM numbers"],
    };

    fn insert(number: i64) -> impl Fn(&Connection) -> rusqlite::Result<i64> {
        move |connection| {
            assert_ne!(number, 13, "on purpose");
            connection.execute("INSERT INTO numbers VALUES (?1)", [number])?;
            Ok(number)
        }
    }

    #[tokio::test]
    async fn damage_that_a_write_has_met_fails_checks_until_a_write_works() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::new(&KIND, folder.path(), "test", None);
        let writer = Writer::start(database, 100, || ()).await.unwrap();
        writer.check().await.unwrap();
        let damaged = |_: &Connection| -> rusqlite::Result<()> {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
            Err(rusqlite::Error::SqliteFailure(code, None))
        };
        let error = writer.write(damaged).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::Corrupt, Outcome::NotApplied));
        for _ in 0..2 {
            assert_eq!(writer.check().await.unwrap_err().kind(), ErrorKind::Corrupt);
        }
        writer.write(insert(1)).await.unwrap();
        writer.check().await.unwrap();
    }

    #[tokio::test]
    async fn one_that_fails_does_not_fail_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::new(&KIND, folder.path(), "test", None);
        let writer = Writer::start(database.clone(), 100, || ()).await.unwrap();
        writer.write(insert(5)).await.unwrap();
        // While another process has its turn they gather to one group.
        let lock = std::fs::File::open(folder.path().join("test.lock")).unwrap();
        lock.lock().unwrap();
        // 5 is there already, and 13 panics.
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
                    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Internal, Outcome::NotApplied));
                }
            }
        }
        let count = writer.write(|connection| {
            connection.query_row("SELECT count(*) FROM numbers", [], |row| row.get::<_, i64>(0))
        });
        assert_eq!(count.await.unwrap(), 19);
        writer.check().await.expect("the file is well");
    }
}
