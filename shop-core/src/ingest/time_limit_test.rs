//! Aborts a test that hangs, and prints its name.

use std::future::Future;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Longer than any test waits on paused time.
const PAUSED: Duration = Duration::from_secs(2 * 3_600);
/// Longer than any test takes in real time.
const REAL: Duration = Duration::from_secs(120);

/// Runs a test, on paused time.
pub(super) async fn in_time(test: impl Future<Output = ()>) {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let (running, ended) = channel::<()>();
    std::thread::spawn(move || {
        if ended.recv_timeout(REAL) == Err(RecvTimeoutError::Timeout) {
            eprintln!("{name} has not ended within {REAL:?}, and time does not pass in it");
            std::process::abort();
        }
    });
    tokio::time::timeout(PAUSED, Box::pin(test)).await.expect("what it waits for happens");
    drop(running);
}
