//! Checks whole files for damage, and rewrites them.

use std::path::Path;

use rusqlite::Connection;
use shop_core::Result;

use super::backup::open;
use super::database::Database;
use super::entities::USERS;
use super::error::{from_sqlite, is_damage};
use super::schema::{FILE, SHOP};
use super::thread::blocking;

/// Reads every page of the database at `file`, and compares tables with their indexes. Returns what is damaged, at most
/// 100 lines in the words of SQLite; none if the file is sound. Services may use the file meanwhile.
///
/// # Errors
/// [`Unavailable`](shop_core::ErrorKind::Unavailable) when the file does not exist or cannot be opened.
pub async fn check_integrity(file: impl AsRef<Path>) -> Result<Vec<String>> {
    let path = file.as_ref().to_owned();
    let check = move || {
        let checked = open(&path).and_then(|file| damage(&file).map_err(|error| from_sqlite(error, &path)));
        match checked {
            Err(error) if is_damage(&error) => Ok(vec![error.chain().to_string()]),
            checked => checked,
        }
    };
    blocking(check).await
}

fn damage(file: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut check = file.prepare("PRAGMA integrity_check(100)")?;
    let lines: Vec<String> = check.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

/// Rewrites the files of purchases and users in `folder`, beside running processes.
///
/// SQLite overwrites what it deletes, but it also moves rows between pages and leaves copies in their unused parts. After
/// an erasure, this removes them. Writers wait meanwhile, at most 4 seconds for each write, and then fail with transient
/// errors; a file of a million purchases takes seconds. Needs free disk space of twice the size of a file. Logs of
/// events are not rewritten: their rows are not moved.
///
/// # Errors
/// [`Unavailable`](shop_core::ErrorKind::Unavailable) if a file cannot be used or the disk is full;
/// [`Corrupt`](shop_core::ErrorKind::Corrupt) if a file is damaged or of another version. It can be called again.
///
/// # Cancel safety
/// Dropping the future does not cancel it.
pub async fn vacuum(folder: impl AsRef<Path>) -> Result<()> {
    let folder = folder.as_ref();
    let files = [(&SHOP, FILE), (&USERS, "users")];
    let files = files.map(|(kind, name)| Database::new(kind, folder, name, None).with_create(false));
    let vacuum = move || files.iter().filter(|file| file.path().exists()).try_for_each(Database::vacuum);
    blocking(vacuum).await
}
