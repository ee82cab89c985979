//! Captures the log output of a test's thread.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{LazyLock, Mutex, Once};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// Longer than it takes to record an event.
const SETTLED: Duration = Duration::from_millis(20);

/// The lines of the threads that capture theirs.
static LINES: LazyLock<Mutex<HashMap<ThreadId, Vec<u8>>>> = LazyLock::new(Mutex::default);

/// Captures log lines until it is dropped.
pub(super) struct Logged;

/// Writes lines to those of their thread.
struct OfThread;

impl Write for OfThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(lines) = LINES.lock().unwrap().get_mut(&thread::current().id()) {
            lines.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Logged {
    /// The subscriber is one for all threads, for ever: a callsite that another test registers at
    /// the moment when a subscriber of one thread comes is without a subscriber from then on.
    pub(super) fn begin() -> Self {
        static SUBSCRIBED: Once = Once::new();
        LINES
            .lock()
            .unwrap()
            .insert(thread::current().id(), Vec::new());
        SUBSCRIBED.call_once(|| {
            let lines = tracing_subscriber::fmt()
                .with_ansi(false)
                .with_writer(|| OfThread)
                .finish();
            tracing::subscriber::set_global_default(lines).unwrap();
        });
        // Those that were being registered when it came.
        thread::park_timeout(SETTLED);
        tracing::callsite::rebuild_interest_cache();
        Self
    }

    pub(super) fn lines_with(&self, part: &str) -> Vec<String> {
        let lines = LINES.lock().unwrap();
        let text = String::from_utf8_lossy(&lines[&thread::current().id()]);
        text.lines()
            .filter(|line| line.contains(part))
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        LINES.lock().unwrap().remove(&thread::current().id());
    }
}
