//! The outbox table: events that are written in the transactions of their rows.

use rusqlite::{Connection, Row, params};
use shop_core::log::{Headers, LogRecord};
use shop_core::outbox::{Backlog, OutboxEntry};
use shop_core::{Bytes, Clock, SystemClock, Timestamp};

use crate::embedded::error::unreadable;
use crate::limits::row_limit;

/// AUTOINCREMENT: ids keep the order of the writes, even if the table was empty in between.
pub(super) const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS outbox (
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
    let LogRecord {
        key,
        headers,
        value,
        ..
    } = event;
    let time = SystemClock.now().as_millis();
    let row = params![
        time,
        key.as_deref(),
        &headers.as_bytes()[..],
        value.as_deref()
    ];
    connection.prepare_cached(sql)?.execute(row).map(drop)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<OutboxEntry> {
    let bytes = |column: usize| {
        Ok::<_, rusqlite::Error>(row.get::<_, Option<Vec<u8>>>(column)?.map(Bytes::from))
    };
    let time = Timestamp::from_millis(row.get(1)?).map_err(unreadable(1))?;
    let headers = Headers::from_bytes(bytes(3)?.unwrap_or_default()).map_err(unreadable(3))?;
    let record = LogRecord::new(0, Timestamp::MIN, bytes(4)?)
        .with_key(bytes(2)?)
        .with_headers(headers);
    Ok(OutboxEntry::new(row.get(0)?, time, record))
}

/// The oldest entries, at most `limit`.
pub(super) fn pending(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<OutboxEntry>> {
    let sql = "SELECT id, time, key, headers, value FROM outbox ORDER BY id LIMIT ?1";
    connection
        .prepare_cached(sql)?
        .query_map([row_limit(limit)], entry)?
        .collect()
}

pub(super) fn delete(connection: &Connection, ids: &[i64]) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("DELETE FROM outbox WHERE id = ?1")?;
    ids.iter()
        .try_for_each(|id| statement.execute([id]).map(drop))
}

pub(super) fn backlog(connection: &Connection) -> rusqlite::Result<Backlog> {
    let sql = "SELECT count(*), (SELECT time FROM outbox ORDER BY id LIMIT 1) FROM outbox";
    connection.prepare_cached(sql)?.query_row([], |row| {
        let oldest = row
            .get::<_, Option<i64>>(1)?
            .and_then(|time| Timestamp::from_millis(time).ok());
        Ok(Backlog::new(row.get::<_, i64>(0)?.unsigned_abs(), oldest))
    })
}
