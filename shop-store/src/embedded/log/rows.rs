//! Converts between records and rows of the tables `records` and `dead_letters`, and verifies the
//! checksums of rows.

use bytes::Bytes;
use rusqlite::types::ValueRef::{self, Blob, Integer};
use rusqlite::{Connection, Row, params};
use shop_core::Timestamp;
use shop_core::log::{Headers, LogRecord};

use super::position::{signed, unsigned};
use crate::embedded::engine::checksum::{check_ascending, checksum, verify_columns};
use crate::embedded::engine::error::unreadable;
use crate::limits::row_limit;

/// The only partition of an embedded log.
pub(super) const PARTITION: u32 = 0;

/// Reads records from the offset `from` on, in the order of their offsets.
///
/// Stops after `max_records`, or after the record with which the size of the records reaches
/// `max_bytes`. So at least one record is returned, if there is one.
///
/// # Errors
/// Returns the errors of SQLite, and fails if the offsets do not ascend. A damaged record is no
/// error, see [`read_record`].
pub(super) fn read_records(
    connection: &Connection,
    from: u64,
    max_records: usize,
    max_bytes: usize,
) -> rusqlite::Result<Vec<LogRecord>> {
    let sql = "SELECT offset, time, key, headers, value, checksum FROM records WHERE offset >= ?1 ORDER BY offset LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![signed(from), row_limit(max_records)])?;
    let mut records = Vec::new();
    let mut bytes = 0;
    let mut last_offset = signed(from) - 1;
    while let Some(row) = rows.next()? {
        // Offsets out of order would let a consumer read the same records again and again.
        let offset = row.get(0)?;
        check_ascending(&offset, Some(&last_offset))?;
        last_offset = offset;

        let record = read_record(row, 0)?;
        bytes += record.size();
        records.push(record);
        if bytes >= max_bytes {
            break;
        }
    }
    Ok(records)
}

/// Reads a record from the columns offset, time, key, headers, value and checksum, the first of
/// which is `column`. A damaged record is returned without its content.
///
/// A record that the disk changed must not stop the consumer. Without content, it becomes a dead
/// letter. Its content is not trusted, because with other headers or another value it could be
/// another purchase.
pub(super) fn read_record(row: &Row<'_>, column: usize) -> rusqlite::Result<LogRecord> {
    let offset = unsigned(row.get(column)?);
    Ok(read_content(row, column).unwrap_or_else(|error| {
        tracing::error!(%error, log.offset = offset, "record delivered without its damaged content");
        LogRecord::new(offset, read_time(row, column), None)
    }))
}

/// Reads a record from the columns offset, time, key, headers, value and checksum, the first of
/// which is `column`, and verifies the checksum.
///
/// The checksum covers the columns from time to value. It was computed before SQLite assigned the
/// offset.
///
/// # Errors
/// Fails if a checksum shows that the disk changed the record.
pub(crate) fn read_content(row: &Row<'_>, column: usize) -> rusqlite::Result<LogRecord> {
    verify_columns(row, 0, column + 1..column + 5)?;

    let read_blob = |column: usize| {
        let blob = row.get_ref(column)?.as_blob_or_null()?;
        Ok::<_, rusqlite::Error>(blob.map(Bytes::copy_from_slice))
    };
    let headers = Headers::from_bytes(read_blob(column + 3)?.unwrap_or_default())
        .map_err(unreadable(column + 3))?;
    let record = LogRecord::new(
        unsigned(row.get(column)?),
        read_time(row, column),
        read_blob(column + 4)?,
    );
    Ok(record
        .with_key(read_blob(column + 2)?)
        .with_headers(headers))
}

/// Reads the timestamp of a record from the column after `column`. A damaged timestamp becomes the
/// earliest time.
fn read_time(row: &Row<'_>, column: usize) -> Timestamp {
    row.get(column + 1)
        .ok()
        .and_then(|millis| Timestamp::from_millis(millis).ok())
        .unwrap_or(Timestamp::MIN)
}

/// Returns the values of the columns time, key, headers, value and checksum for `record`.
pub(super) fn record_columns(record: &LogRecord) -> [ValueRef<'_>; 5] {
    let content = [
        Integer(record.time.as_millis()),
        record.key.as_deref().into(),
        Blob(record.headers.as_bytes()),
        record.value.as_deref().into(),
    ];
    let [time, key, headers, value] = content;
    [
        time,
        key,
        headers,
        value,
        Integer(checksum(0, content).into()),
    ]
}
