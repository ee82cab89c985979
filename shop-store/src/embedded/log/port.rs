//! The ports of the log: [`Log`], and what [`LogInfo`] contains, with the usage of the disk and the
//! positions of groups.
//!
//! Reads run on a reader thread of the log, and changes on the writer thread. The log consists of
//! one partition, with the index 0.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use rusqlite::types::ValueRef::{Blob, Integer, Null};
use rusqlite::{Connection, OptionalExtension, params};
use shop_core::log::{
    DeadLetter, DeadLetterFilter, DeadLetterState, GroupMembers, GroupPosition, Log, LogGroups,
    LogInfo, LogRecord, LogScan, LogSource, LogUsage, Offsets, Partition, RecordEraser,
    RecordPosition, RecordType, Resolution, ScanEnd,
};
use shop_core::{ErrorKind, Result, Timestamp};

use super::position::{signed, unsigned};
use super::source::lock_path;
use super::{EmbeddedLog, dead_letters, position, rows, scan};
use crate::embedded::engine::checksum::checksum;
use crate::embedded::engine::error::database_error;
use crate::embedded::engine::lock::FileLock;

/// A replay removes the dead letter and appends its record in one transaction, so a dead letter is
/// always either pending or replayed. The resolution of a dead letter is kept as long as the log
/// contains the record. Dead letters that are no longer pending are skipped.
#[async_trait]
impl Log for EmbeddedLog {
    async fn append(&self, record: LogRecord) -> Result<()> {
        Self::append(self, record).await.map(drop)
    }

    fn source(&self, group: &str) -> Result<Arc<dyn LogSource>> {
        Ok(Arc::new(Self::source(self, group)?))
    }

    /// Reads the records without a consumer group, so the scan does not delay the deletion of
    /// records.
    async fn scan(&self, start: &Offsets, end: ScanEnd) -> Result<LogScan> {
        scan::scan_records(&self.shared, start, end).await
    }

    async fn positions(&self, group: &str) -> Result<Offsets> {
        let group = group.to_owned();
        let next_offset = self
            .shared
            .readers
            .read(move |connection| position::find_position(connection, &group))
            .await?;
        Ok(next_offset
            .into_iter()
            .map(|offset| (rows::PARTITION, offset))
            .collect())
    }

    async fn find(&self, index: u32, offset: u64) -> Result<Option<(Partition, LogRecord)>> {
        if index != rows::PARTITION {
            return Ok(None);
        }
        // Reads the first record at `offset` or after it. If the record at `offset` is deleted, this
        // is another record, and is not returned.
        let max_records = 1;
        let max_bytes = 1;
        let records = self
            .shared
            .readers
            .read(move |connection| rows::read_records(connection, offset, max_records, max_bytes))
            .await?;

        let no_epoch = 0;
        let partition = self.shared.partition(no_epoch);
        Ok(records
            .into_iter()
            .find(|record| record.offset == offset)
            .map(|record| (partition, record)))
    }

    async fn put_dead_letters(&self, dead_letters: &[DeadLetter]) -> Result<()> {
        dead_letters::put(&self.shared, dead_letters).await
    }

    async fn contains_dead_letter(
        &self,
        record: &LogRecord,
        partition: &Partition,
    ) -> Result<bool> {
        dead_letters::contains(&self.shared, record, partition).await
    }

    async fn scan_dead_letters(&self) -> Result<BoxStream<'static, Result<DeadLetterState>>> {
        scan::scan_dead_letters(&self.shared).await
    }

    async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<DeadLetter>> {
        let cluster = Arc::clone(&self.shared.cluster);
        let filter = filter.clone();
        self.shared
            .readers
            .read(move |connection| dead_letters::read_page(connection, &cluster, &filter, limit))
            .await
    }

    async fn resolve(
        &self,
        dead_letters: &[DeadLetter],
        record_type: RecordType,
        resolution: Resolution,
    ) -> Result<u64> {
        resolution.check(dead_letters)?;
        let clock = Arc::clone(&self.shared.options.clock);
        let dead_letters = dead_letters.to_vec();
        self.shared
            .writer
            .write(move |connection| {
                let mut resolved_count = 0;
                for dead_letter in &dead_letters {
                    let was_pending = dead_letters::resolve(
                        connection,
                        dead_letter,
                        record_type,
                        resolution,
                        clock.now(),
                    )?;
                    resolved_count += u64::from(was_pending);
                }
                Ok(resolved_count)
            })
            .await
    }

    async fn check(&self) -> Result<()> {
        self.shared.writer.check().await
    }

    fn info(&self) -> LogInfo<'_> {
        let mut info = LogInfo::default();
        // The number at which SQLite's AUTOINCREMENT starts.
        info.first_offset = 1;
        // There is no retention: a record that a group has not consumed is never deleted, whatever
        // its age.
        info.members = Some(self);
        info.groups = Some(self);
        info.eraser = Some(self);
        info
    }
}

#[async_trait]
impl GroupMembers for EmbeddedLog {
    /// Returns the name of the group's lock file while a consumer holds the lock, in any process.
    async fn members(&self, group: &str) -> Result<Vec<String>> {
        let path = lock_path(&self.shared, group);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let file_lock = FileLock::open(&path)?;
        let is_lock_free = file_lock.try_lock()?.is_some();
        if is_lock_free {
            return Ok(Vec::new());
        }
        let name = path.file_name().unwrap_or_default();
        Ok(vec![name.to_string_lossy().into_owned()])
    }
}

#[async_trait]
impl RecordEraser for EmbeddedLog {
    /// Erased content is overwritten in the file. The write-ahead log may still contain the content
    /// until SQLite reuses that part of the log.
    async fn erase(&self, records: &[RecordPosition]) -> Result<u64> {
        // Only the headers of this record are used. They mark a record as erased.
        let mut erased_record = LogRecord::new(0, Timestamp::MIN, None);
        erased_record.erase();
        let offsets: Vec<i64> = records.iter().map(|record| signed(record.offset)).collect();
        // The records keep their offsets and times, so no gap arises. Records that are erased already
        // are not counted.
        let select_sql =
            "SELECT time FROM records WHERE offset = ?1 AND (value IS NOT NULL OR headers <> ?2)";
        let erase_sql = "UPDATE records SET key = NULL, headers = ?2, value = NULL, checksum = ?3 WHERE offset = ?1";
        self.shared
            .writer
            .write(move |connection| {
                let mut select_time = connection.prepare_cached(select_sql)?;
                let mut erase_record = connection.prepare_cached(erase_sql)?;
                let headers = &erased_record.headers.as_bytes()[..];
                let mut erased_count = 0;
                for offset in &offsets {
                    let found_time =
                        select_time.query_row(params![offset, headers], |row| row.get(0));
                    // The record is deleted or erased already.
                    let Some(time) = found_time.optional()? else {
                        continue;
                    };
                    let content = [Integer(time), Null, Blob(headers), Null];
                    let checksum = checksum(0, content);
                    let updated = erase_record.execute(params![offset, headers, checksum])?;
                    erased_count += updated as u64;
                }
                Ok(erased_count)
            })
            .await
    }
}

#[async_trait]
impl LogGroups for EmbeddedLog {
    async fn usage(&self) -> Result<LogUsage> {
        let path = self.shared.database.path();
        self.shared
            .readers
            .read(move |connection| read_usage(connection, &path))
            .await
    }

    async fn forget(&self, group: &str) -> Result<bool> {
        let name = group.to_owned();
        self.update_idle_group(group, move |connection| {
            position::delete_group(connection, &name)
        })
        .await
    }

    async fn reset(&self, group: &str, next_offset: u64) -> Result<bool> {
        let name = group.to_owned();
        self.update_idle_group(group, move |connection| {
            position::reset_group(connection, &name, next_offset)
        })
        .await
    }
}

impl EmbeddedLog {
    /// Runs `write`, which changes the position of `group`, while no consumer of the group is
    /// active.
    ///
    /// Holds the group's consumer lock during the write, so that no consumer becomes active
    /// meanwhile.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict) if a consumer of the group is active, in this process or
    /// in another one; the error of the lock file or of the write.
    async fn update_idle_group(
        &self,
        group: &str,
        write: impl Fn(&Connection) -> rusqlite::Result<bool> + Send + 'static,
    ) -> Result<bool> {
        let file_lock = FileLock::open(&lock_path(&self.shared, group))?;
        let guard = file_lock.try_lock()?;
        if guard.is_none() {
            let message = "the group has an active consumer: stop the services that consume in it, then retry";
            return Err(database_error(ErrorKind::Conflict, message).with_context("group", group));
        }
        self.shared.writer.write(write).await
    }
}

/// Reads the usage of the log in the file `path`: its size, the free space of the disk, the oldest
/// record, and the position and lag of each group.
fn read_usage(connection: &Connection, path: &Path) -> rusqlite::Result<LogUsage> {
    let sql = "SELECT offset, time FROM records ORDER BY offset LIMIT 1";
    let oldest_record: Option<(i64, i64)> = connection
        .query_row(sql, [], |row| row.try_into())
        .optional()?;
    let end_offset = position::end_offset(connection)?;
    let oldest_time = oldest_record.and_then(|(_, millis)| Timestamp::from_millis(millis).ok());

    // The write-ahead log is part of the database. A file whose size is unknown counts as empty.
    let file_bytes = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let bytes_with_wal = file_bytes(path) + file_bytes(&path.with_extension("db-wal"));
    // The space that this user may still fill, without the blocks that the system reserves for
    // root. 0 if unknown.
    let free_bytes =
        rustix::fs::statvfs(path).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    let mut usage = LogUsage::new(bytes_with_wal, free_bytes, oldest_time, end_offset);

    let mut statement = connection.prepare_cached("SELECT name, next FROM groups ORDER BY name")?;
    let mut group_rows = statement.query([])?;
    while let Some(row) = group_rows.next()? {
        let next_offset = unsigned(row.get(1)?);
        // Deleted records do not count as lag. An empty log has no lag.
        let lag = oldest_record.map_or(0, |(offset, _)| {
            end_offset.saturating_sub(next_offset.max(unsigned(offset)))
        });
        usage
            .groups
            .push(GroupPosition::new(row.get(0)?, next_offset, lag));
    }
    Ok(usage)
}
