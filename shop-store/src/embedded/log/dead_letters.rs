//! Dead letters, in a table of the log's file.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::{Connection, Row, params};
use shop_core::log::{DeadLetter, DeadLetters, Headers, LogRecord, Partition, Reason, ReasonKind};
use shop_core::{Result, Timestamp};

use super::log::Shared;
use super::position::{signed, unsigned};

/// Stores the dead letters of an [`EmbeddedLog`](super::EmbeddedLog). A repeated `put` stores no duplicate.
#[derive(Debug, Clone)]
pub struct EmbeddedDeadLetters {
    pub(super) log: Arc<Shared>,
}

/// The columns of a dead letter.
pub(super) const COLUMNS: &str =
    "topic, partition, offset, time, key, headers, value, reason, detail, attempts, version";

#[async_trait]
impl DeadLetters for EmbeddedDeadLetters {
    async fn put(&self, dead_letters: &[DeadLetter]) -> Result<()> {
        let dead_letters = dead_letters.to_vec();
        self.log
            .file
            .write(move |connection| {
                dead_letters.iter().try_for_each(|dead_letter| insert(connection, dead_letter))
            })
            .await
    }

    async fn contains(&self, record: &LogRecord, partition: &Partition) -> Result<bool> {
        let (topic, index) = (Arc::clone(&partition.topic), partition.index);
        let offset = signed(record.offset);
        let find = move |connection: &Connection| {
            let sql = "SELECT EXISTS (SELECT 1 FROM dead_letters WHERE topic = ?1 AND partition = ?2 AND offset = ?3)
                       OR EXISTS (SELECT 1 FROM settled_letters WHERE topic = ?1 AND partition = ?2 AND offset = ?3)";
            connection.prepare_cached(sql)?.query_row(params![&*topic, index, offset], |row| row.get(0))
        };
        self.log.file.read(find).await
    }

    async fn check(&self) -> Result<()> {
        self.log.file.check().await
    }
}

fn insert(connection: &Connection, dead_letter: &DeadLetter) -> rusqlite::Result<()> {
    let mut offset = signed(dead_letter.record.offset);
    // The last record of a gap may be a dead letter already. The gap is then stored at the offset before it.
    while !insert_at(connection, offset, dead_letter)?
        && dead_letter.reason.kind() == ReasonKind::Gap
        && reason_at(connection, offset, dead_letter)? != ReasonKind::Gap.as_str()
    {
        offset -= 1;
    }
    Ok(())
}

/// Returns the reason of the dead letter at `offset` in the partition of `dead_letter`.
fn reason_at(connection: &Connection, offset: i64, dead_letter: &DeadLetter) -> rusqlite::Result<String> {
    let sql = "SELECT reason FROM dead_letters WHERE topic = ?1 AND partition = ?2 AND offset = ?3";
    let Partition { topic, index, .. } = &dead_letter.partition;
    connection.prepare_cached(sql)?.query_row(params![&**topic, index, offset], |row| row.get(0))
}

/// Inserts `dead_letter` with `offset`. Returns false if there is one at this offset.
fn insert_at(connection: &Connection, offset: i64, dead_letter: &DeadLetter) -> rusqlite::Result<bool> {
    let values = "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11";
    let sql = format!("INSERT INTO dead_letters ({COLUMNS}) VALUES ({values}) ON CONFLICT DO NOTHING");
    let DeadLetter { record, partition, reason, attempts, version, .. } = dead_letter;
    let inserted = connection.prepare_cached(&sql)?.execute(params![
        &*partition.topic,
        partition.index,
        offset,
        record.time.as_millis(),
        record.key.as_deref(),
        &record.headers.as_bytes()[..],
        record.value.as_deref(),
        reason.kind().as_str(),
        reason.detail(),
        attempts,
        version,
    ])?;
    Ok(inserted == 1)
}

pub(super) fn from_row(row: &Row<'_>, cluster: &Arc<str>) -> rusqlite::Result<DeadLetter> {
    let bytes = |column: usize| row.get::<_, Option<Vec<u8>>>(column).map(|bytes| bytes.map(Bytes::from));
    let topic: String = row.get(0)?;
    let partition = Partition::new(Arc::clone(cluster), topic.into(), row.get(1)?, 0);
    let time = Timestamp::from_millis(row.get(3)?).unwrap_or(Timestamp::MIN);
    let headers = bytes(5)?.and_then(|bytes| Headers::from_bytes(bytes).ok()).unwrap_or_default();
    let record =
        LogRecord::new(unsigned(row.get(2)?), time, bytes(6)?).with_key(bytes(4)?).with_headers(headers);
    let kind = row.get::<_, String>(7)?.parse().unwrap_or(ReasonKind::Refused);
    let mut dead_letter =
        DeadLetter::new(record, partition, Reason::from_parts(kind, row.get(8)?), row.get(9)?);
    dead_letter.version = row.get(10)?;
    Ok(dead_letter)
}
