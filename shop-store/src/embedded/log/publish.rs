//! Write jobs that publish purchases: they append the records to the log, and store the purchases
//! if the sink is a storing one.
//!
//! | job | content | committed |
//! |---|---|---|
//! | [`PublishJob`] | one purchase | in a group with other writes of the queue |
//! | [`PublishBatchJob`] | many purchases of one caller | in parts, each until another write waits |
//!
//! The writer may apply a job more than once, each time after a rollback.

use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use rusqlite::Connection;
use shop_core::log::{LogRecord, RecordPosition};
use shop_core::ports::{Durability, InsertOutcome, Receipt};
use shop_core::{Purchase, Result};
use tokio::sync::OwnedSemaphorePermit;

use super::{position, rows};
use crate::embedded::engine::bulk::BulkInsert;
use crate::embedded::engine::job::{JobCache, WriteJob, WriteTask};
use crate::embedded::store::{self, BuyerCache};

/// A purchase to publish: it is appended to the log, and is also stored if `group` is set.
pub(crate) struct PublishWork {
    pub(super) purchase: Purchase,
    pub(super) record: LogRecord,
    pub(super) topic: Arc<str>,
    /// The group whose position passes the record, because the purchase is stored in the same
    /// transaction. `None` if the purchase is not stored.
    pub(super) group: Option<Arc<str>>,
    /// The permit for a place in the queue, if the purchase is one of a batch. It is released with
    /// this work.
    pub(super) _queue_permit: Option<OwnedSemaphorePermit>,
}

/// The write job of one purchase. Its result is the receipt, or the error for which the store does
/// not accept the purchase.
pub(crate) type PublishJob = WriteTask<PublishWork, Result<Receipt>>;

impl WriteJob for PublishJob {
    fn apply(&mut self, connection: &Connection, cache: &mut JobCache) -> rusqlite::Result<()> {
        let no_following_jobs = &mut [];
        self.apply_with_following(no_following_jobs, connection, cache)
            .map(drop)
    }

    /// Publishes the purchase of this job, and of the [`PublishJob`]s at the beginning of
    /// `following_jobs`, and stores the receipt in each of these jobs. Returns the number of
    /// `following_jobs` that were applied.
    ///
    /// One statement inserts the rows of several purchases, which is faster than a statement for
    /// each.
    fn apply_with_following(
        &mut self,
        following_jobs: &mut [Box<dyn WriteJob>],
        connection: &Connection,
        cache: &mut JobCache,
    ) -> rusqlite::Result<usize> {
        let mut jobs = vec![self];
        // The first job of another type ends the run.
        jobs.extend(following_jobs.iter_mut().map_while(|job| {
            let any_job: &mut dyn Any = &mut **job;
            any_job.downcast_mut::<Self>()
        }));
        let publishes: Vec<&PublishWork> = jobs.iter().map(|job| &job.work).collect();
        let receipts = publish(connection, cache.get(), &publishes)?;

        let following_count = jobs.len() - 1;
        for (job, receipt) in jobs.into_iter().zip(receipts) {
            job.result = Some(receipt);
        }
        Ok(following_count)
    }

    fn complete(self: Box<Self>, outcome: Result<()>) {
        self.reply(outcome);
    }
}

/// The number of purchases of a [`PublishBatch`] that are applied before the writer checks whether
/// another write waits.
const PART_PURCHASES: usize = 16;

/// Many purchases of one caller, which are committed in few large transactions.
///
/// One transaction contains as many purchases as can be applied before another write waits. A large
/// transaction is cheaper, because it writes each page once for all of its purchases.
pub(crate) struct PublishBatch {
    pub(super) purchases: Vec<PublishWork>,
    /// The receipts of the first purchases, which are applied in the current transaction.
    pub(super) receipts: Vec<Result<Receipt>>,
}

/// The write job of a [`PublishBatch`]. Its result is the receipts of the first purchases, which
/// are committed, and the other purchases, which the caller publishes by a further job.
pub(super) type PublishBatchJob = WriteTask<PublishBatch, (Vec<Result<Receipt>>, Vec<PublishWork>)>;

impl WriteJob for PublishBatchJob {
    fn apply(&mut self, connection: &Connection, cache: &mut JobCache) -> rusqlite::Result<()> {
        // An earlier attempt was rolled back, so its receipts are void.
        self.work.receipts.clear();
        self.apply_next_part(connection, cache)
    }

    fn has_more(&self) -> bool {
        self.work.receipts.len() < self.work.purchases.len()
    }

    /// Publishes the next part of the batch: the first [`PART_PURCHASES`] purchases that have no
    /// receipt yet. Adds their receipts.
    fn apply_next_part(
        &mut self,
        connection: &Connection,
        cache: &mut JobCache,
    ) -> rusqlite::Result<()> {
        let PublishBatch {
            purchases,
            receipts,
        } = &mut self.work;
        let part: Vec<&PublishWork> = purchases[receipts.len()..]
            .iter()
            .take(PART_PURCHASES)
            .collect();
        receipts.extend(publish(connection, cache.get(), &part)?);
        Ok(())
    }

    fn complete(mut self: Box<Self>, outcome: Result<()>) {
        // The writer ends a transaction early if another write waits, so the last purchases may not
        // be applied.
        let uncommitted = self.work.purchases.split_off(self.work.receipts.len());
        self.result = Some((std::mem::take(&mut self.work.receipts), uncommitted));
        self.reply(outcome);
    }
}

/// Appends the records of purchases to the log, and stores the purchases that have a
/// [group](PublishWork::group), within the caller's transaction.
///
/// Returns one receipt for each purchase, in their order, or an error for a purchase that the store
/// does not accept. A purchase that is stored already with the same content is a duplicate: nothing
/// is appended, and its receipt contains the first purchase.
///
/// # Errors
/// Returns the errors of SQLite. The transaction must then be rolled back.
fn publish(
    connection: &Connection,
    buyers: &mut BuyerCache,
    publishes: &[&PublishWork],
) -> rusqlite::Result<Vec<Result<Receipt>>> {
    let mut receipts = Vec::with_capacity(publishes.len());
    // Sinks of different groups share the writer. Each run of purchases with one group is stored
    // together.
    for run in publishes.chunk_by(|publish, next| publish.group == next.group) {
        let purchases: Vec<&Purchase> = run.iter().map(|publish| &publish.purchase).collect();
        let outcomes = match run[0].group {
            // Nothing is stored here: ingest stores the purchases later.
            None => vec![InsertOutcome::Inserted; run.len()],
            Some(_) => store::insert_batch(connection, buyers, &purchases)?,
        };

        let records: Vec<&LogRecord> = run
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| is_accepted(outcome))
            .map(|(publish, _)| &publish.record)
            .collect();
        let mut offsets = append(connection, &records)?;

        if let Some(group) = &run[0].group
            && !offsets.is_empty()
        {
            position::advance_past(connection, group, &offsets)?;
        }

        for (publish, outcome) in run.iter().zip(outcomes) {
            let offset = if is_accepted(&outcome) {
                offsets.next()
            } else {
                None
            };

            let id = publish.purchase.id;
            let mut receipt = outcome.into_receipt(id, Durability::LocalDisk);
            if let Ok(receipt) = &mut receipt {
                receipt.position = offset.map(|offset| {
                    RecordPosition::new(Arc::clone(&publish.topic), rows::PARTITION, offset)
                });
                if receipt.is_duplicate {
                    receipt.first_purchase = store::find_by_id(connection, &id)?.map(Box::new);
                }
            }
            receipts.push(receipt);
        }
    }
    Ok(receipts)
}

/// Checks whether the record of a purchase with this outcome is appended to the log: the purchase
/// is new, or it is a refund that waits for its purchase.
fn is_accepted(outcome: &InsertOutcome) -> bool {
    matches!(outcome, InsertOutcome::Inserted | InsertOutcome::Waiting)
}

/// The statements that insert records. [`rows::record_columns`] lists the values in the same order.
static INSERT_RECORDS: LazyLock<BulkInsert> =
    LazyLock::new(|| BulkInsert::new("records (time, key, headers, value, checksum)"));

/// Appends `records` to the log within the caller's transaction. Returns their offsets, which are
/// consecutive.
pub(super) fn append(
    connection: &Connection,
    records: &[&LogRecord],
) -> rusqlite::Result<Range<u64>> {
    INSERT_RECORDS.insert(connection, records, |record| rows::record_columns(record))?;
    // The rowid of a record is its offset. The caller holds the write transaction, so the offsets
    // have no gap, and the last inserted rowid ends the range.
    let end = connection.last_insert_rowid().unsigned_abs() + 1;
    Ok(end.saturating_sub(records.len() as u64)..end)
}
