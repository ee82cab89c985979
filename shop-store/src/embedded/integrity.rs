//! Checks a whole file for damage.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use shop_core::{ErrorKind, Result};

use super::error::{database_error, from_sqlite, is_damage};

/// How long the check waits for another connection's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads every page of the database at `file`, and compares tables with their indexes. Returns what is damaged, at most
/// 100 lines in the words of SQLite; none if the file is sound. Services may use the file meanwhile.
///
/// # Errors
/// [`Unavailable`](ErrorKind::Unavailable) when the file does not exist or cannot be opened.
pub async fn check_integrity(file: impl AsRef<Path>) -> Result<Vec<String>> {
    let path = file.as_ref().to_owned();
    let check = move || match check(&path) {
        Ok(lines) => Ok(lines.into_iter().filter(|line| line != "ok").collect()),
        Err(error) => {
            let text = error.to_string();
            let error = from_sqlite(error, &path);
            if is_damage(&error) { Ok(vec![text]) } else { Err(error) }
        }
    };
    let checked = tokio::task::spawn_blocking(check).await;
    checked.unwrap_or_else(|error| {
        Err(database_error(ErrorKind::Internal, "the check was aborted").with_source(error))
    })
}

fn check(path: &Path) -> rusqlite::Result<Vec<String>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "query_only", true)?;
    let mut statement = connection.prepare("PRAGMA integrity_check(100)")?;
    let lines = statement.query_map([], |row| row.get(0))?;
    lines.collect()
}
