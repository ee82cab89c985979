//! Finds offsets whose records are missing. Offsets are consecutive: SQLite reverts the sequence with the transaction.

use rusqlite::Connection;
use shop_core::log::{Batch, Gap, GapCause, LogRecord, Partition, SourceEvent};

use super::position::{signed, unsigned};

/// Returns the gap at `next`, the position of a group, if no record follows it although one was written.
pub(super) fn at_end(
    connection: &Connection,
    partition: &Partition,
    next: u64,
) -> rusqlite::Result<Option<Gap>> {
    // One statement, so that no record is appended in between.
    let sql = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'records'), 0) + 1,
                      EXISTS (SELECT 1 FROM records WHERE offset >= ?1)";
    let (end, has_more) = connection
        .query_row(sql, [signed(next)], |row| Ok((unsigned(row.get(0)?), row.get::<_, bool>(1)?)))?;
    if next > end {
        let gap = Gap::new(partition.clone(), end, next, GapCause::Truncated);
        return Ok(Some(gap.followed_by(end)));
    }
    if has_more || next == end {
        return Ok(None);
    }
    Ok(Some(Gap::new(partition.clone(), next, end, cause(connection, next)?)))
}

/// Splits `records`, the first ones from `next` on, where offsets are missing.
pub(super) fn split(
    connection: &Connection,
    partition: &Partition,
    mut next: u64,
    mut records: Vec<LogRecord>,
) -> rusqlite::Result<Vec<SourceEvent>> {
    let mut events = Vec::new();
    while let Some(first) = records.first().map(|record| record.offset) {
        if first > next {
            let cause = cause(connection, next)?;
            events.push(SourceEvent::Gap(Gap::new(partition.clone(), next, first, cause)));
        }
        let follows = |(offset, record): &(u64, &LogRecord)| record.offset == *offset;
        let count = (first..).zip(&records).take_while(follows).count();
        let rest = records.split_off(count);
        next = first + records.len() as u64;
        events.push(SourceEvent::Batch(Batch::new(partition.clone(), records)));
        records = rest;
    }
    Ok(events)
}

/// Returns why there is no record at `offset`.
fn cause(connection: &Connection, offset: u64) -> rusqlite::Result<GapCause> {
    let sql = "SELECT EXISTS (SELECT 1 FROM records WHERE offset < ?1)";
    let has_earlier = connection.query_row(sql, [signed(offset)], |row| row.get::<_, bool>(0))?;
    Ok(if has_earlier { GapCause::Missing } else { GapCause::Deleted })
}
