//! Where the records of a topic take effect.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::log::Reason;
use crate::record::Record;
use crate::{Error, Result};

/// Where the records of a topic take effect: a [`PurchaseStore`](super::PurchaseStore), or what one service keeps of
/// another's events.
///
/// Every call ends by itself in a time that the implementation bounds.
///
/// # Behavior
/// Each line names the function of the conformance kit that holds an implementation to it.
///
/// - `apply` returns one outcome for each record, in the order of the batch
///   (`record_store::outcomes_match_their_batch`).
/// - Applying a record again is a duplicate that changes nothing, in another batch
///   (`record_store::a_record_is_applied_once`) and in the same one (`record_store::a_batch_may_repeat_itself`).
/// - Of calls that apply the same records at the same time, one applies each (`record_store::racing_batches_apply_once`).
/// - Where a record can contradict an earlier one with the same id, the later one is a conflict and changes nothing. It
///   does not keep the others out (`record_store::a_conflict_does_not_keep_others_out`).
/// - An empty batch has no outcomes (`record_store::an_empty_batch_is_fine`).
/// - Dropping the future of `apply` leaves the store whole: each record is applied or not
///   (`record_store::a_dropped_apply_may_be_repeated`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait RecordStore<R: Record>: Debug + Send + Sync + 'static {
    /// Lets each record take effect unless it has already.
    ///
    /// # Errors
    /// When nothing is known of any record of the batch, such as
    /// [`Unavailable`](crate::ErrorKind::Unavailable). What goes wrong with some of them only is an
    /// [`Unknown`](InsertOutcome::Unknown) among the outcomes.
    ///
    /// # Cancel safety
    /// Dropping the future may apply any part of the batch; applying it again is harmless.
    async fn apply(&self, batch: Arc<[R]>) -> Result<Vec<InsertOutcome>>;

    /// Whether an apply has a chance now. Writes nothing.
    ///
    /// # Errors
    /// Why not.
    async fn check(&self) -> Result<()>;
}

/// The outcome of one record of a batch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum InsertOutcome {
    /// It is stored now, durably.
    Inserted,
    /// It was stored already, with the same content.
    Duplicate,
    /// Its id was taken already by a record with other content.
    Conflict,
    /// The store can never hold it.
    Rejected(Reason),
    /// The outcome is unknown: insert it again.
    Unknown(Error),
}
