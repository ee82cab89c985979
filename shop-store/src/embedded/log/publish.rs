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
use crate::embedded::store::{self, Buyers};
use crate::embedded::writer::{Job, PendingWrite, Write};

/// A purchase that is appended, and stored if there is a group.
pub(in crate::embedded) struct Publish {
    pub(super) purchase: Purchase,
    pub(super) record: LogRecord,
    pub(super) topic: Arc<str>,
    /// The group whose position passes the records of stored purchases.
    pub(super) group: Option<Arc<str>>,
    /// Of a batch: its place in the queue.
    pub(super) _room: Option<OwnedSemaphorePermit>,
}

/// A publish with its receipt, or why the store does not accept the purchase.
pub(in crate::embedded) type PublishJob = Write<Publish, Result<Receipt>>;
pub(super) type PendingReceipt = PendingWrite<Result<Receipt>>;

impl Job for PublishJob {
    fn apply(&mut self, connection: &Connection, buyers: &mut Buyers) -> rusqlite::Result<()> {
        publish(connection, buyers, [self])
    }

    fn complete(self: Box<Self>, outcome: Result<()>) {
        self.reply(outcome);
    }

    fn publish(&mut self) -> Option<&mut Self> {
        Some(self)
    }
}

/// Applies `jobs` within the caller's transaction.
pub(in crate::embedded) fn publish<'a>(
    connection: &Connection,
    buyers: &mut Buyers,
    jobs: impl IntoIterator<Item = &'a mut PublishJob>,
) -> rusqlite::Result<()> {
    let mut jobs: Vec<_> = jobs.into_iter().collect();
    for jobs in jobs.chunk_by_mut(|one, next| one.work.group == next.work.group) {
        let purchases: Vec<_> = jobs.iter().map(|job| &job.work.purchase).collect();
        let outcomes = match jobs[0].work.group {
            None => vec![InsertOutcome::Inserted; jobs.len()],
            Some(_) => store::insert(connection, buyers, &purchases)?,
        };
        // A refund that waits for its purchase is in the log, as each purchase that is stored.
        let is_new = |outcome: &InsertOutcome| {
            matches!(outcome, InsertOutcome::Inserted | InsertOutcome::Waiting)
        };
        let new = jobs
            .iter()
            .zip(&outcomes)
            .filter(|(_, outcome)| is_new(outcome));
        let mut offsets = append(
            connection,
            &new.map(|(job, _)| &job.work.record).collect::<Vec<_>>(),
        )?;
        if let Some(group) = &jobs[0].work.group
            && !offsets.is_empty()
        {
            position::pass(connection, group, &offsets)?;
        }
        for (job, outcome) in jobs.iter_mut().zip(outcomes) {
            let Publish {
                purchase, topic, ..
            } = &job.work;
            let offset = is_new(&outcome).then(|| offsets.next()).flatten();
            let mut receipt = outcome.into_receipt(purchase.id, Durability::LocalDisk);
            if let Ok(receipt) = &mut receipt {
                receipt.position =
                    offset.map(|offset| RecordPosition::new(Arc::clone(topic), 0, offset));
                if receipt.is_duplicate {
                    receipt.first = store::by_id(connection, &purchase.id)?.map(Box::new);
                }
            }
            job.result = Some(receipt);
        }
    }
    Ok(())
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
