//! Typed records on both sides of a log: where they are appended, and where they are applied.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::{InsertOutcome, PurchaseStore};
use crate::record::{LogRecord, Record};
use crate::{Purchase, Result};

/// The writing end of a topic, for records that are encoded already.
///
/// # Behavior
/// Each line names the function of the conformance kit that holds an implementation to it.
///
/// - `append` answers `Ok` only when the record is durable, with its key, headers and value
///   (`log::foreign_records_are_delivered_as_they_stand`).
#[async_trait]
pub trait RecordSink: Debug + Send + Sync + 'static {
    /// Makes a record durable. The log sets its offset and time.
    ///
    /// # Errors
    /// As [`PurchaseSink::publish`](super::PurchaseSink::publish).
    ///
    /// # Cancel safety
    /// Dropping the future after its first poll does not take the record back.
    async fn append(&self, record: LogRecord) -> Result<()>;

    /// Whether an append has a chance now. Writes nothing.
    ///
    /// # Errors
    /// Why not.
    async fn check(&self) -> Result<()>;
}

/// Where the records of a topic take effect: a [`PurchaseStore`], or what one service keeps of another's events.
///
/// # Behavior
/// As [`PurchaseStore::insert`]: one outcome for each record, in the order of the batch, and applying a record again is
/// a [`Duplicate`](InsertOutcome::Duplicate) that changes nothing.
#[async_trait]
pub trait RecordStore<R: Record>: Debug + Send + Sync + 'static {
    /// Lets each record take effect unless it has already.
    ///
    /// # Errors
    /// As [`PurchaseStore::insert`].
    ///
    /// # Cancel safety
    /// Dropping the future may apply any part of the batch; applying it again is harmless.
    async fn apply(&self, batch: Arc<[R]>) -> Result<Vec<InsertOutcome>>;

    /// Whether an apply has a chance now. Writes nothing.
    ///
    /// # Errors
    /// Why not.
    async fn probe(&self) -> Result<()>;
}

#[async_trait]
impl<S: PurchaseStore + ?Sized> RecordStore<Purchase> for S {
    async fn apply(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>> {
        self.insert(batch).await
    }

    async fn probe(&self) -> Result<()> {
        PurchaseStore::check(self).await
    }
}
