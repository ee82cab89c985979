//! Converts between purchases and rows.

use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use shop_core::{Purchase, PurchaseId, Timestamp};
use uuid::Uuid;

use crate::embedded::error::unreadable;

/// An id as bytes with the same order: a tag, then the 16 bytes of a UUID or the 12 bytes of an ObjectId.
pub(super) struct IdColumn(pub(super) PurchaseId);

const UUID: u8 = 1;
const OBJECT_ID: u8 = 2;

impl ToSql for IdColumn {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let uuid = self.0.as_uuid().map(|uuid| [&[UUID], &uuid.as_bytes()[..]].concat());
        let object_id = || self.0.as_object_id().map(|bytes| [&[OBJECT_ID], &bytes[..]].concat());
        Ok(uuid.or_else(object_id).unwrap_or_default().into())
    }
}

impl FromSql for IdColumn {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let id = match value.as_blob()?.split_first() {
            Some((&UUID, bytes)) => Uuid::from_slice(bytes).ok().map(PurchaseId::from_uuid),
            Some((&OBJECT_ID, bytes)) => bytes.try_into().ok().map(PurchaseId::from_object_id),
            _ => None,
        };
        id.map(Self).ok_or(FromSqlError::InvalidType)
    }
}

/// The columns that [`purchase`] reads.
pub(super) const COLUMNS: &str = "timestamp, id, userid, username, price";

/// Reads a purchase from a row of [`COLUMNS`].
pub(super) fn purchase(row: &Row<'_>) -> rusqlite::Result<Purchase> {
    let timestamp = Timestamp::from_millis(row.get(0)?).map_err(|error| unreadable(0, error))?;
    let IdColumn(id) = row.get(1)?;
    let user_id = text(row, 2)?.parse().map_err(|error| unreadable(2, error))?;
    let user_name = text(row, 3)?.parse().map_err(|error| unreadable(3, error))?;
    let price = text(row, 4)?.parse().map_err(|error| unreadable(4, error))?;
    Ok(Purchase::new(id, user_id, user_name, price, timestamp))
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<&'a str> {
    Ok(row.get_ref(column)?.as_str()?)
}
