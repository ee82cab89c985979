//! Reads the log without a group: scans of records and dead letters up to their current end, and records as they are
//! appended.

use std::sync::Arc;

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use rusqlite::{Connection, params};
use shop_core::log::{Batch, DeadLetterState, Offsets, Resolution, ResolvedDeadLetter, Tail};
use shop_core::{Error, Result};

use super::dead_letters::{COLUMNS, from_row};
use super::position::{end, unsigned};
use super::rows;
use super::shared::Shared;
use crate::embedded::readers::Readers;

/// Returns all records of `log`, in offset order.
pub(super) async fn records(log: &Shared) -> Result<BoxStream<'static, Result<Batch>>> {
    let file = log.file.readers.clone();
    let end = newest_row(&file, "SELECT coalesce(max(offset), 0) FROM records").await?;
    let ((max_records, max_bytes), partition) = (log.options.batch(), log.partition(0));
    let batches = stream::try_unfold(0, move |next| {
        let (file, partition) = (file.clone(), partition.clone());
        async move {
            let read = move |connection: &Connection| rows::read(connection, next, max_records, max_bytes);
            let mut records = file.read(read).await?;
            records.retain(|record| record.offset <= unsigned(end));
            let Some(last) = records.last() else { return Ok(None) };
            let following = last.offset + 1;
            Ok(Some((Batch::new(partition, records), following)))
        }
    });
    Ok(batches.boxed())
}

/// Follows `log` from `start` on.
pub(super) async fn tail(log: &Shared, start: &Offsets) -> Result<Tail> {
    let readers = log.file.readers.clone();
    let (first, end) = readers.read(span).await?;
    let start = Tail::start_of(start, 0, first, end);
    let ((max_records, max_bytes), partition) = (log.options.batch(), log.partition(0));
    let interval = log.options.poll_interval;
    let topic = (Arc::clone(&partition.cluster), Arc::clone(&partition.topic));
    let batches = stream::try_unfold((start, log.waiter()), move |(next, mut waiter)| {
        let (readers, partition) = (readers.clone(), partition.clone());
        async move {
            loop {
                waiter.mark_seen();
                let read =
                    move |connection: &Connection| rows::read(connection, next, max_records, max_bytes);
                let records = readers.read(read).await?;
                if let Some(last) = records.last() {
                    let following = last.offset + 1;
                    return Ok(Some((Batch::new(partition, records), (following, waiter))));
                }
                waiter.wait(interval).await;
            }
        }
    });
    let mut tail = Tail::new(topic, [(0, (start, end))], batches.boxed());
    tail.generation = log.generation.clone();
    Ok(tail)
}

/// The offset of the first record, and that of the next one.
fn span(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    let end = end(connection)?;
    let first: Option<i64> = connection.query_row("SELECT min(offset) FROM records", [], |row| row.get(0))?;
    Ok((first.map_or(end, unsigned), end))
}

/// Returns all dead letters of `log`: first the pending ones, then the resolved ones.
pub(super) async fn dead_letters(log: &Shared) -> Result<BoxStream<'static, Result<DeadLetterState>>> {
    let (file, cluster) = (log.file.readers.clone(), Arc::clone(&log.cluster));
    let newest = newest_row(&file, "SELECT coalesce(max(rowid), 0) FROM dead_letters").await?;
    let pending = pages(&file, move |connection, after| pending(connection, &cluster, after, newest));
    let newest = newest_row(&file, "SELECT coalesce(max(rowid), 0) FROM settled_letters").await?;
    let resolved = pages(&file, move |connection, after| resolved(connection, after, newest));
    Ok(pending.chain(resolved).boxed())
}

async fn newest_row(file: &Readers, sql: &'static str) -> Result<i64> {
    file.read(move |connection| connection.query_row(sql, [], |row| row.get(0))).await
}

/// Rows, and the rowid of the last one.
type Rows = (Vec<DeadLetterState>, i64);

/// Returns the rows of all pages. `read` returns the page after a rowid.
fn pages<F>(file: &Readers, read: F) -> impl Stream<Item = Result<DeadLetterState>> + Send + use<F>
where
    F: Fn(&Connection, i64) -> rusqlite::Result<Rows> + Send + Sync + 'static,
{
    let (file, read) = (file.clone(), Arc::new(read));
    let pages = stream::try_unfold(0, move |after| {
        let (file, read) = (file.clone(), Arc::clone(&read));
        async move {
            let (rows, last) = file.read(move |connection| read(connection, after)).await?;
            Ok::<_, Error>((last > after).then(|| (stream::iter(rows.into_iter().map(Ok)), last)))
        }
    });
    pages.try_flatten()
}

/// Maximum number of rows in a page.
const PAGE_ROWS: i64 = 500;
/// The size in bytes at which a page is closed.
const PAGE_BYTES: usize = 1 << 20;

fn pending(connection: &Connection, cluster: &Arc<str>, after: i64, newest: i64) -> rusqlite::Result<Rows> {
    let sql = format!(
        "SELECT {COLUMNS}, rowid FROM dead_letters WHERE rowid > ?1 AND rowid <= ?2 ORDER BY rowid LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![after, newest, PAGE_ROWS])?;
    let (mut page, mut last, mut bytes) = (Vec::new(), after, 0);
    while bytes < PAGE_BYTES
        && let Some(row) = rows.next()?
    {
        let dead_letter = from_row(row, cluster)?;
        bytes += dead_letter.record.size();
        last = row.get("rowid")?;
        page.push(DeadLetterState::Pending(dead_letter));
    }
    Ok((page, last))
}

fn resolved(connection: &Connection, after: i64, newest: i64) -> rusqlite::Result<Rows> {
    let sql = "SELECT place, purchase, settlement, rowid FROM settled_letters
               WHERE rowid > ?1 AND rowid <= ?2 ORDER BY rowid LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![after, newest, PAGE_ROWS])?;
    let (mut page, mut last) = (Vec::new(), after);
    while let Some(row) = rows.next()? {
        last = row.get("rowid")?;
        let (record_id, id): (String, Option<String>) = (row.get(0)?, row.get(1)?);
        let resolution = row.get::<_, String>(2)?.parse().unwrap_or(Resolution::Dropped);
        // Only a modification by another program can make it invalid.
        let Ok(record_id) = record_id.parse() else { continue };
        page.push(DeadLetterState::Resolved(ResolvedDeadLetter::new(record_id, id, resolution)));
    }
    Ok((page, last))
}
