//! Converts between purchases and rows.

use rusqlite::Error::FromSqlConversionFailure;
use rusqlite::Row;
use rusqlite::types::{Type, ValueRef};
use shop_core::{Details, Price, Purchase, PurchaseId, Timestamp, UserId, UserName};
use uuid::Uuid;

use crate::embedded::checksum::{check, check_values, checksum};
use crate::embedded::error::{parsed, unreadable};

const UUID: u8 = 1;
const OBJECT_ID: u8 = 2;

/// An id as bytes with the same order: a tag, then the 16 bytes of a UUID or the 12 bytes of an ObjectId.
pub(super) fn id_bytes(id: PurchaseId) -> Vec<u8> {
    let uuid = id
        .as_uuid()
        .map(|uuid| [&[UUID], &uuid.as_bytes()[..]].concat());
    let object_id = || {
        id.as_object_id()
            .map(|bytes| [&[OBJECT_ID], &bytes[..]].concat())
    };
    uuid.or_else(object_id).unwrap_or_default()
}

/// Reads an id from the bytes of [`id_bytes`].
pub(super) fn read_id(value: ValueRef<'_>) -> rusqlite::Result<PurchaseId> {
    let id = match value.as_blob().ok().and_then(<[u8]>::split_first) {
        Some((&UUID, bytes)) => Uuid::from_slice(bytes).ok().map(PurchaseId::from_uuid),
        Some((&OBJECT_ID, bytes)) => bytes.try_into().ok().map(PurchaseId::from_object_id),
        _ => None,
    };
    id.ok_or_else(|| rusqlite::Error::InvalidColumnType(1, "id".to_owned(), value.data_type()))
}

/// The columns that [`purchase`] reads, of purchases and of their buyers.
pub(super) const COLUMNS: &str = "timestamp, id, price, hash, details, userid, username";

/// Reads a purchase from a row of [`COLUMNS`].
pub(super) fn purchase(row: &Row<'_>) -> rusqlite::Result<Purchase> {
    purchase_of(row, user_checksum(row)?, parsed(row, 5)?, parsed(row, 6)?)
}

/// Reads a purchase of a known user from a row of the first five [`COLUMNS`].
pub(super) fn purchase_of(
    row: &Row<'_>,
    of_user: u32,
    user_id: UserId,
    user_name: UserName,
) -> rusqlite::Result<Purchase> {
    // Each value is asked for once.
    let values = [row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?];
    let timestamp = Timestamp::from_millis(values[0].as_i64()?).map_err(unreadable(0))?;
    let price = amount(values[2], 2)?;
    let id = read_id(values[1])?;
    let details = row.get_ref(4)?;
    check_values(row, 3, with_details(of_user, details), values)?;
    let purchase = Purchase::new(id, user_id, user_name, price, timestamp);
    let ValueRef::Text(details) = details else {
        return Ok(purchase);
    };
    let details = Details::from_json(details, &[]);
    let details = details.map_err(|(member, problem)| {
        FromSqlConversionFailure(4, Type::Text, format!("{member} {problem}").into())
    })?;
    Ok(purchase.with_details(details))
}

/// Reads a price, or the amount of a refund, which is in `column`.
pub(super) fn amount(value: ValueRef<'_>, column: usize) -> rusqlite::Result<Price> {
    Price::parse_signed(value.as_str()?).map_err(unreadable(column))
}

/// Reads the timestamp and the price from a row of [`COLUMNS`].
pub(super) fn price(row: &Row<'_>) -> rusqlite::Result<(i64, Price)> {
    let found = (row.get(0)?, amount(row.get_ref(2)?, 2)?);
    check(
        row,
        with_details(user_checksum(row)?, row.get_ref(4)?),
        0..3,
    )
    .map(|()| found)
}

/// The checksum of a user's texts, which that of a purchase continues.
pub(super) fn of_user(user_id: &str, user_name: &str) -> u32 {
    checksum(0, [user_id, user_name].map(ValueRef::from))
}

/// The same with the details of a purchase, if it has any.
pub(super) fn with_details(of_user: u32, details: ValueRef<'_>) -> u32 {
    if details == ValueRef::Null {
        of_user
    } else {
        checksum(of_user, [details])
    }
}

fn user_checksum(row: &Row<'_>) -> rusqlite::Result<u32> {
    Ok(checksum(0, [row.get_ref(5)?, row.get_ref(6)?]))
}
