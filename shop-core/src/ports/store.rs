//! The writing port of a store.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use super::{InsertOutcome, RecordStore};
use crate::{Error, ErrorKind, Purchase, Result};

/// Stores purchases: a [`RecordStore`] of purchases with these guarantees.
///
/// Implemented for every [`RecordStore<Purchase>`](RecordStore); `insert` calls `apply`.
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - `insert` returns one outcome per purchase, in the order of the batch (`store::outcomes_match_their_batch`).
/// - A purchase with a new id is stored (`store::a_new_purchase_is_stored`), unchanged
///   (`store::stored_purchases_are_unchanged`).
/// - The same id with the same content is a duplicate: the first document and its time stay
///   (`store::a_duplicate_changes_nothing`).
/// - The same id with other content is a conflict: the first document stays
///   (`store::a_conflict_changes_nothing`).
/// - This also applies within one batch (`store::a_batch_may_repeat_itself`) and to concurrent calls
///   (`store::racing_inserts_store_once`).
/// - A batch is not atomic: a conflict does not block the other purchases
///   (`store::a_conflict_does_not_block_the_batch`).
/// - An empty batch has no outcomes (`store::an_empty_batch_is_fine`).
/// - Dropping the future of `insert` leaves the store consistent: each purchase is stored or not
///   (`store::a_dropped_insert_leaves_the_store_consistent`).
#[async_trait]
pub trait PurchaseStore: RecordStore<Purchase> {
    /// Stores each purchase whose id is not stored yet.
    ///
    /// # Errors
    /// As [`RecordStore::apply`].
    ///
    /// # Cancel safety
    /// As [`RecordStore::apply`].
    fn insert(&self, batch: Arc<[Purchase]>) -> BoxFuture<'_, Result<Vec<InsertOutcome>>> {
        self.apply(batch)
    }

    /// Stores one purchase.
    ///
    /// # Errors
    /// As [`insert`](Self::insert). An unknown outcome is returned as an error.
    async fn insert_one(&self, purchase: Purchase) -> Result<InsertOutcome> {
        match self.insert(Arc::new([purchase])).await?.pop() {
            Some(InsertOutcome::Unknown(error)) => Err(error),
            Some(outcome) => Ok(outcome),
            None => Err(Error::new(ErrorKind::Internal, "the store returned no outcome for a purchase")),
        }
    }
}

impl<S: RecordStore<Purchase>> PurchaseStore for S {}

/// A mock of a store.
#[cfg(feature = "mock")]
pub type MockPurchaseStore = super::MockRecordStore<Purchase>;
