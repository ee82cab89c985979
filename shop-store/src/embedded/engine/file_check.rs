//! [`FileCheck`]: the check of all pages and rows of a file, while the file is read and written.
//!
//! A file is checked if it is not the file that this product wrote last, such as a copy. A copy may
//! be torn: the file and its write-ahead log may have been copied one after the other, while a
//! service wrote to both. SQLite opens such a file without an error, and answers from pages that do
//! not belong together.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use shop_core::Result;
use tokio::sync::watch;

use super::integrity::{RowsCheck, find_damage};
use super::opened_record::record_checked;
use super::write_lock::OVERWRITTEN;

/// The check of a file and its state, which the health of a service reports. Clones share the state.
#[derive(Debug, Clone)]
pub(in crate::embedded) struct FileCheck {
    path: PathBuf,
    check_rows: RowsCheck,
    state: watch::Sender<CheckState>,
}

/// The state of the check of a file.
#[derive(Debug, Clone)]
enum CheckState {
    /// The file is the one that was written, or its pages are sound.
    Sound,
    /// The pages are being checked.
    Running,
    /// The check found this number of damaged pages and rows, which the diagnostic log names.
    Damaged(usize),
    /// Another program has overwritten the file while it was open.
    Overwritten,
}

impl FileCheck {
    /// Creates the check of the file at `path`, whose rows `check_rows` checks. Until a check
    /// [starts](Self::start), the file counts as sound.
    pub(in crate::embedded) fn new(path: PathBuf, check_rows: RowsCheck) -> Self {
        Self {
            path,
            check_rows,
            state: watch::Sender::new(CheckState::Sound),
        }
    }

    /// Records that another program has overwritten the file. The state stays until the file is opened
    /// again.
    pub(in crate::embedded) fn set_overwritten(&self) {
        self.state.send_replace(CheckState::Overwritten);
    }

    /// Returns what is wrong with the file in one sentence, or `None` if it is sound.
    pub(in crate::embedded) fn fault(&self) -> Option<String> {
        let file = self.path.file_name().unwrap_or_default().display();
        match &*self.state.borrow() {
            CheckState::Sound => None,
            CheckState::Running => Some(format!(
                "{file}: this is not the file that was written here last, such as a copy: its pages are being checked"
            )),
            CheckState::Damaged(count) => Some(format!(
                "{file}: {count} damaged pages or rows: `management doctor` and the diagnostic log name them; restore \
                 a backup"
            )),
            CheckState::Overwritten => Some(format!("{file}: {OVERWRITTEN}")),
        }
    }

    /// Starts the check of all pages in a thread. `overwrites` is the number of overwrites in the
    /// record of the file. If the check finds no damage, and the number is still the same, the record
    /// then says that the file is checked.
    ///
    /// Returns `None` if no thread can be started. Then the next start of the program checks the file.
    pub(in crate::embedded) fn start(&self, overwrites: u64) -> Option<RunningCheck> {
        tracing::warn!(
            file = %self.path.display(),
            "this is not the file that was written here last, such as a copy: all its pages are checked now"
        );
        self.state.send_replace(CheckState::Running);
        let cancelled = Arc::new(AtomicBool::new(false));
        let check = self.clone();
        let thread_cancelled = Arc::clone(&cancelled);
        let thread = std::thread::Builder::new()
            .name("shop-check".to_owned())
            .spawn(move || check.run(overwrites, &thread_cancelled))
            .inspect_err(|error| tracing::error!(%error, "the check of a file was not started"))
            .ok()?;
        Some(RunningCheck { cancelled, thread })
    }

    /// Checks the file, logs each damage, and records the result. Records nothing if the check was
    /// cancelled.
    fn run(&self, overwrites: u64, cancelled: &Arc<AtomicBool>) {
        let lines = match find_damage(&self.path, self.check_rows, cancelled) {
            _ if cancelled.load(Ordering::Relaxed) => return,
            Ok(lines) => lines,
            Err(error) => vec![format!("the check failed: {}", error.chain())],
        };

        let file = self.path.display();
        let mut new_state = CheckState::Sound;
        if lines.is_empty() {
            tracing::info!(%file, "all pages of the file are sound");
            log_failure(&self.path, record_checked(&self.path, overwrites));
        } else {
            for line in &lines {
                tracing::error!(%file, "damaged file: {line}");
            }
            new_state = CheckState::Damaged(lines.len());
        }
        // A file that was found overwritten meanwhile stays in that state.
        self.state.send_if_modified(|state| {
            let is_running = matches!(state, CheckState::Running);
            if is_running {
                *state = new_state;
            }
            is_running
        });
    }
}

/// Logs the error if the result of a check was not recorded. Then the next start of the program
/// repeats the check.
fn log_failure(path: &Path, record_result: Result<()>) {
    if let Err(error) = record_result {
        tracing::warn!(file = %path.display(), error = %error.chain(), "the check of a file was not recorded");
    }
}

/// A check of pages that runs in a thread.
#[derive(Debug)]
pub(in crate::embedded) struct RunningCheck {
    cancelled: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl RunningCheck {
    /// Ends the check, and waits until its connections are closed.
    pub(in crate::embedded) fn stop(self) {
        self.cancelled.store(true, Ordering::Relaxed);
        if self.thread.join().is_err() {
            tracing::error!("the check of a file panicked");
        }
    }
}
