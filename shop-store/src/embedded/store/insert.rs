//! Inserts purchases whose id is not stored yet.

use rusqlite::Error::{QueryReturnedNoRows, SqliteFailure};
use rusqlite::{Connection, params};
use shop_core::Purchase;
use shop_core::ports::InsertOutcome;

use super::erase::{has_marks, is_marked};
use super::rows::IdColumn;
use super::select::by_id;
use super::{buyers, fold};

/// Inserts `batch` within the caller's transaction. Returns one outcome for each purchase.
pub(in crate::embedded) fn insert(
    connection: &Connection,
    batch: &[Purchase],
) -> rusqlite::Result<Vec<InsertOutcome>> {
    let has_marks = has_marks(connection)?;
    let outcome = |purchase: &Purchase| {
        if has_marks && is_marked(connection, &purchase.id)? {
            return Ok(InsertOutcome::Erased);
        }
        insert_one(connection, purchase)
    };
    batch.iter().map(outcome).collect()
}

fn insert_one(connection: &Connection, purchase: &Purchase) -> rusqlite::Result<InsertOutcome> {
    let sql = "INSERT INTO purchases (buyer, timestamp, id, price) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT DO NOTHING";
    let buyer = buyers::intern(connection, purchase)?;
    let (timestamp, price) = (purchase.timestamp.as_millis(), purchase.price.to_string());
    let row = params![buyer, timestamp, IdColumn(purchase.id), price];
    if connection.prepare_cached(sql)?.execute(row)? == 1 {
        fold::add(connection, buyer, timestamp, &price)?;
        return Ok(InsertOutcome::Inserted);
    }
    buyers::remove_unused(connection, buyer)?;
    compare(connection, purchase)
}

/// Compares `purchase` with the stored purchase of the same id.
fn compare(connection: &Connection, purchase: &Purchase) -> rusqlite::Result<InsertOutcome> {
    match by_id(connection, &purchase.id).and_then(|first| first.ok_or(QueryReturnedNoRows)) {
        Ok(first) if first.same_content(purchase) => Ok(InsertOutcome::Duplicate),
        Ok(_other) => Ok(InsertOutcome::Conflict),
        Err(error @ (SqliteFailure(..) | QueryReturnedNoRows)) => Err(error),
        // The stored row cannot be read, so it differs from this purchase.
        Err(error) => {
            tracing::error!(purchase.id = %purchase.id, %error, "the stored purchase with this id cannot be read");
            Ok(InsertOutcome::Conflict)
        }
    }
}
