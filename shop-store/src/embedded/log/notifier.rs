//! Wakes the readers of a log when records were committed.
//!
//! | commit of | how a reader notices it |
//! |---|---|
//! | this process | the writer sends on a watch channel after each commit |
//! | another process | the reader reads again after the poll interval |

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

/// Waits until records may have been appended to a log, by this process or another one.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Changes with each commit of this process.
    own_commits: watch::Receiver<()>,
}

impl Waiter {
    /// Creates a waiter for the commits that `notifier` reports.
    pub(super) fn new(notifier: &watch::Sender<()>) -> Self {
        Self {
            own_commits: notifier.subscribe(),
        }
    }

    /// Marks the commits of this process so far as seen, so that they do not end the next wait.
    ///
    /// A reader calls this before it reads the log. A commit during the read then ends the wait
    /// after it.
    pub(super) fn mark_seen(&mut self) {
        self.own_commits.mark_unchanged();
    }

    /// Waits until this process has committed since [`mark_seen`](Self::mark_seen), or
    /// `poll_interval` has elapsed, in which another process may have committed.
    pub(super) async fn wait(&mut self, poll_interval: Duration) {
        tokio::select! {
            // After the log was dropped, there are no more commits of this process.
            Ok(()) = self.own_commits.changed() => {}
            () = sleep(poll_interval) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    #[tokio::test]
    async fn without_a_commit_the_wait_ends_after_the_poll_interval() {
        let mut notifier = Some(watch::Sender::default());
        let mut waiter = Waiter::new(notifier.as_ref().unwrap());
        // In the second round, the log is dropped.
        for _ in 0..2 {
            let (started, time) = (Instant::now(), Duration::from_millis(5));
            waiter.wait(time).await;
            assert!(started.elapsed() >= time);
            notifier = None;
        }
        assert!(notifier.is_none());
    }

    #[tokio::test]
    async fn a_commit_since_the_mark_ends_the_wait() {
        let notifier = watch::Sender::default();
        let mut waiter = Waiter::new(&notifier);
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
