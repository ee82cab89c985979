//! What commands write: results to standard output, and how far they have come to standard error.

use std::io::Write;
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::Value;

use crate::{CliError, Result};

/// How often the line of a [`Progress`] moves.
const TICK: Duration = Duration::from_millis(100);

/// How far something has come, for people: one line that is written over again and again, and is gone at the end. On
/// standard error if that is a terminal, else nowhere.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn begin() -> Self {
        // Hidden by itself when standard error is no terminal.
        let bar = ProgressBar::new_spinner();
        // Its thread is for nothing where nobody looks.
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Self(bar)
    }

    pub(super) fn show(&self, text: String) {
        self.0.set_message(text);
    }

    /// Does `work` without the line, which would be torn apart by other lines.
    pub(super) fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        self.0.suspend(work)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Writes `value` as one line of JSON to standard output. Returns whether it is still read.
pub(crate) fn print_json(value: &Value) -> Result<bool> {
    print(&format!("{value}\n"))
}

/// Writes `text` to standard output. Returns whether it is still read.
pub(crate) fn print(text: &str) -> Result<bool> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::new(format!("standard output cannot be written: {error}"))),
    }
}
