//! Where a group stands, and the epoch that tells its readers apart.

use rusqlite::{Connection, params};
use shop_core::log::{CommitOffset, CommitOutcome};

/// Begins a new epoch of `group`; answers its number and the offset to read from. Commits of the epoch before
/// are fenced from here on.
pub(super) fn begin_epoch(connection: &Connection, group: &str) -> rusqlite::Result<(u64, u64)> {
    let sql = "INSERT INTO groups (name, epoch, next) VALUES (?1, 1, 0)
               ON CONFLICT (name) DO UPDATE SET epoch = epoch + 1 RETURNING epoch, next";
    connection.query_row(sql, [group], |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?))))
}

/// Moves `group` to `position`, if its epoch is not over.
pub(super) fn commit(
    connection: &Connection,
    group: &str,
    position: &CommitOffset,
) -> rusqlite::Result<CommitOutcome> {
    if position.partition.index != 0 {
        return Ok(CommitOutcome::Fenced);
    }
    let sql = "UPDATE groups SET next = ?3 WHERE name = ?1 AND epoch = ?2";
    let row = params![group, signed(position.partition.epoch), signed(position.next_offset)];
    let moved = connection.prepare_cached(sql)?.execute(row)?;
    Ok(if moved == 1 { CommitOutcome::Committed } else { CommitOutcome::Fenced })
}

/// How many records there are from the position of `group` on.
pub(super) fn lag(connection: &Connection, group: &str) -> rusqlite::Result<u64> {
    // Offsets have no gaps but before the oldest record. Each end is found by itself: asked for both at once, SQLite
    // looks at every record.
    let sql = "SELECT max(0, (SELECT max(offset) FROM records) + 1 - max(
                   coalesce((SELECT next FROM groups WHERE name = ?1), 0), (SELECT min(offset) FROM records)))";
    connection.query_row(sql, [group], |row| Ok(row.get::<_, Option<i64>>(0)?.map_or(0, unsigned)))
}

/// The offset below which every group has consumed everything; `None` when there is no group.
pub(super) fn lowest(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    connection
        .query_row("SELECT min(next) FROM groups", [], |row| Ok(row.get::<_, Option<i64>>(0)?.map(unsigned)))
}

/// SQLite's integers are signed; offsets and epochs are never near the end of either range.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
