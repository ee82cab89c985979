//! Erases the purchases of a user, deletes old purchases, and keeps the sums correct in both cases.
//!
//! - *Erasing* removes the data of a user and marks the ids in the table `erased`. A purchase whose
//!   id is marked is not inserted again, for example when its record is read from the log once
//!   more.
//! - *Deleting* removes old purchases by retention, each together with its refund, and leaves no
//!   marks.
//!
//! A row that the disk changed must not keep the other rows from being removed. SQLite can delete
//! such a row if it finds the row by its key. If it does not, the row is kept, and returned among the
//! [kept entries](LeftEntries). The price of a deleted damaged row is unknown and cannot be subtracted
//! from the sums, so the sums of its buyer are added up again.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Row, params};
use shop_core::ports::{LeftEntries, Removed, UnreadableEntry};
use shop_core::{Purchase, PurchaseId, Timestamp, UserId};

use super::rows::{AFTER_COLUMNS, COLUMNS, ID, TIMESTAMP, blob_literal, id_bytes, read_purchase};
use super::{fold, waiting};
use crate::embedded::engine::database::free_pages;
use crate::limits::row_limit;

/// A row of the table `purchases` that is to be deleted.
struct DeletedRow {
    buyer: i64,
    timestamp: i64,
    id: Vec<u8>,
    /// The purchase in the row, or `None` if the disk changed the row.
    purchase: Option<Purchase>,
}

impl DeletedRow {
    /// Reads a row of [`COLUMNS`], followed by the column `buyer`.
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            buyer: row.get(AFTER_COLUMNS)?,
            timestamp: row.get(TIMESTAMP)?,
            id: row.get(ID)?,
            // A damaged row is deleted too, so its error is dropped here.
            purchase: read_purchase(row).ok(),
        })
    }
}

/// Erases at most `limit` purchases and refunds of `user`, including waiting refunds, and marks
/// their ids as erased.
///
/// Returns the number of erased entries, and the damaged rows that cannot be erased. The caller
/// repeats the call until the number is 0.
pub(super) fn erase_user(
    connection: &Connection,
    user: &UserId,
    limit: usize,
) -> rusqlite::Result<Removed> {
    let mut mark = connection.prepare_cached("INSERT OR IGNORE INTO erased (id) VALUES (?1)")?;
    let mut kept_entries = LeftEntries::default();
    let mut erased = 0;
    for buyer in find_buyers(connection, user)? {
        let mut last_key = (i64::MIN, Vec::new());
        while erased < limit {
            let rows = select_of_buyer(connection, buyer, &last_key, limit - erased)?;
            let Some(last) = rows.last() else { break };
            last_key = (last.timestamp, last.id.clone());
            for row in &rows {
                mark.execute([&row.id])?;
            }
            // A row that is kept is not read again, because the next batch begins behind it.
            erased += delete_rows(connection, rows, &mut kept_entries)?;
        }
    }

    let waiting_ids = waiting::erase_by_user(connection, user, limit.saturating_sub(erased))?;
    for id in &waiting_ids {
        mark.execute([id])?;
    }
    Ok(Removed::new(
        (erased + waiting_ids.len()) as u64,
        kept_entries,
    ))
}

/// Marks each of `ids` as erased unless a purchase is stored under the id, so that no purchase is
/// inserted under it later. Returns the number of new marks.
///
/// Erases the waiting refunds under these ids, and the refunds that wait for a purchase with one of
/// these ids.
pub(super) fn mark_erased(connection: &Connection, ids: &[PurchaseId]) -> rusqlite::Result<u64> {
    let sql = "INSERT OR IGNORE INTO erased (id)
               SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM purchases WHERE id = ?1)";
    let mut mark = connection.prepare_cached(sql)?;
    let mut marked = 0;
    for id in ids {
        let is_new_mark = mark.execute([id_bytes(*id)])? > 0;
        if is_new_mark {
            waiting::erase_by_id(connection, *id)?;
            marked += 1;
        }
    }
    Ok(marked)
}

/// Returns whether `id` is marked as erased.
pub(super) fn is_marked_erased(connection: &Connection, id: &PurchaseId) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM erased WHERE id = ?1")?
        .exists([id_bytes(*id)])
}

/// Deletes at most `limit` purchases before `time`, the oldest first, and each with its refund.
///
/// Also deletes waiting refunds before `time`, if the limit is not reached. Returns the number of
/// deleted entries, and the damaged rows that cannot be deleted. The number may exceed `limit` by
/// the refunds.
pub(super) fn delete_before(
    connection: &Connection,
    time: Timestamp,
    limit: usize,
) -> rusqlite::Result<Removed> {
    let sql = format!(
        "SELECT {COLUMNS}, buyer FROM purchases INDEXED BY by_time LEFT JOIN buyers USING (buyer)
         WHERE timestamp < ?1 AND (timestamp, id) > (?2, ?3) ORDER BY timestamp, id LIMIT ?4"
    );
    let mut last_key = (i64::MIN, Vec::new());
    let mut kept_entries = LeftEntries::default();
    let mut deleted = 0;
    // The loop repeats only if all rows of a batch are damaged and were kept. The next batch begins
    // behind these rows.
    while deleted == 0 {
        let (after_time, after_id) = &last_key;
        let parameters = params![time.as_millis(), after_time, after_id, row_limit(limit)];
        let old_rows = select(connection, &sql, parameters)?;
        let Some(last) = old_rows.last() else { break };
        last_key = (last.timestamp, last.id.clone());
        let rows = with_refunds(connection, old_rows)?;
        deleted = delete_rows(connection, rows, &mut kept_entries)?;
    }

    deleted += waiting::delete_before(connection, time, limit.saturating_sub(deleted))?;
    free_pages(connection)?;
    Ok(Removed::new(deleted as u64, kept_entries))
}

/// Counts the purchases and waiting refunds before `time`. The count ends at `limit`, so that a large
/// table is not read whole.
pub(super) fn count_before(
    connection: &Connection,
    time: Timestamp,
    limit: usize,
) -> rusqlite::Result<u64> {
    let sql = "SELECT min(?2, (SELECT count(*) FROM (SELECT 1 FROM purchases WHERE timestamp < ?1 LIMIT ?2))
                   + (SELECT count(*) FROM (SELECT 1 FROM waiting_refunds WHERE timestamp < ?1 LIMIT ?2)))";
    connection
        .prepare_cached(sql)?
        .query_row(params![time.as_millis(), row_limit(limit)], |row| {
            row.get(0).map(i64::unsigned_abs)
        })
}

/// Returns the integers of the buyers with the id of `user`, one for each of the user's names. A
/// damaged name does not keep the user from being erased, so no checksum is verified.
fn find_buyers(connection: &Connection, user: &UserId) -> rusqlite::Result<Vec<i64>> {
    connection
        .prepare_cached("SELECT buyer FROM buyers WHERE userid = ?1")?
        .query_map([user.as_str()], |row| row.get(0))?
        .collect()
}

/// Reads at most `limit` rows of `buyer` that follow the key `after`, a timestamp and an id.
fn select_of_buyer(
    connection: &Connection,
    buyer: i64,
    after: &(i64, Vec<u8>),
    limit: usize,
) -> rusqlite::Result<Vec<DeletedRow>> {
    let sql = format!(
        "SELECT {COLUMNS}, buyer FROM buyers CROSS JOIN purchases USING (buyer)
         WHERE buyer = ?1 AND (timestamp, id) > (?2, ?3) ORDER BY timestamp, id LIMIT ?4"
    );
    let (timestamp, id) = after;
    select(
        connection,
        &sql,
        params![buyer, timestamp, id, row_limit(limit)],
    )
}

/// Reads the rows to delete with the statement `sql`, which selects [`COLUMNS`] and `buyer`.
fn select(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> rusqlite::Result<Vec<DeletedRow>> {
    connection
        .prepare_cached(sql)?
        .query_map(parameters, DeletedRow::read)?
        .collect()
}

/// Adds the refund of each purchase in `rows`, and the purchase of each refund, because both are
/// deleted together.
fn with_refunds(
    connection: &Connection,
    mut rows: Vec<DeletedRow>,
) -> rusqlite::Result<Vec<DeletedRow>> {
    let sql = format!(
        "SELECT {COLUMNS}, buyer FROM purchases LEFT JOIN buyers USING (buyer) WHERE id = ?1"
    );
    let mut select_by_id = connection.prepare_cached(&sql)?;

    let mut ids: BTreeSet<Vec<u8>> = rows.iter().map(|row| row.id.clone()).collect();
    // The purchases are read after this list is complete, because reading extends `rows`.
    let related_ids: Vec<PurchaseId> = rows
        .iter()
        // An unreadable row is deleted alone, because its counterpart is unknown.
        .filter_map(|row| row.purchase.as_ref())
        .map(|purchase| {
            // Only a refund has `details.of`, the id of the refunded purchase. The id of the refund
            // of a purchase is derived from the purchase's id.
            let refunded_purchase_id = purchase.details.of;
            refunded_purchase_id.unwrap_or_else(|| purchase.id.refund_id())
        })
        .collect();

    for related_id in related_ids {
        let id = id_bytes(related_id);
        if !ids.contains(&id) {
            rows.extend(select_by_id.query_row([&id], DeletedRow::read).optional()?);
            ids.insert(id);
        }
    }
    Ok(rows)
}

/// Deletes `rows` from the table, and corrects the sums. Returns the number of deleted rows, and adds
/// the rows that cannot be deleted to `kept_entries`.
///
/// The prices of readable rows are subtracted from the sums. The sums of a buyer with an unreadable
/// row are added up again.
fn delete_rows(
    connection: &Connection,
    rows: Vec<DeletedRow>,
    kept_entries: &mut LeftEntries,
) -> rusqlite::Result<usize> {
    if rows.is_empty() {
        return Ok(0);
    }

    // Only folded sums can be corrected, so the purchases that are not folded yet are folded first.
    fold::fold_purchases(connection)?;

    let mut deleted_rows = Vec::with_capacity(rows.len());
    for row in rows {
        match delete_row(connection, &row)? {
            RowDeletion::Deleted => deleted_rows.push(row),
            RowDeletion::Kept(damage) => {
                kept_entries.add(UnreadableEntry::new(blob_literal(&row.id), damage));
            }
        }
    }

    let readable_purchases = deleted_rows
        .iter()
        .filter_map(|row| Some((row.buyer, row.purchase.as_ref()?)));
    fold::subtract(connection, readable_purchases)?;
    // The price of an unreadable row is unknown, so it cannot be subtracted.
    let buyers_to_recompute: BTreeSet<i64> = deleted_rows
        .iter()
        .filter(|row| row.purchase.is_none())
        .map(|row| row.buyer)
        .collect();
    for buyer in buyers_to_recompute {
        fold::recompute_sums(connection, buyer)?;
    }
    Ok(deleted_rows.len())
}

/// The result of the attempt to delete a row.
enum RowDeletion {
    /// The row is deleted, or was not there any more.
    Deleted,
    /// The row is kept, because the disk changed the row or an index so that SQLite cannot delete
    /// the row. The error of SQLite says so.
    Kept(rusqlite::Error),
}

/// Deletes one row, and the entry of the table `refunds` if the row is a refund.
///
/// # Errors
/// The error of SQLite, except for a damaged row, which is kept.
fn delete_row(connection: &Connection, row: &DeletedRow) -> rusqlite::Result<RowDeletion> {
    let sql = "DELETE FROM purchases WHERE buyer = ?1 AND timestamp = ?2 AND id = ?3";
    let mut delete = connection.prepare_cached(sql)?;
    let mut delete_refund_entry = connection.prepare_cached("DELETE FROM refunds WHERE id = ?1")?;
    // SQLite undoes the changes of a statement that fails, so a failed deletion leaves the row and
    // its index entries.
    match delete.execute(params![row.buyer, row.timestamp, row.id]) {
        Ok(_) => {
            delete_refund_entry.execute([&row.id])?;
            Ok(RowDeletion::Deleted)
        }
        Err(damage) if is_damaged_row(&damage) => Ok(RowDeletion::Kept(damage)),
        Err(error) => Err(error),
    }
}

/// Returns whether a statement failed because an index does not contain an entry for a row of its
/// table.
fn is_damaged_row(error: &rusqlite::Error) -> bool {
    error
        .sqlite_error()
        .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_CORRUPT_INDEX)
}
