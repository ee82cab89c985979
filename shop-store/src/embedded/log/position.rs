//! The positions and epochs of groups, in the table `groups`.
//!
//! The *position* of a group, the column `next`, is the offset of the next record that the group
//! processes. An *epoch* is a time during which one consumer of the group is active. Each consumer
//! that becomes active begins a new epoch, which *fences* the earlier ones: commits in an earlier
//! epoch are refused, so a consumer that lost the group's lock cannot move the position.
//!
//! A storing sink appends records and stores their purchases in one transaction, so the group need
//! not process these records. The columns `stored_from` and `stored_to` hold the newest run of such
//! records, and a position that reaches the run moves to its end, see [`advance_past`].

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension, params};
use shop_core::log::{CommitOffset, CommitOutcome};

use super::rows::PARTITION;

/// Starts a new epoch of `group`. Returns the number of the epoch and the position of the group.
///
/// From then on, commits of earlier epochs are refused.
///
/// # Errors
/// Returns the errors of SQLite, and fails if the group is not [registered](register_group).
pub(super) fn begin_epoch(connection: &Connection, group: &str) -> rusqlite::Result<(u64, u64)> {
    let sql = "UPDATE groups SET epoch = epoch + 1 WHERE name = ?1 RETURNING epoch, next";
    connection.query_row(sql, [group], |row| {
        Ok((unsigned(row.get(0)?), unsigned(row.get(1)?)))
    })
}

/// Creates `group` if it is missing, and returns the name of the store that the group feeds.
///
/// A group that feeds no store yet gets the store `feeds`. A group that feeds a store already keeps
/// this store, so the caller compares the returned name with `feeds`.
///
/// The position of a new group is the oldest record, or the end of an empty log. From then on the
/// records after the position are kept for the group, and a missing one is recognized as a gap.
pub(super) fn register_group(
    connection: &Connection,
    group: &str,
    feeds: &str,
) -> rusqlite::Result<String> {
    let sql = "INSERT INTO groups (name, epoch, feeds, next) VALUES (?1, 0, ?2, coalesce(
                   (SELECT min(offset) FROM records), (SELECT seq + 1 FROM sqlite_sequence WHERE name = 'records'), 1))
               ON CONFLICT (name) DO UPDATE SET feeds = coalesce(feeds, excluded.feeds) RETURNING feeds";
    connection.query_row(sql, [group, feeds], |row| row.get(0))
}

/// Returns the position of `group`, or `None` if there is no such group.
pub(super) fn find_position(connection: &Connection, group: &str) -> rusqlite::Result<Option<u64>> {
    let mut select_next = connection.prepare_cached("SELECT next FROM groups WHERE name = ?1")?;
    select_next
        .query_row([group], |row| Ok(unsigned(row.get(0)?)))
        .optional()
}

/// Records that the records at the offsets `run` were appended in the transaction that stores their
/// purchases, so that the position of `group` passes these records.
///
/// If `run` follows the newest recorded run directly, both become one run. If the position of the
/// group is in the run or at its beginning, the position moves to the end of the run. An earlier
/// position stays, because records before the run must still be processed. Once such a position
/// reaches the run, [`commit_position`] moves it to the end.
pub(super) fn advance_past(
    connection: &Connection,
    group: &str,
    run: &Range<u64>,
) -> rusqlite::Result<()> {
    // The right sides of an SQL update see the old values of the columns, so the expression of
    // `next` repeats the expression of the new `stored_from`.
    let sql =
        "UPDATE groups SET stored_from = iif(stored_to = ?2, stored_from, ?2), stored_to = ?3,
                   next = iif(next BETWEEN iif(stored_to = ?2, stored_from, ?2) AND ?3, ?3, next)
               WHERE name = ?1";
    let parameters = params![group, signed(run.start), signed(run.end)];
    connection
        .prepare_cached(sql)?
        .execute(parameters)
        .map(drop)
}

/// Commits `position` for `group`, unless the epoch of `position` is not the newest one of the
/// group.
///
/// A position in the newest run of records that were stored with their purchases moves to the end
/// of the run, see [`advance_past`]. Returns [`CommitOutcome::Fenced`], and changes nothing, if
/// another consumer has begun a later epoch.
pub(super) fn commit_position(
    connection: &Connection,
    group: &str,
    position: &CommitOffset,
) -> rusqlite::Result<CommitOutcome> {
    // The log has one partition, so another index belongs to no epoch of the group.
    if position.partition.index != PARTITION {
        return Ok(CommitOutcome::Fenced);
    }
    let sql = "UPDATE groups SET next = iif(?3 BETWEEN stored_from AND stored_to, stored_to, ?3)
               WHERE name = ?1 AND epoch = ?2";
    let parameters = params![
        group,
        signed(position.partition.epoch),
        signed(position.next_offset)
    ];
    let updated_count = connection.prepare_cached(sql)?.execute(parameters)?;
    Ok(if updated_count == 1 {
        CommitOutcome::Committed
    } else {
        CommitOutcome::Fenced
    })
}

/// Returns the lag of `group`: the number of records from its position to the end of the log.
pub(super) fn count_lag(connection: &Connection, group: &str) -> rusqlite::Result<u64> {
    // Offsets are consecutive from the oldest record on. Minimum and maximum are separate
    // subqueries: SQLite scans the table for a query with both.
    let sql = "SELECT max(0, (SELECT max(offset) FROM records) + 1 - max(
                   coalesce((SELECT next FROM groups WHERE name = ?1), 0), (SELECT min(offset) FROM records)))";
    connection.query_row(sql, [group], |row| {
        Ok(row.get::<_, Option<i64>>(0)?.map_or(0, unsigned))
    })
}

/// Returns the lowest position of all groups, before which all groups have consumed the records.
/// `None` without a group.
pub(super) fn lowest_position(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    connection.query_row("SELECT min(next) FROM groups", [], |row| {
        Ok(row.get::<_, Option<i64>>(0)?.map(unsigned))
    })
}

/// Returns the end of the log: the offset of the next record to append.
///
/// SQLite keeps the counter when all records are deleted, so an offset is never used twice.
pub(super) fn end_offset(connection: &Connection) -> rusqlite::Result<u64> {
    let sql = "SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'records'";
    connection.query_row(sql, [], |row| Ok(unsigned(row.get(0)?)))
}

/// Deletes `group` and its position. Returns `false` if there was no such group.
pub(super) fn delete_group(connection: &Connection, group: &str) -> rusqlite::Result<bool> {
    Ok(connection.execute("DELETE FROM groups WHERE name = ?1", [group])? == 1)
}

/// Sets the position of `group` to `next_offset`, or to the oldest record if that is later. Returns
/// `false` if there is no such group.
///
/// With a position before the oldest record, the deleted records would be reported as a gap. After
/// the reset, commits of earlier epochs are refused, and records that were stored together with their
/// purchases are delivered again.
pub(super) fn reset_group(
    connection: &Connection,
    group: &str,
    next_offset: u64,
) -> rusqlite::Result<bool> {
    let sql = "UPDATE groups SET epoch = epoch + 1, stored_from = 0, stored_to = 0, next = max(?2, coalesce(
                   (SELECT min(offset) FROM records), (SELECT seq + 1 FROM sqlite_sequence WHERE name = 'records'), 1))
               WHERE name = ?1";
    Ok(connection.execute(sql, params![group, signed(next_offset)])? == 1)
}

/// Converts an offset or an epoch to SQLite's type of integers, which is signed. Both are far below
/// its maximum.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Converts an integer of SQLite to an offset or an epoch. A negative number, which only damage can
/// cause, becomes 0.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
