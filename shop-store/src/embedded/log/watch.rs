//! A watch on a file that other processes change.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Becomes readable when the file's times are set. Linux only: elsewhere, and where the limits of inotify are reached,
/// there is no watch.
#[derive(Debug)]
pub(super) struct FileWatch(OwnedFd);

impl FileWatch {
    #[cfg(target_os = "linux")]
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let watch = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        add_watch(&watch, path, WatchFlags::ATTRIB)?;
        Ok(Self(watch))
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn new(_path: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Removes all events. The kernel merges equal ones, so one read is enough.
    pub(super) fn clear(&self) {
        let _none = rustix::io::read(&self.0, &mut [0; 4_096]);
    }
}

impl AsFd for FileWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
