//! Retention: deletes old rows of a log while a consumer is active.
//!
//! | rows | deleted when | checked |
//! |---|---|---|
//! | records, with the resolutions of their dead letters | older than `retention`, and read by all groups | every minute |
//! | dead letters with the reason `conflict` | older than 30 days, and their record is deleted | every hour |
//!
//! Rows are deleted in small slices, because each slice is a write in the queue of the writer. A
//! clock that jumped ahead would make all records look old, so a [`DeletionGuard`] limits deletion
//! while the clock may be wrong.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use shop_core::log::ReasonKind;
use shop_core::retention::{Allowance, DeletionGuard};
use shop_core::{Result, Timestamp};
use tokio::time::Instant;

use super::log::EmbeddedLogInner;
use super::position::{lowest_position, signed, unsigned};
use crate::embedded::clock;
use crate::embedded::engine::database::free_pages;

/// The time between two rounds of deleting old records.
const DELETION_INTERVAL: Duration = Duration::from_secs(60);
/// The time between two rounds of deleting old conflicts. It is long, because each round reads all
/// dead letters.
const CONFLICT_DELETION_INTERVAL: Duration = Duration::from_secs(3_600);
/// The time for which dead letters with the reason `conflict` are kept.
///
/// Other dead letters are kept until they are resolved. A client can cause any number of conflicts,
/// by sending different purchases under one id, and a conflict does not indicate a fault of the
/// deployment.
const CONFLICT_RETENTION: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The maximum number of rows that one write deletes. A larger slice would delay the publishes
/// behind it.
const SLICE_ROWS: usize = 1_000;

/// Deletes the old rows of a log. The reader of each active consumer owns one.
pub(super) struct Deleter {
    log: Arc<EmbeddedLogInner>,
    /// The time at which the next slice of records is due.
    next_slice_at: Instant,
    /// The time at which the next slice of conflicts is due.
    next_conflict_slice_at: Instant,
    /// Decides how many records a round may delete, by the last time that earlier rounds saw.
    guard: DeletionGuard,
    /// The rest of the round's allowance, if the round goes on and the clock may be wrong.
    remaining_allowance: Option<Allowance>,
}

impl Deleter {
    /// Creates a deleter for `log`, whose first round is due at once.
    pub(super) fn new(log: Arc<EmbeddedLogInner>) -> Self {
        let now = Instant::now();
        Self {
            log,
            next_slice_at: now,
            next_conflict_slice_at: now,
            guard: DeletionGuard::default(),
            remaining_allowance: None,
        }
    }

    /// Deletes a slice of old rows if one is due.
    ///
    /// The reader of a consumer calls this function after each batch. An error is only logged, and
    /// the deletion is tried again after [`DELETION_INTERVAL`].
    pub(super) async fn delete_old_rows(&mut self) {
        if self.next_slice_at > Instant::now() {
            return;
        }
        let has_more = self.delete_due_slices().await.unwrap_or_else(|error| {
            tracing::warn!(error = %error.chain(), "failed to delete old rows");
            false
        });
        // A full slice means that more rows may be due, so the next call deletes another one.
        let delay = if has_more {
            Duration::ZERO
        } else {
            DELETION_INTERVAL
        };
        self.next_slice_at = Instant::now() + delay;
    }

    /// Deletes one slice of old records and then, if they are due, one slice of old conflicts.
    ///
    /// A *round* consists of slices, and ends with a slice that is not full. At the beginning of a
    /// round, the guard decides how many records the round may delete. While the clock may be wrong,
    /// conflicts are not deleted.
    ///
    /// Returns `true` if the slice of records was full, so that the round goes on.
    ///
    /// # Errors
    /// Returns the errors of reads and writes of the file.
    async fn delete_due_slices(&mut self) -> Result<bool> {
        let EmbeddedLogInner {
            writer,
            readers,
            options,
            ..
        } = &*self.log;
        let now = options.clock.now();
        let allowance = match self.remaining_allowance.take() {
            Some(remaining_allowance) => remaining_allowance,
            None => {
                let (last_seen, consumed) = readers.read(read_last_seen_and_consumed).await?;
                self.guard.next_allowance(now, last_seen, consumed)
            }
        };
        let last_seen_to_store = allowance.last_seen;
        let limit = usize::try_from(allowance.rows)
            .unwrap_or(usize::MAX)
            .min(SLICE_ROWS);

        // Records with a timestamp before this time are old.
        let oldest_kept = now.saturating_sub(options.retention);
        // The time is stored in the transaction that deletes, so a restart in between does not lose
        // it.
        let deleted = writer
            .write(move |connection| {
                let deleted = delete_records(connection, oldest_kept, now, limit)?;
                if let Some(time) = last_seen_to_store {
                    clock::store_last_seen(connection, clock::LOG, time)?;
                }
                Ok(deleted)
            })
            .await?;

        // The guard limits the number of rows only while it does not trust the clock.
        let is_clock_trusted = allowance.rows == u64::MAX;
        let has_more = deleted == SLICE_ROWS;
        if has_more {
            self.remaining_allowance = allowance.remaining_after(deleted as u64);
        }
        if has_more || !is_clock_trusted || self.next_conflict_slice_at > Instant::now() {
            return Ok(has_more);
        }

        // The time is set before the deletion, so an error too delays the next slice.
        self.next_conflict_slice_at = Instant::now() + CONFLICT_DELETION_INTERVAL;
        let oldest_kept_conflict = now.saturating_sub(CONFLICT_RETENTION);
        let deleted_conflicts = writer
            .write(move |connection| delete_conflicts(connection, oldest_kept_conflict))
            .await?;
        // A full slice of conflicts means that more may be due, so the next slice follows soon.
        if deleted_conflicts == SLICE_ROWS {
            self.next_conflict_slice_at = Instant::now() + DELETION_INTERVAL;
        }
        Ok(false)
    }
}

/// Returns the last time that earlier rounds stored, and the number of records that all groups have
/// consumed.
///
/// The number is 0 if there is no group or no record. The guard takes the number for the records that
/// may be deleted. If the number is 0 and no time is stored, the guard trusts the clock.
fn read_last_seen_and_consumed(
    connection: &Connection,
) -> rusqlite::Result<(Option<Timestamp>, u64)> {
    let oldest: Option<i64> =
        connection.query_row("SELECT min(offset) FROM records", [], |row| row.get(0))?;
    let consumed = lowest_position(connection)?
        .zip(oldest)
        .map(|(next_offset, oldest)| next_offset.saturating_sub(unsigned(oldest)));
    Ok((
        clock::find_last_seen(connection, clock::LOG)?,
        consumed.unwrap_or_default(),
    ))
}

/// Deletes the oldest records that all groups have consumed and that are older than `before`, at
/// most `limit`.
///
/// Returns the number of deleted records. A number below `limit` means that none are left to
/// delete. Without a group, nothing is deleted, because no consumer has read the records.
///
/// Records are deleted from the beginning of the log only, so that no gap arises between others. A
/// record with a timestamp after `now` was written while the clock was ahead. The age of such a
/// record is unknown, so it is deleted only if a later record is old.
///
/// The resolutions of dead letters are deleted together with their records.
fn delete_records(
    connection: &Connection,
    before: Timestamp,
    now: Timestamp,
    limit: usize,
) -> rusqlite::Result<usize> {
    let Some(consumed_end) = lowest_position(connection)? else {
        return Ok(0);
    };

    let sql = "SELECT offset, time FROM records WHERE offset < ?1 ORDER BY offset LIMIT ?2";
    let mut select_oldest = connection.prepare_cached(sql)?;
    let rows = select_oldest
        .query_map(params![signed(consumed_end), signed(limit as u64)], |row| {
            row.try_into()
        })?;

    // The records to delete are the first `deleted_count` ones, up to `last_offset`.
    let mut deleted_count = 0;
    let mut last_offset = None;
    let mut read_count = 0;
    for row in rows {
        let (offset, time): (i64, i64) = row?;
        read_count += 1;
        if time < before.as_millis() {
            deleted_count = read_count;
            last_offset = Some(offset);
        } else if time <= now.as_millis() {
            // The first recent record ends the deletion.
            break;
        } else if read_count == limit
            && last_offset.is_none()
            && has_old_record_after(connection, offset, consumed_end, before)?
        {
            // All timestamps of the slice are in the future, and an old record follows behind it.
            deleted_count = read_count;
            last_offset = Some(offset);
        }
    }

    if let Some(last_offset) = last_offset {
        for sql in [
            "DELETE FROM records WHERE offset <= ?1",
            "DELETE FROM settled_letters WHERE offset <= ?1",
        ] {
            connection.prepare_cached(sql)?.execute([last_offset])?;
        }
        free_pages(connection)?;
    }
    Ok(deleted_count)
}

/// Checks whether a record after `offset` and before `end` is older than `before`.
///
/// Reads only a sample of the records, at distances that grow by an eighth, so that a long run of
/// records with wrong timestamps costs little. A single old record between two samples may be
/// missed.
fn has_old_record_after(
    connection: &Connection,
    offset: i64,
    end: u64,
    before: Timestamp,
) -> rusqlite::Result<bool> {
    let sql = "SELECT time FROM records WHERE offset > ?1 AND offset < ?2 ORDER BY offset LIMIT 1";
    let mut select_next_time = connection.prepare_cached(sql)?;
    let mut distance = 1_i64;
    loop {
        let after_offset = offset.saturating_add(distance - 1);
        let time: Option<i64> = select_next_time
            .query_row(params![after_offset, signed(end)], |row| row.get(0))
            .optional()?;
        match time {
            Some(time) if time < before.as_millis() => return Ok(true),
            Some(_) => distance += (distance / 8).max(1),
            None => return Ok(false),
        }
    }
}

/// Deletes at most [`SLICE_ROWS`] dead letters with the reason `conflict` that are older than
/// `before` and whose record is deleted already.
///
/// While the record exists, the command `verify` needs the dead letter to explain why the record is
/// not in the store. Reads all dead letters. Returns the number of deleted ones. A number below
/// [`SLICE_ROWS`] means that none are left to delete.
fn delete_conflicts(connection: &Connection, before: Timestamp) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM dead_letters WHERE rowid IN (
                   SELECT rowid FROM dead_letters AS letter
                   WHERE time < ?2 AND reason = ?1
                       AND NOT EXISTS (SELECT 1 FROM records WHERE records.offset = letter.offset)
                   LIMIT ?3)";
    let parameters = params![
        ReasonKind::Conflict.as_str(),
        before.as_millis(),
        signed(SLICE_ROWS as u64)
    ];
    connection.prepare_cached(sql)?.execute(parameters)
}

#[cfg(test)]
mod tests {
    use super::super::position::register_group;
    use super::super::schema::LOG;
    use super::*;

    const BEFORE: i64 = 1_000;
    const NOW: i64 = 2_000;

    /// A log with so many records of each time, all of which are consumed.
    fn log(times: &[(i64, usize)]) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(&LOG.migrations.concat().concat())
            .unwrap();
        let mut insert = connection
            .prepare("INSERT INTO records (time, headers, checksum) VALUES (?1, x'', 0)")
            .unwrap();
        for (time, count) in times {
            for _ in 0..*count {
                insert.execute([time]).unwrap();
            }
        }
        drop(insert);
        register_group(&connection, "group", "store").unwrap();
        connection
            .execute("UPDATE groups SET next = 10000", [])
            .unwrap();
        connection
    }

    #[test]
    fn records_are_deleted_up_to_the_first_recent_one() {
        let old = BEFORE - 1;
        // Records from the future are from a time when the clock was ahead.
        for (deleted, times) in [
            (
                2_902,
                &[
                    (3_000, 2_500),
                    (old, 400),
                    (5_000, 1),
                    (old, 1),
                    (BEFORE, 1),
                    (3_000, 5),
                ][..],
            ),
            // Only an old record behind them shows that they are old.
            (0, &[(3_000, SLICE_ROWS), (BEFORE, 10)]),
            (0, &[(3_000, 2_500)]),
            (
                SLICE_ROWS - 1,
                &[(old, SLICE_ROWS - 1), (3_000, 1), (BEFORE, 10)],
            ),
            (
                SLICE_ROWS + 1,
                &[(3_000, SLICE_ROWS), (old, 1), (BEFORE, 10)],
            ),
        ] {
            let connection = log(times);
            let at = |millis| Timestamp::from_millis(millis).unwrap();
            let mut sum = 0;
            loop {
                let slice = delete_records(&connection, at(BEFORE), at(NOW), SLICE_ROWS).unwrap();
                sum += slice;
                if slice < SLICE_ROWS {
                    break;
                }
            }
            assert_eq!(sum, deleted, "{times:?}");
        }
    }
}
