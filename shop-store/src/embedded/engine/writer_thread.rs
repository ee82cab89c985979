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
use std::path::{Path, PathBuf};

use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, TransactionBehavior};
use shop_core::{Error, ErrorKind, Outcome, Result};
use tokio::sync::{mpsc, watch};

use super::checkpoint::{Load, WriteAheadLog};
use super::commit_sizer::CommitSizer;
use super::error::{
    AtPath as _, database_error, is_about_write, is_damage, is_disk_full, outcome_of_commit,
    sqlite_error,
};
use super::file_check::{FileCheck, RunningCheck};
use super::gather::gather;
use super::job::{JobCache, WriteJob};
use super::write_lock::{WriteLock, is_overwritten, keep_log_at_close};

/// The maximum number of jobs in a transaction: enough to amortize the cost of a commit, and few
/// enough for a short latency.
const MAX_BATCH: usize = 1_024;

/// The maximum number of copies of the write-ahead log that run in a row beside the writers of
/// other processes.
const MAX_PASSES: usize = 8;

/// The error of the last group of writes, or `None` if the group was committed. The thread sets it,
/// and [`Writer::check`](super::writer::Writer::check) reads it.
pub(super) type WriteHealth = watch::Sender<Option<Error>>;

/// The state of the writer thread.
pub(super) struct WriterThread {
    pub(super) connection: Connection,
    /// The lock between processes, held during each transaction.
    pub(super) write_lock: WriteLock,
    pub(super) path: PathBuf,
    pub(super) wal: WriteAheadLog,
    pub(super) health: WriteHealth,
    pub(super) file_check: FileCheck,
    /// The check of the pages of the file, if it was not the file that was written here last.
    pub(super) running_check: Option<RunningCheck>,
    /// What the jobs keep from one transaction to the next, as of the last commit of this thread.
    pub(super) cache: JobCache,
    /// Decides how many parts of a large job are committed together.
    pub(super) commit_sizer: CommitSizer,
}

/// How the jobs of a group are applied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ApplyMode {
    /// Neighboring jobs of one type are applied together, with fewer statements.
    Joined,
    /// Each job is applied alone, so that an error tells which job cannot be applied.
    Single,
}

/// Why a group of writes was not committed.
enum CommitFailure {
    /// The job at this position of the group, or a job that is applied together with it, cannot be
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

impl WriterThread {
    /// Commits the queued jobs in groups until the queue is closed and empty. Calls `on_commit` after
    /// each commit of a group that contains a write.
    pub(super) fn run(
        mut self,
        mut queue: mpsc::Receiver<Box<dyn WriteJob>>,
        on_commit: impl Fn(),
    ) {
        let mut group = Vec::new();
        // The sizes of the two groups before, from which `gather` guesses how many jobs will come.
        let mut earlier_sizes = [0; 2];

        while queue.blocking_recv_many(&mut group, MAX_BATCH) > 0 {
            gather(&mut group, MAX_BATCH, &mut earlier_sizes, &mut queue);
            self.write_group(&mut group, &queue, &on_commit);
            let load = self.commit_sizer.take_load();
            self.copy_wal_if_due(load);
        }
        self.prepare_close();
    }

    /// Commits the jobs of `group`, completes each of them with its result, and leaves the group
    /// empty.
    ///
    /// A job that cannot be applied is rejected alone, and the others are applied again without it. If
    /// the file cannot be written, all jobs that are left get the error.
    fn write_group(
        &mut self,
        group: &mut Vec<Box<dyn WriteJob>>,
        queue: &mpsc::Receiver<Box<dyn WriteJob>>,
        on_commit: &impl Fn(),
    ) {
        let mut apply_mode = if group.len() > 1 {
            ApplyMode::Joined
        } else {
            ApplyMode::Single
        };

        // Each turn commits the group, changes to single jobs, or removes a job that cannot be
        // applied.
        while !group.is_empty() {
            match self.commit(group, apply_mode, queue) {
                Ok(()) => self.complete_group(group, &Ok(()), on_commit),
                Err(CommitFailure::All(error)) => {
                    self.prepare_after_failure(&error);
                    self.complete_group(group, &Err(error), on_commit);
                }
                Err(CommitFailure::Job(..)) if apply_mode == ApplyMode::Joined => {
                    // Any of the jobs that were applied together may be the cause. The next attempt
                    // applies each job alone.
                    apply_mode = ApplyMode::Single;
                }
                Err(CommitFailure::Job(index, error)) => self.reject(group.remove(index), error),
            }
        }
    }

    /// Completes all jobs of `group` with `outcome`, and records it for the health check.
    fn complete_group(
        &self,
        group: &mut Vec<Box<dyn WriteJob>>,
        outcome: &Result<()>,
        on_commit: &impl Fn(),
    ) {
        let are_checks = group.iter().all(|job| job.is_check());
        self.record_outcome(outcome, are_checks);
        if outcome.is_ok() && !are_checks {
            on_commit();
        }
        for job in group.drain(..) {
            job.complete(outcome.clone());
        }
    }

    /// Prepares for closing the connection, which follows when the thread ends.
    fn prepare_close(&mut self) {
        // The connections of the check must be closed before the last connection.
        if let Some(running_check) = self.running_check.take() {
            running_check.stop();
        }
        // SQLite copies the log when the last connection is closed. Other processes may still have
        // the file open.
        self.copy_wal_if_due(Load::Small);
        if let Err(error) = self.write_lock.prepare_close(&self.connection) {
            tracing::warn!(error = %error.chain(), "the write-ahead log stays when the file is closed");
        }
    }

    /// Copies the write-ahead log into the file if it is longer than the limit for this load, or
    /// the disk is nearly full.
    fn copy_wal_if_due(&mut self, load: Load) {
        match self.wal.due_checkpoint_mode(&self.connection, load) {
            Ok(None) => {}
            Ok(Some(mode)) => {
                let copy_beside_result = match load {
                    Load::Contended => self.copy_beside_writers(),
                    Load::Small | Load::Bulk => Ok(()),
                };
                self.shorten_wal(|wal, connection, path| {
                    // After a failed copy beside the writers, only a torn log is repaired.
                    copy_beside_result?;
                    wal.copy_pages(connection, mode).at(path)
                });
            }
            Err(error) => tracing::warn!(%error, "the length of a write-ahead log is unknown"),
        }
    }

    /// Copies the write-ahead log without the write lock, while other processes write.
    ///
    /// The copy that follows needs the lock, for which the other processes wait. The passes here
    /// leave few pages for that copy: each pass copies only the pages that were written during the
    /// previous pass, and is shorter than the previous pass. When a pass copies all pages, SQLite also
    /// syncs the file, and no further pass is made.
    fn copy_beside_writers(&mut self) -> Result<()> {
        let _checkpoint_lock = self.write_lock.begin_checkpoint_beside()?;
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

    /// Completes a job that cannot be applied, with `error` as its result.
    fn reject(&self, job: Box<dyn WriteJob>, error: Error) {
        // A damaged file is reported by the health check, until a later group is committed.
        if is_damage(&error) {
            self.health.send_replace(Some(error.clone()));
        }
        job.complete(Err(error));
    }

    /// Prepares the next group after a group failed with `error`, because the file could not be
    /// written.
    ///
    /// | error | preparation |
    /// |---|---|
    /// | any | the write-ahead log is written again before the next commit |
    /// | a full disk | the log is copied into the file, which makes room |
    /// | an overwritten file | the health check reports it, and the log is not copied at the end |
    fn prepare_after_failure(&mut self, error: &Error) {
        self.wal.mark_unsynced();
        if is_disk_full(error) {
            self.shorten_wal(|wal, connection, path| wal.make_room(connection).at(path));
        }
        if is_overwritten(error) {
            self.file_check.set_overwritten();
            // The log must not be copied into a file that it does not belong to.
            if let Err(error) = keep_log_at_close(&self.connection) {
                tracing::error!(%error, "the write-ahead log of an overwritten file may be copied");
            }
        }
    }

    /// Runs `shorten` under the write lock, to copy the write-ahead log into the file. Then repairs
    /// the log if a failed copy has left it [torn](WriteAheadLog::repair).
    ///
    /// A failure is logged, not returned: the log grows until the next attempt.
    fn shorten_wal(
        &mut self,
        shorten: impl FnOnce(&mut WriteAheadLog, &mut Connection, &Path) -> Result<bool>,
    ) {
        let Self {
            connection,
            write_lock,
            path,
            wal,
            ..
        } = self;
        let outcome = write_lock.lock().and_then(|guard| {
            guard.check_log(connection)?;
            guard.begin_checkpoint()?;
            let shorten_result = shorten(wal, connection, path);
            // The log is repaired before the lock is released, so that no other process copies the
            // rest of a torn log.
            wal.repair(connection).at(path)?;
            guard.end_checkpoint()?;
            shorten_result
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
        let is_damage_known = self.health.borrow().as_ref().is_some_and(is_damage);
        if only_checks_succeeded && is_damage_known {
            return;
        }
        self.health.send_replace(outcome.as_ref().err().cloned());
    }

    /// Applies all jobs of the group in one transaction, and commits the transaction. After an error,
    /// nothing of the group is applied, unless the error's outcome is unknown.
    ///
    /// If the group is a single job that can be committed in parts, further parts of the job are
    /// applied, until another write is in the `queue` or another process waits for the lock.
    ///
    /// # Errors
    /// [`CommitFailure::Job`] if a job cannot be applied or panics; [`CommitFailure::All`] if the
    /// file cannot be locked or written.
    fn commit(
        &mut self,
        group: &mut [Box<dyn WriteJob>],
        apply_mode: ApplyMode,
        queue: &mpsc::Receiver<Box<dyn WriteJob>>,
    ) -> Result<(), CommitFailure> {
        let Self {
            connection,
            write_lock,
            path,
            wal,
            cache,
            commit_sizer,
            ..
        } = self;
        let guard = write_lock.lock().map_err(CommitFailure::All)?;
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
        apply_group(group, path, |job, following_jobs| {
            if is_alone {
                job.apply(&transaction, &mut valid_cache)?;
                let is_awaited = || !queue.is_empty() || guard.is_awaited();
                commit_sizer.apply_parts(job, &transaction, &mut valid_cache, is_awaited)?;
                Ok(0)
            } else if apply_mode == ApplyMode::Joined {
                job.apply_with_following(following_jobs, &transaction, &mut valid_cache)
            } else {
                job.apply(&transaction, &mut valid_cache).map(|()| 0)
            }
        })?;

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

/// Applies the jobs of `group` in their order by `apply`, and stops at the first job that fails.
///
/// `apply` gets a job and the jobs that follow it. It returns the number of following jobs that it
/// applied together with the job.
///
/// # Errors
/// [`CommitFailure::Job`] if a job cannot be applied or panics; [`CommitFailure::All`] if the file
/// cannot be written.
fn apply_group(
    group: &mut [Box<dyn WriteJob>],
    path: &Path,
    mut apply: impl FnMut(&mut dyn WriteJob, &mut [Box<dyn WriteJob>]) -> rusqlite::Result<usize>,
) -> Result<(), CommitFailure> {
    let group_size = group.len();
    let mut remaining = group;
    while let [job, following_jobs @ ..] = remaining {
        // A panic of one job must not end the thread, which serves all callers.
        let applied = catch_unwind(AssertUnwindSafe(|| apply(&mut **job, following_jobs)));
        let error = match applied {
            Ok(Ok(following_count)) => {
                remaining = &mut following_jobs[following_count..];
                continue;
            }
            Ok(Err(error)) => sqlite_error(error, path),
            Err(_panic) => database_error(ErrorKind::Internal, "a write panicked")
                .with_outcome(Outcome::NotApplied),
        };
        let index = group_size - 1 - following_jobs.len();
        return Err(CommitFailure::from_job(index, error));
    }
    Ok(())
}
