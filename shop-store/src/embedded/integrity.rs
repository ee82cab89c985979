//! Checks a database file: its pages, its indexes and its rows.

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rusqlite::Error::FromSqlConversionFailure;
use rusqlite::{Connection, Row};
use shop_core::Result;

use super::backup::open;
use super::engine::checksum::changed_row_error;
use super::engine::database::read_pragma;
use super::engine::error::{AtPath as _, is_damage};
use super::engine::thread::blocking;
use super::log::read_content;
use super::schema::SHOP;
use super::store::{
    ALL, SELECT_WAITING_REFUNDS, Sums, compare_sums, read_checked_key, read_unfolded,
    read_waiting_refund,
};

/// Checks every page of the database at `file`: compares tables with their indexes, rows with their
/// checksums, and sums with their purchases.
///
/// Returns one line for each damage: at most 100 lines in the words of SQLite, and 100 more for
/// rows. A sound file gives no line. Services may use the file meanwhile.
///
/// # Errors
/// [`Unavailable`](shop_core::ErrorKind::Unavailable) when the file does not exist or cannot be
/// opened.
pub async fn check_integrity(file: impl AsRef<Path>) -> Result<Vec<String>> {
    let path = file.as_ref().to_owned();
    blocking(move || find_damage(&path, &Arc::default())).await
}

/// The maximum number of lines of SQLite's check, and of the check of rows.
const MAX_LINES: usize = 100;

/// Returns the lines of [`check_integrity`]. The check ends with an error soon after it was
/// `cancelled`.
///
/// # Errors
/// The errors of [`check_integrity`].
pub fn find_damage(path: &Path, cancelled: &Arc<AtomicBool>) -> Result<Vec<String>> {
    match check_pages_and_rows(path, cancelled) {
        Err(error) if is_damage(&error) => Ok(vec![error.chain().to_string()]),
        checked => checked,
    }
}

/// The number of steps of SQLite's virtual machine, about a millisecond, after which a check looks
/// whether it was cancelled.
const STEPS: i32 = 100_000;

/// Opens a connection to the file at `path` whose statements fail when they are `cancelled`.
fn open_cancellable(path: &Path, cancelled: &Arc<AtomicBool>) -> Result<Connection> {
    let mut connection = open(path)?;
    let cancelled = Arc::clone(cancelled);
    connection
        .progress_handler(STEPS, Some(move || cancelled.load(Ordering::Relaxed)))
        .at(path)?;
    Ok(connection)
}

/// Runs the check of pages and the check of rows at the same time, and returns their lines.
fn check_pages_and_rows(path: &Path, cancelled: &Arc<AtomicBool>) -> Result<Vec<String>> {
    // There are two connections, because each thread uses its own.
    let (pages, rows) = thread::scope(|scope| {
        let rows = scope.spawn(|| {
            open_cancellable(path, cancelled).and_then(|file| damaged_rows(&file).at(path))
        });
        let pages =
            open_cancellable(path, cancelled).and_then(|file| damaged_pages(&file).at(path));
        (
            pages,
            rows.join().unwrap_or_else(|panic| resume_unwind(panic)),
        )
    });
    let mut lines = pages?;
    match rows {
        Ok(rows) if lines.is_empty() => return Ok(rows.lines),
        Ok(rows) if !rows.are_sound => lines.extend(rows.lines),
        Err(error) if lines.is_empty() => return Err(error),
        // SQLite named the damaged page. The check of rows adds nothing.
        Ok(_) | Err(_) => {}
    }
    Ok(lines)
}

/// Runs SQLite's own check of pages and indexes, and returns its lines.
fn damaged_pages(file: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut check = file.prepare(&format!("PRAGMA integrity_check({MAX_LINES})"))?;
    let mut lines: Vec<String> = check
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    lines.retain(|line| line != "ok");
    Ok(lines)
}

/// The result of the check of rows.
struct CheckedRows {
    /// Whether every row agrees with its checksum.
    are_sound: bool,
    /// A line for each row that does not agree; if all agree, a line for each sum that differs from
    /// its purchases.
    lines: Vec<String>,
}

/// Checks the rows and then the sums of a file, if it is a shop of this version. The checksums in
/// other files are not known here.
fn damaged_rows(file: &Connection) -> rusqlite::Result<CheckedRows> {
    let mut lines = Vec::new();
    let current = (i64::from(SHOP.application_id), SHOP.migrations.len() as i64);
    let is_current = (
        read_pragma(file, "application_id")?,
        read_pragma(file, "user_version")?,
    ) == current;
    if is_current {
        for (row_name, sql, check) in ROW_CHECKS {
            lines.extend(find_refused_rows(file, row_name, sql, *check)?);
        }
    }
    lines.truncate(MAX_LINES);
    let are_sound = lines.is_empty();
    if is_current && are_sound {
        lines = match compare_sums(file, MAX_LINES) {
            // The comparison also finds a gap in the numbers of `unfolded`.
            Err(error @ FromSqlConversionFailure(..)) => vec![format!("sums: {error}")],
            compared => compared?,
        };
    }
    Ok(CheckedRows { are_sound, lines })
}

/// A function that reads a row. Only its error counts.
type RowCheck = fn(&Row<'_>) -> rusqlite::Result<()>;

/// The checks of rows: what a row is, the query of the rows, and the function that reads one.
///
/// These are the rows with checksums, except for purchases, whose values are all in an index too.
/// The first column of each query is the number of the row.
const ROW_CHECKS: &[(&str, &str, RowCheck)] = &[
    (
        "record",
        "SELECT offset, time, key, headers, value, checksum FROM records",
        |row| read_content(row, 0).map(drop),
    ),
    ("record behind the end of the log", BEHIND, |_| {
        Err(changed_row_error(0))
    }),
    (
        "dead letter",
        "SELECT offset, time, key, headers, value, checksum FROM dead_letters",
        |row| read_content(row, 0).map(drop),
    ),
    (
        "sums of buyer",
        "SELECT buyer, count, high, low, residue FROM buyers",
        |row| Sums::read(row, 1).map(drop),
    ),
    (
        "texts of buyer",
        "SELECT buyer, userid, username, texts_checksum FROM buyers",
        |row| read_checked_key(row).map(drop),
    ),
    ("waiting refund", SELECT_WAITING_REFUNDS, |row| {
        read_waiting_refund(row).map(drop)
    }),
    (
        "sums of day",
        "SELECT day, count, high, low, residue, buyer FROM days",
        |row| Sums::read_with_key(row, 1, row.get(0)?, row.get(5)?).map(drop),
    ),
    (
        "sums of quarter",
        "SELECT quarter, count, high, low, residue FROM quarters",
        |row| Sums::read_with_key(row, 1, row.get(0)?, ALL).map(drop),
    ),
    (
        "amount",
        "SELECT sequence, buyer, timestamp, price, checksum FROM unfolded",
        |row| read_unfolded(row).map(drop),
    ),
    ("mark of refund", MARKS_OF_NO_REFUND, |_| {
        Err(changed_row_error(0))
    }),
];

/// The query of records behind the end of the log: a damaged last record that seems to be at a
/// later offset. It is in order, but no reader gets it.
const BEHIND: &str = "SELECT offset FROM records
    WHERE offset > coalesce((SELECT max(seq) FROM sqlite_sequence WHERE name = 'records'), 0)";

/// The query of marks of refunds that are not stored.
const MARKS_OF_NO_REFUND: &str = "SELECT row_number() OVER (ORDER BY id) FROM refunds
    WHERE id NOT IN (SELECT id FROM purchases)";

/// Returns a line for each row of the query `sql` that `check` refuses, at most [`MAX_LINES`].
fn find_refused_rows(
    file: &Connection,
    row_name: &str,
    sql: &str,
    check: RowCheck,
) -> rusqlite::Result<Vec<String>> {
    let mut statement = file.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut lines = Vec::new();
    while lines.len() < MAX_LINES
        && let Some(row) = rows.next()?
    {
        if let Err(error) = check(row) {
            lines.push(format!("{row_name} {}: {error}", row.get::<_, i64>(0)?));
        }
    }
    Ok(lines)
}
