//! The size of the log's file, its disk, and its groups.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension};
use shop_core::Timestamp;
use shop_core::log::{GroupPosition, LogUsage};

use super::position::{signed, unsigned};

/// Reads the usage of the log in the file `path`.
pub(super) fn read(connection: &Connection, path: &Path) -> rusqlite::Result<LogUsage> {
    let sql = "SELECT offset, time FROM records ORDER BY offset LIMIT 1";
    let first = connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let (first, time): (i64, Option<i64>) = first.map_or((0, None), |(offset, time)| (offset, Some(time)));
    let sql = "SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'records'";
    let next: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    let oldest = time.and_then(|millis| Timestamp::from_millis(millis).ok());
    let mut usage = LogUsage::new(file_bytes(path), free_bytes(path), oldest, unsigned(next));
    let mut statement = connection.prepare_cached("SELECT name, next FROM groups ORDER BY name")?;
    let group = |row: &rusqlite::Row<'_>| {
        let at: i64 = row.get(1)?;
        // An empty log has nothing to consume.
        let behind = if time.is_some() { unsigned(next - at.max(first)) } else { 0 };
        Ok(GroupPosition::new(row.get(0)?, unsigned(at), behind))
    };
    usage.groups = statement.query_map([], group)?.collect::<rusqlite::Result<_>>()?;
    Ok(usage)
}

/// Deletes the position of `group`. Returns whether there was one.
pub(super) fn forget(connection: &Connection, group: &str) -> rusqlite::Result<bool> {
    Ok(connection.execute("DELETE FROM groups WHERE name = ?1", [group])? == 1)
}

/// Sets the position of `group`, at the earliest to the oldest record: those before it are not lost for it. Returns
/// whether there is such a group. Commits of earlier epochs are fenced.
pub(super) fn reset(connection: &Connection, group: &str, next: u64) -> rusqlite::Result<bool> {
    let sql = "UPDATE groups SET epoch = epoch + 1, stored_from = 0, stored_to = 0, next = max(?2, coalesce(
                   (SELECT min(offset) FROM records), (SELECT seq + 1 FROM sqlite_sequence WHERE name = 'records'), 1))
               WHERE name = ?1";
    Ok(connection.execute(sql, rusqlite::params![group, signed(next)])? == 1)
}

/// The size of the database, with its write-ahead log.
fn file_bytes(path: &Path) -> u64 {
    let bytes = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    bytes(path) + bytes(&path.with_extension("db-wal"))
}

/// The bytes that this user may still write to the disk of `path`; 0 if unknown.
fn free_bytes(path: &Path) -> u64 {
    rustix::fs::statvfs(path).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize))
}
