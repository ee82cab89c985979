//! The outbox: events that are not published yet.

use async_trait::async_trait;
use rusqlite::{Connection, Row};
use shop_core::entity::Entity;
use shop_core::log::{Headers, LogRecord};
use shop_core::outbox::{Backlog, Outbox, OutboxEntry};
use shop_core::{Bytes, Result, Timestamp};

use super::rows::EmbeddedRows;
use crate::embedded::error::unreadable;

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
    async fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let sql = "SELECT id, time, key, headers, value FROM outbox ORDER BY id LIMIT ?1";
        self.file
            .readers
            .read(move |connection| connection.prepare_cached(sql)?.query_map([limit], entry)?.collect())
            .await
    }

    async fn delete(&self, ids: &[i64]) -> Result<()> {
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
        self.file.readers.read(read).await
    }

    async fn wait_for_entries(&self) {
        self.changed.notified().await;
    }
}
