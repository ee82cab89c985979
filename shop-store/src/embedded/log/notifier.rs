//! Wakes the readers of a log after commits: those of this process by a channel, those of others by a watch on a file.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::sleep;

/// Waits for commits.
#[derive(Debug)]
pub(super) struct Waiter {
    own: watch::Receiver<()>,
    /// An inotify instance, which is read like a pipe; `None` if the file cannot be watched.
    others: Option<pipe::Receiver>,
}

impl Waiter {
    /// Waits for the commits that `notifier` reports, and for those of other processes, which set the times of `file`.
    pub(super) fn new(notifier: &watch::Sender<()>, file: &Path) -> Self {
        let others = watch_times(file).and_then(pipe::Receiver::from_owned_fd_unchecked).inspect_err(|error| {
            let path = file.display();
            tracing::info!(%error, %path, "no watch on the log, commits of other processes are polled for");
        });
        Self {
            own: notifier.subscribe(),
            others: others.ok(),
        }
    }

    /// The commits of this process so far do not end a wait.
    pub(super) fn mark_seen(&mut self) {
        self.own.mark_unchanged();
    }

    /// Waits for a commit of this process since [`mark_seen`](Self::mark_seen), or of another one since the last wait; at
    /// most for `timeout`.
    pub(super) async fn wait(&mut self, timeout: Duration) {
        let others = async {
            match &self.others {
                Some(watch) if changed(watch).await.is_ok() => {}
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            Ok(()) = self.own.changed() => {}
            () = others => {}
            () = sleep(timeout) => {}
        }
        // Own commits change the file too. Their events are removed here, or they would end the next wait. The kernel merges
        // equal ones, so one read is enough.
        if let Some(watch) = &self.others {
            let _none = rustix::io::read(watch, &mut [0; EVENTS]);
        }
    }
}

/// The size of a buffer for events.
const EVENTS: usize = 4_096;

/// Waits until the file's times are set.
async fn changed(watch: &pipe::Receiver) -> io::Result<()> {
    loop {
        watch.readable().await?;
        match watch.try_read(&mut [0; EVENTS]) {
            // The events were removed before.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read.map(drop),
        }
    }
}

/// Becomes readable when the times of the file are set. Linux only: elsewhere, and where the limits of inotify are
/// reached, there is no watch.
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
