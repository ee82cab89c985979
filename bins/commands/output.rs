//! Output of the commands: results on standard output, progress on standard error.

use std::fmt::Display;
use std::io::Write;
use std::time::Duration;

use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::Value;

use crate::{CliError, Result};

/// The refresh interval of a progress line.
const TICK: Duration = Duration::from_millis(100);

/// A progress line on standard error, if that is a terminal. It is cleared when it is dropped.
pub(super) fn progress() -> ProgressBar {
    let progress = ProgressBar::new_spinner();
    // A hidden line needs no thread.
    if !progress.is_hidden() {
        progress.enable_steady_tick(TICK);
    }
    progress
}

/// Prints a report: its `text`, or as JSON the members of `report` and those of `names`.
pub(crate) fn print_report(
    is_json: bool,
    names: &[(&str, &str)],
    text: impl Display,
    report: &impl Serialize,
) -> Result<()> {
    if !is_json {
        return print(format!("{text}\n")).map(drop);
    }
    let mut value = serde_json::to_value(report).map_err(CliError::new)?;
    for (member, name) in names {
        value[*member] = (*name).into();
    }
    print(format!("{value}\n")).map(drop)
}

/// Lays out `rows`, which are arrays of cells, in columns below `titles`, which are separated by spaces.
///
/// Returns an empty text if there are no rows.
pub(super) fn table(titles: &str, rows: impl Iterator<Item = Value>) -> String {
    let titles: Vec<_> = titles.split(' ').map(str::to_owned).collect();
    let mut widths = vec![0; titles.len()];
    let mut lines = vec![titles];
    lines.extend(rows.map(|row| {
        row.as_array()
            .into_iter()
            .flatten()
            .map(cell_text)
            .collect()
    }));
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

/// Returns the text of a cell, without the quotation marks of JSON.
fn cell_text(cell: &Value) -> String {
    match cell {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Writes `text` to standard output. Returns whether it is still read.
pub(crate) fn print(text: impl AsRef<[u8]>) -> Result<bool> {
    match std::io::stdout().lock().write_all(text.as_ref()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::new(format!(
            "standard output cannot be written: {error}"
        ))),
    }
}
