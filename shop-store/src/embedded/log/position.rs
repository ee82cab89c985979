//! The committed position of a group, and the epoch that fences its earlier consumers.

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension, params};
use shop_core::log::{CommitOffset, CommitOutcome};

/// Starts a new epoch of `group`. Returns its number and the offset to read from. Commits of earlier epochs are
/// fenced from now on.
pub(super) fn begin_epoch(connection: &Connection, group: &str) -> rusqlite::Result<(u64, u64)> {
    let sql = "UPDATE groups SET epoch = epoch + 1 WHERE name = ?1 RETURNING epoch, next";
    connection.query_row(sql, [group], |row| {
        Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)))
    })
}

/// Creates `group` if it is missing, and returns the store that it feeds: `feeds`, unless it feeds another one already. A
/// new group begins at the oldest record, and keeps that position: what is deleted from then on was not read.
pub(super) fn register(
    connection: &Connection,
    group: &str,
    feeds: &str,
) -> rusqlite::Result<String> {
    let sql = "INSERT INTO groups (name, epoch, feeds, next) VALUES (?1, 0, ?2, coalesce(
                   (SELECT min(offset) FROM records), (SELECT seq + 1 FROM sqlite_sequence WHERE name = 'records'), 1))
               ON CONFLICT (name) DO UPDATE SET feeds = coalesce(feeds, excluded.feeds) RETURNING feeds";
    connection.query_row(sql, [group, feeds], |row| row.get(0))
}

/// Returns the position of `group`, if it has one.
pub(super) fn find(connection: &Connection, group: &str) -> rusqlite::Result<Option<u64>> {
    let mut next = connection.prepare_cached("SELECT next FROM groups WHERE name = ?1")?;
    next.query_row([group], |row| Ok(unsigned(row.get(0)?)))
        .optional()
}

/// Notes that the records of `run` were appended with their purchases. A position that has reached the records which
/// were appended so, without another one in between, moves to the end of the run.
pub(super) fn pass(connection: &Connection, group: &str, run: &Range<u64>) -> rusqlite::Result<()> {
    let sql =
        "UPDATE groups SET stored_from = iif(stored_to = ?2, stored_from, ?2), stored_to = ?3,
                   next = iif(next BETWEEN iif(stored_to = ?2, stored_from, ?2) AND ?3, ?3, next)
               WHERE name = ?1";
    let row = params![group, signed(run.start), signed(run.end)];
    connection.prepare_cached(sql)?.execute(row).map(drop)
}

/// Commits `position` for `group`, unless its epoch is fenced. It passes the records that were appended with their
/// purchases.
pub(super) fn commit(
    connection: &Connection,
    group: &str,
    position: &CommitOffset,
) -> rusqlite::Result<CommitOutcome> {
    if position.partition.index != 0 {
        return Ok(CommitOutcome::Fenced);
    }
    let sql = "UPDATE groups SET next = iif(?3 BETWEEN stored_from AND stored_to, stored_to, ?3)
               WHERE name = ?1 AND epoch = ?2";
    let row = params![
        group,
        signed(position.partition.epoch),
        signed(position.next_offset)
    ];
    let updated = connection.prepare_cached(sql)?.execute(row)?;
    Ok(if updated == 1 {
        CommitOutcome::Committed
    } else {
        CommitOutcome::Fenced
    })
}

/// Returns the number of records from the position of `group` to the end.
pub(super) fn lag(connection: &Connection, group: &str) -> rusqlite::Result<u64> {
    // Offsets are consecutive from the oldest record on. Minimum and maximum are separate subqueries: SQLite scans
    // the table for a query with both.
    let sql = "SELECT max(0, (SELECT max(offset) FROM records) + 1 - max(
                   coalesce((SELECT next FROM groups WHERE name = ?1), 0), (SELECT min(offset) FROM records)))";
    connection.query_row(sql, [group], |row| {
        Ok(row.get::<_, Option<i64>>(0)?.map_or(0, unsigned))
    })
}

/// Returns the smallest position of all groups; `None` without a group.
pub(super) fn lowest(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    connection.query_row("SELECT min(next) FROM groups", [], |row| {
        Ok(row.get::<_, Option<i64>>(0)?.map(unsigned))
    })
}

/// Returns the offset of the next record. The counter remains when all records are deleted.
pub(super) fn end(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'records'";
    connection.query_row(sql, [], |row| Ok(unsigned(row.get(0)?)))
}

/// Deletes the position of `group`. Returns whether there was one.
pub(super) fn forget(connection: &Connection, group: &str) -> rusqlite::Result<bool> {
    Ok(connection.execute("DELETE FROM groups WHERE name = ?1", [group])? == 1)
}

/// Sets the position of `group`, at the earliest to the oldest record: those before it are not lost for it. Returns
/// whether there is such a group. Commits of earlier epochs are fenced.
pub(super) fn reset(connection: &Connection, group: &str, next: u64) -> rusqlite::Result<bool> {
    let sql = "UPDATE groups SET epoch = epoch + 1, stored_from = 0, stored_to = 0, next = max(?2, coalesce(
                   (SELECT min(offset) FROM records), (SELECT seq + 1 FROM sqlite_sequence WHERE name = 'records'), 1))
               WHERE name = ?1";
    Ok(connection.execute(sql, params![group, signed(next)])? == 1)
}

/// SQLite's integers are signed. Offsets and epochs are far below the limits of both types.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
