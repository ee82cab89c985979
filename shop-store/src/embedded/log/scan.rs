//! Reads the whole log, or all of its dead letters, up to what is there now: outside of any group, and page by page.

use std::sync::Arc;

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use rusqlite::{Connection, params};
use shop_core::Result;
use shop_core::log::{Batch, DeadLetterState, Partition, Resolution, ResolvedDeadLetter};

use super::dead_letters::{COLUMNS, letter};
use super::log::Shared;
use super::position::unsigned;
use super::rows;
use crate::embedded::readers::Readers;

/// All records of `log`, in the order of their offsets.
pub(super) async fn records(log: &Shared) -> Result<BoxStream<'static, Result<Batch>>> {
    let file = reader(log)?;
    let end = newest_row(&file, "SELECT coalesce(max(offset), 0) FROM records").await?;
    let (most, bytes) = (log.options.batch_records.max(1), log.options.batch_bytes);
    let partition = Partition::new(Arc::clone(&log.cluster), Arc::clone(&log.topic), 0, 0);
    let batches = stream::try_unfold(0, move |next| {
        let (file, partition) = (file.clone(), partition.clone());
        async move {
            let read = move |connection: &Connection| rows::read(connection, next, most, bytes);
            let mut records = file.read(read).await?;
            records.retain(|record| record.offset <= unsigned(end));
            let Some(last) = records.last() else { return Ok(None) };
            let following = last.offset + 1;
            Ok(Some((Batch::new(partition, records), following)))
        }
    });
    Ok(batches.boxed())
}

/// All dead letters of `log`: those that are pending, then those that were resolved.
pub(super) async fn dead_letters(log: &Shared) -> Result<BoxStream<'static, Result<DeadLetterState>>> {
    let file = reader(log)?;
    let cluster = Arc::clone(&log.cluster);
    let newest = newest_row(&file, "SELECT coalesce(max(rowid), 0) FROM dead_letters").await?;
    let pending = pages(&file, move |connection, after| pending(connection, &cluster, after, newest));
    let newest = newest_row(&file, "SELECT coalesce(max(rowid), 0) FROM settled_letters").await?;
    let resolved = pages(&file, move |connection, after| resolved(connection, after, newest));
    Ok(pending.chain(resolved).boxed())
}

/// A reader of its own, so that no write waits for it.
pub(super) fn reader(log: &Shared) -> Result<Readers> {
    Readers::start(&log.database, &log.writer, 1, 1)
}

async fn newest_row(file: &Readers, sql: &'static str) -> Result<i64> {
    file.read(move |connection| connection.query_row(sql, [], |row| row.get(0))).await
}

/// Rows and the number of the last one.
type Rows = (Vec<DeadLetterState>, i64);

/// The rows of one page after another; `read` answers those behind a row's number.
fn pages<F>(file: &Readers, read: F) -> impl Stream<Item = Result<DeadLetterState>> + Send + use<F>
where
    F: Fn(&Connection, i64) -> rusqlite::Result<Rows> + Send + Sync + 'static,
{
    let (file, read) = (file.clone(), Arc::new(read));
    let pages = stream::try_unfold(0, move |after| {
        let (file, read) = (file.clone(), Arc::clone(&read));
        async move {
            let (rows, last) = file.read(move |connection| read(connection, after)).await?;
            Ok((last > after).then(|| (stream::iter(rows.into_iter().map(Ok)), last)))
        }
    });
    pages.try_flatten()
}

/// The most rows of a page.
const ROWS: i64 = 500;
/// The size in bytes at which a page is closed.
const BYTES: usize = 1 << 20;

fn pending(connection: &Connection, cluster: &Arc<str>, after: i64, newest: i64) -> rusqlite::Result<Rows> {
    let sql = format!(
        "SELECT {COLUMNS}, rowid FROM dead_letters WHERE rowid > ?1 AND rowid <= ?2 ORDER BY rowid LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![after, newest, ROWS])?;
    let (mut letters, mut last, mut bytes) = (Vec::new(), after, 0);
    while bytes < BYTES
        && let Some(row) = rows.next()?
    {
        let letter = letter(row, cluster)?;
        bytes += letter.record.size();
        last = row.get("rowid")?;
        letters.push(DeadLetterState::Pending(letter));
    }
    Ok((letters, last))
}

fn resolved(connection: &Connection, after: i64, newest: i64) -> rusqlite::Result<Rows> {
    let sql = "SELECT place, purchase, settlement, rowid FROM settled_letters
               WHERE rowid > ?1 AND rowid <= ?2 ORDER BY rowid LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![after, newest, ROWS])?;
    let (mut letters, mut last) = (Vec::new(), after);
    while let Some(row) = rows.next()? {
        last = row.get("rowid")?;
        let (record_id, id): (String, Option<String>) = (row.get(0)?, row.get(1)?);
        let resolution = row.get::<_, String>(2)?.parse().unwrap_or(Resolution::Dropped);
        // We have written it, so it can be read, unless another program has changed it.
        let Ok(record_id) = record_id.parse() else { continue };
        letters.push(DeadLetterState::Resolved(ResolvedDeadLetter::new(record_id, id, resolution)));
    }
    Ok((letters, last))
}
