//! The currency of the store, in the table of settings.

use rusqlite::{Connection, OptionalExtension, params};
use shop_core::domain::Currency;

use crate::embedded::error::parsed;

const NAME: &str = "currency";

/// Returns the currency of the store, if it has one.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Option<Currency>> {
    connection
        .prepare_cached("SELECT value FROM settings WHERE name = ?1")?
        .query_row([NAME], |row| parsed(row, 0))
        .optional()
}

/// Returns the currency of the store, which is `given` if it had none.
pub(super) fn get_or_set(connection: &Connection, given: &Currency) -> rusqlite::Result<Currency> {
    if let Some(kept) = read(connection)? {
        return Ok(kept);
    }
    connection
        .prepare_cached("INSERT INTO settings (name, value) VALUES (?1, ?2)")?
        .execute(params![NAME, given.as_str()])?;
    Ok(given.clone())
}
