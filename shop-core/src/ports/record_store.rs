//! The port that applies the records of a topic.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::log::Reason;
use crate::record::Record;
use crate::{Error, Result};

/// Applies the records of a topic: to a [`PurchaseStore`](super::PurchaseStore), or to the projection that one service
/// has of another's events.
///
/// Every call completes within a time that the implementation bounds.
///
/// A projection of your own records:
///
/// ```
/// use std::collections::BTreeSet;
/// use std::sync::{Arc, Mutex, PoisonError};
///
/// use shop_core::async_trait;
/// use shop_core::ingest::{Ingest, IngestOptions};
/// # use shop_core::log::{LogRecord, Partition};
/// use shop_core::memory::InMemoryLog;
/// use shop_core::ports::{InsertOutcome, RecordStore};
/// # use shop_core::record::{DecodeError, Record};
/// # use shop_core::{Result, Timestamp};
///
/// # #[derive(Debug, Clone)]
/// # struct Refund {
/// #     order: String,
/// # }
/// # impl Record for Refund {
/// #     fn decode(record: &LogRecord, _: &Partition) -> Result<Self, DecodeError> {
/// #         let value = record.value.as_deref().ok_or(DecodeError::Empty)?;
/// #         Ok(Self { order: String::from_utf8_lossy(value).into_owned() })
/// #     }
/// # }
/// /// The orders that were refunded.
/// #[derive(Debug, Default)]
/// struct Refunds(Mutex<BTreeSet<String>>);
///
/// #[async_trait]
/// impl RecordStore<Refund> for Refunds {
///     async fn apply(&self, batch: Arc<[Refund]>) -> Result<Vec<InsertOutcome>> {
///         let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
///         let outcome = |is_new| if is_new { InsertOutcome::Inserted } else { InsertOutcome::Duplicate };
///         Ok(batch.iter().map(|refund| outcome(orders.insert(refund.order.clone()))).collect())
///     }
///
///     async fn check(&self) -> Result<()> {
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # let log = InMemoryLog::default();
/// # log.append(LogRecord::new(0, Timestamp::MIN, Some("order-7".into())));
/// let refunds = Arc::new(Refunds::default());
/// let (source, dead_letters) = (Arc::new(log.source("refunds")), Arc::new(log.dead_letters()));
/// let ingest = Ingest::<Refund>::new(source, refunds.clone(), dead_letters, IngestOptions::default());
/// # let monitor = ingest.monitor();
/// # let shutdown = async move { drop(monitor.wait_for(|status| status.counters.inserted == 1).await) };
/// ingest.run(shutdown).await?;
/// # assert!(refunds.0.lock().unwrap().contains("order-7"));
/// # Ok(())
/// # }
/// ```
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - `apply` returns one outcome per record, in the order of the batch (`record_store::outcomes_match_their_batch`).
/// - Applying a record again is a duplicate that changes nothing, in another batch
///   (`record_store::a_record_is_applied_once`) or in the same one (`record_store::a_batch_may_repeat_itself`).
/// - Of concurrent calls with the same records, one applies each record (`record_store::racing_batches_apply_once`).
/// - A record that contradicts an earlier one with the same id is a conflict and changes nothing. The other records of
///   the batch are applied (`record_store::a_conflict_does_not_block_the_batch`).
/// - An empty batch has no outcomes (`record_store::an_empty_batch_is_fine`).
/// - Dropping the future of `apply` leaves the store consistent: each record is applied or not
///   (`record_store::a_dropped_apply_may_be_repeated`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait RecordStore<R: Record>: Debug + Send + Sync + 'static {
    /// Applies each record that was not applied before. With an outcome, a record is durable: ingest then commits its
    /// position, and nothing delivers it again. That includes a duplicate of a concurrent call.
    ///
    /// # Errors
    /// When the outcome of every record is unknown, such as [`Unavailable`](crate::ErrorKind::Unavailable). If only
    /// some records fail, their outcome is [`Unknown`](InsertOutcome::Unknown).
    ///
    /// # Cancel safety
    /// Dropping the future may apply any part of the batch; applying it again is safe.
    async fn apply(&self, batch: Arc<[R]>) -> Result<Vec<InsertOutcome>>;

    /// Checks whether records can be applied now. Writes nothing.
    ///
    /// # Errors
    /// The reason why not.
    async fn check(&self) -> Result<()>;
}

/// The outcome of one record of a batch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum InsertOutcome {
    /// Stored now, durably.
    Inserted,
    /// Already stored with the same content.
    Duplicate,
    /// Its id is that of an [erased](super::PurchaseErase) purchase. It is not stored again.
    Erased,
    /// Its id is used by a record with different content.
    Conflict,
    /// The store can never accept it.
    Rejected(Reason),
    /// Unknown: retry.
    Unknown(Error),
}
