//! Deletes what everybody has consumed and nobody needs any more, a slice at a time.

use rusqlite::{Connection, params};
use shop_core::Timestamp;

use super::position::{lowest, signed, unsigned};

/// The most records deleted at a time, so that no publish waits long behind a deletion.
pub(super) const SLICE: i64 = 1_000;
/// The most free pages handed back to the file system with a slice.
const PAGES: i64 = 256;

/// Deletes the oldest records if every group has consumed them and they are from before `before`; answers how
/// many. Fewer than [`SLICE`]: there are no more.
pub(super) fn delete_slice(connection: &Connection, before: Timestamp) -> rusqlite::Result<i64> {
    let Some(lowest) = lowest(connection)? else { return Ok(0) };
    let sql = "SELECT offset, time FROM records WHERE offset < ?1 ORDER BY offset LIMIT ?2";
    let mut oldest = connection.prepare_cached(sql)?;
    let rows = oldest.query_map(params![signed(lowest), SLICE], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (mut count, mut last) = (0, None);
    for row in rows {
        let (offset, time): (i64, i64) = row?;
        if time >= before.as_millis() {
            break;
        }
        count += 1;
        last = Some(unsigned(offset));
    }
    if let Some(last) = last {
        connection.prepare_cached("DELETE FROM records WHERE offset <= ?1")?.execute([signed(last)])?;
        connection
            .prepare_cached("DELETE FROM settled_letters WHERE offset <= ?1")?
            .execute([signed(last)])?;
        // One page a step.
        let mut vacuum = connection.prepare_cached(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
        let mut pages = vacuum.query([])?;
        while pages.next()?.is_some() {}
    }
    Ok(count)
}
