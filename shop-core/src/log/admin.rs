//! Administrative access to a log, outside of any consumer group.

use std::fmt::Debug;
use std::future::ready;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use super::{
    Batch, DeadLetter, DeadLetterFilter, DeadLetterState, LogFaults, LogRecord, LogTail, Offsets,
    Partition, Reason, RecordPosition, RecordType, Resolution,
};
use crate::{Error, ErrorKind, Result, Timestamp};

/// The administrative port of a log, used by [`verify`](crate::verify::verify()), the dead letter commands, and the
/// replay of events into a store.
///
/// ```
/// use shop_core::Purchase;
/// use shop_core::log::{LogAdmin, LogAdminExt, ReasonKind};
/// use shop_core::record::Record;
///
/// /// Replays the purchases that could not be decoded, such as after an upgrade.
/// async fn replay(log: &dyn LogAdmin) -> shop_core::Result<u64> {
///     let mut dead_letters = log.pending_dead_letters().await?;
///     dead_letters.retain(|letter| letter.reason.kind() == ReasonKind::Undecodable);
///     log.replay(&dead_letters, Purchase::TYPE).await
/// }
/// ```
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - `scan` yields every record that is in the log at the time of the call, per partition in order from the first
///   offset on, with key, headers and value unchanged. Records appended later are excluded
///   (`log_admin::a_scan_yields_the_whole_log`).
/// - A scan joins no group and moves no position (`log_admin::a_scan_disturbs_no_group`).
/// - `tail` yields the records from its start on, per partition in order, and those that are appended later, and joins
///   no group; or it is unsupported (`log_admin::a_tail_yields_later_records`). It starts at given offsets, and reports
///   where it starts if the log does not have them (`log_admin::a_tail_starts_at_offsets`).
/// - `positions` returns the next offset of each partition for which a group has committed one; or it is unsupported
///   (`log_admin::positions_are_the_committed_offsets_of_a_group`).
/// - `find` returns the record at a position, and nothing at a position without a record
///   (`log_admin::a_record_is_found_by_its_position`).
/// - `scan_dead_letters` yields each pending dead letter once, unchanged
///   (`log_admin::pending_dead_letters_are_listed_once`), per partition in the order in which they were put
///   (`log_admin::pending_dead_letters_keep_their_order`).
/// - `dead_letters` yields them by position, page by page, and those at given positions
///   (`log_admin::dead_letters_are_found_by_position`).
/// - Dead letters that are put after a listing began are excluded from it
///   (`log_admin::a_listing_excludes_later_dead_letters`), even one that was yielded, replayed and dead-lettered again
///   (`log_admin::a_listing_does_not_repeat_a_replayed_dead_letter`).
/// - A replay publishes the original records: key, headers and value are unchanged, and each record keeps its id
///   (`log_admin::a_replayed_record_keeps_its_id`, `log_admin::a_replayed_event_is_unchanged`).
/// - A dead letter that was replayed or discarded is resolved and no longer pending
///   (`log_admin::a_replayed_dead_letter_is_resolved`, `log_admin::a_discarded_dead_letter_is_resolved`), also when it is
///   chosen by its position (`log_admin::dead_letters_are_resolved_by_position`).
/// - The dead letter of a [`Gap`](super::Gap) can be discarded, but not replayed (`log_admin::a_gap_is_not_replayed`).
/// - Replaying or discarding nothing changes nothing (`log_admin::resolving_nothing_changes_nothing`).
/// - `erase` deletes key, headers and value of records; their positions stay, and ingest skips them. Or it is
///   unsupported (`log_admin::an_erased_record_keeps_its_position`).
/// - `usage` lists the groups with their positions; `reset_group` and `forget_group` are a conflict while the group has
///   an active consumer, and change where its next consumer starts. Or a server manages the groups
///   (`log_admin::groups_are_listed_reset_and_forgotten`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait LogAdmin: Debug + Send + Sync + 'static {
    /// All records currently in the log, in batches of one partition each, with epoch 0.
    ///
    /// Records that the log deletes during the scan may be missing.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the log cannot be reached. Items of the stream fail alike.
    async fn scan(&self) -> Result<BoxStream<'static, Result<Batch>>>;

    /// The records from `start` on, in batches of one partition each, and those that are appended later, until the
    /// stream is dropped. Partitions that are added later may be missing.
    ///
    /// Partitions without an offset in `start` start with their first record, and so do those whose offset the log does
    /// not have: the caller compares it with [`LogTail::start`].
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) when the log can only be read to its end, as by default;
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the log cannot be reached. Items of the stream fail alike,
    /// and a failed stream has ended.
    async fn tail(&self, start: &Offsets) -> Result<LogTail> {
        let _unused = start;
        Err(Error::new(
            ErrorKind::Unsupported,
            "this log cannot be followed",
        ))
    }

    /// The positions that `group` has committed: the next offset of each partition. Partitions without one, and groups that
    /// do not exist, have none.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) when the log does not report them, as by default;
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the log cannot be reached.
    async fn positions(&self, group: &str) -> Result<Offsets> {
        let message = "this log does not report the positions of a group";
        Err(Error::new(ErrorKind::Unsupported, message).with_context("group", group))
    }

    /// The client ids of the members of `group`, of any program.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) when the log does not know them, as by default;
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when it cannot be reached.
    async fn members(&self, group: &str) -> Result<Vec<String>> {
        Err(groups_unsupported(group))
    }

    /// The first offset of a new partition. A partition whose scan starts at a greater offset has lost records to
    /// retention.
    fn first_offset(&self) -> u64;

    /// The record at `offset` of the partition `index`, and its partition, with epoch 0; `None` if the log has no such
    /// record.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the log cannot be reached.
    async fn find(&self, index: u32, offset: u64) -> Result<Option<(Partition, LogRecord)>>;

    /// How long the log keeps a record that no group has read; `None` if it is kept until it is read, if the retention
    /// is unlimited, or if it is unknown.
    fn retention(&self) -> Option<Duration>;

    /// Returns what is wrong with the log although it can be reached, as currently known (default: nothing). Does not
    /// block and makes no request.
    fn faults(&self) -> LogFaults {
        LogFaults::default()
    }

    /// All dead letters currently in the log: first the pending ones, per partition in the order in which they were
    /// put, then those that were resolved. Dead letters that are put later are excluded, so a caller that replays while
    /// it reads does not process any twice.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the log cannot be reached. Items of the stream fail alike.
    async fn scan_dead_letters(&self) -> Result<BoxStream<'static, Result<DeadLetterState>>>;

    /// The pending dead letters of the first `limit` positions that `filter` selects, in the order of the positions. By
    /// default all are scanned; a log that finds them by position reads a page.
    ///
    /// # Errors
    /// As [`scan_dead_letters`](Self::scan_dead_letters).
    async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<DeadLetter>> {
        let selected =
            |state: DeadLetterState| state.into_pending().filter(|one| filter.selects(one));
        let all = self
            .scan_dead_letters()
            .await?
            .try_filter_map(|state| ready(Ok(selected(state))));
        let mut all: Vec<_> = all.try_collect().await?;
        all.sort_by_key(DeadLetter::position);
        let positions = all.chunk_by(|one, next| one.position() == next.position());
        Ok(positions.take(limit).flatten().cloned().collect())
    }

    /// Replays or drops `dead_letters`, whose records are of type `of`: publishes the records again, or not, and marks the
    /// dead letters as resolved. Returns their number. The bytes of dropped ones may be deleted.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid) if one of them cannot be replayed: see [`Resolution::check`]. Otherwise
    /// as [`PurchaseSink::publish`](crate::ports::PurchaseSink::publish). Some records may have been published while
    /// their dead letters are still pending. Resolving all of them again is safe, because each record keeps its id.
    ///
    /// # Cancel safety
    /// Dropping the future may leave some of the dead letters resolved; the others stay pending.
    async fn resolve(
        &self,
        dead_letters: &[DeadLetter],
        of: RecordType,
        resolution: Resolution,
    ) -> Result<u64>;

    /// Deletes key, headers and value of the records at these positions, whether or not they were read. Returns the
    /// number of records that were not erased before.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) when the log deletes records by its retention only, as by default;
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the log cannot be written. Retrying is safe.
    ///
    /// # Cancel safety
    /// Dropping the future may leave some of the records erased.
    async fn erase(&self, records: &[RecordPosition]) -> Result<u64> {
        let _unused = records;
        Err(Error::new(
            ErrorKind::Unsupported,
            "this log deletes records by its retention only",
        ))
    }

    /// The disk space and the groups of the log. The default is `None`: a server manages both.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) when the log cannot be read.
    #[doc(hidden)]
    async fn usage(&self) -> Result<Option<LogUsage>> {
        Ok(None)
    }

    /// Deletes the position of `group`, which then no longer prevents the deletion of records. Returns false if there is
    /// no such group.
    ///
    /// # Errors
    /// [`Unsupported`](crate::ErrorKind::Unsupported) when a server manages the groups, as by default;
    /// [`Conflict`](crate::ErrorKind::Conflict) while the group has an active consumer.
    async fn forget_group(&self, group: &str) -> Result<bool> {
        Err(groups_unsupported(group))
    }

    /// Sets the position of `group` to `next_offset`. Records are consumed again from there, which duplicates nothing.
    /// Returns false if there is no such group.
    ///
    /// # Errors
    /// As [`forget_group`](Self::forget_group).
    async fn reset_group(&self, group: &str, next_offset: u64) -> Result<bool> {
        let _unused = next_offset;
        Err(groups_unsupported(group))
    }
}

fn groups_unsupported(group: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "the groups of this log are managed by its server",
    )
    .with_context("group", group)
}

/// Extension methods for every [`LogAdmin`].
#[async_trait]
pub trait LogAdminExt: LogAdmin {
    /// All dead letters that are currently pending.
    ///
    /// # Errors
    /// As [`LogAdmin::scan_dead_letters`].
    async fn pending_dead_letters(&self) -> Result<Vec<DeadLetter>> {
        self.select_dead_letters(DeadLetterFilter::default())
            .await?
            .try_collect()
            .await
    }

    /// The pending dead letters that `filter` selects. Dead letters that are put later are excluded, so that they can be
    /// resolved while they are read.
    ///
    /// # Errors
    /// As [`LogAdmin::scan_dead_letters`].
    async fn select_dead_letters(
        &self,
        filter: DeadLetterFilter,
    ) -> Result<BoxStream<'static, Result<DeadLetter>>> {
        if !filter.positions.is_empty() {
            return Ok(stream::iter(
                self.dead_letters(&filter, usize::MAX)
                    .await?
                    .into_iter()
                    .map(Ok),
            )
            .boxed());
        }
        let selected =
            move |state: DeadLetterState| state.into_pending().filter(|one| filter.selects(one));
        let all = self.scan_dead_letters().await?;
        Ok(all
            .try_filter_map(move |state| ready(Ok(selected(state))))
            .boxed())
    }

    /// The dead letter that parks the record at `position`, with this `note`; `None` if the log has no such record.
    ///
    /// # Errors
    /// As [`LogAdmin::find`].
    async fn parked_dead_letter(
        &self,
        position: &RecordPosition,
        note: &str,
    ) -> Result<Option<DeadLetter>> {
        let found = self.find(position.partition, position.offset).await?;
        Ok(found
            .map(|(partition, record)| DeadLetter::new(record, partition, Reason::parked(note), 0)))
    }

    /// Publishes the records of `dead_letters` again: see [`LogAdmin::resolve`].
    ///
    /// # Errors
    /// As [`LogAdmin::resolve`].
    async fn replay(&self, dead_letters: &[DeadLetter], record_type: RecordType) -> Result<u64> {
        self.resolve(dead_letters, record_type, Resolution::Replayed)
            .await
    }

    /// Drops `dead_letters`: see [`LogAdmin::resolve`].
    ///
    /// # Errors
    /// As [`LogAdmin::resolve`].
    async fn discard(&self, dead_letters: &[DeadLetter], of: RecordType) -> Result<u64> {
        self.resolve(dead_letters, of, Resolution::Dropped).await
    }
}

impl<T: LogAdmin + ?Sized> LogAdminExt for T {}

/// The disk space and the groups of a log that manages both itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LogUsage {
    /// The size of its files in bytes.
    pub bytes: u64,
    /// The bytes that are available to it on its disk.
    pub free_bytes: u64,
    /// The timestamp of its oldest record, if it has one.
    pub oldest: Option<Timestamp>,
    /// The offset of the next record.
    pub next_offset: u64,
    /// All groups, ordered by name. Records that one of them has not consumed are not deleted.
    pub groups: Vec<GroupPosition>,
}

impl LogUsage {
    /// The usage of a log without groups.
    #[must_use]
    pub const fn new(
        bytes: u64,
        free_bytes: u64,
        oldest: Option<Timestamp>,
        next_offset: u64,
    ) -> Self {
        Self {
            bytes,
            free_bytes,
            oldest,
            next_offset,
            groups: Vec::new(),
        }
    }
}

/// The position of a group in a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GroupPosition {
    /// The name of the group.
    #[serde(rename = "group")]
    pub name: String,
    /// The offset of the next record that it reads.
    pub next_offset: u64,
    /// The number of records from there to the end of the log.
    pub behind: u64,
}

impl GroupPosition {
    /// The group `name`, `behind` records before the end.
    #[must_use]
    pub const fn new(name: String, next_offset: u64, behind: u64) -> Self {
        Self {
            name,
            next_offset,
            behind,
        }
    }
}
