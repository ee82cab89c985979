//! The port that deletes stored purchases.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::{PurchaseId, Result, Timestamp, UserId};

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
/// - `erase` deletes purchases of the user only, at most `limit`, and returns their number
///   (`erase::purchases_of_the_user_are_erased`). Listings, summaries and scans no longer include them
///   (`erase::erased_purchases_are_not_listed`).
/// - Erasing again changes nothing (`erase::erasing_again_changes_nothing`).
/// - An erased purchase is not stored again: the outcome of its insert is `Erased`, whatever its content
///   (`erase::an_erased_purchase_does_not_come_back`). The user's later purchases are stored
///   (`erase::later_purchases_are_stored`).
/// - `mark_erased` marks ids that are not stored, so that they never are, and returns their number
///   (`erase::a_marked_purchase_is_never_stored`). It does not change stored purchases
///   (`erase::marking_does_not_change_stored_purchases`).
/// - `delete_before` deletes the oldest purchases before a time, at most `limit`, and returns their number
///   (`erase::the_oldest_purchases_are_deleted`). They leave no mark and may be stored again
///   (`erase::a_deleted_purchase_may_be_stored_again`).
/// - `count_before` counts what `delete_before` would delete, up to `limit` (`erase::old_purchases_are_counted`).
/// - `last_seen` is what `store_last_seen` has stored last, so that a [`Retention`](crate::retention::Retention) that
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

    /// Deletes at most `limit` purchases with a timestamp before `time`, the oldest first. Returns their number.
    ///
    /// # Errors
    /// As [`erase`](Self::erase).
    ///
    /// # Cancel safety
    /// Dropping the future may delete some of them or all.
    async fn delete_before(&self, time: Timestamp, limit: usize) -> Result<u64>;

    /// The number of purchases with a timestamp before `time`; it may stop at `limit`.
    ///
    /// # Errors
    /// As [`erase`](Self::erase).
    async fn count_before(&self, time: Timestamp, limit: usize) -> Result<u64>;

    /// The time that was last stored, by any process; `None` if none was.
    ///
    /// # Errors
    /// As [`erase`](Self::erase).
    async fn last_seen(&self) -> Result<Option<Timestamp>>;

    /// Stores the time of a round of deletions, durably: see [`DeletionGuard`](crate::retention::DeletionGuard).
    ///
    /// # Errors
    /// As [`erase`](Self::erase).
    async fn store_last_seen(&self, time: Timestamp) -> Result<()>;
}
