//! The files that were imported into a store in PostgreSQL, as rows of the table
//! `purchases_settings`:
//!
//! | name | value |
//! |---|---|
//! | `imported-file 74738ff5-5367-5958-9aee-98fffdcd1876` | `{"format":"csv","time_zone":"Europe/Berlin"}` |

use async_trait::async_trait;
use shop_core::ports::ImportedFiles;
use shop_core::{ErrorKind, Result, Uuid};

use super::PostgresStore;
use super::connection::Statement;
use super::error::postgres_error;

#[async_trait]
impl ImportedFiles for PostgresStore {
    async fn last_reading(&self, file: Uuid, new_reading: Option<&str>) -> Result<Option<String>> {
        if let Some(new_reading) = new_reading {
            let upsert = Statement::new(
                "insert into purchases_settings (name, value) values ($1, $2)
                 on conflict (name) do update set value = excluded.value",
            )
            .bind(setting_name(file))
            .bind(new_reading.to_owned());
            self.connection.write(upsert).await?;
            return Ok(Some(new_reading.to_owned()));
        }

        let select = Statement::new("select value from purchases_settings where name = $1");
        let rows = self
            .connection
            .write(select.bind(setting_name(file)))
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        row.try_get("value").map(Some).map_err(|error| {
            let message = "an imported file in the table purchases_settings is not valid";
            postgres_error(ErrorKind::Corrupt, message).with_source(error)
        })
    }
}

/// Returns the name of the setting that keeps how the file with the digest `file` was read.
fn setting_name(file: Uuid) -> String {
    format!("imported-file {file}")
}
