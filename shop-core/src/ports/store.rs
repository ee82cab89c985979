//! The ports that write into a store and delete from it, and a sink that writes into a store
//! directly.
//!
//! | Port | Called by | For |
//! |---|---|---|
//! | [`RecordStore`] | Ingest | Applying the records of a topic |
//! | [`PurchaseStore`] | Ingest and [`StoreSink`] | Inserting purchases: a record store of purchases |
//! | [`PurchaseErase`] | Erasure of a user, and retention | Deleting purchases |
//!
//! Usually a purchase reaches the store through a log. A [`StoreSink`] writes it into the store
//! without one.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

#[cfg(feature = "mock")]
use super::StoreInfo;
use super::{DescribeStore, Durability, PurchaseSink, Receipt, Removed, SinkInfo};
use crate::log::{LogFaults, Reason};
use crate::record::Record;
use crate::{Error, ErrorKind, Purchase, PurchaseId, Result, Timestamp, UserId};

/// The maximum number of purchases that a [`StoreSink`] inserts at once, so that other callers
/// insert between the batches.
const MAX_BATCH: usize = 1_000;

/// Applies the records of a topic to a store.
///
/// The store is a [`PurchaseStore`], or a projection: the view that one service keeps of the events
/// of another service.
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
/// use shop_core::ports::{DescribeStore, InsertOutcome, RecordStore, StoreInfo};
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
/// impl DescribeStore for Refunds {
///     fn info(&self) -> StoreInfo<'_> {
///         StoreInfo::default()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # let log = InMemoryLog::default();
/// # log.append(LogRecord::new(0, Timestamp::MIN, Some("order-7".into())));
/// let refunds = Arc::new(Refunds::default());
/// let source = Arc::new(log.source("refunds"));
/// let ingest = Ingest::<Refund>::new(source, refunds.clone(), Arc::new(log.clone()), IngestOptions::default());
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
/// - `apply` returns one outcome per record, in the order of the batch
///   (`record_store::outcomes_match_their_batch`).
/// - Applying a record again is a duplicate that changes nothing, in another batch or in the same one.
///   An empty batch yields no outcomes (`record_store::outcomes_match_their_batch`).
/// - Of concurrent calls with the same records, one applies each record
///   (`record_store::racing_batches_apply_once`).
/// - A record that contradicts an earlier one with the same id is a conflict and changes nothing.
///   The other records of the batch are applied
///   (`record_store::a_conflict_does_not_block_the_batch`).
/// - Dropping the future of `apply` leaves the store consistent: each record is applied or not
///   (`record_store::a_dropped_apply_may_be_repeated`).
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait RecordStore<R: Record>: DescribeStore {
    /// Applies each record of `batch` that was not applied before, and returns one outcome per
    /// record.
    ///
    /// A record with an outcome other than [`Unknown`](InsertOutcome::Unknown) must be durable. After
    /// such an outcome, ingest commits the position behind the record, and the log does not deliver
    /// the record again. So a duplicate of a record that a concurrent call applies must be durable,
    /// too.
    ///
    /// # Errors
    /// Returns an error, such as [`Unavailable`](crate::ErrorKind::Unavailable), if the outcome of
    /// every record is unknown. If only some records fail, their outcome is
    /// [`Unknown`](InsertOutcome::Unknown).
    ///
    /// # Cancel safety
    /// Dropping the future may apply any part of the batch. Applying the batch again is safe.
    async fn apply(&self, batch: Arc<[R]>) -> Result<Vec<InsertOutcome>>;

    /// Checks whether records can be applied now. Writes nothing.
    ///
    /// # Errors
    /// Returns the reason why no record can be applied.
    async fn check(&self) -> Result<()>;
}

#[cfg(feature = "mock")]
mockall::mock! {
    /// A mock of a store of records: `expect_apply` and `expect_check`. It does not support waiting
    /// refunds.
    #[derive(Debug)]
    pub RecordStore<R: Record> {}

    #[async_trait]
    impl<R: Record> RecordStore<R> for RecordStore<R> {
        async fn apply(&self, batch: Arc<[R]>) -> Result<Vec<InsertOutcome>>;
        async fn check(&self) -> Result<()>;
    }
}

#[cfg(feature = "mock")]
impl<R: Record> DescribeStore for MockRecordStore<R> {
    /// Returns the info of a store that can do nothing beyond its ports.
    fn info(&self) -> StoreInfo<'_> {
        StoreInfo::default()
    }
}

/// The outcome of applying one record of a batch to a store.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum InsertOutcome {
    /// The record was stored now, durably.
    Inserted,
    /// The record was stored before, with the same content.
    Duplicate,
    /// The record was not stored, because its id, or the id of the purchase that it refunds,
    /// belongs to an [erased](super::PurchaseErase) purchase.
    Erased,
    /// The record is a refund, which the store keeps durably among the [`WaitingRefunds`](super::WaitingRefunds) until its
    /// purchase arrives.
    Waiting,
    /// The record was not stored, because its id belongs to a record with other content.
    Conflict,
    /// The record was not stored, because the store can never accept it.
    Rejected(Reason),
    /// The outcome is unknown because of this error. The caller applies the record again.
    Unknown(Error),
}

/// Stores purchases: a [`RecordStore`] of purchases with the guarantees below.
///
/// Every [`RecordStore<Purchase>`](RecordStore) implements this trait, and `insert` calls `apply`.
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - A purchase with a new id is stored, unchanged (`store::stored_purchases_are_unchanged`), also
///   for the next process that opens the store (`store::a_reopened_store_has_its_purchases`).
/// - The same id with the same content is a duplicate: the first document and its time stay
///   (`store::a_duplicate_changes_nothing`).
/// - The same id with other content is a conflict: the first document stays, with the members that
///   this version does not know (`store::a_conflict_changes_nothing`).
/// - A refund is stored if its purchase is, whole or in part, and once
///   (`refund::a_purchase_is_refunded_once`). It is stored as [`Purchase::as_refund_of`] returns
///   it, with the user name, the currency and the reference of its purchase
///   (`refund::a_refund_takes_name_and_reference_from_its_purchase`). Sums are net, and it is no
///   further purchase (`refund::any_order_of_calls_has_the_state_of_the_model`).
/// - A refund above the price, of another user or under another id is rejected
///   (`refund::any_order_of_calls_has_the_state_of_the_model`), and so is a refund of a refund
///   (`refund::a_purchase_is_refunded_once`). One whose purchase is not stored
///   [waits](super::WaitingRefunds).
/// - A purchase without a currency is the same as one in the currency of the store
///   (`currency::an_absent_currency_equals_that_of_the_store`,
///   `refund::any_order_of_calls_has_the_state_of_the_model`).
/// - A refund is erased with its user's purchases
///   (`refund::any_order_of_calls_has_the_state_of_the_model`).
#[async_trait]
pub trait PurchaseStore: RecordStore<Purchase> {
    /// Stores each purchase of `batch` whose id is not stored yet, and returns one outcome per
    /// purchase.
    ///
    /// # Errors
    /// Returns the errors of [`RecordStore::apply`], if the outcome of every purchase is unknown.
    ///
    /// # Cancel safety
    /// Dropping the future may store any part of the batch. Inserting the batch again is safe.
    fn insert(&self, batch: Arc<[Purchase]>) -> BoxFuture<'_, Result<Vec<InsertOutcome>>> {
        self.apply(batch)
    }

    /// Stores one purchase, unless its id is stored already, and returns the outcome.
    ///
    /// # Errors
    /// - The errors of [`insert`](Self::insert), and the error of an
    ///   [`Unknown`](InsertOutcome::Unknown) outcome
    /// - [`Internal`](ErrorKind::Internal) if the store returns no outcome
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

/// A mock of a store of purchases.
#[cfg(feature = "mock")]
pub type MockPurchaseStore = super::MockRecordStore<Purchase>;

/// Erases the purchases of a user, and deletes the purchases that are older than the retention.
///
/// An erased purchase leaves a *mark* with its id, so that the purchase is not stored again when a
/// log delivers its record again. A purchase that retention deletes leaves no mark. Each call
/// deletes at most `limit` purchases, so a caller repeats the call until its count is 0.
///
/// A call goes on behind an entry that it cannot delete, because it is damaged, and names it as
/// [left](Removed::left). The last call, whose count is 0, names all of them.
///
/// ```
/// use shop_core::UserId;
/// use shop_core::ports::PurchaseErase;
///
/// /// Erases all purchases of a user, and returns whether none is left. Interrupted, it can be run
/// /// again.
/// async fn erase_all(store: &dyn PurchaseErase, user: &UserId) -> shop_core::Result<bool> {
///     loop {
///         let erased = store.erase(user, 1_000).await?;
///         if erased.count == 0 {
///             return Ok(erased.left.is_empty());
///         }
///     }
/// }
/// ```
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - `erase` deletes purchases of the user only, with their refunds, at most `limit`, and returns
///   their number. Listings, summaries and scans no longer include them. Erasing again changes
///   nothing, and the user's later purchases are stored
///   (`erase::purchases_of_the_user_are_erased`).
/// - An erased purchase is not stored again: the outcome of its insert is `Erased`, whatever its
///   content (`erase::purchases_of_the_user_are_erased`, `erase::a_marked_purchase_is_never_stored`).
/// - `mark_erased` marks ids that are not stored, so that they never are, and returns their number. It
///   does not change stored purchases (`erase::a_marked_purchase_is_never_stored`).
/// - `delete_before` deletes the oldest purchases before a time, at most `limit`, and returns the
///   number of deleted entries. They leave no mark and may be stored again
///   (`erase::the_oldest_purchases_are_deleted`). The refund of a deleted purchase is deleted with it, whatever its own time is, so that no sum becomes negative
///   (`refund::any_order_of_calls_has_the_state_of_the_model`).
/// - A dry run of `delete_before` counts the entries before a time, up to `limit`, and deletes none
///   (`erase::the_oldest_purchases_are_deleted`).
/// - `last_seen` returns the time that was stored last, so that a
///   [`run_retention`](crate::retention::run_retention) that starts with a wrong clock deletes
///   nothing (`erase::the_last_seen_time_is_kept`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait PurchaseErase: Debug + Send + Sync + 'static {
    /// Erases at most `limit` purchases of `user` durably, and marks their ids as erased.
    ///
    /// Returns the number of erased purchases, and the entries of the user that cannot be erased.
    ///
    /// # Errors
    /// Returns [`Unavailable`](crate::ErrorKind::Unavailable) and other transient errors. Some of
    /// the purchases may have been erased. Calling this function again is safe.
    ///
    /// # Cancel safety
    /// Dropping the future may erase some or all of the purchases.
    async fn erase(&self, user: &UserId, limit: usize) -> Result<Removed>;

    /// Durably marks as erased all `ids` that are not stored, and returns the number of new marks.
    ///
    /// A purchase whose id is marked is never stored. Stored purchases do not change.
    ///
    /// # Errors
    /// Returns the errors of [`erase`](Self::erase).
    ///
    /// # Cancel safety
    /// Dropping the future may mark some or all of the ids.
    async fn mark_erased(&self, ids: &[PurchaseId]) -> Result<u64>;

    /// Deletes at most `limit` purchases with a timestamp before `time`, the oldest first, and
    /// their refunds.
    ///
    /// Returns the number of deleted entries, and the entries that cannot be deleted. The number may
    /// exceed `limit` by the refunds of the deleted purchases.
    ///
    /// A [dry run](Deletion::DryRun) deletes nothing, and returns the number of entries with a
    /// timestamp before `time`.
    ///
    /// # Errors
    /// Returns the errors of [`erase`](Self::erase).
    ///
    /// # Cancel safety
    /// Dropping the future may delete some or all of the purchases.
    async fn delete_before(
        &self,
        time: Timestamp,
        limit: usize,
        deletion: Deletion,
    ) -> Result<Removed>;

    /// Returns the stored time of the last round of deletions of any process, if there is one.
    ///
    /// With `new_time`, the time of the round that has just ended, the store durably replaces the
    /// stored time by `new_time`, and returns `new_time`.
    ///
    /// [`run_retention`](crate::retention::run_retention) compares the clock with this time in its
    /// next round. So a clock that jumps ahead does not delete purchases that are too young.
    ///
    /// # Errors
    /// Returns the errors of [`erase`](Self::erase).
    async fn last_seen(&self, new_time: Option<Timestamp>) -> Result<Option<Timestamp>>;
}

/// Whether [`PurchaseErase::delete_before`] deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// Counts, and deletes nothing. The count may stop at the limit.
    ///
    /// A refund that is younger than the time is not counted, although it is deleted with its
    /// purchase.
    DryRun,
    /// Deletes.
    Delete,
}

/// A sink that writes purchases directly into a store, without a log in between.
///
/// A purchase is listed as soon as it is published, and a conflict is detected at once.
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
    /// The durability of a stored purchase, which the receipts state.
    durability: Durability,
    /// Whether one of the clones was closed.
    closed: Arc<AtomicBool>,
}

impl StoreSink {
    /// Creates a sink that writes into `store`, whose stored purchases are as durable as
    /// `durability` states.
    #[must_use]
    pub fn new(store: Arc<dyn PurchaseStore>, durability: Durability) -> Self {
        Self {
            store,
            durability,
            closed: Arc::default(),
        }
    }

    /// Checks that the sink is open.
    ///
    /// # Errors
    /// [`Closed`](ErrorKind::Closed) after [`close`](PurchaseSink::close).
    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "the sink is closed"));
        }
        Ok(())
    }

    /// Inserts `purchases` by one call of the store, and returns one result per purchase.
    ///
    /// If the call fails, the result of each purchase is the error of the call.
    async fn insert_batch(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        let insert_if_open = async {
            self.check_open()?;
            self.store.insert(purchases.into()).await
        };
        let outcomes = match insert_if_open.await {
            Ok(outcomes) => outcomes,
            Err(error) => return vec![Err(error); purchases.len()],
        };

        // A store that an embedder implements may return too few outcomes.
        let missing_outcome =
            || InsertOutcome::Unknown(Error::new(ErrorKind::Internal, "an outcome is missing"));
        let outcomes = outcomes
            .into_iter()
            .chain(std::iter::repeat_with(missing_outcome));
        purchases
            .iter()
            .zip(outcomes)
            .map(|(purchase, outcome)| outcome.into_receipt(purchase.id, self.durability))
            .collect()
    }
}

impl InsertOutcome {
    /// Returns the receipt of the purchase `id`, which was inserted with this outcome.
    ///
    /// `durability` is the durability of a stored purchase. A waiting refund is as durable, so it
    /// gets a receipt too.
    ///
    /// # Errors
    /// - [`Conflict`](ErrorKind::Conflict) if the id belongs to a purchase with other content
    /// - [`Erased`](ErrorKind::Erased) if the id belongs to an erased purchase
    /// - [`Invalid`](ErrorKind::Invalid) with the reason if the store rejected the purchase
    /// - The error of an [`Unknown`](Self::Unknown) outcome
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
            Self::Erased => return Err(super::idempotent::erased_error()),
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
    /// Inserts `purchase` into the store.
    async fn publish(&self, purchase: &Purchase) -> Result<Receipt> {
        self.check_open()?;
        self.store
            .insert_one(purchase.clone())
            .await?
            .into_receipt(purchase.id, self.durability)
    }

    /// Inserts `purchases` in batches of up to 1,000, one after the other.
    async fn publish_many(&self, purchases: &[Purchase]) -> Vec<Result<Receipt>> {
        let mut receipts = Vec::with_capacity(purchases.len());
        for batch in purchases.chunks(MAX_BATCH) {
            receipts.extend(self.insert_batch(batch).await);
        }
        receipts
    }

    fn info(&self) -> SinkInfo {
        let faults = LogFaults {
            files: self.store.info().file_faults,
            ..LogFaults::default()
        };
        let is_storing = true;
        SinkInfo::new(self.durability)
            .with_storing(is_storing)
            .with_faults(faults)
    }

    async fn check(&self) -> Result<()> {
        self.check_open()?;
        self.store.check().await
    }

    /// Rejects new purchases. There is no queue to wait for.
    async fn close(&self, _timeout: Duration) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}
