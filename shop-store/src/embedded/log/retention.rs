//! Deletes old records that all groups have consumed, and old conflicts, in small slices.

use std::time::Duration;

use rusqlite::{Connection, params};
use shop_core::Timestamp;
use shop_core::log::ReasonKind;

use super::position::{lowest, signed};

/// How long dead letters with the reason `conflict` are kept. A client can cause any number of them, and they do not
/// indicate a fault of the deployment.
pub(super) const CONFLICTS: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Maximum number of rows in a slice: a deletion delays the publishes behind it.
pub(super) const SLICE: usize = 1_000;
const LIMIT: i64 = 1_000;
/// Maximum number of free pages returned to the file system with a slice.
const MAX_FREED_PAGES: i64 = 256;

/// Deletes the oldest records that all groups have consumed and that are older than `before`. Returns their number;
/// fewer than [`SLICE`] means that none are left.
pub(super) fn delete_records(connection: &Connection, before: Timestamp) -> rusqlite::Result<usize> {
    let Some(lowest) = lowest(connection)? else { return Ok(0) };
    let sql = "SELECT offset, time FROM records WHERE offset < ?1 ORDER BY offset LIMIT ?2";
    let mut oldest = connection.prepare_cached(sql)?;
    let rows = oldest.query_map(params![signed(lowest), LIMIT], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (mut count, mut last) = (0, None);
    for row in rows {
        let (offset, time): (i64, i64) = row?;
        if time >= before.as_millis() {
            break;
        }
        count += 1;
        last = Some(offset);
    }
    if let Some(last) = last {
        for sql in
            ["DELETE FROM records WHERE offset <= ?1", "DELETE FROM settled_letters WHERE offset <= ?1"]
        {
            connection.prepare_cached(sql)?.execute([last])?;
        }
        // Each step frees one page.
        let mut vacuum =
            connection.prepare_cached(&format!("PRAGMA incremental_vacuum({MAX_FREED_PAGES})"))?;
        let mut pages = vacuum.query([])?;
        while pages.next()?.is_some() {}
    }
    Ok(count)
}

/// Deletes conflicts older than `before` whose record is already deleted: while the record exists, `verify` needs the
/// dead letter. Reads all dead letters. Returns their number; fewer than [`SLICE`] means that none are left.
pub(super) fn delete_conflicts(connection: &Connection, before: Timestamp) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM dead_letters WHERE (topic, partition, offset) IN (
                   SELECT topic, partition, offset FROM dead_letters AS letter
                   WHERE time < ?2 AND reason = ?1
                       AND NOT EXISTS (SELECT 1 FROM records WHERE records.offset = letter.offset)
                   LIMIT ?3)";
    connection.prepare_cached(sql)?.execute(params![ReasonKind::Conflict.as_str(), before.as_millis(), LIMIT])
}
