//! Captures the log output of a test's thread.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Metadata, Subscriber};

type Lines = Arc<Mutex<Vec<String>>>;

/// Longer than it takes to record an event.
const SETTLED: Duration = Duration::from_millis(20);

/// Captures log lines until it is dropped.
pub(super) struct Logged {
    lines: Lines,
    _guard: DefaultGuard,
}

impl Logged {
    pub(super) fn begin() -> Self {
        let lines = Lines::default();
        let guard = tracing::subscriber::set_default(LineCollector(Arc::clone(&lines)));
        // Another test may just be registering the callsite as one without a subscriber, which would apply here too.
        std::thread::park_timeout(SETTLED);
        tracing::callsite::rebuild_interest_cache();
        Self { lines, _guard: guard }
    }

    pub(super) fn lines_with(&self, part: &str) -> Vec<String> {
        self.lines.lock().unwrap().iter().filter(|line| line.contains(part)).cloned().collect()
    }
}

struct LineCollector(Lines);

impl Subscriber for LineCollector {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _attributes: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}
