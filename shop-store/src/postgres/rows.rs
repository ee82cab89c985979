//! Reads purchases and single columns from the rows of an answer.
//!
//! Another program may have written to the table, so each column is checked. A row that is not a
//! purchase is skipped in listings, logged once, and counted.
//!
//! | function | what it reads |
//! |---|---|
//! | [`read_purchase`], [`read_stored_row`] | a row with the [`COLUMNS`] of a purchase |
//! | [`read_column`], [`parse_column`], [`read_time`] | one column of a row |
//! | [`answer_column`] | one column of an answer that has a single row, such as a count |

use std::time::SystemTime;

use rust_decimal::Decimal;
use shop_core::{Details, ErrorKind, Invalid, Price, Purchase, PurchaseId, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::connection::{PostgresConnection, Statement, confirmed_rows};
use super::error::postgres_error;
use crate::refunds::{StoredRow, id_texts};
use crate::unreadable::{Unreadable, not_valid, unreadable};

/// The columns that [`read_purchase`] and [`read_stored_row`] read.
pub(super) const COLUMNS: &str = r#"id, userid, username, price, "timestamp", details::text"#;

/// Returns the query of the rows with these ids, in any order.
///
/// The query waits until the rows are on the standby too, see [`confirmed_rows`].
pub(super) fn rows_by_id_query(ids: &[PurchaseId]) -> Statement {
    let sql = format!("select {COLUMNS} from purchases where id = any ($1)");
    Statement::new(confirmed_rows(&sql)).bind(id_texts(ids))
}

/// Reads a purchase, or the mark of an erased purchase, from a row of [`COLUMNS`].
pub(super) fn read_stored_row(row: &Row) -> StoredRow {
    if is_mark(row) {
        return StoredRow::Mark;
    }
    read_purchase(row).map_or_else(StoredRow::Unreadable, StoredRow::Purchase)
}

/// Reads a purchase or a refund from a row of [`COLUMNS`].
///
/// # Errors
/// The first column that is not valid, such as an empty name.
pub(super) fn read_purchase(row: &Row) -> Result<Purchase, Unreadable> {
    let id = read_id(row)?;
    let user_id = parse_column(row, "userid")?;
    let user_name = parse_column(row, "username")?;
    let no_excluded_members = &[];
    let details = match read_column::<Option<&str>>(row, "details")? {
        Some(json) => Details::from_json(json.as_bytes(), no_excluded_members)
            .map_err(|(member, problem)| unreadable(member, problem))?,
        None => Details::NONE,
    };

    // A row whose details name a purchase is a refund, and its price is stored as a negative
    // number.
    let stored_price: Decimal = read_column(row, "price")?;
    let price = match details.of {
        Some(_) => Price::try_from(-stored_price).map(Price::negated),
        None => Price::try_from(stored_price),
    }
    .map_err(not_valid("price"))?;

    Ok(Purchase::new(id, user_id, user_name, price, read_time(row)?).with_details(details))
}

/// Reads the column `id`, and accepts only the form in which this store writes ids.
///
/// # Errors
/// If the column is null or no text, or if the text is in another form.
fn read_id(row: &Row) -> Result<PurchaseId, Unreadable> {
    PurchaseId::from_stored(read_column(row, "id")?).map_err(not_valid("id"))
}

/// Reads the column `timestamp`.
///
/// # Errors
/// If the column is null, or out of the range of [`Timestamp`].
pub(super) fn read_time(row: &Row) -> Result<Timestamp, Unreadable> {
    Timestamp::try_from(read_column::<SystemTime>(row, "timestamp")?)
        .map_err(not_valid("timestamp"))
}

/// Reads the text column `name`, and parses the text.
///
/// # Errors
/// If the column is null or no text, or if the text is not valid.
pub fn parse_column<T: std::str::FromStr<Err = Invalid>>(
    row: &Row,
    name: &'static str,
) -> Result<T, Unreadable> {
    read_column::<&str>(row, name)?
        .parse()
        .map_err(not_valid(name))
}

/// Reads the column `name` of a row.
///
/// # Errors
/// If the column is missing, is of another type, or is null where `T` allows no null.
pub fn read_column<'a, T: FromSql<'a>>(row: &'a Row, name: &'static str) -> Result<T, Unreadable> {
    row.try_get(name).map_err(|error| {
        let reason = std::error::Error::source(&error).unwrap_or(&error);
        unreadable(name, format_args!("cannot be read: {reason}"))
    })
}

/// Reads the column `name` of an answer that consists of one row, such as a count.
///
/// # Errors
/// [`ErrorKind::Internal`] if there is no row, or if the column is missing or of another type.
pub fn answer_column<'a, T: FromSql<'a>>(rows: &'a [Row], name: &str) -> shop_core::Result<T> {
    rows.first()
        .and_then(|row| row.try_get(name).ok())
        .ok_or_else(|| {
            let message = "PostgreSQL returned no row, or another one";
            postgres_error(ErrorKind::Internal, message)
        })
}

/// Returns whether `row` is the mark of an erased purchase: all columns are null except the id.
///
/// The row must have the column `userid`.
pub(super) fn is_mark(row: &Row) -> bool {
    matches!(row.try_get::<_, Option<&str>>("userid"), Ok(None))
}

/// Returns the id of a row as it is stored, even if it is not a valid [`PurchaseId`]. The column is the
/// primary key of the table, a text, so it is always readable.
pub(super) fn raw_id(row: &Row) -> String {
    row.try_get("id").unwrap_or_default()
}

impl PostgresConnection {
    /// Reads the purchase in `row` for a listing, which skips rows that are not purchases.
    ///
    /// Returns `None` for a row that is not a purchase, logs the row once, and counts it.
    pub(super) fn read_purchase_or_skip(&self, row: &Row) -> Option<Purchase> {
        read_purchase(row)
            .inspect_err(|error| {
                let id = format!("{:?}", raw_id(row));
                self.unreadables.record("row", &id, error);
            })
            .ok()
    }
}
