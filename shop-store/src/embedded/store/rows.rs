//! Converts between purchases and rows.

use rusqlite::Row;
use rusqlite::types::ValueRef;
use shop_core::{Price, Purchase, PurchaseId, Timestamp, UserId, UserName};
use uuid::Uuid;

use crate::embedded::checksum::{check, checksum};
use crate::embedded::error::{parsed, unreadable};

const UUID: u8 = 1;
const OBJECT_ID: u8 = 2;

/// An id as bytes with the same order: a tag, then the 16 bytes of a UUID or the 12 bytes of an ObjectId.
pub(super) fn id_bytes(id: PurchaseId) -> Vec<u8> {
    let uuid = id.as_uuid().map(|uuid| [&[UUID], &uuid.as_bytes()[..]].concat());
    let object_id = || id.as_object_id().map(|bytes| [&[OBJECT_ID], &bytes[..]].concat());
    uuid.or_else(object_id).unwrap_or_default()
}

/// Reads the id from a row of [`COLUMNS`].
fn id(row: &Row<'_>) -> rusqlite::Result<PurchaseId> {
    let value = row.get_ref(1)?;
    let id = match value.as_blob().ok().and_then(<[u8]>::split_first) {
        Some((&UUID, bytes)) => Uuid::from_slice(bytes).ok().map(PurchaseId::from_uuid),
        Some((&OBJECT_ID, bytes)) => bytes.try_into().ok().map(PurchaseId::from_object_id),
        _ => None,
    };
    id.ok_or_else(|| rusqlite::Error::InvalidColumnType(1, "id".to_owned(), value.data_type()))
}

/// The columns that [`purchase`] reads, of purchases and of their buyers.
pub(super) const COLUMNS: &str = "timestamp, id, price, checksum, userid, username";

/// Reads a purchase from a row of [`COLUMNS`].
pub(super) fn purchase(row: &Row<'_>) -> rusqlite::Result<Purchase> {
    purchase_of(row, user_checksum(row)?, || Ok((parsed(row, 4)?, parsed(row, 5)?)))
}

/// Reads a purchase of a known user from a row of the first four [`COLUMNS`].
pub(super) fn purchase_of(
    row: &Row<'_>,
    of_user: u32,
    user: impl FnOnce() -> rusqlite::Result<(UserId, UserName)>,
) -> rusqlite::Result<Purchase> {
    let timestamp = Timestamp::from_millis(row.get(0)?).map_err(|error| unreadable(0, error))?;
    let (id, price) = (id(row)?, parsed(row, 2)?);
    let (user_id, user_name) = user()?;
    check(row, of_user, 0..3)?;
    Ok(Purchase::new(id, user_id, user_name, price, timestamp))
}

/// Reads the timestamp and the price from a row of [`COLUMNS`].
pub(super) fn price(row: &Row<'_>) -> rusqlite::Result<(i64, Price)> {
    let found = (row.get(0)?, parsed(row, 2)?);
    check(row, user_checksum(row)?, 0..3).map(|()| found)
}

/// The checksum of a user's texts, which that of a purchase continues.
pub(super) fn of_user(user_id: &str, user_name: &str) -> u32 {
    checksum(0, [user_id, user_name].map(ValueRef::from))
}

fn user_checksum(row: &Row<'_>) -> rusqlite::Result<u32> {
    Ok(checksum(0, [row.get_ref(4)?, row.get_ref(5)?]))
}
