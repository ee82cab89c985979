//! Erases the purchases of a user, and deletes old ones.

use rusqlite::{Connection, Row, params};
use shop_core::{Purchase, PurchaseId, Timestamp, UserId};

use super::fold;
use super::rows::{self, COLUMNS, id_bytes};
use crate::embedded::database::free_pages;

/// The primary key of a row, and its purchase if it can be read.
type Found = (i64, i64, Vec<u8>, Option<Purchase>);

/// Erases at most `limit` purchases of `user`, and marks their ids.
pub(super) fn erase(connection: &Connection, user: &UserId, limit: usize) -> rusqlite::Result<u64> {
    let sql = format!(
        "SELECT {COLUMNS}, buyer FROM buyers CROSS JOIN purchases USING (buyer) WHERE userid = ?1 LIMIT ?2"
    );
    let rows = select(connection, &sql, params![user.as_str(), count(limit)])?;
    let mut mark = connection.prepare_cached("INSERT OR IGNORE INTO erased (id) VALUES (?1)")?;
    rows.iter()
        .try_for_each(|(_, _, id, _)| mark.execute([id]).map(drop))?;
    delete(connection, &rows)
}

/// Marks those of `ids` that are not stored.
pub(super) fn mark(connection: &Connection, ids: &[PurchaseId]) -> rusqlite::Result<u64> {
    let sql = "INSERT OR IGNORE INTO erased (id)
               SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM purchases WHERE id = ?1)";
    let mut mark = connection.prepare_cached(sql)?;
    ids.iter().try_fold(0, |count, id| {
        Ok(count + mark.execute([id_bytes(*id)])? as u64)
    })
}

/// Whether any id is marked.
pub(super) fn has_marks(connection: &Connection) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM erased LIMIT 1")?
        .exists([])
}

/// Whether `id` is marked.
pub(super) fn is_marked(connection: &Connection, id: &PurchaseId) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM erased WHERE id = ?1")?
        .exists([id_bytes(*id)])
}

/// Deletes at most `limit` purchases before `time`, the oldest first.
pub(super) fn delete_before(
    connection: &Connection,
    time: Timestamp,
    limit: usize,
) -> rusqlite::Result<u64> {
    let sql = format!(
        "SELECT {COLUMNS}, buyer FROM purchases INDEXED BY by_time LEFT JOIN buyers USING (buyer)
         WHERE timestamp < ?1 ORDER BY timestamp, id LIMIT ?2"
    );
    let rows = select(connection, &sql, params![time.as_millis(), count(limit)])?;
    let deleted = delete(connection, &rows)?;
    free_pages(connection)?;
    Ok(deleted)
}

/// Counts the purchases before `time`, up to `limit`.
pub(super) fn count_before(
    connection: &Connection,
    time: Timestamp,
    limit: usize,
) -> rusqlite::Result<u64> {
    let sql = "SELECT count(*) FROM (SELECT 1 FROM purchases WHERE timestamp < ?1 LIMIT ?2)";
    let found: i64 = connection
        .prepare_cached(sql)?
        .query_row(params![time.as_millis(), count(limit)], |row| row.get(0))?;
    Ok(u64::try_from(found).unwrap_or_default())
}

fn count(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn select(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> rusqlite::Result<Vec<Found>> {
    let mut statement = connection.prepare_cached(sql)?;
    // A row that another program has damaged is deleted too. It is not part of the sums.
    let found = |row: &Row<'_>| {
        Ok((
            row.get(7)?,
            row.get(0)?,
            row.get(1)?,
            rows::purchase(row).ok(),
        ))
    };
    statement.query_map(parameters, found)?.collect()
}

fn delete(connection: &Connection, rows: &[Found]) -> rusqlite::Result<u64> {
    if rows.is_empty() {
        return Ok(0);
    }
    fold::fold(connection)?;
    let sql = "DELETE FROM purchases WHERE buyer = ?1 AND timestamp = ?2 AND id = ?3";
    let mut delete = connection.prepare_cached(sql)?;
    rows.iter().try_for_each(|(buyer, timestamp, id, _)| {
        delete.execute(params![buyer, timestamp, id]).map(drop)
    })?;
    let readable = rows
        .iter()
        .filter_map(|(buyer, .., purchase)| Some((*buyer, purchase.as_ref()?)));
    fold::subtract(connection, readable)?;
    Ok(rows.len() as u64)
}
