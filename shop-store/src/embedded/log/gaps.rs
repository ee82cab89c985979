//! Finds gaps: offsets of the log whose records are missing, and that a group has not read.
//!
//! Each offset belongs to a record, because a transaction that is rolled back also reverts SQLite's
//! counter of offsets. So a missing offset is a lost record, which the consumer must learn of.

use rusqlite::Connection;
use shop_core::log::{Batch, Gap, GapCause, LogRecord, Partition, SourceEvent};

use super::position::{signed, unsigned};

/// Returns the gap at the end of the log, if there is one at `next_offset`, the position of a group.
///
/// - If `next_offset` is after the end of the log, the log was cut, for example restored from an
///   older backup. The gap is `Truncated`, and reading continues at the end.
/// - If `next_offset` is before the end and no record follows, the last records are missing.
///   [`split_at_gaps`] cannot find this gap, because there is no record after it.
///
/// The returned gap is a gap of `partition`.
pub(super) fn gap_at_end(
    connection: &Connection,
    partition: &Partition,
    next_offset: u64,
) -> rusqlite::Result<Option<Gap>> {
    // One statement reads both values, so that no record is appended in between.
    let sql = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'records'), 0) + 1,
                      EXISTS (SELECT 1 FROM records WHERE offset >= ?1)";
    let (end_offset, has_more) = connection.query_row(sql, [signed(next_offset)], |row| {
        Ok((unsigned(row.get(0)?), row.get::<_, bool>(1)?))
    })?;

    if next_offset > end_offset {
        let gap = Gap::new(
            partition.clone(),
            end_offset,
            next_offset,
            GapCause::Truncated,
        );
        return Ok(Some(gap.with_next_offset(end_offset)));
    }
    if has_more || next_offset == end_offset {
        return Ok(None);
    }
    Ok(Some(Gap::new(
        partition.clone(),
        next_offset,
        end_offset,
        gap_cause(connection, next_offset)?,
    )))
}

/// Splits `records` where offsets are missing. Returns batches of consecutive records, and the gaps
/// before and between them.
///
/// `records` are the first records of the log from `next_offset` on.
pub(super) fn split_at_gaps(
    connection: &Connection,
    partition: &Partition,
    mut next_offset: u64,
    mut records: Vec<LogRecord>,
) -> rusqlite::Result<Vec<SourceEvent>> {
    let mut events = Vec::new();
    while let Some(first_offset) = records.first().map(|record| record.offset) {
        if first_offset > next_offset {
            let cause = gap_cause(connection, next_offset)?;
            events.push(SourceEvent::Gap(Gap::new(
                partition.clone(),
                next_offset,
                first_offset,
                cause,
            )));
        }

        let consecutive_count = (first_offset..)
            .zip(&records)
            .take_while(|(offset, record)| record.offset == *offset)
            .count();
        let later_records = records.split_off(consecutive_count);
        next_offset = first_offset + records.len() as u64;
        events.push(SourceEvent::Batch(Batch::new(partition.clone(), records)));
        records = later_records;
    }
    Ok(events)
}

/// Returns the cause of the gap that begins at `offset`.
///
/// Retention deletes the oldest records. If an earlier record exists, the record at `offset` was
/// lost in another way.
fn gap_cause(connection: &Connection, offset: u64) -> rusqlite::Result<GapCause> {
    let sql = "SELECT 1 FROM records WHERE offset < ?1";
    let has_earlier = connection.prepare(sql)?.exists([signed(offset)])?;
    Ok(if has_earlier {
        GapCause::Missing
    } else {
        GapCause::Deleted
    })
}

#[cfg(test)]
mod tests {
    use rusqlite::params_from_iter;
    use rusqlite::types::ToSqlOutput;
    use shop_core::Timestamp;
    use shop_core::log::LogRecord;

    use super::super::rows;
    use super::super::schema::LOG;
    use super::*;

    /// A log of ten records, without those at `missing` offsets.
    fn log(missing: &[i64]) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(&LOG.migrations.concat().concat())
            .unwrap();
        let record = LogRecord::new(0, Timestamp::from_millis(0).unwrap(), None);
        let columns = rows::record_columns(&record).map(ToSqlOutput::Borrowed);
        let sql =
            "INSERT INTO records (time, key, headers, value, checksum) VALUES (?1, ?2, ?3, ?4, ?5)";
        for _ in 0..10 {
            let columns = params_from_iter(columns.clone());
            connection.execute(sql, columns).unwrap();
        }
        for offset in missing {
            connection
                .execute("DELETE FROM records WHERE offset = ?1", [offset])
                .unwrap();
        }
        connection
    }

    fn partition() -> Partition {
        Partition::new("cluster".into(), "log".into(), 0, 1)
    }

    fn described(gap: &Gap) -> String {
        format!(
            "{:?} {}..{}, then {}",
            gap.cause, gap.from, gap.to, gap.next_offset
        )
    }

    #[test]
    fn at_end_finds_deleted_and_truncated_records() {
        let at = |connection: &Connection, next: u64| {
            gap_at_end(connection, &partition(), next)
                .unwrap()
                .as_ref()
                .map(described)
        };
        let whole = log(&[]);
        for next in [1, 10, 11] {
            assert_eq!(at(&whole, next), None);
        }
        assert_eq!(at(&whole, 14).unwrap(), "Truncated 11..14, then 11");
        assert_eq!(at(&log(&[9, 10]), 9).unwrap(), "Missing 9..11, then 11");
        assert_eq!(at(&log(&[9, 10]), 8), None, "a record follows");
        let empty = log(&(1..=10).collect::<Vec<_>>());
        assert_eq!(at(&empty, 4).unwrap(), "Deleted 4..11, then 11");
        assert_eq!(at(&empty, 11), None);
    }

    #[test]
    fn split_yields_records_and_the_gaps_between_them() {
        let described = |missing: &[i64], next: u64| {
            let connection = log(missing);
            let records = rows::read_records(&connection, next, 100, usize::MAX).unwrap();
            let events = split_at_gaps(&connection, &partition(), next, records).unwrap();
            let of = |event: &SourceEvent| match event {
                SourceEvent::Batch(batch) => {
                    let offsets: Vec<_> =
                        batch.records.iter().map(|record| record.offset).collect();
                    format!("{offsets:?}")
                }
                SourceEvent::Gap(gap) => described(gap),
                other => format!("{other:?}"),
            };
            events.iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(described(&[], 8), ["[8, 9, 10]"]);
        assert_eq!(described(&[1, 2], 1)[0], "Deleted 1..3, then 3");
        let gaps = [
            "[3]",
            "Missing 4..6, then 6",
            "[6, 7]",
            "Missing 8..9, then 9",
            "[9, 10]",
        ];
        assert_eq!(described(&[4, 5, 8], 3), gaps);
    }
}
