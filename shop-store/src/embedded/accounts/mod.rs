//! Users and orders: each in a file of its own, with an outbox in it.

mod orders;
mod outbox;
mod users;

pub use orders::EmbeddedOrders;
pub use users::EmbeddedUsers;

use std::path::Path;
use std::sync::Arc;

use rusqlite::types::Type;
use shop_core::Result;
use tokio::sync::Notify;

use super::EmbeddedStoreOptions;
use super::database::Kind;
use super::file::StoreFile;

/// A file with an outbox in it.
#[derive(Debug, Clone)]
struct AccountFile {
    file: StoreFile,
    /// Told after every commit: the relay looks for itself whether there is something for it.
    changed: Arc<Notify>,
}

impl AccountFile {
    async fn open(
        kind: &'static Kind,
        folder: &Path,
        name: &str,
        options: &EmbeddedStoreOptions,
    ) -> Result<Self> {
        let changed = Arc::new(Notify::new());
        let ringing = Arc::clone(&changed);
        let file = StoreFile::open(kind, folder, name, options, move || ringing.notify_one()).await?;
        Ok(Self { file, changed })
    }
}

/// What was read from `column` is not what we write there.
fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

/// What is about to be written cannot be.
fn unwritable(error: shop_core::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}
