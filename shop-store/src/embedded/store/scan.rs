//! Reads all rows in the order of time, including those that are not purchases.

use rusqlite::{Connection, params};
use shop_core::ports::{Cursor, ScanBatch, UnreadableEntry};

use super::rows::{self, COLUMNS};
use crate::embedded::checksum::ascending;

/// Number of rows in a batch.
const BATCH: usize = 1_000;

/// The position of a row: its timestamp and its id.
type Key = (i64, Vec<u8>);

/// The rows after `after`.
pub(super) fn batch(connection: &Connection, after: Option<&Key>) -> rusqlite::Result<ScanBatch> {
    let condition = if after.is_some() {
        "WHERE (timestamp, id) > (?1, ?2)"
    } else {
        ""
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM purchases INDEXED BY by_time LEFT JOIN buyers USING (buyer) {condition}
         ORDER BY timestamp, id LIMIT {BATCH}"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = match after {
        Some((timestamp, id)) => statement.query(params![timestamp, id])?,
        None => statement.query([])?,
    };
    let (mut purchases, mut unreadable, mut last) = (Vec::new(), Vec::new(), None);
    while let Some(row) = found.next()? {
        let key: Key = (row.get(0)?, row.get(1)?);
        match rows::purchase(row) {
            Ok(purchase) => purchases.push(purchase),
            Err(error) => {
                // A literal of SQL, as the `sqlite3` tool takes it.
                let id = format!("x'{}'", hex(&key.1));
                unreadable.push(UnreadableEntry::new(id, reason(&error)));
            }
        }
        ascending(&key, last.as_ref().or(after))?;
        last = Some(key);
    }
    let is_full = purchases.len() + unreadable.len() == BATCH;
    let next = last
        .filter(|_| is_full)
        .map(|(time, id)| Cursor::from_text(format!("{time}:{}", hex(&id))));
    Ok(ScanBatch::new(purchases, next).with_unreadable(unreadable))
}

/// Parses a position of [`batch`].
pub(super) fn parse(position: &Cursor) -> Option<Key> {
    let (timestamp, id) = position.as_str().split_once(':')?;
    let digits = id
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
    Some((timestamp.parse().ok()?, digits.collect::<Option<_>>()?))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The column and its problem.
fn reason(error: &rusqlite::Error) -> String {
    let named = |column: usize| COLUMNS.split(", ").nth(column).unwrap_or_default();
    match error {
        rusqlite::Error::FromSqlConversionFailure(column, _, problem) => {
            format!("{} {problem}", named(*column)).trim().to_owned()
        }
        rusqlite::Error::InvalidColumnType(column, _, found) => {
            format!("{} is not valid, a {found}", named(*column))
        }
        other => other.to_string(),
    }
}
