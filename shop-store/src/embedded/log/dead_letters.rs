//! Dead letters: records that cannot be processed, and gaps, in the table `dead_letters` of the
//! log's file.
//!
//! A dead letter is *pending* until an operator resolves it: it is replayed, which appends its
//! record again, or discarded. The row then moves to the table `settled_letters`, which contains the
//! resolutions. So a record that is consumed once more does not become a dead letter again.

use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params};
use shop_core::log::{
    DeadLetter, DeadLetterFilter, LogRecord, Partition, Reason, ReasonKind, RecordId,
    RecordPosition, RecordType, Resolution,
};
use shop_core::{Result, Timestamp};

use super::log::EmbeddedLogInner;
use super::position::signed;
use super::{publish, rows};

/// The columns of a dead letter, in the order in which [`read_dead_letter`] reads them.
pub(super) const COLUMNS: &str = "topic, partition, offset, time, key, headers, value, checksum, reason, detail, attempts, version";

/// The SQL condition that identifies one dead letter.
///
/// The parameters are the topic, the partition, the offset, and the time of the record, or the
/// headers if it is a gap. The offset alone does not suffice, because the same offset may be lost
/// in several gaps.
const IDENTITY: &str = "topic = ?1 AND partition = ?2 AND offset = ?3
    AND CASE reason WHEN 'gap' THEN headers ELSE time END = ?4";

/// Stores `dead_letters` in the file of `log`. Dead letters that are stored already are skipped.
pub(super) async fn put(log: &EmbeddedLogInner, dead_letters: &[DeadLetter]) -> Result<()> {
    let dead_letters = dead_letters.to_vec();
    log.writer
        .write(move |connection| {
            dead_letters
                .iter()
                .try_for_each(|dead_letter| insert_if_new(connection, dead_letter))
        })
        .await
}

/// Returns whether `log` contains a dead letter about `record` of `partition`, pending or resolved.
pub(super) async fn contains(
    log: &EmbeddedLogInner,
    record: &LogRecord,
    partition: &Partition,
) -> Result<bool> {
    let record_id = RecordId::new(record, partition);
    let partition = partition.clone();
    let offset = record.offset;
    let time = record.time.as_millis();
    // A record whose dead letter was replayed or discarded counts too, so that the record is not
    // dead-lettered again.
    log.readers
        .read(move |connection| {
            let sql = format!("SELECT 1 FROM dead_letters WHERE {IDENTITY}");
            let is_pending = connection.prepare_cached(&sql)?.exists(params![
                &*partition.topic,
                partition.index,
                signed(offset),
                time
            ])?;
            Ok(is_pending || is_resolved(connection, offset, record_id)?)
        })
        .await
}

/// Inserts `dead_letter`, unless it is pending already, or its record is resolved.
fn insert_if_new(connection: &Connection, dead_letter: &DeadLetter) -> rusqlite::Result<()> {
    let DeadLetter {
        record,
        partition,
        reason,
        attempts,
        version,
        ..
    } = dead_letter;
    // A gap is stored even if an earlier gap at its offset is resolved, because the same offsets
    // may be lost again.
    if reason.kind() != ReasonKind::Gap
        && is_resolved(connection, record.offset, dead_letter.record_id())?
    {
        return Ok(());
    }

    let values = "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12";
    let sql =
        format!("INSERT INTO dead_letters ({COLUMNS}) VALUES ({values}) ON CONFLICT DO NOTHING");
    let [.., checksum] = rows::record_columns(record);
    connection.prepare_cached(&sql)?.execute(params![
        &*partition.topic,
        partition.index,
        signed(record.offset),
        record.time.as_millis(),
        record.key.as_deref(),
        &record.headers.as_bytes()[..],
        record.value.as_deref(),
        checksum.as_i64()?,
        reason.kind().as_str(),
        reason.detail(),
        attempts,
        version,
    ])?;
    Ok(())
}

/// Reads the dead letters that `filter` selects, at the first `limit` positions in the order of
/// topic, partition and offset.
///
/// Several dead letters may share a position. They are all in one page, so that the next page can
/// continue after the last position.
pub(super) fn read_page(
    connection: &Connection,
    cluster: &Arc<str>,
    filter: &DeadLetterFilter,
    limit: usize,
) -> rusqlite::Result<Vec<DeadLetter>> {
    // Each range includes both its positions. The greatest character sorts after every topic.
    // If the filter names no positions, the page reads from `filter.after` on, and the filter leaves
    // out `filter.after` itself.
    let before_all = RecordPosition::new("", 0, 0);
    let behind_all = RecordPosition::new("\u{10ffff}", 0, 0);
    let ranges = if filter.positions.is_empty() {
        vec![(filter.after.as_ref().unwrap_or(&before_all), &behind_all)]
    } else {
        filter
            .positions
            .iter()
            .map(|position| (position, position))
            .collect()
    };

    let sql = format!(
        "SELECT {COLUMNS} FROM dead_letters INDEXED BY by_record WHERE (topic, partition, offset) >= (?1, ?2, ?3)
         AND (topic, partition, offset) <= (?4, ?5, ?6) ORDER BY topic, partition, offset"
    );
    let mut statement = connection.prepare_cached(&sql)?;

    let mut page = Vec::new();
    let mut last_position = None;
    let mut position_count = 0;
    for (from, to) in ranges {
        let range = params![
            &*from.topic,
            from.partition,
            signed(from.offset),
            &*to.topic,
            to.partition,
            signed(to.offset)
        ];
        for dead_letter in statement.query_map(range, |row| read_dead_letter(row, cluster))? {
            let dead_letter = dead_letter?;
            if filter.selects(&dead_letter) {
                let position = Some(dead_letter.position());
                // Further dead letters at the same position do not count towards the limit.
                position_count += usize::from(position != last_position);
                if position_count > limit {
                    return Ok(page);
                }
                last_position = position;
                page.push(dead_letter);
            }
        }
    }
    Ok(page)
}

/// Resolves one dead letter: removes it from the pending dead letters, and stores the resolution.
///
/// The resolution `Replayed` also appends the record to the log, with the timestamp `now`, in the
/// same transaction. Returns `false`, and changes nothing, if the dead letter was not pending.
pub(super) fn resolve(
    connection: &Connection,
    dead_letter: &DeadLetter,
    record_type: RecordType,
    resolution: Resolution,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let topic = &*dead_letter.partition.topic;
    let partition = dead_letter.partition.index;
    let offset = signed(dead_letter.record.offset);
    // The last value of `IDENTITY`: the headers of a gap, or the time of another record.
    let identity: Value = match dead_letter.reason.kind() {
        ReasonKind::Gap => dead_letter.record.headers.as_bytes().to_vec().into(),
        _ => dead_letter.record.time.as_millis().into(),
    };
    let sql = format!("DELETE FROM dead_letters WHERE {IDENTITY}");
    let deleted_count = connection
        .prepare_cached(&sql)?
        .execute(params![topic, partition, offset, identity])?;
    if deleted_count == 0 {
        return Ok(false);
    }

    let sql = "INSERT OR REPLACE INTO settled_letters (topic, partition, offset, place, purchase, settlement)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let row = params![
        topic,
        partition,
        offset,
        dead_letter.record_id().to_string(),
        dead_letter.id(record_type),
        resolution.as_str()
    ];
    connection.prepare_cached(sql)?.execute(row)?;

    // The record is consumed again from the end of the log, with a new offset and time.
    if resolution == Resolution::Replayed {
        let mut record = dead_letter.replay_record(record_type);
        record.time = now;
        publish::append(connection, &[&record])?;
    }
    Ok(true)
}

/// Returns whether the dead letter of a record is resolved.
fn is_resolved(
    connection: &Connection,
    offset: u64,
    record_id: RecordId,
) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM settled_letters WHERE offset = ?1 AND place = ?2";
    connection
        .prepare_cached(sql)?
        .exists(params![signed(offset), record_id.to_string()])
}

/// Reads a dead letter from a row of [`COLUMNS`].
///
/// A damaged record is returned without its content, see [`rows::read_record`]. An unknown kind of
/// reason, such as one of a newer version, is read as `Refused`.
pub(super) fn read_dead_letter(row: &Row<'_>, cluster: &Arc<str>) -> rusqlite::Result<DeadLetter> {
    const FIRST_RECORD_COLUMN: usize = 2;
    let topic: String = row.get("topic")?;
    // The epoch in which the record was read is not stored.
    let no_epoch = 0;
    let partition = Partition::new(
        Arc::clone(cluster),
        topic.into(),
        row.get("partition")?,
        no_epoch,
    );
    let record = rows::read_record(row, FIRST_RECORD_COLUMN)?;
    let reason_kind = row
        .get::<_, String>("reason")?
        .parse()
        .unwrap_or(ReasonKind::Refused);
    let mut dead_letter = DeadLetter::new(
        record,
        partition,
        Reason::from_parts(reason_kind, row.get("detail")?),
        row.get("attempts")?,
    );
    dead_letter.version = row.get("version")?;
    Ok(dead_letter)
}
