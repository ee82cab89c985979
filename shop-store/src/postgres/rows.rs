//! Reads purchases and single columns from rows.
//!
//! Another program may have written to the table, so each column is checked. A row that is no
//! purchase is skipped in listings, logged once, and counted.

use std::time::SystemTime;

use rust_decimal::Decimal;
use shop_core::{Details, ErrorKind, Invalid, Price, Purchase, PurchaseId, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::connection::{PostgresConnection, Statement, confirmed_rows};
use super::error::postgres_error;
use crate::refunds::{StoredRow, id_texts};
use crate::unreadable::{Unreadable, not_valid, unreadable};

/// The columns that [`purchase`] and [`stored_row`] read.
pub(super) const COLUMNS: &str = r#"id, userid, username, price, "timestamp", details::text"#;

/// Returns the query of the rows with these ids, in any order, which are
/// [confirmed](confirmed_rows).
pub(super) fn rows_by_id(ids: &[PurchaseId]) -> Statement {
    let sql = format!("select {COLUMNS} from purchases where id = any ($1)");
    Statement::new(confirmed_rows(&sql)).bind(id_texts(ids))
}

/// Reads a purchase, or the mark of an erased purchase, from a row of [`COLUMNS`].
pub(super) fn stored_row(row: &Row) -> StoredRow {
    if is_mark(row) {
        return StoredRow::Mark;
    }
    purchase(row).map_or_else(StoredRow::Unreadable, StoredRow::Purchase)
}

/// Reads a purchase or a refund from a row of [`COLUMNS`].
///
/// # Errors
/// The first column that is not valid, such as an empty name.
pub(super) fn purchase(row: &Row) -> Result<Purchase, Unreadable> {
    let id = parsed(row, "id")?;
    let user_id = parsed(row, "userid")?;
    let user_name = parsed(row, "username")?;
    let details = match column::<Option<&str>>(row, "details")? {
        Some(json) => Details::from_json(json.as_bytes(), &[])
            .map_err(|(member, problem)| unreadable(member, problem))?,
        None => Details::NONE,
    };
    let price: Decimal = column(row, "price")?;
    // A row whose details name a purchase is a refund, and its price is stored as a negative
    // number.
    let price = match details.of {
        Some(_) => Price::try_from(-price).map(Price::negated),
        None => Price::try_from(price),
    };
    let price = price.map_err(not_valid("price"))?;
    Ok(Purchase::new(id, user_id, user_name, price, time(row)?).with_details(details))
}

/// Reads the column `timestamp`.
///
/// # Errors
/// If the column is null, or out of the range of [`Timestamp`].
pub(super) fn time(row: &Row) -> Result<Timestamp, Unreadable> {
    Timestamp::try_from(column::<SystemTime>(row, "timestamp")?).map_err(not_valid("timestamp"))
}

/// Reads the text column `name`, and parses the text.
///
/// # Errors
/// If the column is null or no text, or if the text is not valid.
pub(super) fn parsed<T: std::str::FromStr<Err = Invalid>>(
    row: &Row,
    name: &'static str,
) -> Result<T, Unreadable> {
    column::<&str>(row, name)?.parse().map_err(not_valid(name))
}

/// Reads the column `name` of a row.
///
/// # Errors
/// If the column is missing, has another type, or is null where `T` has no null.
pub(super) fn column<'a, T: FromSql<'a>>(
    row: &'a Row,
    name: &'static str,
) -> Result<T, Unreadable> {
    row.try_get(name).map_err(|error| {
        let reason = std::error::Error::source(&error).unwrap_or(&error);
        unreadable(name, format_args!("cannot be read: {reason}"))
    })
}

/// Reads a column, by its index from 0, of an answer that consists of one row.
///
/// # Errors
/// [`ErrorKind::Internal`] if there is no row, or the column has another type.
pub(super) fn cell<'a, T: FromSql<'a>>(rows: &'a [Row], column: usize) -> shop_core::Result<T> {
    let value = rows.first().and_then(|row| row.try_get(column).ok());
    value.ok_or_else(|| {
        postgres_error(
            ErrorKind::Internal,
            "PostgreSQL returned no row, or another one",
        )
    })
}

/// Returns whether `row` is the mark of an erased purchase, whose columns are null except for its
/// id.
///
/// The row must have the column `userid`.
pub(super) fn is_mark(row: &Row) -> bool {
    matches!(row.try_get::<_, Option<&str>>("userid"), Ok(None))
}

/// Returns the id of a row as it is stored. It need not be a valid id, since another program may
/// have written the row.
pub(super) fn raw_id(row: &Row) -> String {
    row.try_get::<_, &str>("id").unwrap_or_default().to_owned()
}

impl PostgresConnection {
    /// Reads the purchase in `row`. Returns `None` for a row that is no purchase, logs the row
    /// once, and counts it.
    pub(super) fn readable(&self, row: &Row) -> Option<Purchase> {
        purchase(row)
            .inspect_err(|error| {
                self.unreadables
                    .note("row", &format!("{:?}", raw_id(row)), error);
            })
            .ok()
    }
}
