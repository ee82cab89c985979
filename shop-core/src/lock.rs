//! Locks a mutex that a panic may have poisoned.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, and returns its guard even if an earlier holder panicked.
///
/// The state behind the mutex is valid even after a panic, because every change to the state is
/// completed before any code that can panic.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
