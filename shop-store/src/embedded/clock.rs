//! The table `clock`: the last time that a round of deletions saw, for a log and for a store.

use rusqlite::{Connection, OptionalExtension};
use shop_core::Timestamp;

/// The row of the time that the deletions of a log saw.
pub(super) const LOG: i64 = 1;
/// The row of the time that the deletions of a store saw.
pub(super) const STORE: i64 = 2;

/// The statement that creates the table. Its times are in milliseconds since 1970.
pub(super) const TABLE: &str = "CREATE TABLE clock (seen INTEGER NOT NULL) STRICT;";

/// Returns the time in the row `row_id`, [`LOG`] or [`STORE`], if a round of deletions stored one.
pub(super) fn find_last_seen(
    connection: &Connection,
    row_id: i64,
) -> rusqlite::Result<Option<Timestamp>> {
    let mut statement = connection.prepare_cached("SELECT seen FROM clock WHERE rowid = ?1")?;
    let seen = statement.query_row([row_id], |row| row.get(0));
    // A time that the disk made invalid counts as none.
    Ok(seen
        .optional()?
        .and_then(|millis| Timestamp::from_millis(millis).ok()))
}

/// Stores `time` in the row `row_id`, [`LOG`] or [`STORE`].
pub(super) fn store_last_seen(
    connection: &Connection,
    row_id: i64,
    time: Timestamp,
) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO clock (rowid, seen) VALUES (?1, ?2)";
    connection
        .prepare_cached(sql)?
        .execute([row_id, time.as_millis()])
        .map(drop)
}
