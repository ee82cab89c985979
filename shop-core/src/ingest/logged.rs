//! Captures the log output of a test's thread.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::subscriber::{DefaultGuard, set_default};

/// Longer than it takes to record an event.
const SETTLED: Duration = Duration::from_millis(20);

/// Captures log lines until it is dropped.
pub(super) struct Logged(Lines, DefaultGuard);

impl Logged {
    pub(super) fn begin() -> Self {
        let lines = Lines::default();
        let writer = lines.clone();
        let lines_of_thread = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
        let guard = set_default(lines_of_thread.finish());
        // Another test may just be registering the callsite as one without a subscriber, which would apply here too.
        std::thread::park_timeout(SETTLED);
        tracing::callsite::rebuild_interest_cache();
        Self(lines, guard)
    }

    pub(super) fn lines_with(&self, part: &str) -> Vec<String> {
        let Self(lines, _guard) = self;
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
