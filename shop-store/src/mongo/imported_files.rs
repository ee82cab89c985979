//! The files that were imported into a store in MongoDB. Each is a document like this one:
//!
//! ```json
//! {"_id": "imported-file 74738ff5-5367-5958-9aee-98fffdcd1876", "reading": "{\"format\":\"csv\"}", "erased": true}
//! ```
//!
//! The member `erased` makes the document an erasure mark, which no listing contains.

use async_trait::async_trait;
use bson::doc;
use shop_core::ports::ImportedFiles;
use shop_core::{ErrorKind, Result, Uuid};

use super::MongoStore;
use super::document::ERASED;
use super::error::mongo_error;
use super::write::{Update, Write};

/// The member with the reading of a file, which is a text of the import.
const READING: &str = "reading";

#[async_trait]
impl ImportedFiles for MongoStore {
    async fn last_reading(&self, file: Uuid, new_reading: Option<&str>) -> Result<Option<String>> {
        if let Some(new_reading) = new_reading {
            let members = doc! { READING: new_reading, ERASED: true };
            let upsert = Update::upsert(document_id(file), members);
            self.write_to_purchases(Write::Update(vec![upsert]), "how the file was read")
                .await?;
            return Ok(Some(new_reading.to_owned()));
        }

        let Some(document) = self.connection.find_by_id(document_id(file).into()).await? else {
            return Ok(None);
        };
        let reading = document.get_str(READING).map_err(|invalid| {
            let message = "the document of an imported file is not valid";
            mongo_error(ErrorKind::Corrupt, message).with_source(invalid)
        })?;
        Ok(Some(reading.to_owned()))
    }
}

/// Returns the `_id` of the document of the file with the digest `file`.
fn document_id(file: Uuid) -> String {
    format!("imported-file {file}")
}
