//! Inserts purchases whose id is not stored yet.

use rusqlite::Error::{QueryReturnedNoRows, SqliteFailure};
use rusqlite::{Connection, params};
use shop_core::Purchase;
use shop_core::ports::InsertOutcome;

use super::erase::{has_marks, is_marked};
use super::rows::{COLUMNS, IdColumn};
use super::select::by_id;
use super::totals::Totals;

/// Inserts `batch` within the caller's transaction. Returns one outcome for each purchase.
pub(in crate::embedded) fn insert(
    connection: &Connection,
    batch: &[Purchase],
) -> rusqlite::Result<Vec<InsertOutcome>> {
    let mut totals = Totals::default();
    let mut outcomes = Vec::with_capacity(batch.len());
    let sql = format!("INSERT INTO purchases ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING");
    let mut statement = connection.prepare_cached(&sql)?;
    let has_marks = has_marks(connection)?;
    for purchase in batch {
        let Purchase { id, user_id, user_name, price, timestamp, .. } = purchase;
        let row = params![
            timestamp.as_millis(),
            IdColumn(*id),
            user_id.as_str(),
            user_name.as_str(),
            price.to_string()
        ];
        outcomes.push(if has_marks && is_marked(connection, id)? {
            InsertOutcome::Erased
        } else if statement.execute(row)? == 1 {
            totals.add(purchase);
            InsertOutcome::Inserted
        } else {
            compare(connection, purchase)?
        });
    }
    totals.write(connection)?;
    Ok(outcomes)
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
