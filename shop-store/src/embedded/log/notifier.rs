//! Wakes the readers of a log when records were committed.
//!
//! | commit of | signal |
//! |---|---|
//! | this process | the writer sends on a watch channel after each commit |
//! | another process | it sets the times of the log's lock file, which inotify reports on Linux |
//! | another process, without inotify | none: a wait ends after the poll interval |

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::sleep;

/// Waits until records may have been appended to a log, by this process or another one.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Changes with each commit of this process.
    own_commits: watch::Receiver<()>,
    /// The inotify instance that watches the lock file, which is read like a pipe. `None` if the
    /// file cannot be watched.
    lock_file_watch: Option<pipe::Receiver>,
}

impl Waiter {
    /// Creates a waiter for the commits that `notifier` reports, and for the commits of other
    /// processes, which set the times of `file`.
    ///
    /// If the file cannot be watched, logs this. A commit of another process is then noticed when
    /// the timeout of a wait elapses.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O.
    pub(super) fn new(notifier: &watch::Sender<()>, file: &Path) -> Self {
        let lock_file_watch = watch_times(file).and_then(pipe::Receiver::from_owned_fd_unchecked).inspect_err(|error| {
            let path = file.display();
            tracing::info!(%error, %path, "no watch on the log, commits of other processes are polled for");
        });
        Self {
            own_commits: notifier.subscribe(),
            lock_file_watch: lock_file_watch.ok(),
        }
    }

    /// Marks the commits of this process so far as seen, so that they do not end the next wait.
    ///
    /// A reader calls this before it reads the log. A commit during the read then ends the wait
    /// after it.
    pub(super) fn mark_seen(&mut self) {
        self.own_commits.mark_unchanged();
    }

    /// Waits until this process has committed since [`mark_seen`](Self::mark_seen), or another
    /// process has committed since the last wait, or `timeout` has elapsed.
    ///
    /// May also end without a new commit. The reader then finds no records, and waits again.
    pub(super) async fn wait(&mut self, timeout: Duration) {
        let lock_file_change = async {
            match &self.lock_file_watch {
                Some(watch) if wait_for_watch(watch).await.is_ok() => {}
                // Without a watch, only the other two events end the wait.
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            Ok(()) = self.own_commits.changed() => {}
            () = lock_file_change => {}
            () = sleep(timeout) => {}
        }
        // Commits of this process set the times of the file too. Their events are removed here,
        // because they would end the next wait. The kernel merges equal events, so one read removes
        // all.
        if let Some(watch) = &self.lock_file_watch {
            let _none = rustix::io::read(watch, &mut [0; EVENT_BUFFER_BYTES]);
        }
    }
}

/// The size of a buffer for inotify events, in bytes.
const EVENT_BUFFER_BYTES: usize = 4_096;

/// Waits until inotify reports that the times of the file were set, and removes the events.
async fn wait_for_watch(watch: &pipe::Receiver) -> io::Result<()> {
    loop {
        watch.readable().await?;
        match watch.try_read(&mut [0; EVENT_BUFFER_BYTES]) {
            // The readiness was stale: the events were removed at the end of an earlier wait.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result.map(drop),
        }
    }
}

/// Creates a file descriptor that becomes readable when the times of the file at `path` are set.
///
/// # Errors
/// Fails if the file does not exist, or the limits of inotify are reached. Fails always on systems
/// other than Linux.
#[cfg(target_os = "linux")]
fn watch_times(path: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
    let watch = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    add_watch(&watch, path, WatchFlags::ATTRIB)?;
    Ok(watch)
}

#[cfg(not(target_os = "linux"))]
fn watch_times(_path: &Path) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    /// A waiter without a watch: there is no file.
    fn waiter(notifier: &watch::Sender<()>) -> Waiter {
        let folder = tempfile::tempdir().unwrap();
        Waiter::new(notifier, &folder.path().join("missing"))
    }

    #[tokio::test]
    async fn without_a_watch_the_wait_ends_after_the_timeout() {
        let mut waiter = waiter(&watch::Sender::default());
        let (started, time) = (Instant::now(), Duration::from_millis(5));
        waiter.wait(time).await;
        assert!(started.elapsed() >= time);
    }

    #[tokio::test]
    async fn a_commit_since_the_mark_ends_the_wait() {
        let notifier = watch::Sender::default();
        let mut waiter = waiter(&notifier);
        for _ in 0..50 {
            waiter.mark_seen();
            notifier.send_replace(());
            waiter.wait(LONG).await;
            let (mut wait, other) = (std::pin::pin!(waiter.wait(LONG)), notifier.clone());
            timeout(Duration::from_millis(1), &mut wait)
                .await
                .expect_err("no commit");
            tokio::spawn(async move { other.send_replace(()) });
            wait.await;
        }
        notifier.send_replace(());
        waiter.mark_seen();
        timeout(Duration::from_millis(5), waiter.wait(LONG))
            .await
            .expect_err("it was seen");
    }
}
