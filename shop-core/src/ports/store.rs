//! The way into the store.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::log::Reason;
use crate::{Error, Purchase, Result};

/// Where purchases are kept to be listed.
///
/// Every call ends by itself in a time that the implementation bounds.
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
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait PurchaseStore: Debug + Send + Sync + 'static {
    /// Stores each purchase unless its id is there already.
    ///
    /// # Errors
    /// When nothing can be said of any purchase of the batch, such as
    /// [`Unavailable`](crate::ErrorKind::Unavailable). Whatever went wrong with some of them only is an
    /// [`Unknown`](InsertOutcome::Unknown) among the outcomes.
    ///
    /// # Cancel safety
    /// Dropping the future may store any part of the batch; inserting it again is harmless.
    async fn insert(&self, batch: Arc<[Purchase]>) -> Result<Vec<InsertOutcome>>;

    /// Whether an insert has a chance now. Writes nothing.
    ///
    /// # Errors
    /// Why not.
    async fn check(&self) -> Result<()>;
}

/// What became of one purchase of a batch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum InsertOutcome {
    /// It is stored now, durably.
    Inserted,
    /// It was stored already, with the same content.
    Duplicate,
    /// Its id was taken already by a purchase with other content.
    Conflict,
    /// The store can never hold it.
    Rejected(Reason),
    /// Nobody knows: insert it again.
    Unknown(Error),
}
