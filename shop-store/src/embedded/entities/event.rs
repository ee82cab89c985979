//! The outbox table: the event of a row, written in the row's transaction.

use rusqlite::{Connection, params};
use shop_core::log::LogRecord;
use shop_core::{Clock, SystemClock};

/// AUTOINCREMENT: ids keep the order of the writes, even if the table was empty in between.
pub(super) const TABLE: &str = "
    CREATE TABLE outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        time INTEGER NOT NULL,
        key BLOB,
        headers BLOB NOT NULL,
        value BLOB
    ) STRICT;
";

/// Adds an event within the caller's transaction.
pub(super) fn insert(connection: &Connection, event: &LogRecord) -> rusqlite::Result<()> {
    let sql = "INSERT INTO outbox (time, key, headers, value) VALUES (?1, ?2, ?3, ?4)";
    let LogRecord { key, headers, value, .. } = event;
    let time = SystemClock.now().as_millis();
    let row = params![time, key.as_deref(), &headers.as_bytes()[..], value.as_deref()];
    connection.prepare_cached(sql)?.execute(row).map(drop)
}
