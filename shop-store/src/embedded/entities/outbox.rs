//! The outbox: a table beside the rows, written in their transaction.

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};
use shop_core::entity::Entity;
use shop_core::log::{Headers, LogRecord};
use shop_core::outbox::{Backlog, Outbox, OutboxEntry};
use shop_core::{Bytes, Clock, Result, SystemClock, Timestamp};

use super::{EmbeddedRows, unreadable};

/// AUTOINCREMENT: the order of the writes is that of the ids, even when the table was empty in between.
pub(super) const TABLE: &str = "
    CREATE TABLE outbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        time INTEGER NOT NULL,
        key BLOB,
        headers BLOB NOT NULL,
        value BLOB
    ) STRICT;
";

/// Adds an event, in the caller's transaction.
pub(super) fn write(connection: &Connection, event: &LogRecord) -> rusqlite::Result<()> {
    let sql = "INSERT INTO outbox (time, key, headers, value) VALUES (?1, ?2, ?3, ?4)";
    let LogRecord { key, headers, value, .. } = event;
    let time = SystemClock.now().as_millis();
    let row = params![time, key.as_deref(), &headers.as_bytes()[..], value.as_deref()];
    connection.prepare_cached(sql)?.execute(row).map(drop)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<OutboxEntry> {
    let bytes =
        |column: usize| Ok::<_, rusqlite::Error>(row.get::<_, Option<Vec<u8>>>(column)?.map(Bytes::from));
    let time = Timestamp::from_millis(row.get(1)?).map_err(|error| unreadable(1, error))?;
    let headers = Headers::from_bytes(bytes(3)?.unwrap_or_default()).map_err(|error| unreadable(3, error))?;
    let record = LogRecord::new(0, Timestamp::MIN, bytes(4)?).with_key(bytes(2)?).with_headers(headers);
    Ok(OutboxEntry::new(row.get(0)?, time, record))
}

#[async_trait]
impl<E: Entity> Outbox for EmbeddedRows<E> {
    async fn pending(&self, most: usize) -> Result<Vec<OutboxEntry>> {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let sql = "SELECT id, time, key, headers, value FROM outbox ORDER BY id LIMIT ?1";
        self.file
            .read(move |connection| connection.prepare_cached(sql)?.query_map([most], entry)?.collect())
            .await
    }

    async fn forget(&self, ids: &[i64]) -> Result<()> {
        let ids = ids.to_vec();
        let delete = move |connection: &Connection| {
            let mut statement = connection.prepare_cached("DELETE FROM outbox WHERE id = ?1")?;
            ids.iter().try_for_each(|id| statement.execute([id]).map(drop))
        };
        self.file.writer.write(delete).await
    }

    async fn backlog(&self) -> Result<Backlog> {
        let sql = "SELECT count(*), (SELECT time FROM outbox ORDER BY id LIMIT 1) FROM outbox";
        let read = move |connection: &Connection| {
            connection.prepare_cached(sql)?.query_row([], |row| {
                let oldest = row.get::<_, Option<i64>>(1)?.and_then(|time| Timestamp::from_millis(time).ok());
                Ok(Backlog::new(row.get::<_, i64>(0)?.unsigned_abs(), oldest))
            })
        };
        self.file.read(read).await
    }

    async fn changed(&self) {
        self.changed.notified().await;
    }
}
