//! The refunds that wait for their purchase, in a table of their own.
//!
//! One transaction at a time writes into the file, so a refund either finds its purchase, or the insert of the purchase
//! finds the refund: nothing has to be looked at again later.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, ToSql, params};
use shop_core::log::Reason;
use shop_core::ports::{WaitingColumns, WaitingRefund, WaitingSummary};
use shop_core::{Purchase, PurchaseId, Timestamp, UserId};

use super::rows::{id_bytes, read_id};
use crate::embedded::checksum::{check_values, checksum};
use crate::embedded::error::unreadable;
use crate::limits::row_limit;

/// The query of all entries, with the columns that [`read`] reads.
pub(in crate::embedded) const ALL: &str =
    "SELECT sequence, id, value, origin, refusal, checksum FROM waiting_refunds";

/// Keeps `refund`, whose purchase is `of`, until that is inserted. Returns `false` if the same refund is kept already.
pub(super) fn insert(
    connection: &Connection,
    refund: &Purchase,
    of: PurchaseId,
) -> rusqlite::Result<bool> {
    let is_kept = of_purchase(connection, of)?
        .iter()
        .any(|kept| kept.refund.id == refund.id && kept.refund.same_content(refund));
    if is_kept {
        return Ok(false);
    }

    let columns = WaitingColumns::new(refund).map_err(unreadable(2))?;
    let id = id_bytes(refund.id);
    let origin = columns.origin.as_deref().into();
    let checksum = checksum(0, [ValueRef::Blob(&id), (&*columns.value).into(), origin]);
    let sql =
        "INSERT INTO waiting_refunds (id, purchase, userid, timestamp, value, origin, checksum)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    connection.prepare_cached(sql)?.execute(params![
        id,
        id_bytes(of),
        refund.user_id.as_str(),
        refund.timestamp.as_millis(),
        columns.value,
        columns.origin,
        checksum,
    ])?;
    Ok(true)
}

/// Returns the refunds of a purchase that wait or are refused, in the order of their arrival.
pub(super) fn of_purchase(
    connection: &Connection,
    of: PurchaseId,
) -> rusqlite::Result<Vec<WaitingRefund>> {
    select(connection, "purchase = ?1 ORDER BY sequence", id_bytes(of))
}

/// Returns the first refund with this id, if one waits.
pub(super) fn find(
    connection: &Connection,
    id: &PurchaseId,
) -> rusqlite::Result<Option<WaitingRefund>> {
    let first = "id = ?1 ORDER BY sequence LIMIT 1";
    Ok(select(connection, first, id_bytes(*id))?.pop())
}

/// Returns at most `limit` refunds that are refused.
pub(super) fn refused(
    connection: &Connection,
    limit: usize,
) -> rusqlite::Result<Vec<WaitingRefund>> {
    let refused = "refusal IS NOT NULL ORDER BY sequence LIMIT ?1";
    select(connection, refused, row_limit(limit))
}

/// Returns the entries under `condition`, in which `parameter` is `?1`.
fn select(
    connection: &Connection,
    condition: &str,
    parameter: impl ToSql,
) -> rusqlite::Result<Vec<WaitingRefund>> {
    connection
        .prepare_cached(&format!("{ALL} WHERE {condition}"))?
        .query_map([parameter], read)?
        .collect()
}

/// Returns how many refunds wait for their purchase, and since when.
pub(super) fn summary(connection: &Connection) -> rusqlite::Result<WaitingSummary> {
    let sql = "SELECT count(*), min(timestamp) FROM waiting_refunds WHERE refusal IS NULL";
    let (count, oldest): (i64, Option<i64>) = connection
        .prepare_cached(sql)?
        .query_row([], |row| row.try_into())?;
    let oldest = oldest.and_then(|millis| Timestamp::from_millis(millis).ok());
    Ok(WaitingSummary::new(count.unsigned_abs(), oldest))
}

/// Removes the entries with these sequences.
pub(super) fn remove(connection: &Connection, sequences: &[u64]) -> rusqlite::Result<()> {
    let mut remove =
        connection.prepare_cached("DELETE FROM waiting_refunds WHERE sequence = ?1")?;
    for sequence in sequences {
        remove.execute([sequence.cast_signed()])?;
    }
    Ok(())
}

/// Notes why an entry can never be applied.
pub(super) fn refuse(
    connection: &Connection,
    sequence: u64,
    reason: &Reason,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE waiting_refunds SET refusal = ?2 WHERE sequence = ?1")?
        .execute(params![sequence.cast_signed(), reason.to_string()])?;
    Ok(())
}

/// Erases at most `limit` refunds of `user` that wait. Returns their ids.
pub(super) fn erase_of_user(
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

/// Erases the refunds that wait under `id`, or for the purchase `id`.
pub(super) fn erase_of_id(connection: &Connection, id: PurchaseId) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM waiting_refunds WHERE id = ?1 OR purchase = ?1")?
        .execute([id_bytes(id)])?;
    Ok(())
}

/// Deletes at most `limit` refunds that wait and have a timestamp before `time`. Returns their number.
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

/// Reads an entry from a row of [`ALL`].
pub(in crate::embedded) fn read(row: &Row<'_>) -> rusqlite::Result<WaitingRefund> {
    let values = [row.get_ref(1)?, row.get_ref(2)?, row.get_ref(3)?];
    check_values(row, 5, 0, values)?;
    let id = read_id(values[0])?;
    let columns = WaitingColumns {
        value: row.get(2)?,
        origin: row.get(3)?,
    };
    let sequence: i64 = row.get(0)?;
    let refusal: Option<String> = row.get(4)?;
    columns
        .read(sequence.cast_unsigned(), id, refusal.as_deref())
        .map_err(unreadable(2))
}
