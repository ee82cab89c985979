//! Converts between purchases and rows.

use std::time::SystemTime;

use rust_decimal::Decimal;
use shop_core::{Details, ErrorKind, Invalid, Price, Purchase, PurchaseId, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::connection::{PostgresConnection, Statement};
use super::error::postgres_error;
use crate::refunds::{StoredRow, id_texts};
use crate::unreadable::{Unreadable, not_valid, unreadable};

/// The columns that [`purchase`] reads.
pub(super) const COLUMNS: &str = r#"id, userid, username, price, "timestamp", details::text"#;

/// The query of the rows with these ids.
pub(super) fn rows_by_id(ids: &[PurchaseId]) -> Statement {
    let sql = format!("select {COLUMNS} from purchases where id = any ($1)");
    Statement::new(sql).bind(id_texts(ids))
}

/// Reads what is stored in a row of [`COLUMNS`].
pub(super) fn stored_row(row: &Row) -> StoredRow {
    if is_mark(row) {
        return StoredRow::Mark;
    }
    purchase(row).map_or_else(StoredRow::Unreadable, StoredRow::Purchase)
}

/// Reads a purchase from a row of [`COLUMNS`].
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
    let price = match details.of {
        Some(_) => Price::try_from(-price).map(Price::negated),
        None => Price::try_from(price),
    };
    let price = price.map_err(not_valid("price"))?;
    Ok(Purchase::new(id, user_id, user_name, price, time(row)?).with_details(details))
}

pub(super) fn time(row: &Row) -> Result<Timestamp, Unreadable> {
    Timestamp::try_from(column::<SystemTime>(row, "timestamp")?).map_err(not_valid("timestamp"))
}

pub(super) fn parsed<T: std::str::FromStr<Err = Invalid>>(
    row: &Row,
    name: &'static str,
) -> Result<T, Unreadable> {
    column::<&str>(row, name)?.parse().map_err(not_valid(name))
}

pub(super) fn column<'a, T: FromSql<'a>>(
    row: &'a Row,
    name: &'static str,
) -> Result<T, Unreadable> {
    row.try_get(name).map_err(|error| {
        let reason = std::error::Error::source(&error).unwrap_or(&error);
        unreadable(name, format_args!("cannot be read: {reason}"))
    })
}

/// Reads a column of the only row of an answer.
pub(super) fn cell<'a, T: FromSql<'a>>(rows: &'a [Row], column: usize) -> shop_core::Result<T> {
    let value = rows.first().and_then(|row| row.try_get(column).ok());
    value.ok_or_else(|| {
        postgres_error(
            ErrorKind::Internal,
            "PostgreSQL returned no row, or another one",
        )
    })
}

/// Whether the row, which has the column `userid`, is the mark of an erased purchase.
pub(super) fn is_mark(row: &Row) -> bool {
    matches!(row.try_get::<_, Option<&str>>("userid"), Ok(None))
}

/// The id of a row, of any program.
pub(super) fn raw_id(row: &Row) -> String {
    row.try_get::<_, &str>("id").unwrap_or_default().to_owned()
}

impl PostgresConnection {
    /// Returns the purchase in `row`, if it is one. Otherwise it is logged once, and counted.
    pub(super) fn readable(&self, row: &Row) -> Option<Purchase> {
        purchase(row)
            .inspect_err(|error| {
                self.unreadables
                    .note("row", &format!("{:?}", raw_id(row)), error);
            })
            .ok()
    }
}
