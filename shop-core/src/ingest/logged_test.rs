//! Captures the log output of a test's thread.

use std::sync::Mutex;
use std::time::Duration;

use tracing::subscriber::{DefaultGuard, set_default};
use tracing_subscriber::fmt::MakeWriter as _;

/// Longer than it takes to record an event.
const SETTLED: Duration = Duration::from_millis(20);

/// Captures log lines until it is dropped. The lines of a test stay until its process ends.
pub(super) struct Logged {
    lines: &'static Mutex<Vec<u8>>,
    _guard: DefaultGuard,
}

impl Logged {
    pub(super) fn begin() -> Self {
        let lines: &Mutex<Vec<u8>> = Box::leak(Box::default());
        let lines_of_thread = tracing_subscriber::fmt().with_ansi(false).with_writer(|| lines.make_writer());
        let _guard = set_default(lines_of_thread.finish());
        // Another test may just be registering the callsite as one without a subscriber, which would apply here too.
        std::thread::park_timeout(SETTLED);
        tracing::callsite::rebuild_interest_cache();
        Self { lines, _guard }
    }

    pub(super) fn lines_with(&self, part: &str) -> Vec<String> {
        let text = String::from_utf8(self.lines.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
    }
}
