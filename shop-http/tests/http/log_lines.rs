//! Fixture: what the services log.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// The lines that this thread logs with certain targets.
pub(crate) struct LogLines {
    written: Written,
    targets: Vec<String>,
    _subscriber: DefaultGuard,
}

#[derive(Debug, Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Written {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl LogLines {
    /// Collects lines with these targets, which are separated by spaces.
    pub(crate) fn of_this_thread(targets: &str) -> Self {
        let written = Written::default();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(written.clone())
            .finish();
        Self {
            written,
            targets: targets.split(' ').map(str::to_owned).collect(),
            _subscriber: tracing::subscriber::set_default(subscriber),
        }
    }

    /// Takes the lines since the last call as text, without what differs from run to run.
    pub(crate) fn take_shown(&self) -> String {
        let written = std::mem::take(&mut *self.written.0.lock().unwrap());
        let mut shown = String::new();
        for line in String::from_utf8(written).unwrap().lines() {
            let mut line: Value = serde_json::from_str(line).unwrap();
            if self.targets.iter().any(|target| line["target"] == **target) {
                let members = line.as_object_mut().unwrap();
                members.remove("timestamp");
                if members.get("duration_ms").is_some_and(Value::is_f64) {
                    members.insert("duration_ms".to_owned(), "...".into());
                }
                shown.push_str(&format!("\nlogged: {line}"));
            }
        }
        shown
    }
}
