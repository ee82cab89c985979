//! Resolves dead letters: each is deleted together with what becomes of it, in one transaction.

use rusqlite::{Connection, params};
use shop_core::Timestamp;
use shop_core::log::{DeadLetter, RecordType, Resolution};

use super::position::signed;
use super::sink;

/// Resolves those of `letters` that are pending; returns how many. What is replayed is appended with the time `now`.
pub(super) fn resolve_all(
    connection: &Connection,
    letters: &[DeadLetter],
    of: RecordType,
    resolution: Resolution,
    now: Timestamp,
) -> rusqlite::Result<u64> {
    let mut count = 0;
    for letter in letters {
        if !resolve(connection, letter, of, resolution)? {
            continue;
        }
        if resolution == Resolution::Replayed {
            sink::insert(connection, &letter.replay_record(of), now)?;
        }
        count += 1;
    }
    Ok(count)
}

/// Whether the letter was pending until now.
fn resolve(
    connection: &Connection,
    letter: &DeadLetter,
    of: RecordType,
    resolution: Resolution,
) -> rusqlite::Result<bool> {
    let (topic, partition) = (&*letter.partition.topic, letter.partition.index);
    let offset = signed(letter.record.offset);
    let sql = "DELETE FROM dead_letters WHERE topic = ?1 AND partition = ?2 AND offset = ?3";
    if connection.prepare_cached(sql)?.execute(params![topic, partition, offset])? == 0 {
        return Ok(false);
    }
    let sql = "INSERT OR REPLACE INTO settled_letters (topic, partition, offset, place, purchase, settlement)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let row =
        params![topic, partition, offset, letter.record_id().to_string(), letter.id(of), resolution.as_str()];
    connection.prepare_cached(sql)?.execute(row)?;
    Ok(true)
}
