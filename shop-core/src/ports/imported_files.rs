//! The port of the files that were imported into a store.

use std::fmt::Debug;

use async_trait::async_trait;
use uuid::Uuid;

use crate::Result;

/// Keeps how the files were read that were imported into a store, so that an import can notice a
/// file that is read otherwise than before.
///
/// A file is named by a digest of its content, and how it was read is a text of the import. A store
/// that keeps this offers the port in its [`StoreInfo`](super::StoreInfo).
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - A store keeps the last text of each file, also for the next process that opens it
///   (`query::the_last_reading_of_a_file_is_kept`).
#[async_trait]
pub trait ImportedFiles: Debug + Send + Sync {
    /// Returns how the file with the digest `file` was read by its last import, or `None` if it was
    /// not imported.
    ///
    /// With `kept`, the file is imported now, and read as this text says: the store keeps the text
    /// durably and returns it.
    ///
    /// # Errors
    /// - [`Denied`](crate::ErrorKind::Denied) if the store has no right to read or to write this
    /// - [`Unavailable`](crate::ErrorKind::Unavailable) if the store cannot be reached
    async fn last_reading(&self, file: Uuid, kept: Option<&str>) -> Result<Option<String>>;
}
