//! The output of commands: results on standard output, and progress on standard error.
//!
//! A command prints a result by [`print_report`]: as text, or as one line of JSON with `--json`. A
//! command that lists or exports many entries writes them by [`print_unless_closed`], and ends
//! early when standard output is closed. A [`start_progress`] line appears on terminals only.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _, stdout};
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::Value;

use crate::{CliError, Result};

/// The interval in which a progress line is drawn again.
const REFRESH_INTERVAL: Duration = Duration::from_millis(100);

/// Shows a progress line on standard error, if standard error is a terminal. Dropping the returned
/// line clears it.
pub(super) fn start_progress() -> ProgressBar {
    let progress = ProgressBar::new_spinner();
    // A hidden line needs no thread that draws the line again.
    if !progress.is_hidden() {
        progress.enable_steady_tick(REFRESH_INTERVAL);
    }
    progress
}

/// Prints the result of a command in one form: as `text`, or as the JSON `report` if `is_json`.
///
/// # Errors
/// Returns an error if standard output cannot be written. A closed standard output is not an error.
pub(crate) fn print_report(is_json: bool, text: impl Display, report: &Value) -> Result<()> {
    let output = if is_json {
        report.to_string()
    } else {
        text.to_string()
    };
    print_unless_closed(output + "\n").map(drop)
}

/// Formats `rows` as aligned columns. Each row is a JSON array of cells, and `titles` contains the
/// titles of the columns, separated by spaces.
///
/// Returns a text that begins with an empty line, or an empty text if there are no rows. Cells
/// without a title are left out.
pub(super) fn format_table(titles: &str, rows: impl IntoIterator<Item = Value>) -> String {
    let titles: Vec<_> = titles.split(' ').map(str::to_owned).collect();
    let mut widths = vec![0; titles.len()];
    let mut lines = vec![titles];
    for row in rows {
        // All callers pass arrays. Any other value becomes an empty line.
        let cells = row.as_array().into_iter().flatten();
        lines.push(cells.map(cell_text).collect());
    }
    if lines.len() == 1 {
        return String::new();
    }

    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }

    let mut text = "\n".to_owned();
    for line in lines {
        let mut padded = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            padded += &format!("{cell:<width$}  ");
        }
        text += padded.trim_end();
        text += "\n";
    }
    text
}

/// Returns the text of a cell, without the quotation marks of JSON. A null cell is a dash.
fn cell_text(cell: &Value) -> String {
    match cell {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        number_or_bool => number_or_bool.to_string(),
    }
}

/// Writes `text` to standard output. Returns whether standard output is still open: the program
/// that reads it may end first, as `head` does.
///
/// # Errors
/// Returns an error if standard output cannot be written for another reason.
pub(crate) fn print_unless_closed(text: impl AsRef<[u8]>) -> Result<bool> {
    match stdout().write_all(text.as_ref()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::new(format!(
            "standard output cannot be written: {error}"
        ))),
    }
}
