//! Settles dead letters: each is gone together with what becomes of it, in one transaction.

use std::sync::Arc;

use rusqlite::{Connection, params};
use shop_core::Result;
use shop_core::log::{DeadLetter, Resolution};

use super::position::signed;
use super::{EmbeddedDeadLetters, sink};

impl EmbeddedDeadLetters {
    /// Publishes the records of `letters` again, and keeps these no longer; answers how many. Each keeps its
    /// purchase's id: see [`DeadLetter::to_replay`]. A letter that is not kept any more is passed over.
    ///
    /// All of it is one transaction: whatever happens, a letter is either kept or replayed.
    ///
    /// # Errors
    /// As [`PurchaseSink::publish`](shop_core::ports::PurchaseSink::publish); then none of them was replayed, unless
    /// the outcome is unknown. Replaying again is safe.
    ///
    /// # Cancel safety
    /// What was polled once is done, whoever waits for it.
    pub async fn replay(&self, letters: &[DeadLetter]) -> Result<u64> {
        let (clock, letters) = (Arc::clone(&self.log.options.clock), letters.to_vec());
        let replayed = move |connection: &Connection| {
            let mut count = 0;
            for letter in &letters {
                if settle(connection, letter, Resolution::Replayed)? {
                    sink::insert(connection, &letter.to_replay(), clock.now())?;
                    count += 1;
                }
            }
            Ok(count)
        };
        self.log.writer.write(replayed).await
    }

    /// Deletes `letters` with all their bytes; answers how many there were. That they were dropped is remembered as
    /// long as the log holds their records.
    ///
    /// # Errors
    /// [`Unavailable`](shop_core::ErrorKind::Unavailable) when the file cannot be written. Dropping again is safe.
    ///
    /// # Cancel safety
    /// What was polled once is done, whoever waits for it.
    pub async fn discard(&self, letters: &[DeadLetter]) -> Result<u64> {
        let letters = letters.to_vec();
        let discarded = move |connection: &Connection| {
            let mut count = 0;
            for letter in &letters {
                count += u64::from(settle(connection, letter, Resolution::Dropped)?);
            }
            Ok(count)
        };
        self.log.writer.write(discarded).await
    }
}

/// Whether the letter was kept until now.
fn settle(connection: &Connection, letter: &DeadLetter, settlement: Resolution) -> rusqlite::Result<bool> {
    let (topic, partition) = (&*letter.partition.topic, letter.partition.index);
    let offset = signed(letter.record.offset);
    let sql = "DELETE FROM dead_letters WHERE topic = ?1 AND partition = ?2 AND offset = ?3";
    if connection.prepare_cached(sql)?.execute(params![topic, partition, offset])? == 0 {
        return Ok(false);
    }
    let sql = "INSERT OR REPLACE INTO settled_letters (topic, partition, offset, place, purchase, settlement)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let (place, purchase) = (letter.place().to_string(), letter.purchase_id().map(|id| id.to_string()));
    let row = params![topic, partition, offset, place, purchase, settlement.as_str()];
    connection.prepare_cached(sql)?.execute(row)?;
    Ok(true)
}
