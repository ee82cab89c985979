//! Lock files, with which processes and handles take turns. They are locks of `flock(2)`: the
//! kernel releases the locks of a process when the process ends, so a crash leaves no lock behind.
//!
//! A caller waits for a lock with a timeout, which the kernel does not offer. So it tries the lock
//! again and again, and shares a lock of the *folder* meanwhile, by which other handles see that it
//! waits:
//!
//! - The holder of the lock ends a long write early ([`LockGuard::is_awaited`]).
//! - A handle that is about to take the lock leaves it to those that wait already, for at most
//!   [`GIVE_WAY`]. Without this, a process that writes without pause would take the lock again
//!   before the others try it.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{FileExt as _, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shop_core::{Error, ErrorKind, Outcome, Result};

use super::error::{AtPath as _, database_error, from_io};
use super::permissions::{FILE_MODE, parent_folder, restrict};

/// The identity of a file, by device and inode. It tells whether a path still refers to the file
/// that was opened there.
#[derive(Debug)]
pub(in crate::embedded) struct FileIdentity {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// Returns the identity of the file that is at `path` now.
    pub(in crate::embedded) fn from_path(path: &Path) -> Result<Self> {
        let metadata = fs::metadata(path).at(path)?;
        Ok(Self {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    /// Checks that the path still refers to the same file.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if the file was deleted or replaced: a write to the
    /// open file would be lost.
    pub(in crate::embedded) fn check_identity(&self) -> Result<()> {
        let present_file = fs::metadata(&self.path);
        if present_file.is_ok_and(|file| file.dev() == self.device && file.ino() == self.inode) {
            return Ok(());
        }

        let message =
            "the data folder, or this file of it, was deleted or replaced: restart this program";
        Err(database_error(ErrorKind::Unavailable, message)
            .with_outcome(Outcome::NotApplied)
            .with_context("path", self.path.display()))
    }
}

/// An exclusive lock between processes, and between handles within a process.
#[derive(Debug)]
pub(in crate::embedded) struct FileLock {
    file: File,
    /// The folder of the file. A handle that waits for the lock shares a lock of the folder.
    folder: File,
    identity: FileIdentity,
}

/// The maximum time that a write waits for another process, which is less than the timeout of a
/// publish. Without it, a process that is frozen while it holds the lock would block the others
/// forever.
pub(in crate::embedded) const LOCK_TIMEOUT: Duration = Duration::from_secs(4);
/// The time until a lock that is held is tried again. It doubles with each attempt, up to
/// [`MAX_RETRY_INTERVAL`].
const RETRY_INTERVAL: Duration = Duration::from_micros(100);
/// The maximum time until a lock that is held is tried again.
const MAX_RETRY_INTERVAL: Duration = Duration::from_millis(1);
/// The maximum time for which a handle leaves the lock to handles that wait already: long enough
/// for each of them to try the lock.
const GIVE_WAY: Duration = Duration::from_millis(2);

impl FileLock {
    /// Opens the lock file at `path`, and creates it if it is missing. Does not take the lock.
    pub(in crate::embedded) fn open(path: &Path) -> Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(path)
            .at(path)?;
        // Any user who can read the file can hold its lock, and so block this program.
        restrict(path);
        let folder = parent_folder(path);
        Ok(Self {
            file,
            folder: File::open(folder).at(folder)?,
            identity: FileIdentity::from_path(path)?,
        })
    }

    /// Waits for the lock, at most for `timeout`. The lock is held until the returned guard is
    /// dropped.
    ///
    /// Blocks the calling thread.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if another process holds the lock for longer than
    /// `timeout`, with the id and name of that process if they are known, or if the file was
    /// deleted or replaced.
    pub(in crate::embedded) fn lock(&self, timeout: Duration) -> Result<LockGuard<'_>> {
        self.give_way();
        if let Some(guard) = self.try_lock()? {
            return Ok(guard);
        }

        let deadline = Instant::now() + timeout;
        let mut interval = RETRY_INTERVAL;
        // The shared lock of the folder shows other handles that this handle waits. A file system
        // that cannot lock a folder returns an error, and this handle waits without showing it.
        let mut folder_lock = self.folder.try_lock_shared();
        let lock_result = loop {
            let remaining = deadline.saturating_duration_since(Instant::now());
            sleep(interval.min(remaining));
            match self.try_lock() {
                Ok(None) if remaining.is_zero() => break Err(self.timeout_error(timeout)),
                Ok(None) => {}
                Ok(Some(guard)) => break Ok(guard),
                Err(error) => break Err(error),
            }
            if folder_lock.is_err() {
                folder_lock = self.folder.try_lock_shared();
            }
            interval = MAX_RETRY_INTERVAL.min(interval * 2);
        };
        if folder_lock.is_ok() {
            release(&self.folder);
        }
        lock_result
    }

    /// Waits until no other handle waits for this lock, or for the lock of another file in the
    /// folder, at most for [`GIVE_WAY`].
    fn give_way(&self) {
        let deadline = Instant::now() + GIVE_WAY;
        while self.is_awaited() && Instant::now() < deadline {
            sleep(RETRY_INTERVAL);
        }
    }

    /// Returns whether another handle waits for this lock, or for the lock of another file in the
    /// folder.
    fn is_awaited(&self) -> bool {
        // Handles that wait share a lock of the folder. An exclusive lock succeeds only if there is
        // none.
        let is_free = self.folder.try_lock().is_ok();
        if is_free {
            release(&self.folder);
        }
        !is_free
    }

    /// Returns the error of a lock that another process held for longer than `timeout`.
    fn timeout_error(&self, timeout: Duration) -> Error {
        let message = "another process holds the lock of this file for too long: continue or end it if it is frozen";
        let error = database_error(ErrorKind::Unavailable, message)
            .with_outcome(Outcome::NotApplied)
            .with_context("path", self.identity.path.display())
            .with_context("waited_seconds", timeout.as_secs());
        match lock_holder(self.identity.inode) {
            Some(process) => error.with_context("process", process),
            None => error,
        }
    }

    /// Takes the exclusive lock if it is free. Returns `None` without waiting if a handle holds it.
    pub(in crate::embedded) fn try_lock(&self) -> Result<Option<LockGuard<'_>>> {
        self.guard_if_locked(self.file.try_lock())
    }

    /// Takes a shared lock, which any number of handles may hold at once. Returns `None` if a
    /// handle holds the exclusive lock.
    pub(in crate::embedded) fn try_lock_shared(&self) -> Result<Option<LockGuard<'_>>> {
        self.guard_if_locked(self.file.try_lock_shared())
    }

    /// Converts the result of an attempt to lock the file: to the guard if the attempt took the lock,
    /// or to `None` if another handle holds the lock.
    ///
    /// # Errors
    /// The error of the file system, or [`Unavailable`](ErrorKind::Unavailable) if the lock file was
    /// deleted or replaced.
    fn guard_if_locked(
        &self,
        lock_attempt: Result<(), TryLockError>,
    ) -> Result<Option<LockGuard<'_>>> {
        match lock_attempt {
            Ok(()) => self.guard().map(Some),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(from_io(error, &self.identity.path)),
        }
    }

    /// Takes the lock if it is free, and holds it until the returned value is dropped. Returns
    /// `None` if it is held.
    pub(in crate::embedded) fn try_hold(self) -> Result<Option<Self>> {
        let Some(guard) = self.try_lock()? else {
            return Ok(None);
        };
        // The guard is forgotten, so that only closing the file releases the lock.
        std::mem::forget(guard);
        Ok(Some(self))
    }

    /// Takes a shared lock, and holds it until the returned value is dropped. Returns `None` if a
    /// handle holds the exclusive lock.
    pub(in crate::embedded) fn try_hold_shared(self) -> Result<Option<Self>> {
        let Some(guard) = self.try_lock_shared()? else {
            return Ok(None);
        };
        // The guard is forgotten, so that only closing the file releases the lock.
        std::mem::forget(guard);
        Ok(Some(self))
    }

    /// Reads the beginning of the lock file into `buffer`, and returns the number of bytes.
    pub(in crate::embedded) fn read_content(&self, buffer: &mut [u8]) -> Result<usize> {
        self.file.read_at(buffer, 0).at(&self.identity.path)
    }

    /// Writes `content` over the beginning of the lock file.
    pub(in crate::embedded) fn write_content(&self, content: &[u8]) -> Result<()> {
        self.file.write_all_at(content, 0).at(&self.identity.path)
    }

    /// Syncs the content of the lock file to the disk.
    pub(in crate::embedded) fn sync(&self) -> Result<()> {
        self.file.sync_data().at(&self.identity.path)
    }

    /// Returns the guard of the lock, which this handle has just taken.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if the lock file was deleted or replaced.
    fn guard(&self) -> Result<LockGuard<'_>> {
        // The guard exists before the check, so that an error releases the lock.
        let guard = LockGuard(self);
        // If the lock file was replaced, another process may hold the lock of the new file at the
        // same time.
        self.identity.check_identity()?;
        Ok(guard)
    }
}

/// The maximum number of times that the table of locks is read.
const TABLE_READS: usize = 5;

/// Returns the id and the name of the process that holds the lock of the file `inode`, from Linux's
/// table of locks.
///
/// Returns `None` on other systems, or if the lock was just released.
fn lock_holder(inode: u64) -> Option<String> {
    // The kernel returns the table in parts. A line is missing if other locks changed between two
    // parts, so the table is read again.
    (0..TABLE_READS).find_map(|_| find_lock_holder(inode))
}

/// Reads the table of locks once, like [`lock_holder`].
fn find_lock_holder(inode: u64) -> Option<String> {
    let table = fs::read_to_string("/proc/locks").ok()?;
    // A line of the table: `1: FLOCK  ADVISORY  WRITE 4711 08:01:131085 0 EOF`. The line of a
    // waiting process contains `->` before FLOCK, so it does not match.
    let process = table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[_, "FLOCK", _, _, process, file, ..] = words.as_slice() else {
            return None;
        };
        let is_this_file = file.rsplit(':').next()?.parse() == Ok(inode);
        is_this_file.then(|| process.to_owned())
    })?;
    // The process may have ended, or hide its name. Then only its id is returned.
    let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    Some(format!("{process} {}", name.trim()).trim_end().to_owned())
}

/// A guard that holds a lock, and releases it when it is dropped.
#[derive(Debug)]
pub(in crate::embedded) struct LockGuard<'a>(&'a FileLock);

impl LockGuard<'_> {
    /// Returns the lock file.
    pub(in crate::embedded) fn file(&self) -> &FileLock {
        self.0
    }

    /// Returns whether another handle waits for this lock, or for the lock of another file in the
    /// folder.
    pub(in crate::embedded) fn is_awaited(&self) -> bool {
        self.0.is_awaited()
    }
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        release(&self.0.file);
    }
}

/// Blocks the calling thread for `time`.
#[expect(
    clippy::disallowed_methods,
    reason = "callers of a lock are threads that may block"
)]
fn sleep(time: Duration) {
    std::thread::sleep(time);
}

/// Releases the lock of `file`. A failure is logged.
fn release(file: &File) {
    if let Err(error) = file.unlock() {
        // The lock is released when the file is closed, at the latest when the process ends.
        tracing::error!(%error, "failed to release a lock");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_sees_that_another_one_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.lock");
        let held = FileLock::open(&path).unwrap();
        let waiting = FileLock::open(&path).unwrap();
        let guard = held.lock(LOCK_TIMEOUT).unwrap();
        assert!(!guard.is_awaited());
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| waiting.lock(LOCK_TIMEOUT).map(|guard| guard.is_awaited()));
            while !guard.is_awaited() {
                std::thread::yield_now();
            }
            drop(guard);
            assert!(!waits.join().unwrap().unwrap());
        });
    }

    #[test]
    fn a_lock_that_is_held_too_long_is_an_error_with_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.lock");
        let (held, waiting) = (
            FileLock::open(&path).unwrap(),
            FileLock::open(&path).unwrap(),
        );
        let guard = held.lock(LOCK_TIMEOUT).unwrap();
        for _ in 0..2 {
            let error = waiting.lock(Duration::from_millis(1)).unwrap_err();
            assert_eq!(
                (error.kind(), error.outcome()),
                (ErrorKind::Unavailable, Outcome::NotApplied)
            );
            let text = error.chain().to_string();
            assert!(
                text.contains(&format!("process={} ", std::process::id())),
                "{text}"
            );
        }
        drop(guard);
        drop(waiting.lock(LOCK_TIMEOUT).unwrap());
        drop(held.lock(LOCK_TIMEOUT).unwrap());
    }
}
