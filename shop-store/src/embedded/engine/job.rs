//! Jobs of the [writer](super::writer), and what they keep from one transaction to the next.

use std::any::Any;

use rusqlite::{Connection, FileControl};
use shop_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use super::thread::closed_error;

/// A queued write.
///
/// The thread calls [`apply`](Self::apply) within the transaction of a group, and
/// [`complete`](Self::complete) once after the group. A job may be applied more than once, each
/// time after a rollback.
pub(in crate::embedded) trait WriteJob: Any + Send {
    /// Executes the statements of the job within the current transaction of `connection`.
    fn apply(&mut self, connection: &Connection, cache: &mut JobCache) -> rusqlite::Result<()>;

    /// Sends the result of the job to its caller. `outcome` is `Ok` if the transaction was
    /// committed.
    fn complete(self: Box<Self>, outcome: Result<()>);

    /// Applies this job together with the jobs of the same type at the beginning of
    /// `following_jobs`, with fewer statements. Returns the number of `following_jobs` that were
    /// applied.
    ///
    /// The default applies this job alone. After an error, the writer applies each job alone.
    fn apply_with_following(
        &mut self,
        _following_jobs: &mut [Box<dyn WriteJob>],
        connection: &Connection,
        cache: &mut JobCache,
    ) -> rusqlite::Result<usize> {
        self.apply(connection, cache).map(|()| 0)
    }

    /// Returns whether the job has parts that are not applied yet. Only a large job that can be
    /// committed in parts has any.
    fn has_more(&self) -> bool {
        false
    }

    /// Applies the next part of the job, in the same transaction as [`apply`](Self::apply).
    fn apply_next_part(
        &mut self,
        connection: &Connection,
        cache: &mut JobCache,
    ) -> rusqlite::Result<()> {
        self.apply(connection, cache)
    }

    /// Returns whether the job is a health check. A successful check does not prove that writes
    /// succeed.
    fn is_check(&self) -> bool {
        false
    }
}

/// A write job made of its work, such as a closure, and the channel on which its caller waits for
/// the result.
pub(in crate::embedded) struct WriteTask<W, T> {
    pub(in crate::embedded) is_check: bool,
    pub(in crate::embedded) work: W,
    /// The result of the last time that the work was applied. `None` before the first time.
    pub(in crate::embedded) result: Option<T>,
    reply: oneshot::Sender<Result<T>>,
}

impl<W, T> WriteTask<W, T> {
    /// Creates a task, and the receiver on which its caller waits.
    pub(in crate::embedded) fn new(work: W) -> (Box<Self>, PendingWrite<T>) {
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

    /// Sends the result of the work to the caller, or the error of `outcome`.
    pub(in crate::embedded) fn reply(self, outcome: Result<()>) {
        let result = outcome.and_then(|()| {
            self.result.ok_or_else(|| {
                Error::new(
                    ErrorKind::Internal,
                    "a write was completed before it was applied",
                )
            })
        });

        // The caller may have been cancelled. The write is committed nevertheless.
        let _caller_gone = self.reply.send(result);
    }
}

impl<F, T> WriteJob for WriteTask<F, T>
where
    F: Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    T: Send + 'static,
{
    fn apply(&mut self, connection: &Connection, cache: &mut JobCache) -> rusqlite::Result<()> {
        if !self.is_check {
            // The work is any closure, which may remove the rows that are in the cache.
            cache.value = None;
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

/// The receiver of the result of a queued write.
pub(in crate::embedded) type PendingWrite<T> = oneshot::Receiver<Result<T>>;

/// Waits until `write` is durable, and returns its result.
///
/// # Errors
/// - [`Closed`](ErrorKind::Closed) if the thread ended without a result
/// - the error of the write
pub(in crate::embedded) async fn wait_until_durable<T>(write: PendingWrite<T>) -> Result<T> {
    write.await.unwrap_or_else(|_closed| Err(closed_error()))
}

/// A value that the jobs of one type keep from one transaction to the next, such as a cache of rows.
///
/// The value may contain what the current transaction has written. So it is dropped with a
/// transaction that is rolled back. It is also dropped after a commit of another connection, such
/// as one of another process, and when a closure was applied.
#[derive(Default)]
pub(in crate::embedded) struct JobCache {
    value: Option<Box<dyn Any + Send>>,
    /// The [`version`] of the file after the last commit. `None` before the first commit.
    version: Option<u32>,
}

impl JobCache {
    /// Returns this cache if it is valid in the current transaction, or else an empty cache.
    pub(in crate::embedded) fn checked(self, connection: &Connection) -> Self {
        if self.version.is_some() && self.version == version(connection) {
            self
        } else {
            Self::default()
        }
    }

    /// Returns this cache as valid in the version of the file that the transaction just committed.
    pub(in crate::embedded) fn committed(self, connection: &Connection) -> Self {
        Self {
            version: version(connection),
            ..self
        }
    }

    /// Returns the kept value, or a new one if no value of this type is kept.
    pub(in crate::embedded) fn get<T: Default + Send + 'static>(&mut self) -> &mut T {
        // A value of another type belongs to jobs of another type, and is dropped.
        let kept_value = self.value.take().and_then(|value| value.downcast().ok());
        let value: Box<T> = kept_value.unwrap_or_default();
        match self.value.insert(value).downcast_mut() {
            Some(value) => value,
            None => unreachable!("a value of this type was just inserted"),
        }
    }
}

/// Returns SQLite's data version of the file as `connection` sees it, or `None` if SQLite does not
/// tell it.
///
/// Each commit changes the version, also a commit of another connection. Versions are only
/// comparable within one connection: see `SQLITE_FCNTL_DATA_VERSION` in
/// <https://www.sqlite.org/c3ref/c_fcntl_begin_atomic_write.html>.
fn version(connection: &Connection) -> Option<u32> {
    let mut version = 0;
    connection
        .file_control(None::<&str>, FileControl::DataVersion(&mut version))
        .ok()
        .map(|()| version)
}
