//! The administrative port of a log, which reads and changes a log outside of any consumer group.
//!
//! Each log implements [`LogAdmin`]. [`LogAdminExt`] adds shorthands to all implementations.
//! [`LogGroups`] lists and changes the groups of a log that keeps them itself.

use std::fmt::Debug;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::{
    Batch, DeadLetter, DeadLetterFilter, DeadLetterState, Gap, LogGroups, LogRecord, LogTail,
    Offsets, Partition, Reason, RecordPosition, RecordType, Resolution,
};
use crate::{Error, ErrorKind, Result};

/// The administrative port of a log, used by [`verify`](crate::verify::verify()), the dead letter
/// commands, and the replay of events into a store.
///
/// ```
/// use shop_core::Purchase;
/// use shop_core::log::{LogAdmin, LogAdminExt, ReasonKind, Resolution};
/// use shop_core::record::Record;
///
/// /// Replays the purchases that could not be decoded, such as after an upgrade.
/// async fn replay(log: &dyn LogAdmin) -> shop_core::Result<u64> {
///     let mut dead_letters = log.pending_dead_letters().await?;
///     dead_letters.retain(|letter| letter.reason.kind() == ReasonKind::Undecodable);
///     log.resolve(&dead_letters, Purchase::TYPE, Resolution::Replayed).await
/// }
/// ```
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - `scan` yields every record that is in the log at the time of the call, per partition in order
///   from the first offset on, with key, headers and value unchanged. Records appended later are
///   excluded (`log_admin::a_scan_yields_the_whole_log`).
/// - A scan joins no group and moves no position (`log_admin::a_scan_yields_the_whole_log`).
/// - `tail` yields the records from its start on, per partition in order, and those that are
///   appended later, and joins no group; or it is unsupported. It starts at given offsets, and
///   reports where it starts if the log does not contain them
///   (`log_admin::a_tail_yields_later_records`).
/// - `positions` returns the next offset of each partition for which a group committed one
///   (`log_admin::positions_are_the_committed_offsets_of_a_group`).
/// - `find` returns the record at a position, and nothing at a position without a record
///   (`log_admin::the_ports_share_one_topic`).
/// - `scan_dead_letters` yields each pending dead letter once, unchanged, per partition in the order
///   in which they were put (`log_admin::pending_dead_letters_are_listed_once`).
/// - `dead_letters` yields them by position, page by page, and those at given positions
///   (`log_admin::dead_letters_are_found_by_position`).
/// - Dead letters that are put after a listing began are excluded from it
///   (`log_admin::pending_dead_letters_are_listed_once`), even one that was yielded, replayed and
///   dead-lettered again (`log_admin::a_listing_does_not_repeat_a_replayed_dead_letter`).
/// - A replay publishes the original records: key, headers and value are unchanged, and each record
///   keeps its id (`log_admin::a_replayed_record_keeps_its_id`).
/// - A dead letter that was replayed or discarded is resolved and no longer pending
///   (`log_admin::a_resolved_dead_letter_stays_resolved`), also when it is chosen by its position
///   (`operations::resolved_dead_letters_are_counted`).
/// - The dead letter of a [`Gap`] can be discarded, but not replayed
///   (`log_admin::dead_letters_at_one_offset_are_distinct`).
/// - Replaying or discarding nothing changes nothing
///   (`log_admin::a_resolved_dead_letter_stays_resolved`).
/// - `erase` deletes key, headers and value of records; their positions stay, and ingest skips
///   them. Or it is unsupported (`log_admin::an_erased_record_keeps_its_position`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait LogAdmin: Debug + Send + Sync + 'static {
    /// Reads all records that are in the log at the time of the call.
    ///
    /// The stream yields batches of one partition each, with epoch 0, and then ends. Records that
    /// the log deletes during the scan may be missing.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the log cannot be reached. The items of
    /// the stream fail for the same reason.
    async fn scan(&self) -> Result<BoxStream<'static, Result<Batch>>>;

    /// Reads the records from `start` on, and then those that are appended later, until the stream
    /// is dropped.
    ///
    /// The stream yields batches of one partition each, with epoch 0. Partitions that are added
    /// later may be missing.
    ///
    /// A partition starts with its first record if `start` does not contain the partition, or if
    /// the log does not contain the offset. The caller recognizes the second case by comparing
    /// `start` with [`LogTail::start`].
    ///
    /// # Errors
    /// - [`Unsupported`](crate::ErrorKind::Unsupported) if the log can only be read to its end
    /// - [`Unavailable`](crate::ErrorKind::Unavailable) if the log cannot be reached
    ///
    /// The items of the stream fail for the same reasons, and the stream ends after a failure.
    async fn tail(&self, start: &Offsets) -> Result<LogTail>;

    /// Returns the committed positions of `group`: the offset of the next record of each partition.
    ///
    /// A partition without a committed position is absent. The result is empty for a group that
    /// does not exist.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the log cannot be reached.
    async fn positions(&self, group: &str) -> Result<Offsets>;

    /// Returns the names of the members of `group`, which read the log now or wait for their turn,
    /// in this process or another one: on Kafka their client ids, also of members that belong to
    /// another program.
    ///
    /// # Errors
    /// - [`Unsupported`](crate::ErrorKind::Unsupported) if the log does not know the members, which
    ///   is the default
    /// - [`Denied`](crate::ErrorKind::Denied) without the right to describe the group
    /// - [`Unavailable`](crate::ErrorKind::Unavailable) if the log cannot be reached
    async fn members(&self, group: &str) -> Result<Vec<String>> {
        let message = "this log does not report the members of a group";
        Err(Error::new(ErrorKind::Unsupported, message).with_context("group", group))
    }

    /// Returns the offset of the first record of a new partition. If a scan of a partition starts
    /// at a greater offset, retention deleted records.
    fn first_offset(&self) -> u64;

    /// Returns the record at `offset` of the partition `index`, with its partition in epoch 0, or
    /// `None` if the log contains no such record.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the log cannot be reached.
    async fn find(&self, index: u32, offset: u64) -> Result<Option<(Partition, LogRecord)>>;

    /// Returns the time for which the log keeps a record that no group has read.
    ///
    /// Returns `None` if the log keeps a record until it is read, if the retention is unlimited, or
    /// if it is unknown.
    fn retention(&self) -> Option<Duration>;

    /// Returns the problems of a log that can be reached, as currently known (default: none).
    /// Neither blocks nor makes a request.
    fn faults(&self) -> LogFaults {
        LogFaults::default()
    }

    /// Reads all dead letters that are in the log at the time of the call: first the pending ones,
    /// then the resolved ones.
    ///
    /// The pending dead letters of a partition are in the order in which they were put. Dead
    /// letters that are put later are excluded, so that a caller that replays dead letters while it
    /// reads them processes none twice.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the log cannot be reached. The items of
    /// the stream fail for the same reason.
    async fn scan_dead_letters(&self) -> Result<BoxStream<'static, Result<DeadLetterState>>>;

    /// Returns one page of the pending dead letters that `filter` selects, in the order of their
    /// positions.
    ///
    /// The page contains all selected dead letters of the first `limit` positions. There can be
    /// several dead letters at one position, and a page never separates them, because the next page
    /// begins after the last position (the filter's `after`).
    ///
    /// The default reads all dead letters of the log. A log that finds dead letters by their
    /// position reads only the page. Each log does so in its own way: the embedded log keeps a
    /// table, which it changes in the transaction that also appends the records of a replay. A
    /// topic of Kafka can only be appended to, so the Kafka log keeps an index of the topic in
    /// memory.
    ///
    /// # Errors
    /// See [`scan_dead_letters`](Self::scan_dead_letters).
    async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<DeadLetter>> {
        let mut selected: Vec<_> = self
            .scan_dead_letters()
            .await?
            .try_filter_map(|state| ready(Ok(select_pending(filter, state))))
            .try_collect()
            .await?;
        selected.sort_by_key(DeadLetter::position);

        // The limit counts positions and not dead letters, so that a page does not end between two
        // dead letters of one position.
        let by_position = selected.chunk_by(|one, next| one.position() == next.position());
        Ok(by_position.take(limit).flatten().cloned().collect())
    }

    /// Replays or drops `dead_letters`, whose records are of `record_type`, and returns their
    /// number.
    ///
    /// A replay publishes the records again. In both cases, the dead letters are then marked as
    /// resolved. The log may delete the bytes of dropped dead letters.
    ///
    /// # Errors
    /// - [`Invalid`](crate::ErrorKind::Invalid) if one of the dead letters cannot be replayed: see
    ///   [`Resolution::check`]
    /// - otherwise the errors of [`PurchaseSink::publish`](crate::ports::PurchaseSink::publish)
    ///
    /// After an error, some records may be published while their dead letters are still pending.
    /// Resolving all dead letters again is safe, because each record keeps its id.
    ///
    /// # Cancel safety
    /// Dropping the future may leave some of the dead letters resolved; the others stay pending.
    async fn resolve(
        &self,
        dead_letters: &[DeadLetter],
        record_type: RecordType,
        resolution: Resolution,
    ) -> Result<u64>;

    /// Deletes key, headers and value of the records at these positions, whether or not a group has
    /// read them. The offsets stay occupied.
    ///
    /// Returns the number of records that were not erased before.
    ///
    /// # Errors
    /// - [`Unsupported`](crate::ErrorKind::Unsupported) if the log deletes records only by its
    ///   retention, which is the default
    /// - [`Unavailable`](crate::ErrorKind::Unavailable) if the log cannot be written; retrying is
    ///   safe
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

    /// Returns the groups of the log, or `None` (the default) if a server manages them.
    fn groups(&self) -> Option<Arc<dyn LogGroups>> {
        None
    }
}

/// The problems of a log that can be reached, as currently known.
/// [`LogAdmin::faults`] returns them, for health checks and metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogFaults {
    /// The partitions that accept no records now, such as `purchases-3`: they have no leader, or
    /// records for them were not acknowledged in time. The other partitions work.
    pub unavailable: Vec<String>,
    /// The records that the log acknowledged to this process, and lost before anybody read them.
    pub lost: Vec<Gap>,
    /// The settings of the log with which acknowledged records can be lost, each with the setting
    /// that prevents this.
    pub weak_settings: Vec<String>,
    /// What is wrong with whole files of an embedded log or store, one sentence for each: the file
    /// is a copy whose pages are being checked, is damaged, or was overwritten while it was open.
    pub files: Vec<String>,
}

/// Returns the dead letter of `state`, if it is pending and `filter` selects it.
fn select_pending(filter: &DeadLetterFilter, state: DeadLetterState) -> Option<DeadLetter> {
    state
        .into_pending()
        .filter(|dead_letter| filter.selects(dead_letter))
}

/// Shorthands for every [`LogAdmin`].
#[async_trait]
pub trait LogAdminExt: LogAdmin {
    /// Returns all dead letters that are pending at the time of the call.
    ///
    /// # Errors
    /// See [`LogAdmin::scan_dead_letters`].
    async fn pending_dead_letters(&self) -> Result<Vec<DeadLetter>> {
        self.select_dead_letters(DeadLetterFilter::default())
            .await?
            .try_collect()
            .await
    }

    /// Reads the pending dead letters that `filter` selects.
    ///
    /// Dead letters that are put after the call are excluded, so that the caller can resolve dead
    /// letters while it reads them.
    ///
    /// # Errors
    /// See [`LogAdmin::scan_dead_letters`]. The items of the stream fail for the same reasons.
    async fn select_dead_letters(
        &self,
        filter: DeadLetterFilter,
    ) -> Result<BoxStream<'static, Result<DeadLetter>>> {
        // A log may find dead letters by their position without reading all.
        if !filter.positions.is_empty() {
            let selected = self.dead_letters(&filter, usize::MAX).await?;
            return Ok(stream::iter(selected.into_iter().map(Ok)).boxed());
        }

        let states = self.scan_dead_letters().await?;
        let selected =
            states.try_filter_map(move |state| ready(Ok(select_pending(&filter, state))));
        Ok(selected.boxed())
    }

    /// Creates the dead letter with which an operator parks the record at `position`, or returns
    /// `None` if the log contains no such record.
    ///
    /// To *park* a record is to dead-letter it by hand, because the store keeps failing over it and
    /// ingest cannot continue. `note` tells why. The caller stores the dead letter with
    /// [`DeadLetters::put`](super::DeadLetters::put).
    ///
    /// # Errors
    /// See [`LogAdmin::find`].
    async fn parked_dead_letter(
        &self,
        position: &RecordPosition,
        note: &str,
    ) -> Result<Option<DeadLetter>> {
        let found = self.find(position.partition, position.offset).await?;
        Ok(found.map(|(partition, record)| {
            // The attempts of ingest are not known here.
            DeadLetter::new(record, partition, Reason::parked(note), 0)
        }))
    }
}

impl<T: LogAdmin + ?Sized> LogAdminExt for T {}
