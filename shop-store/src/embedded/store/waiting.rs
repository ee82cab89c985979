//! The table `waiting_refunds`: refunds that arrived before the purchase that they refund.
//!
//! An entry *waits* until its purchase is inserted. The insert then applies the refund and removes
//! the entry, or *refuses* the refund if it contradicts the purchase. A refused entry stays with
//! the reason, until ingest puts it among the dead letters.
//!
//! One transaction at a time writes into the file, so either a refund finds its purchase, or the
//! insert of the purchase finds the refund. No later check of the entries is necessary.
//!
//! ```text
//! sequence  id      purchase  userid  timestamp      value       refusal
//!        1  x'01…'  x'01…'    u1      1767225600000  {…: "-5"}   NULL        waits for its purchase
//!        2  x'01…'  x'01…'    u2      1767229200000  {…: "-9"}   the reason  is refused
//! ```
//!
//! `id` is the id of the refund, and `purchase` the id of the purchase that it refunds. `value` is
//! the value of the refund's record.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, ToSql, params};
use shop_core::log::Reason;
use shop_core::ports::{InsertOutcome, WaitingColumns, WaitingRefund, WaitingSummary};
use shop_core::{Purchase, PurchaseId, Timestamp, UserId};

use super::rows::{id_bytes, read_id};
use crate::embedded::engine::checksum::{checksum, verify_values};
use crate::embedded::engine::error::unreadable;
use crate::limits::row_limit;

/// The query of all entries, which selects the columns that [`read_entry`] reads.
pub(crate) const SELECT_ALL: &str =
    "SELECT sequence, id, value, origin, refusal, checksum FROM waiting_refunds";

/// The index of the column `value` in [`SELECT_ALL`].
const VALUE: usize = 2;

/// The query of [`count_waiting`], which reads only the index `waiting_by_time`.
pub(super) const COUNT_WAITING: &str =
    "SELECT count(*), min(timestamp) FROM waiting_refunds WHERE refusal IS NULL";

/// Stores `refund` until the purchase with the id `purchase_id` is inserted. Returns `Waiting`, or
/// `Duplicate` if the same refund is stored already.
pub(super) fn insert_entry(
    connection: &Connection,
    refund: &Purchase,
    purchase_id: PurchaseId,
) -> rusqlite::Result<InsertOutcome> {
    let is_stored = find_by_purchase(connection, purchase_id)?
        .iter()
        .any(|entry| entry.refund.id == refund.id && entry.refund.same_content(refund));
    if is_stored {
        return Ok(InsertOutcome::Duplicate);
    }

    let columns = WaitingColumns::new(refund).map_err(unreadable(VALUE))?;
    let id = id_bytes(refund.id);
    let origin = columns.origin.as_deref().into();
    let checksum = checksum(0, [ValueRef::Blob(&id), (&*columns.value).into(), origin]);
    let sql =
        "INSERT INTO waiting_refunds (id, purchase, userid, timestamp, value, origin, checksum)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    connection.prepare_cached(sql)?.execute(params![
        id,
        id_bytes(purchase_id),
        refund.user_id.as_str(),
        refund.timestamp.as_millis(),
        columns.value,
        columns.origin,
        checksum,
    ])?;
    Ok(InsertOutcome::Waiting)
}

/// Returns the refunds of the purchase with this id that wait or are refused, in the order of their
/// arrival.
pub(super) fn find_by_purchase(
    connection: &Connection,
    purchase_id: PurchaseId,
) -> rusqlite::Result<Vec<WaitingRefund>> {
    select_entries(
        connection,
        "purchase = ?1 ORDER BY sequence",
        id_bytes(purchase_id),
    )
}

/// Returns the first entry with this id in the order of arrival, or `None` if there is none.
pub(super) fn find_by_id(
    connection: &Connection,
    id: &PurchaseId,
) -> rusqlite::Result<Option<WaitingRefund>> {
    let condition = "id = ?1 ORDER BY sequence LIMIT 1";
    Ok(select_entries(connection, condition, id_bytes(*id))?.pop())
}

/// Returns at most `limit` refused entries, in the order of their arrival.
pub(super) fn find_refused(
    connection: &Connection,
    limit: usize,
) -> rusqlite::Result<Vec<WaitingRefund>> {
    let condition = "refusal IS NOT NULL ORDER BY sequence LIMIT ?1";
    select_entries(connection, condition, row_limit(limit))
}

/// Returns the entries that the SQL `condition` selects. `parameter` is the value of `?1` in the
/// condition.
fn select_entries(
    connection: &Connection,
    condition: &str,
    parameter: impl ToSql,
) -> rusqlite::Result<Vec<WaitingRefund>> {
    connection
        .prepare_cached(&format!("{SELECT_ALL} WHERE {condition}"))?
        .query_map([parameter], read_entry)?
        .collect()
}

/// Returns the number of refunds that wait for their purchase, and the timestamp of the oldest of
/// them. Refused refunds are not counted.
pub(super) fn count_waiting(connection: &Connection) -> rusqlite::Result<WaitingSummary> {
    let (count, oldest_millis): (i64, Option<i64>) = connection
        .prepare_cached(COUNT_WAITING)?
        .query_row([], |row| row.try_into())?;
    // A timestamp that the disk made invalid counts as unknown.
    let oldest_time = oldest_millis.and_then(|millis| Timestamp::from_millis(millis).ok());
    Ok(WaitingSummary::new(count.unsigned_abs(), oldest_time))
}

/// Removes the entries with these sequences. Entries that are gone already are ignored.
pub(super) fn remove_entries(connection: &Connection, sequences: &[u64]) -> rusqlite::Result<()> {
    let mut remove =
        connection.prepare_cached("DELETE FROM waiting_refunds WHERE sequence = ?1")?;
    for sequence in sequences {
        remove.execute([sequence.cast_signed()])?;
    }
    Ok(())
}

/// Marks an entry as refused: its refund can never be applied, because of `reason`.
pub(super) fn mark_refused(
    connection: &Connection,
    sequence: u64,
    reason: &Reason,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE waiting_refunds SET refusal = ?2 WHERE sequence = ?1")?
        .execute(params![sequence.cast_signed(), reason.to_string()])
        .map(drop)
}

/// Erases at most `limit` entries of `user`. Returns the bytes of their ids, which the caller marks
/// as erased.
pub(super) fn erase_by_user(
    connection: &Connection,
    user: &UserId,
    limit: usize,
) -> rusqlite::Result<Vec<Vec<u8>>> {
    let sql = "DELETE FROM waiting_refunds WHERE sequence IN
                   (SELECT sequence FROM waiting_refunds WHERE userid = ?1 LIMIT ?2)
               RETURNING id";
    connection
        .prepare_cached(sql)?
        .query_map(params![user.as_str(), row_limit(limit)], |row| row.get(0))?
        .collect()
}

/// Erases the entries of refunds with this id, and the entries that wait for the purchase with this
/// id.
pub(super) fn erase_by_id(connection: &Connection, id: PurchaseId) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM waiting_refunds WHERE id = ?1 OR purchase = ?1")?
        .execute([id_bytes(id)])
        .map(drop)
}

/// Deletes at most `limit` entries with a timestamp before `time`. Returns their number.
pub(super) fn delete_before(
    connection: &Connection,
    time: Timestamp,
    limit: usize,
) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM waiting_refunds WHERE sequence IN
                   (SELECT sequence FROM waiting_refunds WHERE timestamp < ?1 LIMIT ?2)";
    connection
        .prepare_cached(sql)?
        .execute(params![time.as_millis(), row_limit(limit)])
}

/// Reads an entry from a row of [`SELECT_ALL`], and verifies its checksum.
///
/// # Errors
/// Fails if a checksum shows that the disk changed the row.
pub(crate) fn read_entry(row: &Row<'_>) -> rusqlite::Result<WaitingRefund> {
    // The checksum in column 5 covers the id, the value and the origin. The sequence is not
    // covered, because SQLite assigns it, and the refusal is set later.
    let values = [row.get_ref(1)?, row.get_ref(2)?, row.get_ref(3)?];
    verify_values(row, 5, 0, values)?;
    let id = read_id(values[0])?;
    let columns = WaitingColumns {
        value: row.get(2)?,
        origin: row.get(3)?,
    };
    let sequence: i64 = row.get(0)?;
    let refusal: Option<String> = row.get(4)?;
    columns
        .read(sequence.cast_unsigned(), id, refusal.as_deref())
        .map_err(unreadable(VALUE))
}
