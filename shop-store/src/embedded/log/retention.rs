//! Deletes old records that all groups have consumed, and old conflicts, in small slices.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use shop_core::log::ReasonKind;
use shop_core::retention::{Allowance, DeletionGuard};
use shop_core::{Result, Timestamp};
use tokio::time::Instant;

use super::position::{lowest, signed, unsigned};
use super::shared::EmbeddedLogInner;
use crate::embedded::clock;
use crate::embedded::database::free_pages;

/// How often old records are deleted.
const DELETION_INTERVAL: Duration = Duration::from_secs(60);
/// How often old conflicts are deleted, which reads all dead letters.
const CONFLICT_DELETION_INTERVAL: Duration = Duration::from_secs(3_600);
/// How long dead letters with the reason `conflict` are kept. A client can cause any number of them, and they do not
/// indicate a fault of the deployment.
const CONFLICTS: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Maximum number of rows in a slice: a deletion delays the publishes behind it.
const SLICE: usize = 1_000;

/// Deletes old rows while a consumer is active.
pub(super) struct Deleter {
    log: Arc<EmbeddedLogInner>,
    next: Instant,
    next_conflicts: Instant,
    guard: DeletionGuard,
    /// What a round may still delete while the clock may be wrong.
    rest: Option<Allowance>,
}

impl Deleter {
    pub(super) fn new(log: Arc<EmbeddedLogInner>) -> Self {
        let now = Instant::now();
        Self {
            log,
            next: now,
            next_conflicts: now,
            guard: DeletionGuard::default(),
            rest: None,
        }
    }

    /// Deletes slices of old rows if they are due.
    pub(super) async fn delete_old_rows(&mut self) {
        if self.next > Instant::now() {
            return;
        }
        let has_more = self.delete_slices().await.unwrap_or_else(|error| {
            tracing::warn!(error = %error.chain(), "failed to delete old rows");
            false
        });
        self.next = Instant::now()
            + if has_more {
                Duration::ZERO
            } else {
                DELETION_INTERVAL
            };
    }

    /// Deletes a slice of old records, then of old conflicts if they are due. Returns whether more old records may be
    /// left in this round. While the clock may be wrong, conflicts stay.
    async fn delete_slices(&mut self) -> Result<bool> {
        let EmbeddedLogInner {
            writer,
            readers,
            options,
            ..
        } = &*self.log;
        let now = options.clock.now();
        let allowance = match self.rest.take() {
            Some(rest) => rest,
            None => {
                let (last_seen, consumed) = readers.read(last_seen).await?;
                self.guard.next_allowance(now, last_seen, consumed)
            }
        };
        let Allowance {
            rows,
            last_seen: seen,
            ..
        } = allowance;
        let limit = usize::try_from(rows).unwrap_or(usize::MAX).min(SLICE);
        let before = now.saturating_sub(options.retention);
        let delete = move |connection: &Connection| {
            let deleted = delete_records(connection, before, now, limit)?;
            seen.map_or(Ok(()), |seen| clock::store(connection, clock::LOG, seen))?;
            Ok(deleted)
        };
        let deleted = writer.write(delete).await?;
        let is_trusted = rows == u64::MAX;
        let has_more = deleted == SLICE;
        if has_more {
            self.rest = allowance.remaining_after(deleted as u64);
        }
        if has_more || !is_trusted || self.next_conflicts > Instant::now() {
            return Ok(has_more);
        }
        self.next_conflicts = Instant::now() + CONFLICT_DELETION_INTERVAL;
        let before = now.saturating_sub(CONFLICTS);
        if writer
            .write(move |connection| delete_conflicts(connection, before))
            .await?
            == SLICE
        {
            self.next_conflicts = Instant::now() + DELETION_INTERVAL;
        }
        Ok(false)
    }
}

/// Returns the last time seen, and the number of records that all groups have consumed.
fn last_seen(connection: &Connection) -> rusqlite::Result<(Option<Timestamp>, u64)> {
    let oldest: Option<i64> =
        connection.query_row("SELECT min(offset) FROM records", [], |row| row.get(0))?;
    let consumed = lowest(connection)?
        .zip(oldest)
        .map(|(next, oldest)| next.saturating_sub(unsigned(oldest)));
    Ok((
        clock::last_seen(connection, clock::LOG)?,
        consumed.unwrap_or_default(),
    ))
}

/// Deletes the oldest records that all groups have consumed and that are older than `before`, at most `limit`. Returns
/// their number; fewer than `limit` means that none are left.
///
/// A record with a timestamp after `now` was written while the clock was wrong. It is as old as the record after it.
pub(super) fn delete_records(
    connection: &Connection,
    before: Timestamp,
    now: Timestamp,
    limit: usize,
) -> rusqlite::Result<usize> {
    let Some(lowest) = lowest(connection)? else {
        return Ok(0);
    };
    let sql = "SELECT offset, time FROM records WHERE offset < ?1 ORDER BY offset LIMIT ?2";
    let mut oldest = connection.prepare_cached(sql)?;
    let rows = oldest.query_map(params![signed(lowest), signed(limit as u64)], |row| {
        row.try_into()
    })?;
    let mut count = 0;
    let mut last = None;
    let mut read = 0;
    for row in rows {
        let (offset, time): (i64, i64) = row?;
        read += 1;
        if time < before.as_millis() {
            count = read;
            last = Some(offset);
        } else if time <= now.as_millis() {
            break;
        } else if read == limit
            && last.is_none()
            && is_old_after(connection, offset, lowest, before)?
        {
            count = read;
            last = Some(offset);
        }
    }
    if let Some(last) = last {
        for sql in [
            "DELETE FROM records WHERE offset <= ?1",
            "DELETE FROM settled_letters WHERE offset <= ?1",
        ] {
            connection.prepare_cached(sql)?.execute([last])?;
        }
        free_pages(connection)?;
    }
    Ok(count)
}

/// Whether a record after `offset` is older than `before`. Reads a few records, at growing distances.
fn is_old_after(
    connection: &Connection,
    offset: i64,
    end: u64,
    before: Timestamp,
) -> rusqlite::Result<bool> {
    let sql = "SELECT time FROM records WHERE offset > ?1 AND offset < ?2 ORDER BY offset LIMIT 1";
    let mut next = connection.prepare_cached(sql)?;
    let mut distance = 1_i64;
    loop {
        let after = offset.saturating_add(distance - 1);
        let time: Option<i64> = next
            .query_row(params![after, signed(end)], |row| row.get(0))
            .optional()?;
        match time {
            Some(time) if time < before.as_millis() => return Ok(true),
            Some(_) => distance += (distance / 8).max(1),
            None => return Ok(false),
        }
    }
}

/// Deletes conflicts older than `before` whose record is already deleted: while the record exists, `verify` needs the
/// dead letter. Reads all dead letters. Returns their number; fewer than [`SLICE`] means that none are left.
pub(super) fn delete_conflicts(
    connection: &Connection,
    before: Timestamp,
) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM dead_letters WHERE rowid IN (
                   SELECT rowid FROM dead_letters AS letter
                   WHERE time < ?2 AND reason = ?1
                       AND NOT EXISTS (SELECT 1 FROM records WHERE records.offset = letter.offset)
                   LIMIT ?3)";
    let parameters = params![
        ReasonKind::Conflict.as_str(),
        before.as_millis(),
        signed(SLICE as u64)
    ];
    connection.prepare_cached(sql)?.execute(parameters)
}

#[cfg(test)]
mod tests {
    use super::super::position::register;
    use super::super::schema::LOG;
    use super::*;

    const BEFORE: i64 = 1_000;
    const NOW: i64 = 2_000;

    /// A log with so many records of each time, all of which are consumed.
    fn log(times: &[(i64, usize)]) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(&LOG.migrations.concat()).unwrap();
        let mut insert = connection
            .prepare("INSERT INTO records (time, headers) VALUES (?1, x'')")
            .unwrap();
        for (time, count) in times {
            for _ in 0..*count {
                insert.execute([time]).unwrap();
            }
        }
        drop(insert);
        register(&connection, "group", "store").unwrap();
        connection
            .execute("UPDATE groups SET next = 10000", [])
            .unwrap();
        connection
    }

    fn delete(connection: &Connection) -> usize {
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        delete_records(connection, at(BEFORE), at(NOW), SLICE).unwrap()
    }

    #[test]
    fn records_from_the_future_do_not_delay_deletion() {
        // The clock was ahead, then right.
        let old = BEFORE - 1;
        let connection = log(&[
            (3_000, 2_500),
            (old, 400),
            (5_000, 1),
            (old, 1),
            (BEFORE, 1),
            (3_000, 5),
        ]);
        let mut deleted = 0;
        loop {
            let slice = delete(&connection);
            deleted += slice;
            if slice < SLICE {
                break;
            }
        }
        assert_eq!(deleted, 2_902, "all before the first recent record");
        assert_eq!(delete(&connection), 0);
    }

    #[test]
    fn records_from_the_future_stay_before_a_recent_record() {
        assert_eq!(delete(&log(&[(3_000, SLICE), (BEFORE, 10)])), 0);
        assert_eq!(delete(&log(&[(3_000, 2_500)])), 0);
        let old = BEFORE - 1;
        assert_eq!(
            delete(&log(&[(old, SLICE - 1), (3_000, 1), (BEFORE, 10)])),
            SLICE - 1
        );
        assert_eq!(
            delete(&log(&[(3_000, SLICE), (old, 1), (BEFORE, 10)])),
            SLICE
        );
    }
}
