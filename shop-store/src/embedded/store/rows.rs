//! Converts between purchases and rows of the table `purchases`, and verifies the checksums of
//! rows.
//!
//! The checksum of a purchase covers its timestamp, id, price and details, and also the id and the
//! name of its user, which are in the table `buyers`. So a row that is joined with the wrong buyer
//! is recognized as damaged.

use rusqlite::Error::FromSqlConversionFailure;
use rusqlite::Row;
use rusqlite::types::{Type, ValueRef};
use shop_core::{Details, Price, Purchase, PurchaseId, Timestamp, UserId, UserName};
use uuid::Uuid;

use crate::embedded::checksum::{check, check_values, checksum};
use crate::embedded::error::{parsed, unreadable};

/// The first byte of an id that is a UUID.
const UUID: u8 = 1;
/// The first byte of an id that is an ObjectId of MongoDB.
const OBJECT_ID: u8 = 2;

/// Converts an id to bytes that sort like the ids: a tag, then the 16 bytes of a UUID or the 12
/// bytes of an ObjectId.
pub(super) fn id_bytes(id: PurchaseId) -> Vec<u8> {
    if let Some(uuid) = id.as_uuid() {
        return [&[UUID], &uuid.as_bytes()[..]].concat();
    }
    if let Some(bytes) = id.as_object_id() {
        return [&[OBJECT_ID], &bytes[..]].concat();
    }
    Vec::new()
}

/// Reads an id from the bytes that [`id_bytes`] has written.
pub(super) fn read_id(value: ValueRef<'_>) -> rusqlite::Result<PurchaseId> {
    let id = match value.as_blob().ok().and_then(<[u8]>::split_first) {
        Some((&UUID, bytes)) => Uuid::from_slice(bytes).ok().map(PurchaseId::from_uuid),
        Some((&OBJECT_ID, bytes)) => bytes.try_into().ok().map(PurchaseId::from_object_id),
        _ => None,
    };
    id.ok_or_else(|| rusqlite::Error::InvalidColumnType(1, "id".to_owned(), value.data_type()))
}

/// The columns that [`purchase`] reads from `purchases` joined with `buyers`.
pub(super) const COLUMNS: &str = "timestamp, id, price, hash, details, userid, username";

/// Reads a purchase from a row of [`COLUMNS`], and verifies the checksum.
///
/// # Errors
/// Fails if a checksum shows that the disk has changed the row or the texts of its buyer.
pub(super) fn purchase(row: &Row<'_>) -> rusqlite::Result<Purchase> {
    purchase_of_user(row, user_checksum(row)?, parsed(row, 5)?, parsed(row, 6)?)
}

/// Reads a purchase of a known user from a row of the first five [`COLUMNS`], and verifies the
/// checksum.
///
/// `checksum_of_user` is the checksum that [`of_user`] returns for the user's id and name.
///
/// # Errors
/// Fails if a checksum shows that the disk has changed the row.
pub(super) fn purchase_of_user(
    row: &Row<'_>,
    checksum_of_user: u32,
    user_id: UserId,
    user_name: UserName,
) -> rusqlite::Result<Purchase> {
    // Each value is requested from SQLite once, for both the purchase and the checksum.
    let values = [row.get_ref(0)?, row.get_ref(1)?, row.get_ref(2)?];
    let [timestamp_value, id_value, price_value] = values;
    let timestamp = Timestamp::from_millis(timestamp_value.as_i64()?).map_err(unreadable(0))?;
    let price = amount(price_value, 2)?;
    let id = read_id(id_value)?;
    let details_value = row.get_ref(4)?;

    check_values(
        row,
        3,
        with_details(checksum_of_user, details_value),
        values,
    )?;

    let purchase = Purchase::new(id, user_id, user_name, price, timestamp);
    let ValueRef::Text(json) = details_value else {
        return Ok(purchase);
    };
    let details = Details::from_json(json, &[]).map_err(|(member, problem)| {
        FromSqlConversionFailure(4, Type::Text, format!("{member} {problem}").into())
    })?;
    Ok(purchase.with_details(details))
}

/// Parses a price, which is negative for a refund. `column` is the index of the column for the
/// error message.
pub(super) fn amount(value: ValueRef<'_>, column: usize) -> rusqlite::Result<Price> {
    Price::parse_signed(value.as_str()?).map_err(unreadable(column))
}

/// Reads the timestamp in milliseconds and the price from a row of [`COLUMNS`], and verifies the
/// checksum.
///
/// Totals need no other column, so the details are not parsed.
pub(super) fn read_price(row: &Row<'_>) -> rusqlite::Result<(i64, Price)> {
    let timestamp = row.get(0)?;
    let price = amount(row.get_ref(2)?, 2)?;

    let initial_checksum = with_details(user_checksum(row)?, row.get_ref(4)?);
    check(row, initial_checksum, 0..3)?;
    Ok((timestamp, price))
}

/// Returns the checksum of a user's id and name, which the checksum of each purchase of the user
/// continues.
pub(super) fn of_user(user_id: &str, user_name: &str) -> u32 {
    checksum(0, [user_id, user_name].map(ValueRef::from))
}

/// Continues the checksum `of_user` with the details of a purchase. Returns it unchanged for a
/// purchase without details.
///
/// So rows that were written before there were details keep their checksum.
pub(super) fn with_details(of_user: u32, details: ValueRef<'_>) -> u32 {
    if details == ValueRef::Null {
        of_user
    } else {
        checksum(of_user, [details])
    }
}

/// Returns the checksum of the user's id and name in a row of [`COLUMNS`].
fn user_checksum(row: &Row<'_>) -> rusqlite::Result<u32> {
    Ok(checksum(0, [row.get_ref(5)?, row.get_ref(6)?]))
}
