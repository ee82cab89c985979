//! Inserts purchases whose id is not stored yet.

use std::sync::LazyLock;

use rusqlite::Connection;
use rusqlite::Error::{QueryReturnedNoRows, SqliteFailure};
use rusqlite::types::ValueRef::{self, Blob, Integer, Null, Text};
use shop_core::Purchase;
use shop_core::domain::Reference;
use shop_core::ports::InsertOutcome;

use super::buyers::{self, Buyers};
use super::erase::{has_marks, is_marked};
use super::fold;
use super::rows::{id_bytes, with_details};
use super::select::by_id;
use crate::embedded::bulk::BulkInsert;
use crate::embedded::checksum::checksum;

static PURCHASES: LazyLock<BulkInsert> = LazyLock::new(|| {
    BulkInsert::new("purchases (buyer, timestamp, id, price, details, reference, hash)")
});

/// The columns of a purchase, with its position in the batch.
pub(super) struct NewRow<'a> {
    position: usize,
    pub(super) buyer: i64,
    pub(super) timestamp: i64,
    id: Vec<u8>,
    pub(super) price: String,
    details: Option<String>,
    reference: Option<&'a str>,
    checksum: u32,
}

/// Inserts `batch` within the caller's transaction. Returns one outcome for each purchase. `buyers` must be forgotten when
/// that is rolled back.
pub(in crate::embedded) fn insert(
    connection: &Connection,
    buyers: &mut Buyers,
    batch: &[&Purchase],
) -> rusqlite::Result<Vec<InsertOutcome>> {
    let has_marks = has_marks(connection)?;
    let (mut outcomes, mut rows) = (
        vec![InsertOutcome::Inserted; batch.len()],
        Vec::with_capacity(batch.len()),
    );
    for (position, purchase) in batch.iter().enumerate() {
        if has_marks && is_marked(connection, &purchase.id)? {
            outcomes[position] = InsertOutcome::Erased;
            continue;
        }
        if let Some(refused) = refused(connection, purchase, &batch[..position], &outcomes)? {
            outcomes[position] = refused;
            continue;
        }
        let (buyer, of_user) = buyers.intern(connection, purchase)?;
        let (timestamp, price) = (purchase.timestamp.as_millis(), purchase.price.to_string());
        let (id, details) = (id_bytes(purchase.id), purchase.details.to_json());
        let reference = purchase.details.reference.as_ref().map(Reference::as_str);
        let values = [Integer(timestamp), Blob(&id), Text(price.as_bytes())];
        let checksum = checksum(with_details(of_user, text(details.as_deref())), values);
        rows.push(NewRow {
            position,
            buyer,
            timestamp,
            id,
            price,
            details,
            reference,
            checksum,
        });
    }
    let conflicts = PURCHASES.insert_new(connection, &rows, |row| {
        let [buyer, timestamp, checksum] =
            [row.buyer, row.timestamp, row.checksum.into()].map(Integer);
        let (details, reference) = (text(row.details.as_deref()), text(row.reference));
        [
            buyer,
            timestamp,
            Blob(&row.id),
            Text(row.price.as_bytes()),
            details,
            reference,
            checksum,
        ]
    })?;
    for NewRow {
        position, buyer, ..
    } in conflicts.iter().map(|index| &rows[*index])
    {
        buyers::remove_unused(connection, *buyer)?;
        *buyers = Buyers::default();
        outcomes[*position] = compare(connection, batch[*position])?;
    }
    rows.retain(|row| matches!(outcomes[row.position], InsertOutcome::Inserted));
    fold::add(connection, &rows)?;
    Ok(outcomes)
}

/// The outcome of `refund` if it must not be inserted. `before` are the purchases before it in the batch, with the
/// `outcomes` that are known of them.
fn refused(
    connection: &Connection,
    refund: &Purchase,
    before: &[&Purchase],
    outcomes: &[InsertOutcome],
) -> rusqlite::Result<Option<InsertOutcome>> {
    let Some(of) = &refund.details.of else {
        return Ok(None);
    };
    let stored = by_id(connection, of)?;
    let of_batch = || {
        let mut before = before.iter().zip(outcomes);
        let is_of = before.find(|(bought, outcome)| {
            bought.id == *of && matches!(outcome, InsertOutcome::Inserted)
        });
        is_of.map(|(bought, _)| *bought)
    };
    let refused = InsertOutcome::of_refund(refund, stored.as_ref().or_else(of_batch));
    // One that is stored is compared: its purchase may have been deleted since.
    Ok(refused.filter(|_| matches!(by_id(connection, &refund.id), Ok(None))))
}

fn text(text: Option<&str>) -> ValueRef<'_> {
    text.map_or(Null, |text| Text(text.as_bytes()))
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
