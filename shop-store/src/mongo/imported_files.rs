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

/// The member with the text of the import.
const READING: &str = "reading";

#[async_trait]
impl ImportedFiles for MongoStore {
    async fn last_reading(&self, file: Uuid) -> Result<Option<String>> {
        let Some(document) = self.connection.find_by_id(document_id(file).into()).await? else {
            return Ok(None);
        };
        let reading = document.get_str(READING).map_err(|invalid| {
            let message = "the document of an imported file is not valid";
            mongo_error(ErrorKind::Corrupt, message).with_source(invalid)
        })?;
        Ok(Some(reading.to_owned()))
    }

    async fn keep_reading(&self, file: Uuid, reading: &str) -> Result<()> {
        let set_reading = doc! { "$set": { READING: reading, ERASED: true } };
        let upsert = doc! { "q": { "_id": document_id(file) }, "u": set_reading, "upsert": true };
        self.connection
            .update_documents(vec![upsert])
            .await
            .map(drop)
    }
}

/// Returns the `_id` of the document of the file with the digest `file`.
fn document_id(file: Uuid) -> String {
    format!("imported-file {file}")
}
