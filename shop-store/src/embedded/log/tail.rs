//! Follows the log without a group: its records from an offset on, and those that are appended later.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use rusqlite::Connection;
use shop_core::Result;
use shop_core::log::{Batch, Tail, TailStart};

use super::log::Shared;
use super::position::unsigned;
use super::rows;

/// How often it looks for records where no commit is announced: the one of a source.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Follows `log` from `start` on.
pub(super) async fn records(log: &Shared, start: &TailStart) -> Result<Tail> {
    let readers = log.file.readers.clone();
    let (first, end) = readers.read(span).await?;
    let start = start.offset(0, first, end);
    let ((max_records, max_bytes), partition) = (log.options.batch(), log.partition(0));
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
                waiter.wait(LOOK_INTERVAL).await;
            }
        }
    });
    let mut tail = Tail::new(topic, [(0, (start, end))], batches.boxed());
    tail.generation = log.generation.clone();
    Ok(tail)
}

/// The offset of the first record, and that of the next one.
fn span(connection: &Connection) -> rusqlite::Result<(u64, u64)> {
    // Offsets are never reused, so the counter remains when all records are deleted.
    let sql = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'records'), 0) + 1";
    let end: i64 = connection.query_row(sql, [], |row| row.get(0))?;
    let first: Option<i64> = connection.query_row("SELECT min(offset) FROM records", [], |row| row.get(0))?;
    Ok((unsigned(first.unwrap_or(end)), unsigned(end)))
}
