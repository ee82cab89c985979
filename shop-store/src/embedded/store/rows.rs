//! Converts between purchases and rows of the table `purchases`, and verifies the checksums of
//! rows.
//!
//! The checksum of a purchase covers its timestamp, id, price and details, and also the id and the
//! name of its user, which are in the table `buyers`. So a row that is joined with the wrong buyer
//! is recognized as damaged.
//!
//! ```text
//! purchases  buyer  timestamp      id           price   checksum    details
//!                7  1767225600000  x'01…' UUID  29.99   2938471556  {"reference": "A-1", …}
//!                7  1767229200000  x'01…' UUID  -29.99  1180264977  {"of": …}        a refund
//!
//! buyers     buyer  userid  username
//!                7  u1      ada
//! ```

use rusqlite::Error::FromSqlConversionFailure;
use rusqlite::Row;
use rusqlite::types::{Type, ValueRef};
use shop_core::{Details, Price, Purchase, PurchaseId, Timestamp, UserId, UserName};
use uuid::Uuid;

use crate::embedded::engine::checksum::{checksum, verify_columns, verify_values};
use crate::embedded::engine::error::{parse_column, unreadable};

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
    // Every id is a UUID or an ObjectId.
    Vec::new()
}

/// Reads an id from the bytes that [`id_bytes`] wrote.
pub(super) fn read_id(value: ValueRef<'_>) -> rusqlite::Result<PurchaseId> {
    let id = match value.as_blob().ok().and_then(<[u8]>::split_first) {
        Some((&UUID, bytes)) => Uuid::from_slice(bytes).ok().map(PurchaseId::from_uuid),
        Some((&OBJECT_ID, bytes)) => bytes.try_into().ok().map(PurchaseId::from_object_id),
        _ => None,
    };
    id.ok_or_else(|| rusqlite::Error::InvalidColumnType(1, "id".to_owned(), value.data_type()))
}

/// Formats the bytes of an id as a literal that the `sqlite3` tool accepts: the id of a damaged row
/// may itself be damaged.
pub(super) fn blob_literal(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("x'{hex}'")
}

/// The columns from which [`read_purchase`] reads a purchase, in `purchases` joined with `buyers`.
pub(super) const COLUMNS: &str = "timestamp, id, price, checksum, details, userid, username";

// The indexes of the columns in `COLUMNS`.
pub(super) const TIMESTAMP: usize = 0;
pub(super) const ID: usize = 1;
const PRICE: usize = 2;
const CHECKSUM: usize = 3;
const DETAILS: usize = 4;
const USER_ID: usize = 5;
const USER_NAME: usize = 6;
/// The index of the column that a query selects after [`COLUMNS`].
pub(super) const AFTER_COLUMNS: usize = 7;

/// Reads a purchase from a row of [`COLUMNS`], and verifies the checksum.
///
/// # Errors
/// Fails if a checksum shows that the disk changed the row or the texts of its buyer.
pub(super) fn read_purchase(row: &Row<'_>) -> rusqlite::Result<Purchase> {
    read_purchase_of_user(
        row,
        read_user_checksum(row)?,
        parse_column(row, USER_ID)?,
        parse_column(row, USER_NAME)?,
    )
}

/// Reads a purchase of a known user from a row of the first five [`COLUMNS`], and verifies the
/// checksum.
///
/// `user_checksum` is the checksum that [`user_text_checksum`] returns for the user's id and name.
///
/// # Errors
/// Fails if a checksum shows that the disk changed the row.
pub(super) fn read_purchase_of_user(
    row: &Row<'_>,
    user_checksum: u32,
    user_id: UserId,
    user_name: UserName,
) -> rusqlite::Result<Purchase> {
    // Each value is requested from SQLite once, for both the purchase and the checksum.
    let timestamp_value = row.get_ref(TIMESTAMP)?;
    let id_value = row.get_ref(ID)?;
    let price_value = row.get_ref(PRICE)?;
    let details_value = row.get_ref(DETAILS)?;

    let timestamp =
        Timestamp::from_millis(timestamp_value.as_i64()?).map_err(unreadable(TIMESTAMP))?;
    let price = parse_signed_price(price_value, PRICE)?;
    let id = read_id(id_value)?;

    verify_values(
        row,
        CHECKSUM,
        checksum_with_details(user_checksum, details_value),
        [timestamp_value, id_value, price_value],
    )?;

    let purchase = Purchase::new(id, user_id, user_name, price, timestamp);
    let ValueRef::Text(json) = details_value else {
        return Ok(purchase);
    };
    let no_excluded_members = &[];
    let details = Details::from_json(json, no_excluded_members).map_err(|(member, problem)| {
        FromSqlConversionFailure(DETAILS, Type::Text, format!("{member} {problem}").into())
    })?;
    Ok(purchase.with_details(details))
}

/// Reads the timestamp in milliseconds and the price from a row of [`COLUMNS`], and verifies the
/// checksum.
///
/// Totals need no other column, so the details are not parsed.
pub(super) fn read_time_and_price(row: &Row<'_>) -> rusqlite::Result<(i64, Price)> {
    let timestamp = row.get(TIMESTAMP)?;
    let price = parse_signed_price(row.get_ref(PRICE)?, PRICE)?;

    let row_seed = checksum_with_details(read_user_checksum(row)?, row.get_ref(DETAILS)?);
    verify_columns(row, row_seed, TIMESTAMP..CHECKSUM)?;
    Ok((timestamp, price))
}

/// Parses a price, which is negative for a refund. The error names the column with the index
/// `column`.
pub(super) fn parse_signed_price(value: ValueRef<'_>, column: usize) -> rusqlite::Result<Price> {
    Price::parse_signed(value.as_str()?).map_err(unreadable(column))
}

/// Returns the checksum of a user's id and name, with which the checksum of each purchase of the
/// user begins.
///
/// The checksum of a row is computed in three steps, each of which continues the one before: the
/// texts of the user, the details ([`checksum_with_details`]), and the values of the row.
pub(super) fn user_text_checksum(user_id: &str, user_name: &str) -> u32 {
    checksum(0, [user_id, user_name].map(ValueRef::from))
}

/// Continues `user_checksum` with the details of a purchase. Returns it unchanged for a purchase
/// without details.
///
/// Most purchases have none, and are not hashed a third time.
pub(super) fn checksum_with_details(user_checksum: u32, details: ValueRef<'_>) -> u32 {
    if details == ValueRef::Null {
        user_checksum
    } else {
        checksum(user_checksum, [details])
    }
}

/// Returns the checksum of the user's id and name in a row of [`COLUMNS`].
fn read_user_checksum(row: &Row<'_>) -> rusqlite::Result<u32> {
    Ok(checksum(
        0,
        [row.get_ref(USER_ID)?, row.get_ref(USER_NAME)?],
    ))
}
