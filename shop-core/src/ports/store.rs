//! The ports that write into a store, and delete from it; and a store as a sink, without a log in between.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use super::{Durability, PurchaseSink, Receipt, WaitingRefunds};
use crate::log::Reason;
use crate::record::Record;
use crate::{Error, ErrorKind, Purchase, PurchaseId, Result, Timestamp, UserId};

/// The maximum number of purchases that a [`StoreSink`] inserts at once: others insert between the batches.
const MAX_BATCH: usize = 1_000;

/// Applies the records of a topic: to a [`PurchaseStore`], or to the projection that one service
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

    /// Returns the refunds that wait in this store, if it is a store of purchases that keeps them (default `None`).
    ///
    /// A store without them rejects a refund whose purchase is not stored, as [parked](Reason::parked): an operator
    /// replays it later.
    fn waiting_refunds(&self) -> Option<&dyn WaitingRefunds> {
        None
    }
}

#[cfg(feature = "mock")]
mockall::mock! {
    /// A mock of a store of records: `expect_apply` and `expect_check`. It has no waiting refunds.
    #[derive(Debug)]
    pub RecordStore<R: Record> {}

    #[async_trait]
    impl<R: Record> RecordStore<R> for RecordStore<R> {
        async fn apply(&self, batch: Arc<[R]>) -> Result<Vec<InsertOutcome>>;
        async fn check(&self) -> Result<()>;
    }
}

/// The outcome of one record of a batch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum InsertOutcome {
    /// Stored now, durably.
    Inserted,
    /// Already stored with the same content.
    Duplicate,
    /// Its id, or the id of the purchase that it refunds, is that of an [erased](super::PurchaseErase) purchase. It is not
    /// stored again.
    Erased,
    /// A refund that is kept durably among the [`WaitingRefunds`], until the store has its purchase.
    Waiting,
    /// Its id is used by a record with different content.
    Conflict,
    /// The store can never accept it.
    Rejected(Reason),
    /// Unknown: retry.
    Unknown(Error),
}

/// Stores purchases: a [`RecordStore`] of purchases with these guarantees.
///
/// Implemented for every [`RecordStore<Purchase>`](RecordStore); `insert` calls `apply`.
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - `insert` returns one outcome per purchase, in the order of the batch (`store::outcomes_match_their_batch`).
/// - A purchase with a new id is stored (`store::a_new_purchase_is_stored`), unchanged
///   (`store::stored_purchases_are_unchanged`), also for the next process that opens the store
///   (`store::a_reopened_store_has_its_purchases`).
/// - The same id with the same content is a duplicate: the first document and its time stay
///   (`store::a_duplicate_changes_nothing`).
/// - The same id with other content is a conflict: the first document stays
///   (`store::a_conflict_changes_nothing`).
/// - Members that this version does not know are stored (`store::details_of_a_later_version_are_kept`).
/// - This also applies within one batch (`store::a_batch_may_repeat_itself`) and to concurrent calls
///   (`store::racing_inserts_store_once`).
/// - A batch is not atomic: a conflict does not block the other purchases
///   (`store::a_conflict_does_not_block_the_batch`).
/// - A refund is stored if its purchase is, whole or in part, and once (`refund::a_purchase_is_refunded_once`). It is
///   stored as [`Purchase::as_refund_of`] returns it, with the user name, the currency and the reference of its purchase
///   (`refund::a_refund_takes_name_and_reference_from_its_purchase`). Sums are net, and it is no further purchase
///   (`refund::sums_are_net`).
/// - A refund above the price, of another user, under another id or of a refund is rejected
///   (`refund::what_is_no_refund_is_refused`). One whose purchase is not stored [waits](WaitingRefunds).
/// - A purchase without a currency is the same as one in any currency (`currency::an_absent_currency_is_no_conflict`).
/// - A refund is erased with its user's purchases (`refund::a_refund_is_erased_with_its_purchase`).
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
            None => Err(Error::new(
                ErrorKind::Internal,
                "the store returned no outcome for a purchase",
            )),
        }
    }
}

impl<S: RecordStore<Purchase>> PurchaseStore for S {}

/// A mock of a store.
#[cfg(feature = "mock")]
pub type MockPurchaseStore = super::MockRecordStore<Purchase>;

/// Erases the purchases of a user, and deletes those that are older than the retention.
///
/// An erased purchase leaves a mark with its id, so that it is not stored again when a log delivers it again. Calls are
/// bounded: a caller repeats them until they return 0.
///
/// ```
/// use shop_core::UserId;
/// use shop_core::ports::PurchaseErase;
///
/// /// Erases all purchases of a user. Interrupted, it can be run again.
/// async fn erase_all(store: &dyn PurchaseErase, user: &UserId) -> shop_core::Result<u64> {
///     let mut erased = 0;
///     loop {
///         match store.erase(user, 1_000).await? {
///             0 => return Ok(erased),
///             batch => erased += batch,
///         }
///     }
/// }
/// ```
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - `erase` deletes purchases of the user only, with their refunds, at most `limit`, and returns their number
///   (`erase::purchases_of_the_user_are_erased`). Listings, summaries and scans no longer include them
///   (`erase::erased_purchases_are_not_listed`).
/// - Erasing again changes nothing (`erase::erasing_again_changes_nothing`).
/// - An erased purchase is not stored again: the outcome of its insert is `Erased`, whatever its content
///   (`erase::an_erased_purchase_does_not_come_back`). The user's later purchases are stored
///   (`erase::later_purchases_are_stored`).
/// - `mark_erased` marks ids that are not stored, so that they never are, and returns their number
///   (`erase::a_marked_purchase_is_never_stored`). It does not change stored purchases
///   (`erase::marking_does_not_change_stored_purchases`).
/// - `delete_before` deletes the oldest purchases before a time, at most `limit`, and returns the number of deleted entries
///   (`erase::the_oldest_purchases_are_deleted`). They leave no mark and may be stored again
///   (`erase::a_deleted_purchase_may_be_stored_again`). The refund of a deleted purchase is deleted with it, whatever its
///   own time is, so that no sum becomes negative (`refund::a_refund_is_deleted_with_its_purchase`).
/// - `count_before` counts the entries before a time, up to `limit` (`erase::old_purchases_are_counted`).
/// - `last_seen` is what `store_last_seen` has stored last, so that a [`run_retention`](crate::retention::run_retention) that
///   starts with a wrong clock deletes nothing (`erase::a_clock_that_jumps_deletes_nothing`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait PurchaseErase: Debug + Send + Sync + 'static {
    /// Erases at most `limit` purchases of `user`, durably, and marks their ids. Returns their number.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) and other transient errors. Some may have been erased; calling it
    /// again is safe.
    ///
    /// # Cancel safety
    /// Dropping the future may erase some of them or all.
    async fn erase(&self, user: &UserId, limit: usize) -> Result<u64>;

    /// Marks those of `ids` that are not stored as erased, durably. Returns the number of new marks.
    ///
    /// # Errors
    /// As [`erase`](Self::erase).
    ///
    /// # Cancel safety
    /// Dropping the future may mark some of them or all.
    async fn mark_erased(&self, ids: &[PurchaseId]) -> Result<u64>;

    /// Deletes at most `limit` purchases with a timestamp before `time`, the oldest first, and their refunds. Returns the
    /// number of deleted entries, of which refunds may exceed `limit`.
    ///
    /// # Errors
    /// As [`erase`](Self::erase).
    ///
    /// # Cancel safety
    /// Dropping the future may delete some of them or all.
    async fn delete_before(&self, time: Timestamp, limit: usize) -> Result<u64>;

    /// Returns the number of entries with a timestamp before `time`; it may stop at `limit`. Younger refunds, which are
    /// deleted with their purchases, are not counted.
    ///
    /// # Errors
    /// As [`erase`](Self::erase).
    async fn count_before(&self, time: Timestamp, limit: usize) -> Result<u64>;

    /// The time that was last stored, by any process; `None` if none was.
    ///
    /// # Errors
    /// As [`erase`](Self::erase).
    async fn last_seen(&self) -> Result<Option<Timestamp>>;

    /// Stores the time of a round of deletions, durably: see [`run_retention`](crate::retention::run_retention).
    ///
    /// # Errors
    /// As [`erase`](Self::erase).
    async fn store_last_seen(&self, time: Timestamp) -> Result<()>;
}

/// Writes purchases straight into a store. They are listed as soon as they are published, and conflicts are detected at
/// once.
///
/// ```
/// use std::sync::Arc;
///
/// use shop_core::memory::InMemoryStore;
/// use shop_core::ports::{Durability, StoreSink};
/// use shop_core::{NewPurchase, Shop};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> shop_core::Result<()> {
/// let store = InMemoryStore::new();
/// let shop = Shop::new(StoreSink::new(Arc::new(store.clone()), Durability::Memory), store.clone());
/// shop.buy(NewPurchase::for_user("u1").with_user_name("ada").with_price("29.99")?).await?;
/// assert_eq!(store.all().len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct StoreSink {
    store: Arc<dyn PurchaseStore>,
    durability: Durability,
    closed: Arc<AtomicBool>,
}

impl StoreSink {
    /// A sink over `store`, where a stored purchase has this durability.
    #[must_use]
    pub fn new(store: Arc<dyn PurchaseStore>, durability: Durability) -> Self {
        Self {
            store,
            durability,
            closed: Arc::default(),
        }
    }

    fn open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "the sink is closed"));
        }
        Ok(())
    }

    async fn insert_batch(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        let inserted = async {
            self.open()?;
            self.store.insert(purchases.into()).await
        };
        match inserted.await {
            Ok(outcomes) => {
                // A store of others may miscount.
                let missing = || {
                    InsertOutcome::Unknown(Error::new(ErrorKind::Internal, "an outcome is missing"))
                };
                let outcomes = outcomes.into_iter().chain(std::iter::repeat_with(missing));
                purchases
                    .iter()
                    .zip(outcomes)
                    .map(|(purchase, outcome)| outcome.into_receipt(purchase.id, self.durability))
                    .collect()
            }
            Err(error) => purchases.iter().map(|_| Err(error.clone())).collect(),
        }
    }
}

impl InsertOutcome {
    /// The receipt for the purchase `id` that was inserted with this outcome, where a stored purchase has this
    /// durability.
    ///
    /// # Errors
    /// [`Conflict`](ErrorKind::Conflict), [`Erased`](ErrorKind::Erased) or [`Invalid`](ErrorKind::Invalid) if it is not
    /// stored; the error of an unknown outcome.
    #[doc(hidden)]
    pub fn into_receipt(self, id: PurchaseId, durability: Durability) -> Result<Receipt> {
        let (kind, message) = match self {
            Self::Inserted | Self::Waiting => return Ok(Receipt::new(id, durability)),
            Self::Duplicate => {
                return Ok(Receipt {
                    is_duplicate: true,
                    ..Receipt::new(id, durability)
                });
            }
            Self::Unknown(error) => return Err(error),
            Self::Erased => return Err(super::idempotent::erased()),
            Self::Conflict => (
                ErrorKind::Conflict,
                "the id is taken by a purchase with other content".to_owned(),
            ),
            Self::Rejected(reason) => (ErrorKind::Invalid, reason.to_string()),
        };
        Err(Error::new(kind, message))
    }
}

#[async_trait]
impl PurchaseSink for StoreSink {
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        self.open()?;
        self.store
            .insert_one(purchase.clone())
            .await?
            .into_receipt(purchase.id, self.durability)
    }

    /// Inserts them in batches of up to 1,000, one after the other.
    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        let mut receipts = Vec::with_capacity(purchases.len());
        for batch in purchases.chunks(MAX_BATCH) {
            receipts.extend(self.insert_batch(batch).await);
        }
        receipts
    }

    fn is_storing(&self) -> bool {
        true
    }

    fn durability(&self) -> Durability {
        self.durability
    }

    async fn check(&self) -> Result<()> {
        self.open()?;
        self.store.check().await
    }

    async fn close(&self, _timeout: Duration) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}
