//! [`check_integrity`], and the checks of the rows of a log and of a shop.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Error::FromSqlConversionFailure;
use rusqlite::{Connection, Row};
use shop_core::Result;

use super::engine::checksum::changed_row_error;
use super::engine::database::read_pragma;
use super::engine::integrity::{MAX_LINES, find_damage};
use super::engine::thread::blocking;
use super::log::read_content;
use super::log::schema::LOG;
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
    blocking(move || find_damage(&path, check_rows_of_any, &Arc::default())).await
}

/// Checks the rows of a file, if it is a shop or a log of this version. Returns no line for any other
/// file, whose checksums are not known here.
fn check_rows_of_any(file: &Connection) -> rusqlite::Result<Vec<String>> {
    let application_id: i32 = read_pragma(file, "application_id")?;
    let version: i64 = read_pragma(file, "user_version")?;
    let schema = [&SHOP, &LOG].into_iter().find(|schema| {
        schema.application_id == application_id && schema.migrations.len() as i64 == version
    });
    schema.map_or_else(|| Ok(Vec::new()), |schema| (schema.check_rows)(file))
}

/// Checks the rows of a log.
pub(super) fn check_log_rows(file: &Connection) -> rusqlite::Result<Vec<String>> {
    find_refused_rows(file, LOG_CHECKS)
}

/// Checks the rows of a shop. If all rows agree with their checksums, also checks the sums of the
/// purchases.
pub(super) fn check_shop_rows(file: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut lines = check_log_rows(file)?;
    lines.extend(find_refused_rows(file, STORE_CHECKS)?);
    lines.truncate(MAX_LINES);
    if !lines.is_empty() {
        return Ok(lines);
    }
    match compare_sums(file, MAX_LINES) {
        // The comparison also finds a gap in the numbers of `unfolded`.
        Err(error @ FromSqlConversionFailure(..)) => Ok(vec![format!("sums: {error}")]),
        comparison => comparison,
    }
}

/// A check of the rows of one table.
struct RowCheck {
    /// The name of a row in the lines about damage.
    row_name: &'static str,
    /// The query of the rows. Its first column is the number of the row.
    sql: &'static str,
    /// Reads a row, and fails if the row is damaged.
    check: fn(&Row<'_>) -> rusqlite::Result<()>,
}

/// The checks of the rows of a log.
const LOG_CHECKS: &[RowCheck] = &[
    RowCheck {
        row_name: "record",
        sql: "SELECT offset, time, key, headers, value, checksum FROM records",
        check: |row| read_content(row, 0).map(drop),
    },
    RowCheck {
        row_name: "record behind the end of the log",
        sql: RECORDS_BEHIND_END,
        check: refuse_row,
    },
    RowCheck {
        row_name: "dead letter",
        sql: "SELECT offset, time, key, headers, value, checksum FROM dead_letters",
        check: |row| read_content(row, 0).map(drop),
    },
];

/// The checks of the rows of a store that have checksums or residues. Purchases are not among them,
/// because each value of a purchase is in an index too, and SQLite's own check compares the two.
const STORE_CHECKS: &[RowCheck] = &[
    RowCheck {
        row_name: "sums of buyer",
        sql: "SELECT buyer, count, high, low, residue FROM buyers",
        check: |row| Sums::read(row, 1).map(drop),
    },
    RowCheck {
        row_name: "texts of buyer",
        sql: "SELECT buyer, userid, username, texts_checksum FROM buyers",
        check: |row| read_checked_key(row).map(drop),
    },
    RowCheck {
        row_name: "waiting refund",
        sql: SELECT_WAITING_REFUNDS,
        check: |row| read_waiting_refund(row).map(drop),
    },
    RowCheck {
        row_name: "sums of day",
        sql: "SELECT day, count, high, low, residue, buyer FROM days",
        check: |row| Sums::read_with_key(row, 1, row.get(0)?, row.get(5)?).map(drop),
    },
    RowCheck {
        row_name: "sums of quarter",
        sql: "SELECT quarter, count, high, low, residue FROM quarters",
        check: |row| Sums::read_with_key(row, 1, row.get(0)?, ALL).map(drop),
    },
    RowCheck {
        row_name: "amount",
        sql: "SELECT sequence, buyer, timestamp, price, checksum FROM unfolded",
        check: |row| read_unfolded(row).map(drop),
    },
    RowCheck {
        row_name: "mark of refund",
        sql: REFUND_IDS_WITHOUT_REFUND,
        check: refuse_row,
    },
];

/// The query of records behind the end of the log: a damaged last record that seems to be at a
/// later offset. It is in order, but no reader gets it.
const RECORDS_BEHIND_END: &str = "SELECT offset FROM records
    WHERE offset > coalesce((SELECT max(seq) FROM sqlite_sequence WHERE name = 'records'), 0)";

/// The query of the ids in the table `refunds` whose refund is not stored.
const REFUND_IDS_WITHOUT_REFUND: &str = "SELECT row_number() OVER (ORDER BY id) FROM refunds
    WHERE id NOT IN (SELECT id FROM purchases)";

/// Refuses any row, for a query that selects damaged rows only.
fn refuse_row(_row: &Row<'_>) -> rusqlite::Result<()> {
    Err(changed_row_error(0))
}

/// Returns a line for each row that one of `checks` refuses, at most [`MAX_LINES`].
fn find_refused_rows(file: &Connection, checks: &[RowCheck]) -> rusqlite::Result<Vec<String>> {
    let mut lines = Vec::new();
    for RowCheck {
        row_name,
        sql,
        check,
    } in checks
    {
        let mut statement = file.prepare(sql)?;
        let mut rows = statement.query([])?;
        while lines.len() < MAX_LINES
            && let Some(row) = rows.next()?
        {
            if let Err(error) = check(row) {
                lines.push(format!("{row_name} {}: {error}", row.get::<_, i64>(0)?));
            }
        }
    }
    Ok(lines)
}
