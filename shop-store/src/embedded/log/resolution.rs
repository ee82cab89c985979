//! Resolves dead letters: deletes each one and stores its resolution, in one transaction.

use rusqlite::types::Value;
use rusqlite::{Connection, params};
use shop_core::Timestamp;
use shop_core::log::{DeadLetter, ReasonKind, RecordType, Resolution};

use super::dead_letters::IDENTITY;
use super::position::signed;
use super::sink;

/// Resolves the pending ones of `dead_letters`, and returns their number. Replayed records get the timestamp `now`.
pub(super) fn resolve_all(
    connection: &Connection,
    dead_letters: &[DeadLetter],
    record_type: RecordType,
    resolution: Resolution,
    now: Timestamp,
) -> rusqlite::Result<u64> {
    let mut count = 0;
    for dead_letter in dead_letters {
        if !resolve(connection, dead_letter, record_type, resolution)? {
            continue;
        }
        if resolution == Resolution::Replayed {
            sink::insert(connection, &dead_letter.replay_record(record_type), now)?;
        }
        count += 1;
    }
    Ok(count)
}

/// Resolves one dead letter. Returns false if it was not pending.
fn resolve(
    connection: &Connection,
    dead_letter: &DeadLetter,
    record_type: RecordType,
    resolution: Resolution,
) -> rusqlite::Result<bool> {
    let (topic, partition) = (&*dead_letter.partition.topic, dead_letter.partition.index);
    let offset = signed(dead_letter.record.offset);
    let identity: Value = match dead_letter.reason.kind() {
        ReasonKind::Gap => dead_letter.record.headers.as_bytes().to_vec().into(),
        _ => dead_letter.record.time.as_millis().into(),
    };
    let sql = format!("DELETE FROM dead_letters WHERE {IDENTITY}");
    if connection.prepare_cached(&sql)?.execute(params![topic, partition, offset, identity])? == 0 {
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
    Ok(true)
}
