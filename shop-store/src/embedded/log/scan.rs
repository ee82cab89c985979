//! Reads the log without a group: scans of records, to their current end or without an end, and of
//! dead letters.
//!
//! Each batch or page is read in a transaction of its own, so a slow reader of a stream does not
//! hold a transaction open.

use std::sync::Arc;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use rusqlite::{Connection, Row, params};
use shop_core::log::{
    Batch, DeadLetterState, LogScan, Offsets, Resolution, ResolvedDeadLetter, ScanEnd,
};
use shop_core::{Error, Result};

use super::dead_letters::{COLUMNS, read_dead_letter};
use super::log::EmbeddedLogInner;
use super::notifier::Waiter;
use super::position::{end_offset, unsigned};
use super::rows;
use crate::embedded::engine::readers::Readers;

/// Returns the records of `log` from `requested_start` to `scan_end`: to the present end of the log,
/// or without an end. A scan belongs to no consumer group, so it does not delay the deletion of
/// records.
///
/// If the log does not contain the requested offset, the scan starts at the first record of the log.
/// It reports the actual start.
pub(super) async fn scan_records(
    log: &EmbeddedLogInner,
    requested_start: &Offsets,
    scan_end: ScanEnd,
) -> Result<LogScan> {
    let (first_offset, log_end) = log.readers.read(offset_range).await?;
    let start_offset =
        LogScan::start_offset(requested_start, rows::PARTITION, first_offset, log_end);
    let stream_end = match scan_end {
        ScanEnd::Current => Some(log_end),
        ScanEnd::Never => None,
    };
    let mut scan = LogScan::new(
        Arc::clone(&log.cluster),
        Arc::clone(&log.topic),
        [(rows::PARTITION, (start_offset, log_end))],
        stream_batches(log, start_offset, stream_end),
    );
    // A restored log has another generation, so a cursor from before the restore is refused.
    scan.generation = log.generation.clone();
    Ok(scan)
}

/// Returns a stream of the records from `start` to before `end`.
///
/// Without an `end`, the stream does not end: after the last record, it waits for commits and reads
/// on.
fn stream_batches(
    log: &EmbeddedLogInner,
    start: u64,
    end: Option<u64>,
) -> BoxStream<'static, Result<Batch>> {
    let readers = log.readers.clone();
    let interval = log.options.poll_interval;
    let (max_records, max_bytes) = log.options.batch_limits();
    // Batches of a scan have no epoch.
    let epoch = 0;
    let partition = log.partition(epoch);
    let waiter = end.is_none().then(|| log.waiter());
    let batches = stream::try_unfold((start, waiter), move |(next, mut waiter)| {
        let readers = readers.clone();
        let partition = partition.clone();
        async move {
            loop {
                // This call comes before the read, so that a commit during the read ends the wait
                // below.
                waiter.iter_mut().for_each(Waiter::mark_seen);
                let mut records = readers
                    .read(move |connection| {
                        rows::read_records(connection, next, max_records, max_bytes)
                    })
                    .await?;

                records.retain(|record| end.is_none_or(|end| record.offset < end));
                if let Some(last) = records.last() {
                    let next_offset = last.offset + 1;
                    let batch = Batch::new(partition, records);
                    return Ok(Some((batch, (next_offset, waiter))));
                }

                let Some(waiter) = &mut waiter else {
                    return Ok(None);
                };
                waiter.wait(interval).await;
            }
        }
    });
    batches.boxed()
}

/// Returns the offset of the first record, and the end of the log. They are equal if the log is
/// empty.
fn offset_range(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let end = end_offset(connection)?;
    let first: Option<i64> =
        connection.query_row("SELECT min(offset) FROM records", [], |row| row.get(0))?;
    Ok((first.map_or(end, unsigned), end))
}

/// Returns a stream of all dead letters that `log` contains now: first the pending ones, then the
/// resolved ones. A dead letter that is resolved before the stream has read it may be missing.
///
/// The resolved dead letters are in the table `settled_letters`. The column `place` is the id of the
/// record, `purchase` the id of the purchase, and `settlement` the resolution.
pub(super) async fn scan_dead_letters(
    log: &EmbeddedLogInner,
) -> Result<BoxStream<'static, Result<DeadLetterState>>> {
    let readers = &log.readers;
    let cluster = Arc::clone(&log.cluster);
    let pending = scan_table(readers, "dead_letters", COLUMNS, move |row| {
        let dead_letter = read_dead_letter(row, &cluster)?;
        Ok(Some(DeadLetterState::Pending(dead_letter)))
    })
    .await?;
    let resolved = scan_table(
        readers,
        "settled_letters",
        "place, purchase, settlement",
        read_resolved,
    )
    .await?;
    Ok(pending.chain(resolved).boxed())
}

/// Reads a resolved dead letter from the columns `place`, `purchase` and `settlement` of a row of
/// `settled_letters`. Returns `None` if the id of the record is not valid, which only another
/// program can cause.
fn read_resolved(row: &Row<'_>) -> rusqlite::Result<Option<DeadLetterState>> {
    let (record_text, purchase_id, resolution_text): (String, Option<String>, String) =
        row.try_into()?;
    // A resolution that is not known here, such as one of a later version, counts as dropped.
    let resolution = resolution_text.parse().unwrap_or(Resolution::Dropped);
    let Ok(record_id) = record_text.parse() else {
        return Ok(None);
    };
    Ok(Some(DeadLetterState::Resolved(ResolvedDeadLetter::new(
        record_id,
        purchase_id,
        resolution,
    ))))
}

/// The maximum number of rows in a page.
const PAGE_ROWS: i64 = 500;
/// The size of dead letters, in bytes, at which a page is closed.
const PAGE_BYTES: usize = 1 << 20;

/// Returns a stream of the dead letters that `table` contains now. The stream reads them in pages, in
/// the order of their rowids.
///
/// `read_row` converts a row of `columns`, or returns `None` to leave it out.
async fn scan_table<F>(
    readers: &Readers,
    table: &str,
    columns: &str,
    read_row: F,
) -> Result<BoxStream<'static, Result<DeadLetterState>>>
where
    F: Fn(&Row<'_>) -> rusqlite::Result<Option<DeadLetterState>> + Send + Sync + 'static,
{
    // The greatest rowid is read first, so that rows that are inserted later do not prolong the
    // stream.
    let newest_sql = format!("SELECT coalesce(max(rowid), 0) FROM {table}");
    let newest_rowid: i64 = readers
        .read(move |connection| connection.query_row(&newest_sql, [], |row| row.get(0)))
        .await?;

    let query = Arc::new(PageQuery {
        sql: format!(
            "SELECT {columns}, rowid FROM {table} WHERE rowid > ?1 AND rowid <= ?2 ORDER BY rowid LIMIT ?3"
        ),
        newest_rowid,
        read_row,
    });
    let readers = readers.clone();
    let before_first_rowid = 0;
    let pages = stream::try_unfold(before_first_rowid, move |after_rowid| {
        let readers = readers.clone();
        let query = Arc::clone(&query);
        async move {
            let page = readers
                .read(move |connection| query.read_page(connection, after_rowid))
                .await?;
            let Some(last_rowid) = page.last_rowid else {
                return Ok(None);
            };
            let dead_letters = stream::iter(page.dead_letters.into_iter().map(Ok));
            Ok::<_, Error>(Some((dead_letters, last_rowid)))
        }
    });
    Ok(pages.try_flatten().boxed())
}

/// The query of the pages of a table of dead letters.
struct PageQuery<F> {
    /// The statement, with three parameters: the rowid before the page, the newest rowid of the
    /// stream, and the maximum number of rows.
    sql: String,
    newest_rowid: i64,
    read_row: F,
}

/// A page of a table of dead letters.
struct Page {
    /// The dead letters, without the rows that were left out.
    dead_letters: Vec<DeadLetterState>,
    /// The rowid of the last row, behind which the next page begins. `None` if no row is left.
    last_rowid: Option<i64>,
}

impl<F> PageQuery<F>
where
    F: Fn(&Row<'_>) -> rusqlite::Result<Option<DeadLetterState>>,
{
    /// Reads the page of rows behind `after_rowid`, which has at most [`PAGE_ROWS`] rows, and ends at
    /// [`PAGE_BYTES`].
    fn read_page(&self, connection: &Connection, after_rowid: i64) -> rusqlite::Result<Page> {
        let mut statement = connection.prepare_cached(&self.sql)?;
        let mut rows = statement.query(params![after_rowid, self.newest_rowid, PAGE_ROWS])?;
        let mut page = Page {
            dead_letters: Vec::new(),
            last_rowid: None,
        };
        let mut bytes = 0;
        while bytes < PAGE_BYTES
            && let Some(row) = rows.next()?
        {
            page.last_rowid = Some(row.get("rowid")?);
            let state = (self.read_row)(row)?;
            // Only a pending dead letter contains its record. The others are small.
            if let Some(DeadLetterState::Pending(dead_letter)) = &state {
                bytes += dead_letter.record.size();
            }
            page.dead_letters.extend(state);
        }
        Ok(page)
    }
}
