//! The last times that rounds of deletions have seen, in a table of the file.

use rusqlite::{Connection, OptionalExtension};
use shop_core::Timestamp;

/// Whose deletions have seen a time: the row of the table.
#[derive(Debug, Clone, Copy)]
pub(super) enum Deletions {
    Log = 1,
    Store = 2,
}

/// The table, whose rows have the times in milliseconds since 1970.
pub(super) const TABLE: &str = "CREATE TABLE clock (seen INTEGER NOT NULL) STRICT;";

pub(super) fn last_seen(connection: &Connection, of: Deletions) -> rusqlite::Result<Option<Timestamp>> {
    let mut seen = connection.prepare_cached("SELECT seen FROM clock WHERE rowid = ?1")?;
    let seen = seen.query_row([of as i64], |row| row.get(0));
    Ok(seen.optional()?.and_then(|millis| Timestamp::from_millis(millis).ok()))
}

pub(super) fn store(connection: &Connection, of: Deletions, time: Timestamp) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO clock (rowid, seen) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute([of as i64, time.as_millis()]).map(drop)
}
