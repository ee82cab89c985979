//! Commits of this process, of which its readers are notified.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Wakes the readers of this process after a commit.
#[derive(Debug, Default)]
pub(super) struct CommitNotifier {
    generation: Mutex<u64>,
    changed: Condvar,
}

impl CommitNotifier {
    pub(super) fn notify(&self) {
        *self.generation.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_all();
    }

    /// How often it has notified.
    pub(super) fn generation(&self) -> u64 {
        *self.generation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it has notified more often than `known`, at most for `time`.
    pub(super) fn wait(&self, known: u64, time: Duration) {
        let generation = self.generation.lock().unwrap_or_else(PoisonError::into_inner);
        // Whether it has notified or the time is over: the caller looks for itself.
        drop(self.changed.wait_timeout_while(generation, time, |generation| *generation <= known));
    }
}
