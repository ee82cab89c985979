//! The port of the files that were imported into a store.

use std::fmt::Debug;

use async_trait::async_trait;
use uuid::Uuid;

use crate::Result;

/// Keeps the readings of the files that were imported into a store.
///
/// A file is identified by a digest of its content. Its *reading* is a text that states the options
/// by which the file was read. By the reading of the last import, an import notices that the file is
/// now read by other options. A store that keeps readings offers the port in its
/// [`StoreInfo`](super::StoreInfo).
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - A store keeps the last text of each file, also for the next process that opens it
///   (`query::the_last_reading_of_a_file_is_kept`).
#[async_trait]
pub trait ImportedFiles: Debug + Send + Sync {
    /// Returns the reading of the last import of the file with the digest `file`, or `None` if the
    /// file was not imported.
    ///
    /// With `new_reading`, an import of the file begins now. The store durably replaces the reading
    /// of the last import by `new_reading`, and returns `new_reading`.
    ///
    /// # Errors
    /// - [`Denied`](crate::ErrorKind::Denied) if the store has no right to read or to write readings
    /// - [`Unavailable`](crate::ErrorKind::Unavailable) if the store cannot be reached
    async fn last_reading(&self, file: Uuid, new_reading: Option<&str>) -> Result<Option<String>>;
}
