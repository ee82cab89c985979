//! Lock files. The kernel releases the locks of a process when it ends.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use shop_core::{Error, ErrorKind, Outcome, Result};

use super::error::from_io;

/// The identity of an open file, by device and inode.
#[derive(Debug)]
pub(super) struct Identity {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Identity {
    /// Returns the identity of the file that is at `path` now.
    pub(super) fn from_path(path: &Path) -> Result<Self> {
        let found = fs::metadata(path).map_err(|error| from_io(error, path))?;
        Ok(Self { path: path.to_owned(), device: found.dev(), inode: found.ino() })
    }

    /// Checks that the path still refers to the same file.
    ///
    /// # Errors
    /// If the file was deleted or replaced: a write to the open file would be lost.
    pub(super) fn check_identity(&self) -> Result<()> {
        let found = fs::metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode)) {
            return Ok(());
        }
        let message = "the data folder, or this file of it, was deleted or replaced: restart this program";
        Err(Error::new(ErrorKind::Unavailable, message)
            .with_outcome(Outcome::NotApplied)
            .with_origin("embedded database")
            .with_context("path", self.path.display()))
    }
}

/// An exclusive lock between processes, and between handles within a process.
#[derive(Debug)]
pub(super) struct FileLock {
    file: File,
    identity: Identity,
}

impl FileLock {
    /// Opens the file, and creates it if it is missing.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let opened = File::options().write(true).create(true).truncate(false).open(path);
        let file = opened.map_err(|error| from_io(error, path))?;
        Ok(Self { file, identity: Identity::from_path(path)? })
    }

    /// Waits for the lock, which is held until the guard is dropped.
    pub(super) fn lock(&self) -> Result<LockGuard<'_>> {
        self.file.lock().map_err(|error| from_io(error, &self.identity.path))?;
        self.guard()
    }

    /// Takes the lock if it is free.
    pub(super) fn try_lock(&self) -> Result<Option<LockGuard<'_>>> {
        match self.file.try_lock() {
            Ok(()) => self.guard().map(Some),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(from_io(error, &self.identity.path)),
        }
    }

    /// Takes the lock if it is free, and holds it until the file is closed.
    pub(super) fn try_hold(self) -> Result<Option<Self>> {
        let held = self.try_lock()?.map(std::mem::forget).is_some();
        Ok(held.then_some(self))
    }

    fn guard(&self) -> Result<LockGuard<'_>> {
        let guard = LockGuard(&self.file);
        // If the file was replaced, another process may hold the lock of the new file.
        self.identity.check_identity()?;
        Ok(guard)
    }
}

/// A held lock, released on drop.
#[derive(Debug)]
pub(super) struct LockGuard<'a>(&'a File);

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            // The lock is released when the file is closed, at the latest when the process ends.
            tracing::error!(%error, "failed to release a lock");
        }
    }
}
