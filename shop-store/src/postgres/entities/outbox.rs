//! The outbox of users and orders: each row has one event, with the number of the row.

use std::time::SystemTime;

use async_trait::async_trait;
use shop_core::log::{Headers, LogRecord};
use shop_core::outbox::{Backlog, Outbox, OutboxEntry};
use shop_core::{Bytes, ErrorKind, Result, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::store::{PostgresEntities, Table};
use crate::postgres::connection::Statement;
use crate::postgres::error::postgres_error;
use crate::postgres::rows::cell;

/// The table of events, with the last number of the rows.
macro_rules! outbox_schema {
    ($table:literal) => {
        concat!(
            "create table ", $table, "_keys (id bigint primary key, key text collate \"C\" not null unique);
             create table ", $table, "_outbox (
                id bigint primary key, created timestamptz(3) not null, key bytea, headers bytea not null, value bytea
             );
             create table if not exists shop_numbers (name text primary key, last bigint not null);
             insert into shop_numbers select '", $table, "', greatest(0, (select max(id) from ", $table, "),
                pg_sequence_last_value(pg_get_serial_sequence('", $table, "', 'id')::regclass))"
        )
    };
}
pub(super) use outbox_schema;

/// The query of the oldest entries.
pub(super) fn pending<E: Table>(limit: usize) -> Statement {
    let table = E::DEFINITION.name;
    let sql = format!("select id, created, key, headers, value from {table}_outbox order by id limit $1");
    Statement::new(sql).bind(i64::try_from(limit).unwrap_or(i64::MAX), Type::INT8)
}

/// Deletes the entries with these ids.
pub(super) fn deletion<E: Table>(ids: &[i64]) -> Statement {
    let sql = format!("delete from {}_outbox where id = any ($1)", E::DEFINITION.name);
    Statement::new(sql).bind(ids.to_vec(), Type::INT8_ARRAY)
}

fn entry(row: &Row) -> Option<OutboxEntry> {
    let bytes =
        |column: &str| row.try_get::<_, Option<Vec<u8>>>(column).ok().map(|bytes| bytes.map(Bytes::from));
    let time = Timestamp::try_from(row.try_get::<_, SystemTime>("created").ok()?).ok()?;
    let headers = Headers::from_bytes(bytes("headers")??).ok()?;
    let record = LogRecord::new(0, Timestamp::MIN, bytes("value")?);
    Some(OutboxEntry::new(
        row.try_get("id").ok()?,
        time,
        record.with_key(bytes("key")?).with_headers(headers),
    ))
}

#[async_trait]
impl<E: Table> Outbox for PostgresEntities<E> {
    async fn pending(&self, limit: usize) -> Result<Vec<OutboxEntry>> {
        let rows = self.rows.connection.query(pending::<E>(limit)).await?;
        let unreadable = |row: &Row| {
            let id: i64 = row.try_get("id").unwrap_or_default();
            postgres_error(ErrorKind::Corrupt, "an event in the outbox cannot be read").with_context("id", id)
        };
        rows.iter().map(|row| entry(row).ok_or_else(|| unreadable(row))).collect()
    }

    async fn delete(&self, ids: &[i64]) -> Result<()> {
        self.rows.connection.write(deletion::<E>(ids)).await.map(drop)
    }

    async fn backlog(&self) -> Result<Backlog> {
        let table = E::DEFINITION.name;
        let sql = format!(
            "select count(*), (select created from {table}_outbox order by id limit 1) from {table}_outbox"
        );
        let rows = self.rows.connection.query(Statement::new(sql)).await?;
        let oldest: Option<SystemTime> = cell(&rows, 1)?;
        let oldest = oldest.and_then(|oldest| Timestamp::try_from(oldest).ok());
        Ok(Backlog::new(cell::<i64>(&rows, 0)?.unsigned_abs(), oldest))
    }

    async fn wait_for_entries(&self) {
        self.rows.written.notified().await;
    }
}
