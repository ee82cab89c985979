//! Checks a whole file: its pages and indexes by SQLite's own check, and its rows by that of the
//! schema.

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rusqlite::Connection;
use shop_core::Result;

use super::database::open_to_read;
use super::error::{AtPath as _, is_damage};

/// The maximum number of lines of SQLite's check, and of each check of rows.
pub(in crate::embedded) const MAX_LINES: usize = 100;

/// The number of steps of SQLite's virtual machine, about a millisecond, after which a check looks
/// whether it was cancelled.
const STEPS: i32 = 100_000;

/// A function that returns a line for each row that does not agree with its checksum, or with other
/// rows.
pub type RowsCheck = fn(&Connection) -> rusqlite::Result<Vec<String>>;

/// Checks the pages of the file at `path`, and its rows with `check_rows`. Returns a line for each
/// damage, or no line for a sound file.
///
/// The check ends with an error soon after `cancelled` is set.
///
/// # Errors
/// [`Unavailable`](shop_core::ErrorKind::Unavailable) if the file does not exist or cannot be
/// opened, or if the check was cancelled.
pub(in crate::embedded) fn find_damage(
    path: &Path,
    check_rows: RowsCheck,
    cancelled: &Arc<AtomicBool>,
) -> Result<Vec<String>> {
    match check_pages_and_rows(path, check_rows, cancelled) {
        // SQLite may report damage as an error instead of a line.
        Err(error) if is_damage(&error) => Ok(vec![error.chain().to_string()]),
        check_result => check_result,
    }
}

/// Runs the check of pages and the check of rows at the same time, and returns their lines.
fn check_pages_and_rows(
    path: &Path,
    check_rows: RowsCheck,
    cancelled: &Arc<AtomicBool>,
) -> Result<Vec<String>> {
    // There are two connections, because each thread uses its own.
    let run_check =
        |check: RowsCheck| open_cancellable(path, cancelled).and_then(|file| check(&file).at(path));
    let (page_result, row_result) = thread::scope(|scope| {
        let row_thread = scope.spawn(|| run_check(check_rows));
        let page_result = run_check(find_damaged_pages);
        let row_result = row_thread
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic));
        (page_result, row_result)
    });

    let mut lines = page_result?;
    match row_result {
        Ok(row_lines) => lines.extend(row_lines),
        Err(error) if lines.is_empty() => return Err(error),
        // SQLite's check has named the damaged page that the check of rows could not read.
        Err(_unreadable_page) => {}
    }
    Ok(lines)
}

/// Opens a connection to the file at `path` whose statements fail when they are `cancelled`.
fn open_cancellable(path: &Path, cancelled: &Arc<AtomicBool>) -> Result<Connection> {
    let mut connection = open_to_read(path)?;
    let cancelled = Arc::clone(cancelled);
    connection
        .progress_handler(STEPS, Some(move || cancelled.load(Ordering::Relaxed)))
        .at(path)?;
    Ok(connection)
}

/// Runs SQLite's own check of pages and indexes, and returns its lines.
fn find_damaged_pages(file: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut check = file.prepare(&format!("PRAGMA integrity_check({MAX_LINES})"))?;
    let mut lines: Vec<String> = check
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    lines.retain(|line| line != "ok");
    Ok(lines)
}
