//! Notifies the readers of this process of commits.

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

    /// The number of notifications so far.
    pub(super) fn generation(&self) -> u64 {
        *self.generation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the generation is greater than `known`, at most for `timeout`.
    pub(super) fn wait(&self, known: u64, timeout: Duration) {
        let generation = self.generation.lock().unwrap_or_else(PoisonError::into_inner);
        // The caller checks for records in both cases.
        drop(self.changed.wait_timeout_while(generation, timeout, |generation| *generation <= known));
    }
}
