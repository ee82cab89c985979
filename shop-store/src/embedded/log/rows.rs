//! Reads records in offset order.

use std::ops::Range;

use bytes::Bytes;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};
use shop_core::Timestamp;
use shop_core::log::{Headers, LogRecord};

use super::position::{signed, unsigned};

/// Reads records from offset `from`: at most `max_records`, and no further ones once `max_bytes` are read.
pub(super) fn read(
    connection: &Connection,
    from: u64,
    max_records: usize,
    max_bytes: usize,
) -> rusqlite::Result<Vec<LogRecord>> {
    let sql =
        "SELECT offset, time, key, headers, value FROM records WHERE offset >= ?1 ORDER BY offset LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let limit = i64::try_from(max_records).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![signed(from), limit])?;
    let mut arena = Arena::default();
    let mut rows_in_arena = Vec::new();
    while let Some(row) = rows.next()? {
        rows_in_arena.push(arena.add(row)?);
        if arena.0.len() >= max_bytes {
            break;
        }
    }
    let arena = Bytes::from(arena.0);
    Ok(rows_in_arena.into_iter().map(|row| row.record(&arena)).collect())
}

/// The bytes of all records of a batch: one allocation instead of three for each record.
#[derive(Default)]
struct Arena(Vec<u8>);

/// A record, with the ranges of its parts in the arena.
struct ArenaRow {
    offset: u64,
    time: i64,
    key: Option<Range<usize>>,
    headers: Range<usize>,
    value: Option<Range<usize>>,
}

impl Arena {
    fn add(&mut self, row: &Row<'_>) -> rusqlite::Result<ArenaRow> {
        Ok(ArenaRow {
            offset: unsigned(row.get(0)?),
            time: row.get(1)?,
            key: self.append(row.get_ref(2)?)?,
            headers: self.append(row.get_ref(3)?)?.unwrap_or_default(),
            value: self.append(row.get_ref(4)?)?,
        })
    }

    fn append(&mut self, value: ValueRef<'_>) -> rusqlite::Result<Option<Range<usize>>> {
        let Some(bytes) = value.as_blob_or_null()? else { return Ok(None) };
        let start = self.0.len();
        self.0.extend_from_slice(bytes);
        Ok(Some(start..self.0.len()))
    }
}

impl ArenaRow {
    fn record(self, arena: &Bytes) -> LogRecord {
        let part = |range: Range<usize>| arena.slice(range);
        // Damaged headers must not stop the consumer. The record is delivered without headers, like one of
        // another producer.
        let headers = Headers::from_bytes(part(self.headers)).unwrap_or_else(|error| {
            tracing::error!(%error, log.offset = self.offset, "record delivered without its damaged headers");
            Headers::EMPTY
        });
        let time = Timestamp::from_millis(self.time).unwrap_or(Timestamp::MIN);
        LogRecord::new(self.offset, time, self.value.map(part))
            .with_key(self.key.map(part))
            .with_headers(headers)
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::super::schema::LOG;
    use crate::embedded::database::Database;

    #[test]
    fn a_cached_statement_is_compiled_once() {
        let folder = tempfile::tempdir().unwrap();
        let (connection, _lock) = Database::new(&LOG, folder.path(), "log", None).open_to_write().unwrap();
        let sql = "SELECT offset FROM records WHERE offset >= ?1 ORDER BY offset LIMIT ?2";
        for limit in 1..10 {
            let mut statement = connection.prepare_cached(sql).unwrap();
            assert!(!statement.exists([1, limit]).unwrap());
            assert_eq!(statement.get_status(StatementStatus::RePrepare), 0, "at {limit}");
        }
    }
}
