//! Rewrites files, so that deleted content is in no unused part of them.

use std::path::Path;

use shop_core::{ErrorKind, Result};

use super::database::Database;
use super::entities::USERS;
use super::error::database_error;
use super::schema::{FILE, SHOP};

/// Rewrites the files of purchases and users in `folder`, beside running processes.
///
/// SQLite overwrites what it deletes, but it also moves rows between pages and leaves copies in their unused parts. After
/// an erasure, this removes them. Writers wait meanwhile, at most 4 seconds for each write, and then fail with transient
/// errors; a file of a million purchases takes seconds. Needs free disk space of twice the size of a file. Logs of
/// events are not rewritten: their rows are not moved.
///
/// # Errors
/// [`Unavailable`](ErrorKind::Unavailable) if a file cannot be used or the disk is full;
/// [`Corrupt`](ErrorKind::Corrupt) if a file is damaged or of another version. It can be called again.
///
/// # Cancel safety
/// Dropping the future does not cancel it.
pub async fn vacuum(folder: impl AsRef<Path>) -> Result<()> {
    let folder = folder.as_ref();
    let files = [(&SHOP, FILE), (&USERS, "users")];
    let files = files.map(|(kind, name)| Database::new(kind, folder, name, None).with_create(false));
    let vacuum = move || files.iter().filter(|file| file.path().exists()).try_for_each(Database::vacuum);
    let vacuumed = tokio::task::spawn_blocking(vacuum).await;
    vacuumed.unwrap_or_else(|error| {
        Err(database_error(ErrorKind::Internal, "the rewrite was aborted").with_source(error))
    })
}
