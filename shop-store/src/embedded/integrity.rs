//! Checks a database file: its pages, its indexes and its rows.

use std::path::Path;

use rusqlite::{Connection, Row};
use shop_core::Result;

use super::backup::open;
use super::checksum::changed;
use super::database::pragma;
use super::error::{AtPath as _, is_damage};
use super::log::content;
use super::schema::SHOP;
use super::store::{ALL, Sums, WAITING, check_texts, compare_sums, unfolded, waiting_refund};
use super::thread::blocking;

/// Reads every page of the database at `file`, and compares tables with their indexes, rows with their checksums, and sums
/// with their purchases.
/// Returns what is damaged, at most 100 lines in the words of SQLite and 100 more for rows; none if the file is sound.
/// Services may use the file meanwhile.
///
/// # Errors
/// [`Unavailable`](shop_core::ErrorKind::Unavailable) when the file does not exist or cannot be opened.
pub async fn check_integrity(file: impl AsRef<Path>) -> Result<Vec<String>> {
    let path = file.as_ref().to_owned();
    let check = move || {
        let checked = open(&path).and_then(|file| damage(&file).at(&path));
        match checked {
            Err(error) if is_damage(&error) => Ok(vec![error.chain().to_string()]),
            checked => checked,
        }
    };
    blocking(check).await
}

const MAX_LINES: usize = 100;

fn damage(file: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut check = file.prepare(&format!("PRAGMA integrity_check({MAX_LINES})"))?;
    let lines: Vec<String> = check
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut lines: Vec<_> = lines.into_iter().filter(|line| line != "ok").collect();
    let current = (i64::from(SHOP.application_id), SHOP.migrations.len() as i64);
    if (
        pragma(file, "application_id")?,
        pragma(file, "user_version")?,
    ) == current
    {
        let refused = ROWS
            .iter()
            .map(|(what, sql, read)| refused(file, what, sql, *read));
        match refused.collect::<rusqlite::Result<Vec<_>>>() {
            // Sums whose rows are sound are compared with their purchases.
            Ok(refused) if lines.is_empty() && refused.iter().all(Vec::is_empty) => {
                lines.extend(compare_sums(file, MAX_LINES)?);
            }
            Ok(refused) => lines.extend(refused.into_iter().flatten().take(MAX_LINES)),
            Err(error) if lines.is_empty() => return Err(error),
            // A damaged page, which SQLite has named.
            Err(_) => {}
        }
    }
    Ok(lines)
}

/// Reads a row, of which only the error counts.
type Read = fn(&Row<'_>) -> rusqlite::Result<()>;

/// The rows with checksums whose values no index has too, with a query whose first column is the number of the row.
const ROWS: &[(&str, &str, Read)] = &[
    (
        "record",
        "SELECT offset, time, key, headers, value, checksum FROM records",
        |row| content(row, 0).map(drop),
    ),
    ("record behind the end of the log", BEHIND, |_| {
        Err(changed(0))
    }),
    (
        "dead letter",
        "SELECT offset, time, key, headers, value, checksum FROM dead_letters",
        |row| content(row, 0).map(drop),
    ),
    (
        "sums of buyer",
        "SELECT buyer, count, high, low, residue FROM buyers",
        |row| Sums::read(row, 1).map(drop),
    ),
    (
        "texts of buyer",
        "SELECT buyer, userid, username, texts_hash FROM buyers",
        |row| check_texts(row).map(drop),
    ),
    ("waiting refund", WAITING, |row| {
        waiting_refund(row).map(drop)
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
        "SELECT sequence, buyer, timestamp, added, checksum FROM unfolded",
        |row| unfolded(row).map(drop),
    ),
];

/// A last record that was moved to a later offset: in order, and not read.
const BEHIND: &str = "SELECT offset FROM records
    WHERE offset > coalesce((SELECT max(seq) FROM sqlite_sequence WHERE name = 'records'), 0)";

/// The rows that `read` refuses.
fn refused(file: &Connection, what: &str, sql: &str, read: Read) -> rusqlite::Result<Vec<String>> {
    let mut statement = file.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        if let Err(error) = read(row) {
            lines.push(format!("{what} {}: {error}", row.get::<_, i64>(0)?));
        }
        if lines.len() == MAX_LINES {
            break;
        }
    }
    Ok(lines)
}
