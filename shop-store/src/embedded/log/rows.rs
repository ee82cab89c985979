//! Reads records in the order of their offsets.

use std::ops::Range;

use bytes::Bytes;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};
use shop_core::Timestamp;
use shop_core::log::{Headers, LogRecord};

use super::position::{signed, unsigned};

/// The records from offset `from` on: at most `records` of them, and no more after `bytes` bytes.
pub(super) fn read(
    connection: &Connection,
    from: u64,
    records: usize,
    bytes: usize,
) -> rusqlite::Result<Vec<LogRecord>> {
    let sql =
        "SELECT offset, time, key, headers, value FROM records WHERE offset >= ?1 ORDER BY offset LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let limit = i64::try_from(records).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![signed(from), limit])?;
    let mut arena = Arena::default();
    let mut places = Vec::new();
    while let Some(row) = rows.next()? {
        places.push(arena.add(row)?);
        if arena.0.len() >= bytes {
            break;
        }
    }
    let arena = Bytes::from(arena.0);
    Ok(places.into_iter().map(|place| place.record(&arena)).collect())
}

/// The bytes of all records of a batch, one after the other: one allocation instead of three a record.
#[derive(Default)]
struct Arena(Vec<u8>);

/// Where a record's parts stand in the arena.
struct Place {
    offset: u64,
    time: i64,
    key: Option<Range<usize>>,
    headers: Range<usize>,
    value: Option<Range<usize>>,
}

impl Arena {
    fn add(&mut self, row: &Row<'_>) -> rusqlite::Result<Place> {
        Ok(Place {
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

impl Place {
    fn record(self, arena: &Bytes) -> LogRecord {
        let part = |range: Range<usize>| arena.slice(range);
        // Damaged headers must not stop the log: the record is delivered with none, and so as another
        // producer's.
        let headers = Headers::from_bytes(part(self.headers)).unwrap_or_else(|error| {
            tracing::error!(%error, log.offset = self.offset, "a record is delivered without its headers");
            Headers::EMPTY
        });
        let time = Timestamp::from_millis(self.time).unwrap_or(Timestamp::MIN);
        LogRecord::new(self.offset, time, self.value.map(part))
            .with_key(self.key.map(part))
            .with_headers(headers)
    }
}
