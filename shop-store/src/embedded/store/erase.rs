//! Erases the purchases of a user, and deletes old ones.

use rusqlite::{Connection, params};
use shop_core::{Purchase, PurchaseId, Timestamp, UserId};

use super::rows::{self, COLUMNS, IdColumn};
use super::totals::Totals;
use crate::embedded::database::free_pages;

/// A row: its timestamp, its id, and its purchase if it can be read.
type Row = (i64, Vec<u8>, Option<Purchase>);

/// Erases at most `limit` purchases of `user`, and marks their ids.
pub(super) fn erase(connection: &Connection, user: &UserId, limit: usize) -> rusqlite::Result<u64> {
    let sql = format!("SELECT {COLUMNS} FROM purchases INDEXED BY by_user WHERE userid = ?1 LIMIT ?2");
    let rows = select(connection, &sql, params![user.as_str(), count(limit)])?;
    let mut mark = connection.prepare_cached("INSERT OR IGNORE INTO erased (id) VALUES (?1)")?;
    rows.iter().try_for_each(|(_, id, _)| mark.execute([id]).map(drop))?;
    delete(connection, &rows)
}

/// Marks those of `ids` that are not stored.
pub(super) fn mark(connection: &Connection, ids: &[PurchaseId]) -> rusqlite::Result<u64> {
    let sql = "INSERT OR IGNORE INTO erased (id)
               SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM purchases WHERE id = ?1)";
    let mut mark = connection.prepare_cached(sql)?;
    ids.iter().try_fold(0, |count, id| Ok(count + mark.execute([IdColumn(*id)])? as u64))
}

/// Whether any id is marked.
pub(super) fn has_marks(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM erased LIMIT 1")?.exists([])
}

/// Whether `id` is marked.
pub(super) fn is_marked(connection: &Connection, id: &PurchaseId) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM erased WHERE id = ?1")?.exists([IdColumn(*id)])
}

/// Deletes at most `limit` purchases before `time`, the oldest first.
pub(super) fn delete_before(connection: &Connection, time: Timestamp, limit: usize) -> rusqlite::Result<u64> {
    let sql = format!("SELECT {COLUMNS} FROM purchases WHERE timestamp < ?1 ORDER BY timestamp, id LIMIT ?2");
    let rows = select(connection, &sql, params![time.as_millis(), count(limit)])?;
    let deleted = delete(connection, &rows)?;
    free_pages(connection)?;
    Ok(deleted)
}

/// Counts the purchases before `time`, up to `limit`.
pub(super) fn count_before(connection: &Connection, time: Timestamp, limit: usize) -> rusqlite::Result<u64> {
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
) -> rusqlite::Result<Vec<Row>> {
    let mut statement = connection.prepare_cached(sql)?;
    // A row that another program has damaged is deleted too. It is not part of the totals.
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, rows::purchase(row).ok()));
    statement.query_map(parameters, row)?.collect()
}

fn delete(connection: &Connection, rows: &[Row]) -> rusqlite::Result<u64> {
    let mut totals = Totals::default();
    let mut delete = connection.prepare_cached("DELETE FROM purchases WHERE timestamp = ?1 AND id = ?2")?;
    for (timestamp, id, purchase) in rows {
        delete.execute(params![timestamp, id])?;
        purchase.iter().for_each(|purchase| totals.add(purchase));
    }
    totals.subtract(connection)?;
    Ok(rows.len() as u64)
}
