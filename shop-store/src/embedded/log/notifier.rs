//! Wakes the sources after commits: those of this process directly, those of other processes by a watch on a file.

use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::watch::FileWatch;

/// Notifies the sources of this process of its commits.
#[derive(Debug, Default)]
pub(super) struct CommitNotifier(Mutex<Vec<Weak<Waiter>>>);

/// The state of a source that waits for commits.
#[derive(Debug)]
pub(super) struct Waiter {
    state: Mutex<State>,
    /// Gets a byte for each wake-up, so it is readable from the wake-up on.
    wake: PipeWriter,
    woken: PipeReader,
    /// `None` if the file cannot be watched.
    watch: Option<FileWatch>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of commits of this process so far.
    commits: u64,
    /// While it waits: whether a commit ends the wait.
    waits: Option<bool>,
    is_closed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CommitNotifier {
    /// Notifies all waiters of a commit.
    pub(super) fn notify(&self) {
        lock(&self.0).retain(|waiter| waiter.upgrade().inspect(|waiter| waiter.committed()).is_some());
    }

    /// A new waiter. Other processes change `file` after each commit.
    pub(super) fn waiter(&self, file: &Path) -> io::Result<Arc<Waiter>> {
        let watch = FileWatch::new(file).inspect_err(|error| {
            let path = file.display();
            tracing::info!(%error, %path, "no watch on the log, commits of other processes are polled for");
        });
        let (woken, wake) = io::pipe()?;
        let waiter = Arc::new(Waiter { state: Mutex::default(), wake, woken, watch: watch.ok() });
        lock(&self.0).push(Arc::downgrade(&waiter));
        Ok(waiter)
    }
}

impl Waiter {
    /// Counts a commit, which may end the wait.
    fn committed(&self) {
        let mut state = lock(&self.state);
        state.commits += 1;
        self.wake_if(&mut state, |ends_with_commit| ends_with_commit);
    }

    /// Ends the current wait and all later ones at once.
    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.is_closed = true;
        self.wake_if(&mut state, |_| true);
    }

    fn wake_if(&self, state: &mut State, ends: impl Fn(bool) -> bool) {
        if state.waits.is_some_and(ends) {
            state.waits = None;
            // Cannot fail or block: the pipe is open and empty. The wait has a timeout besides.
            let _written = (&self.wake).write(&[1]);
        }
    }

    /// The number of commits of this process so far.
    pub(super) fn commits(&self) -> u64 {
        lock(&self.state).commits
    }

    /// Waits for a commit after the first `known` ones of this process, or of another process; at most for `timeout`.
    pub(super) fn wait_for_commit(&self, known: u64, timeout: Duration) {
        self.wait(Some(known), timeout);
    }

    /// Waits for `timeout`, or until it is closed.
    pub(super) fn pause(&self, timeout: Duration) {
        self.wait(None, timeout);
    }

    /// Whether it waits for a commit.
    #[cfg(test)]
    pub(super) fn is_waiting(&self) -> bool {
        lock(&self.state).waits == Some(true)
    }

    fn wait(&self, known: Option<u64>, timeout: Duration) {
        {
            let mut state = lock(&self.state);
            if state.is_closed || known.is_some_and(|known| state.commits > known) {
                return;
            }
            state.waits = Some(known.is_some());
        }
        let watch = self.watch.as_ref().filter(|_| known.is_some());
        self.poll(watch.map(AsFd::as_fd), timeout);
        // Own commits change the file too. Their events are removed here, or they would end the next wait.
        watch.into_iter().for_each(FileWatch::clear);
        if lock(&self.state).waits.take().is_none() {
            // Exactly one byte was written.
            let _read = (&self.woken).read(&mut [0]);
        }
    }

    fn poll(&self, watched: Option<BorrowedFd<'_>>, timeout: Duration) {
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds: Vec<_> =
            [Some(self.woken.as_fd()), watched].into_iter().flatten().map(readable).collect();
        // An interruption by a signal is a wake-up without a reason, and the caller looks for records anyway.
        let _ready = poll(&mut fds, Timespec::try_from(timeout).ok().as_ref());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    /// A waiter without a watch: there is no file.
    fn waiter(notifier: &CommitNotifier) -> Arc<Waiter> {
        let folder = tempfile::tempdir().unwrap();
        notifier.waiter(&folder.path().join("missing")).unwrap()
    }

    #[test]
    fn without_a_watch_the_wait_ends_after_the_timeout() {
        let notifier = CommitNotifier::default();
        let waiter = waiter(&notifier);
        let (started, timeout) = (Instant::now(), Duration::from_millis(5));
        waiter.wait_for_commit(waiter.commits(), timeout);
        waiter.pause(timeout);
        assert!(started.elapsed() >= timeout * 2);
    }

    #[test]
    fn a_commit_ends_the_wait_for_one_and_no_pause() {
        let notifier = CommitNotifier::default();
        let waiter = waiter(&notifier);
        let known = waiter.commits();
        notifier.notify();
        waiter.wait_for_commit(known, LONG);
        for known in 1..50 {
            std::thread::scope(|scope| {
                scope.spawn(|| waiter.wait_for_commit(known, LONG));
                scope.spawn(|| notifier.notify());
            });
        }
        std::thread::scope(|scope| {
            let pausing = scope.spawn(|| waiter.pause(Duration::from_millis(20)));
            while !pausing.is_finished() {
                notifier.notify();
            }
        });
        waiter.wait_for_commit(0, LONG);
    }

    #[test]
    fn closing_ends_every_wait() {
        let notifier = CommitNotifier::default();
        let waiter = waiter(&notifier);
        std::thread::scope(|scope| {
            scope.spawn(|| waiter.pause(LONG));
            scope.spawn(|| waiter.close());
        });
        waiter.pause(LONG);
        waiter.wait_for_commit(waiter.commits(), LONG);
    }
}
