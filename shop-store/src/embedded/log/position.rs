//! The committed position of a group, and the epoch that fences its earlier consumers.

use rusqlite::{Connection, params};
use shop_core::log::{CommitOffset, CommitOutcome};

/// Starts a new epoch of `group`. Returns its number and the offset to read from. Commits of earlier epochs are
/// fenced from now on. A new group begins at the oldest record, and keeps that position: what is deleted from then on
/// was not read.
pub(super) fn begin_epoch(connection: &Connection, group: &str) -> rusqlite::Result<(u64, u64)> {
    let sql = "INSERT INTO groups (name, epoch, next) VALUES (?1, 1, coalesce(
                   (SELECT min(offset) FROM records), (SELECT seq + 1 FROM sqlite_sequence WHERE name = 'records'), 1))
               ON CONFLICT (name) DO UPDATE SET epoch = epoch + 1 RETURNING epoch, next";
    connection.query_row(sql, [group], |row| Ok((unsigned(row.get(0)?), unsigned(row.get(1)?))))
}

/// Commits `position` for `group`, unless its epoch is fenced.
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
    let updated = connection.prepare_cached(sql)?.execute(row)?;
    Ok(if updated == 1 { CommitOutcome::Committed } else { CommitOutcome::Fenced })
}

/// Returns the number of records from the position of `group` to the end.
pub(super) fn lag(connection: &Connection, group: &str) -> rusqlite::Result<u64> {
    // Offsets are consecutive from the oldest record on. Minimum and maximum are separate subqueries: SQLite scans
    // the table for a query with both.
    let sql = "SELECT max(0, (SELECT max(offset) FROM records) + 1 - max(
                   coalesce((SELECT next FROM groups WHERE name = ?1), 0), (SELECT min(offset) FROM records)))";
    connection.query_row(sql, [group], |row| Ok(row.get::<_, Option<i64>>(0)?.map_or(0, unsigned)))
}

/// Returns the smallest position of all groups; `None` without a group.
pub(super) fn lowest(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    connection
        .query_row("SELECT min(next) FROM groups", [], |row| Ok(row.get::<_, Option<i64>>(0)?.map(unsigned)))
}

/// SQLite's integers are signed. Offsets and epochs are far below the limits of both types.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
