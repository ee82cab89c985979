//! The last time that a round of deletions has seen, in a table of the file.

use rusqlite::{Connection, OptionalExtension};
use shop_core::Timestamp;

/// The table, whose only row has the time in milliseconds since 1970.
pub(super) const TABLE: &str = "CREATE TABLE clock (seen INTEGER NOT NULL) STRICT;";

pub(super) fn last_seen(connection: &Connection) -> rusqlite::Result<Option<Timestamp>> {
    let seen = connection.prepare_cached("SELECT seen FROM clock")?.query_row([], |row| row.get(0));
    Ok(seen.optional()?.and_then(|millis| Timestamp::from_millis(millis).ok()))
}

pub(super) fn store(connection: &Connection, time: Timestamp) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO clock (rowid, seen) VALUES (1, ?1)";
    connection.prepare_cached(sql)?.execute([time.as_millis()]).map(drop)
}
