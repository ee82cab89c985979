//! Reads the whole table in the order of the primary key.

use shop_core::Result;
use shop_core::ports::{ScanBatch, ScanPosition, UnreadableEntry};
use tokio_postgres::types::Type;

use super::connection::{Connection, Statement};
use super::rows::{self, COLUMNS};

/// Number of rows in a slice.
const SLICE: usize = 1_000;

/// The next part of a scan, see [`PurchaseQuery::scan_batch`](shop_core::ports::PurchaseQuery::scan_batch). A position is
/// the id of the last row.
pub(super) async fn batch(connection: &Connection, after: Option<&ScanPosition>) -> Result<ScanBatch> {
    let rows = connection.query(slice(after)).await?;
    let next = rows.last().filter(|_| rows.len() == SLICE).map(|last| ScanPosition::new(rows::raw_id(last)));
    let (mut purchases, mut unreadable) = (Vec::with_capacity(rows.len()), Vec::new());
    // The marks of erased purchases are skipped here, so every call costs the same.
    for row in rows.iter().filter(|row| !rows::is_mark(row)) {
        match rows::purchase(row) {
            Ok(purchase) => purchases.push(purchase),
            Err(error) => unreadable.push(UnreadableEntry::new(format!("{:?}", rows::raw_id(row)), error)),
        }
    }
    Ok(ScanBatch::new(purchases, next).with_unreadable(unreadable))
}

/// The query of the slice after a position.
pub(super) fn slice(after: Option<&ScanPosition>) -> Statement {
    let condition = after.map_or("", |_| "where id > $1");
    let slice =
        Statement::new(format!("select {COLUMNS} from purchases {condition} order by id limit {SLICE}"));
    match after {
        Some(after) => slice.bind(after.as_str().to_owned(), Type::TEXT),
        None => slice,
    }
}
