//! How far something has come, for people: on standard error if that is a terminal, else nowhere.

use std::time::Duration;

use indicatif::ProgressBar;

/// How often it moves.
const TICK: Duration = Duration::from_millis(100);

/// One line that is written over again and again, and is gone at the end.
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

    pub(super) fn tell(&self, text: String) {
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
