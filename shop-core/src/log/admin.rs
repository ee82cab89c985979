//! A log as its operators see it: as a whole, from outside of any consumer group.

use std::fmt::Debug;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;

use super::{Batch, DeadLetter, DeadLetterState, RecordType};
use crate::Result;

/// What operators need of any log: [`Verify`](crate::verify::Verify), the commands for dead letters, and the replay of
/// events into a store.
///
/// # Behavior
/// Each line names the function of the conformance kit that holds an implementation to it.
///
/// - `scan` yields every record that the log has when it is called, those of a partition in their order and from its
///   first offset on, with key, headers and value unchanged; records that are appended later are left out
///   (`log_admin::a_scan_yields_the_log_as_it_is`).
/// - A scan joins no group and moves no position (`log_admin::a_scan_disturbs_no_group`).
/// - `scan_dead_letters` yields each pending letter once, as it was put (`log_admin::pending_letters_are_listed_once`),
///   those of a partition in the order in which they were put (`log_admin::pending_letters_keep_their_order`).
/// - A listing ends with what was there when it began: what is put later is left out
///   (`log_admin::a_listing_leaves_out_what_comes_later`), even a letter that it has yielded and that comes again
///   (`log_admin::a_listing_does_not_meet_a_replayed_letter_again`).
/// - `replay` publishes the records of the letters: each keeps the id that its type gives it, and key, headers and
///   value otherwise (`log_admin::a_replayed_record_keeps_its_id`, `log_admin::a_replayed_event_is_unchanged`).
/// - A letter that was replayed or discarded is pending no more, and stays known as resolved
///   (`log_admin::a_replayed_letter_is_resolved`, `log_admin::a_discarded_letter_is_resolved`).
/// - A letter that is put again after that is pending again (`log_admin::a_letter_put_again_is_pending_again`).
/// - Replaying or discarding nothing changes nothing (`log_admin::resolving_nothing_changes_nothing`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait LogAdmin: Debug + Send + Sync + 'static {
    /// All records that the log has now, in batches of one partition each, in epoch 0.
    ///
    /// Records that the log deletes meanwhile may be left out.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the log cannot be reached; so may the stream's items be.
    async fn scan(&self) -> Result<BoxStream<'static, Result<Batch>>>;

    /// The offset of the first record that is ever written to a partition. A scan of a partition that begins at a
    /// greater one has missed records that the log has deleted.
    fn first_offset(&self) -> u64;

    /// All dead letters that the log keeps now: first those that are pending, those of a partition in the order in
    /// which they were put, then what it remembers of those that were resolved. What is put later is left out, so
    /// that a caller who replays what this yields does not meet it again.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the log cannot be reached; so may the stream's items be.
    async fn scan_dead_letters(&self) -> Result<BoxStream<'static, Result<DeadLetterState>>>;

    /// Publishes the records of `letters`, whose type is `of`, and marks these as replayed; returns how many.
    ///
    /// # Errors
    /// As [`PurchaseSink::publish`](crate::ports::PurchaseSink::publish). Some records may be published although their
    /// letters are still pending: replaying all of them again is safe, because each keeps its id.
    ///
    /// # Cancel safety
    /// Dropping the future may leave any part of the letters replayed; the others are pending.
    async fn replay(&self, letters: &[DeadLetter], of: RecordType) -> Result<u64>;

    /// Marks `letters`, whose records are of the type `of`, as discarded; returns how many. Their bytes may be deleted.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the log cannot be reached. Discarding again is safe.
    ///
    /// # Cancel safety
    /// Dropping the future may leave any part of the letters discarded.
    async fn discard(&self, letters: &[DeadLetter], of: RecordType) -> Result<u64>;
}

/// Conveniences of every [`LogAdmin`].
#[async_trait]
pub trait LogAdminExt: LogAdmin {
    /// All letters that are pending now.
    ///
    /// # Errors
    /// As [`LogAdmin::scan_dead_letters`].
    async fn pending_dead_letters(&self) -> Result<Vec<DeadLetter>> {
        let all = self.scan_dead_letters().await?;
        all.try_filter_map(|state| std::future::ready(Ok(state.into_pending()))).try_collect().await
    }
}

impl<T: LogAdmin + ?Sized> LogAdminExt for T {}
