//! Publishes purchases in the transactions of the writer.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use rusqlite::Connection;
use shop_core::log::{LogRecord, RecordPosition};
use shop_core::ports::{Durability, InsertOutcome, Receipt};
use shop_core::{Purchase, Result};
use tokio::sync::OwnedSemaphorePermit;

use super::{position, rows};
use crate::embedded::bulk::BulkInsert;
use crate::embedded::store::{self, BuyerCache};
use crate::embedded::writer::{WriteJob, WriteTask};

/// A purchase that is appended, and stored if there is a group.
pub(in crate::embedded) struct PublishWork {
    pub(super) purchase: Purchase,
    pub(super) record: LogRecord,
    pub(super) topic: Arc<str>,
    /// The group whose position passes the records of stored purchases.
    pub(super) group: Option<Arc<str>>,
    /// Of a batch: its place in the queue.
    pub(super) _room: Option<OwnedSemaphorePermit>,
}

/// A publish with its receipt, or why the store does not accept the purchase.
pub(in crate::embedded) type PublishJob = WriteTask<PublishWork, Result<Receipt>>;

impl WriteJob for PublishJob {
    fn apply(&mut self, connection: &Connection, buyers: &mut BuyerCache) -> rusqlite::Result<()> {
        publish_jobs(connection, buyers, vec![self])
    }

    fn complete(self: Box<Self>, outcome: Result<()>) {
        self.reply(outcome);
    }

    fn publish(&mut self) -> Option<&mut Self> {
        Some(self)
    }
}

/// How many purchases of a [`PublishBatch`] are applied before the writer looks whether another write waits.
const PART: usize = 16;

/// Many purchases of one caller. One transaction has as many of them as can be applied before another write waits: a
/// large transaction writes each page once for all of its purchases.
pub(in crate::embedded) struct PublishBatch {
    pub(super) purchases: Vec<PublishWork>,
    /// Those of the first purchases, which are applied.
    pub(super) receipts: Vec<Result<Receipt>>,
}

/// A [`PublishBatch`] with the receipts of the first purchases, which are committed, and the other purchases.
pub(super) type PublishBatchJob = WriteTask<PublishBatch, (Vec<Result<Receipt>>, Vec<PublishWork>)>;

impl WriteJob for PublishBatchJob {
    fn apply(&mut self, connection: &Connection, buyers: &mut BuyerCache) -> rusqlite::Result<()> {
        // What was applied before was rolled back.
        self.work.receipts.clear();
        self.apply_more(connection, buyers)
    }

    fn has_more(&self) -> bool {
        self.work.receipts.len() < self.work.purchases.len()
    }

    fn apply_more(
        &mut self,
        connection: &Connection,
        buyers: &mut BuyerCache,
    ) -> rusqlite::Result<()> {
        let PublishBatch {
            purchases,
            receipts,
        } = &mut self.work;
        let part: Vec<&PublishWork> = purchases[receipts.len()..].iter().take(PART).collect();
        receipts.extend(publish(connection, buyers, &part)?);
        Ok(())
    }

    fn complete(mut self: Box<Self>, outcome: Result<()>) {
        let rest = self.work.purchases.split_off(self.work.receipts.len());
        self.result = Some((std::mem::take(&mut self.work.receipts), rest));
        self.reply(outcome);
    }
}

/// Applies `jobs` within the caller's transaction.
pub(in crate::embedded) fn publish_jobs(
    connection: &Connection,
    buyers: &mut BuyerCache,
    jobs: Vec<&mut PublishJob>,
) -> rusqlite::Result<()> {
    let publishes: Vec<&PublishWork> = jobs.iter().map(|job| &job.work).collect();
    let receipts = publish(connection, buyers, &publishes)?;
    for (job, receipt) in jobs.into_iter().zip(receipts) {
        job.result = Some(receipt);
    }
    Ok(())
}

/// Appends purchases, and stores those that have a group, within the caller's transaction. Returns one receipt for each.
fn publish(
    connection: &Connection,
    buyers: &mut BuyerCache,
    publishes: &[&PublishWork],
) -> rusqlite::Result<Vec<Result<Receipt>>> {
    let mut receipts = Vec::with_capacity(publishes.len());
    for publishes in publishes.chunk_by(|one, next| one.group == next.group) {
        let purchases: Vec<&Purchase> = publishes.iter().map(|publish| &publish.purchase).collect();
        let outcomes = match publishes[0].group {
            None => vec![InsertOutcome::Inserted; publishes.len()],
            Some(_) => store::insert(connection, buyers, &purchases)?,
        };
        // A refund that waits for its purchase is in the log, as each purchase that is stored.
        let is_new = |outcome: &InsertOutcome| {
            matches!(outcome, InsertOutcome::Inserted | InsertOutcome::Waiting)
        };
        let new = publishes
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| is_new(outcome));
        let records: Vec<&LogRecord> = new.map(|(publish, _)| &publish.record).collect();
        let mut offsets = append(connection, &records)?;
        if let Some(group) = &publishes[0].group
            && !offsets.is_empty()
        {
            position::pass(connection, group, &offsets)?;
        }
        for (publish, outcome) in publishes.iter().zip(outcomes) {
            let offset = is_new(&outcome).then(|| offsets.next()).flatten();
            let id = publish.purchase.id;
            let mut receipt = outcome.into_receipt(id, Durability::LocalDisk);
            if let Ok(receipt) = &mut receipt {
                receipt.position =
                    offset.map(|offset| RecordPosition::new(Arc::clone(&publish.topic), 0, offset));
                if receipt.is_duplicate {
                    receipt.first_purchase = store::by_id(connection, &id)?.map(Box::new);
                }
            }
            receipts.push(receipt);
        }
    }
    Ok(receipts)
}

static RECORDS: LazyLock<BulkInsert> =
    LazyLock::new(|| BulkInsert::new("records (time, key, headers, value, checksum)"));

/// Appends `records`. Returns their offsets, which are consecutive.
pub(super) fn append(
    connection: &Connection,
    records: &[&LogRecord],
) -> rusqlite::Result<Range<u64>> {
    RECORDS.insert(connection, records, |record| rows::columns(record))?;
    // Rowids start at 1.
    let end = connection.last_insert_rowid().unsigned_abs() + 1;
    Ok(end.saturating_sub(records.len() as u64)..end)
}
