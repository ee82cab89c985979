//! Erases the purchases of a user, and deletes old ones, each with its refund.
//!
//! A row that the disk has changed must not keep the others: it is deleted if SQLite can find it, and is left out otherwise.
//! Its amount is unknown, so the sums of its buyer are then added up again.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, Row, params};
use shop_core::{Purchase, PurchaseId, Timestamp, UserId};

use super::rows::{self, COLUMNS, id_bytes};
use super::{fold, waiting};
use crate::embedded::database::free_pages;
use crate::limits::row_limit;

/// A row of the table of purchases that is to be deleted.
struct DeletedRow {
    buyer: i64,
    timestamp: i64,
    id: Vec<u8>,
    /// `None` if the row cannot be read.
    purchase: Option<Purchase>,
}

impl DeletedRow {
    /// Reads a row of [`COLUMNS`] and the buyer.
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            buyer: row.get(7)?,
            timestamp: row.get(0)?,
            id: row.get(1)?,
            purchase: rows::purchase(row).ok(),
        })
    }
}

/// Erases at most `limit` purchases and refunds of `user`, and marks their ids.
pub(super) fn erase(connection: &Connection, user: &UserId, limit: usize) -> rusqlite::Result<u64> {
    let sql = format!(
        "SELECT {COLUMNS}, buyer FROM buyers CROSS JOIN purchases USING (buyer)
         WHERE userid = ?1 LIMIT ?2"
    );
    let rows = select(connection, &sql, params![user.as_str(), row_limit(limit)])?;
    let mut mark = connection.prepare_cached("INSERT OR IGNORE INTO erased (id) VALUES (?1)")?;
    for row in &rows {
        mark.execute([&row.id])?;
    }
    let erased = delete(connection, rows)?;

    let waiting = waiting::erase_of_user(connection, user, limit.saturating_sub(erased))?;
    for id in &waiting {
        mark.execute([id])?;
    }
    Ok((erased + waiting.len()) as u64)
}

/// Marks those of `ids` that are not stored. Returns the number of new marks.
pub(super) fn mark(connection: &Connection, ids: &[PurchaseId]) -> rusqlite::Result<u64> {
    let sql = "INSERT OR IGNORE INTO erased (id)
               SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM purchases WHERE id = ?1)";
    let mut mark = connection.prepare_cached(sql)?;
    let mut marked = 0;
    for id in ids {
        let is_new = mark.execute([id_bytes(*id)])? > 0;
        if is_new {
            waiting::erase_of_id(connection, *id)?;
            marked += 1;
        }
    }
    Ok(marked)
}

/// Returns whether `id` is marked.
pub(super) fn is_marked(connection: &Connection, id: &PurchaseId) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM erased WHERE id = ?1")?
        .exists([id_bytes(*id)])
}

/// Deletes at most `limit` purchases before `time`, the oldest first, and their refunds. Returns the number of deleted rows.
///
/// Rows that cannot be deleted, because the disk has changed them, are passed over.
pub(super) fn delete_before(
    connection: &Connection,
    time: Timestamp,
    limit: usize,
) -> rusqlite::Result<u64> {
    let sql = format!(
        "SELECT {COLUMNS}, buyer FROM purchases INDEXED BY by_time LEFT JOIN buyers USING (buyer)
         WHERE timestamp < ?1 AND (timestamp, id) > (?2, ?3) ORDER BY timestamp, id LIMIT ?4"
    );
    let mut last_key = (i64::MIN, Vec::new());
    let mut deleted = 0;
    while deleted == 0 {
        let (after_time, after_id) = &last_key;
        let parameters = params![time.as_millis(), after_time, after_id, row_limit(limit)];
        let old = select(connection, &sql, parameters)?;
        let Some(last) = old.last() else { break };
        last_key = (last.timestamp, last.id.clone());
        deleted = delete(connection, with_refunds(connection, old)?)?;
    }

    deleted += waiting::delete_before(connection, time, limit.saturating_sub(deleted))?;
    free_pages(connection)?;
    Ok(deleted as u64)
}

/// Counts the rows before `time`, up to `limit`.
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
            row.get::<_, i64>(0)
        })
        .map(i64::unsigned_abs)
}

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

/// Returns `rows` with the refunds of these purchases, and the purchases of these refunds: they are deleted together.
fn with_refunds(
    connection: &Connection,
    mut rows: Vec<DeletedRow>,
) -> rusqlite::Result<Vec<DeletedRow>> {
    let sql = format!(
        "SELECT {COLUMNS}, buyer FROM purchases LEFT JOIN buyers USING (buyer) WHERE id = ?1"
    );
    let mut by_id = connection.prepare_cached(&sql)?;
    let mut ids: BTreeSet<Vec<u8>> = rows.iter().map(|row| row.id.clone()).collect();
    let related: Vec<PurchaseId> = rows
        .iter()
        .filter_map(|row| row.purchase.as_ref())
        .map(|purchase| {
            let of = purchase.details.of;
            of.unwrap_or_else(|| purchase.id.refund_id())
        })
        .collect();
    for id in related {
        let id = id_bytes(id);
        if ids.contains(&id) {
            continue;
        }
        rows.extend(by_id.query_row([&id], DeletedRow::read).optional()?);
        ids.insert(id);
    }
    Ok(rows)
}

/// Deletes `rows`, and subtracts them from the sums. Returns the number of deleted rows.
fn delete(connection: &Connection, rows: Vec<DeletedRow>) -> rusqlite::Result<usize> {
    if rows.is_empty() {
        return Ok(0);
    }
    fold::fold(connection)?;
    let mut deleted = Vec::with_capacity(rows.len());
    for row in rows {
        if delete_row(connection, &row)? {
            deleted.push(row);
        }
    }

    let readable = deleted
        .iter()
        .filter_map(|row| Some((row.buyer, row.purchase.as_ref()?)));
    fold::subtract(connection, readable)?;
    let unreadable: BTreeSet<i64> = deleted
        .iter()
        .filter(|row| row.purchase.is_none())
        .map(|row| row.buyer)
        .collect();
    for buyer in unreadable {
        fold::add_up_again(connection, buyer)?;
    }
    Ok(deleted.len())
}

/// Deletes one row. Returns `false` if the disk has changed it so that SQLite cannot delete it.
fn delete_row(connection: &Connection, row: &DeletedRow) -> rusqlite::Result<bool> {
    let sql = "DELETE FROM purchases WHERE buyer = ?1 AND timestamp = ?2 AND id = ?3";
    let mut delete = connection.prepare_cached(sql)?;
    // What a statement has changed before it fails is undone.
    match delete.execute(params![row.buyer, row.timestamp, row.id]) {
        Ok(_) => Ok(true),
        Err(error) if is_damaged_row(&error) => {
            tracing::error!(
                id = ?row.purchase.as_ref().map(|purchase| purchase.id),
                timestamp = row.timestamp,
                %error,
                "a damaged purchase cannot be deleted and is passed over: see `management doctor`"
            );
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Returns whether a statement has failed because an index does not have the row of its table.
fn is_damaged_row(error: &rusqlite::Error) -> bool {
    error
        .sqlite_error()
        .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_CORRUPT_INDEX)
}
