//! Where the records of a topic take effect.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::{InsertOutcome, PurchaseStore};
use crate::record::Record;
use crate::{Purchase, Result};

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
