//! The way into the store.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use super::{InsertOutcome, RecordStore};
use crate::{Error, ErrorKind, Purchase, Result};

/// Where purchases are kept to be listed: the [`RecordStore`] of them, with these promises.
///
/// Implement [`RecordStore<Purchase>`](RecordStore) and a store has this port. `insert` is `apply`, under the name that
/// callers know.
///
/// # Behavior
/// Each line names the function of the conformance kit that holds an implementation to it.
///
/// - `insert` answers with one outcome for each purchase, in the order of the batch
///   (`store::outcomes_match_their_batch`).
/// - A purchase with a new id is stored (`store::a_new_purchase_is_stored`), as it was given
///   (`store::purchases_are_kept_as_given`).
/// - The same id with the same content is a duplicate: the first document and its time stay
///   (`store::a_duplicate_changes_nothing`).
/// - The same id with other content is a conflict: the first document stays
///   (`store::a_conflict_changes_nothing`).
/// - Both rules hold within one batch too (`store::a_batch_may_repeat_itself`), and between calls that run at
///   the same time (`store::racing_inserts_store_once`).
/// - A batch is not all or nothing: a conflict does not keep the others out
///   (`store::a_conflict_does_not_keep_others_out`).
/// - An empty batch is answered with no outcomes (`store::an_empty_batch_is_fine`).
/// - Dropping the future of `insert` leaves the store whole: each purchase is stored or not
///   (`store::a_dropped_insert_leaves_the_store_whole`).
#[async_trait]
pub trait PurchaseStore: RecordStore<Purchase> {
    /// Stores each purchase unless its id is there already.
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
    /// As [`insert`](Self::insert); an unknown outcome is an error here.
    async fn insert_one(&self, purchase: Purchase) -> Result<InsertOutcome> {
        match self.insert(Arc::new([purchase])).await?.pop() {
            Some(InsertOutcome::Unknown(error)) => Err(error),
            Some(outcome) => Ok(outcome),
            None => Err(Error::new(ErrorKind::Internal, "the store gave no outcome for a purchase")),
        }
    }
}

impl<S: RecordStore<Purchase>> PurchaseStore for S {}

/// A store with the calls that a test expects.
#[cfg(feature = "mock")]
pub type MockPurchaseStore = super::MockRecordStore<Purchase>;
