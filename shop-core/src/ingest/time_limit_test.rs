//! Aborts a test that hangs, and prints its name.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Longer than any test takes. Paused time passes at once.
const LIMIT: Duration = Duration::from_secs(120);

/// The test that holds the returned value has this time.
#[must_use]
pub(super) fn in_time() -> Sender<()> {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let (running, ended) = channel();
    std::thread::spawn(move || {
        if ended.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{name} has not ended within {LIMIT:?}");
            std::process::abort();
        }
    });
    running
}
