//! The settings of a store, which are rows of the table `settings`:
//!
//! | name | value |
//! |---|---|
//! | `currency` | `EUR` |
//! | `imported-file 74738ff5-5367-5958-9aee-98fffdcd1876` | `{"format":"csv","time_zone":"Europe/Berlin"}` |

use rusqlite::{Connection, OptionalExtension, params};

/// Returns the value of the setting `name`, if it is set.
pub(super) fn find(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT value FROM settings WHERE name = ?1")?
        .query_row([name], |row| row.get("value"))
        .optional()
}

/// Sets the setting `name` to `value`, whatever its value was.
pub(super) fn set(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO settings (name, value) VALUES (?1, ?2)")?
        .execute(params![name, value])?;
    Ok(())
}
