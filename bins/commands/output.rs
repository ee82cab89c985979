//! Output of the commands: results on standard output, progress on standard error.

use std::io::Write;
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::Value;

use crate::{CliError, Result};

/// The refresh interval of [`Progress`].
const TICK: Duration = Duration::from_millis(100);

/// A progress line on standard error, if that is a terminal. It is cleared at the end.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn begin() -> Self {
        // It is hidden when standard error is not a terminal.
        let bar = ProgressBar::new_spinner();
        // A hidden line needs no thread.
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Self(bar)
    }

    pub(super) fn show(&self, text: String) {
        self.0.set_message(text);
    }

    /// Hides the line while `work` prints others.
    pub(super) fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
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
