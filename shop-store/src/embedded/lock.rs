//! Files that are locked, never read or written: the kernel frees them when their process dies.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use shop_core::{Error, ErrorKind, Outcome, Result};

use super::error::from_io;

/// A file at a path, as it was when it was opened.
#[derive(Debug)]
pub(super) struct Identity {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Identity {
    /// The file that is at `path` now.
    pub(super) fn from_path(path: &Path) -> Result<Self> {
        let found = fs::metadata(path).map_err(|error| from_io(error, path))?;
        Ok(Self { path: path.to_owned(), device: found.dev(), inode: found.ino() })
    }

    /// # Errors
    /// When the file is no longer there, or another one is: what is written into ours, nobody will find.
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

/// A lock among processes, and among those who opened it in one.
#[derive(Debug)]
pub(super) struct FileLock {
    file: File,
    identity: Identity,
}

impl FileLock {
    /// Makes the file if it is missing.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let opened = File::options().write(true).create(true).truncate(false).open(path);
        let file = opened.map_err(|error| from_io(error, path))?;
        Ok(Self { file, identity: Identity::from_path(path)? })
    }

    /// Waits for this process's turn, which lasts as long as the answer lives.
    pub(super) fn turn(&self) -> Result<LockGuard<'_>> {
        self.file.lock().map_err(|error| from_io(error, &self.identity.path))?;
        self.began()
    }

    /// The turn, if nobody else has it.
    pub(super) fn try_lock(&self) -> Result<Option<LockGuard<'_>>> {
        match self.file.try_lock() {
            Ok(()) => self.began().map(Some),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(from_io(error, &self.identity.path)),
        }
    }

    fn began(&self) -> Result<LockGuard<'_>> {
        let turn = LockGuard(&self.file);
        // In another file of this name somebody else may have his turn at the same time.
        self.identity.check_identity()?;
        Ok(turn)
    }
}

/// A process's turn.
#[derive(Debug)]
pub(super) struct LockGuard<'a>(&'a File);

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            // Closing the file, which the end of the process does at the latest, frees the lock all the same.
            tracing::error!(%error, "a lock could not be freed");
        }
    }
}
