//! Reads records in offset order.

use bytes::Bytes;
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
    let (mut records, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let record = record(row, 0)?;
        bytes += record.size();
        records.push(record);
        if bytes >= max_bytes {
            break;
        }
    }
    Ok(records)
}

/// Reads a record from the columns offset, time, key, headers and value, the first of which is `column`.
pub(super) fn record(row: &Row<'_>, column: usize) -> rusqlite::Result<LogRecord> {
    let bytes = |column: usize| {
        let bytes = row.get_ref(column)?.as_blob_or_null()?;
        Ok::<_, rusqlite::Error>(bytes.map(Bytes::copy_from_slice))
    };
    let offset = unsigned(row.get(column)?);
    // Damaged headers must not stop the consumer. The record is delivered without headers, like one of another producer.
    let headers = Headers::from_bytes(bytes(column + 3)?.unwrap_or_default()).unwrap_or_else(|error| {
        tracing::error!(%error, log.offset = offset, "record delivered without its damaged headers");
        Headers::EMPTY
    });
    let time = Timestamp::from_millis(row.get(column + 1)?).unwrap_or(Timestamp::MIN);
    let record = LogRecord::new(offset, time, bytes(column + 4)?);
    Ok(record.with_key(bytes(column + 2)?).with_headers(headers))
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
