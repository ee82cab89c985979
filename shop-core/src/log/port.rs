//! The port of a whole log: [`Log`].

use std::fmt::Debug;
use std::future::ready;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;

use super::{
    DeadLetter, DeadLetterFilter, DeadLetterState, LogInfo, LogRecord, LogScan, LogSource, Offsets,
    Partition, RecordId, RecordType, Resolution, ScanEnd,
};
use crate::Result;

/// One topic of a log, for records of any type.
///
/// It appends records, reads them outside of any consumer group, and keeps the records that can
/// never be processed as *dead letters*. [`source`](Self::source) reads records as a member of a
/// group. [`LogExt`](super::LogExt) adds shorthands to all implementations.
///
/// The methods without a default are what each log must do. The others are derived from them, and
/// are slower than those of a log that has an index. What only some logs can do is in
/// [`info`](Self::info).
///
/// Publishing purchases is specific to each adapter: see
/// [`PurchaseSink`](crate::ports::PurchaseSink).
///
/// ```
/// use shop_core::Purchase;
/// use shop_core::log::{Log, LogExt, ReasonKind, Resolution};
/// use shop_core::record::Record;
///
/// /// Replays the purchases that could not be decoded, such as after an upgrade.
/// async fn replay(log: &dyn Log) -> shop_core::Result<u64> {
///     let mut dead_letters = log.pending_dead_letters().await?;
///     dead_letters.retain(|letter| letter.reason.kind() == ReasonKind::Undecodable);
///     log.resolve(&dead_letters, Purchase::TYPE, Resolution::Replayed).await
/// }
/// ```
///
/// # Behavior
/// Each line names the function of the conformance kit that checks it.
///
/// - `append` returns `Ok` only when the record is durable, with its key, headers and value. It is
///   delivered to every group, and scanned (`log_admin::the_ports_share_one_topic`).
/// - A scan yields every record from its start on, per partition in order, with key, headers and
///   value unchanged. Its batches are of one partition each, with epoch 0. It joins no group and
///   moves no position (`log_admin::a_scan_yields_the_whole_log`).
/// - A scan to the current end excludes records that are appended later
///   (`log_admin::a_scan_yields_the_whole_log`). A scan without an end yields them too, or is
///   unsupported. A scan starts at given offsets, and reports where it starts if the log does not
///   contain them (`log_admin::a_tail_yields_later_records`).
/// - `positions` returns the next offset of each partition for which a group committed one
///   (`log_admin::positions_are_the_committed_offsets_of_a_group`).
/// - `find` returns the record at a position, and nothing at a position without a record
///   (`log_admin::the_ports_share_one_topic`).
/// - `put_dead_letters` returns `Ok` only when all dead letters are durable, with the original
///   bytes, key and headers (`log_admin::pending_dead_letters_are_listed_once`).
/// - Putting the same dead letters again is harmless
///   (`log_admin::pending_dead_letters_are_listed_once`), also when they are resolved
///   (`log_admin::a_resolved_dead_letter_stays_resolved`).
/// - Dead letters are identified by position and time: a gap, and a record at an offset that the
///   log reused, do not replace another dead letter at their offset
///   (`log_admin::dead_letters_at_one_offset_are_distinct`).
/// - `contains_dead_letter` finds a record whose dead letter was put, also by another process, and
///   is pending or resolved (`log_admin::a_resolved_dead_letter_stays_resolved`).
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
/// - The dead letter of a [`Gap`](super::Gap) can be discarded, but not replayed
///   (`log_admin::dead_letters_at_one_offset_are_distinct`).
/// - Replaying or discarding nothing changes nothing
///   (`log_admin::a_resolved_dead_letter_stays_resolved`).
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
#[auto_impl::auto_impl(Arc, Box)]
pub trait Log: Debug + Send + Sync + 'static {
    /// Appends `record` durably. The log assigns offset and timestamp, and ignores the ones in
    /// `record`.
    ///
    /// # Errors
    /// See [`PurchaseSink::publish`](crate::ports::PurchaseSink::publish).
    ///
    /// # Cancel safety
    /// Dropping the future after its first poll does not cancel the append.
    async fn append(&self, record: LogRecord) -> Result<()>;

    /// Creates a new member of the consumer group `group`, which reads records.
    ///
    /// # Errors
    /// - [`Invalid`](crate::ErrorKind::Invalid) if `group` is not a valid group name
    /// - [`Unavailable`](crate::ErrorKind::Unavailable) if the log cannot be used
    fn source(&self, group: &str) -> Result<Arc<dyn LogSource>>;

    /// Reads the records from `start` to `end`, outside of any group.
    ///
    /// The stream of the scan yields batches of one partition each, with epoch 0. Records that the
    /// log deletes during the scan, and partitions that are added later, may be missing.
    ///
    /// A partition starts with its first record if `start` does not contain the partition, or if
    /// the log does not contain the offset. The caller recognizes the second case by comparing
    /// `start` with [`LogScan::start`].
    ///
    /// # Errors
    /// - [`Unsupported`](crate::ErrorKind::Unsupported) for [`ScanEnd::Never`], if the log can only
    ///   be read to its current end
    /// - [`Unavailable`](crate::ErrorKind::Unavailable) if the log cannot be reached
    ///
    /// The items of the stream fail for the same reasons, and the stream ends after a failure.
    async fn scan(&self, start: &Offsets, end: ScanEnd) -> Result<LogScan>;

    /// Returns the committed positions of `group`: the offset of the next record of each partition.
    ///
    /// A partition without a committed position is absent. The result is empty for a group that
    /// does not exist.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the log cannot be reached.
    async fn positions(&self, group: &str) -> Result<Offsets>;

    /// Stores all of `dead_letters` durably.
    ///
    /// Dead letters belong to the log and not to the store, so records can be dead-lettered while
    /// the store is unavailable.
    ///
    /// A dead letter that was resolved before stays resolved. A gap is the exception: it becomes
    /// pending again, because the same offsets may be lost once more.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the log cannot be reached. Some of the
    /// dead letters may be stored already; retrying with all is safe.
    async fn put_dead_letters(&self, dead_letters: &[DeadLetter]) -> Result<()>;

    /// Reads all dead letters that are in the log at the time of the call: first the pending ones,
    /// then the resolved ones.
    ///
    /// The pending dead letters of a partition are in the order in which they were put. Dead letters
    /// that are put after the call are excluded. So a caller can replay dead letters while it reads
    /// them, and processes none twice.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the log cannot be reached. The items of
    /// the stream fail for the same reason.
    async fn scan_dead_letters(&self) -> Result<BoxStream<'static, Result<DeadLetterState>>>;

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

    /// Checks whether a record can be appended now, without writing one.
    ///
    /// # Errors
    /// The reason why no record can be appended now.
    async fn check(&self) -> Result<()>;

    /// Returns the properties of the log, its problems as currently known, and what it can do
    /// beyond this port. Neither blocks nor makes a request.
    fn info(&self) -> LogInfo<'_>;

    /// Returns the record at `offset` of the partition `index`, with its partition in epoch 0, or
    /// `None` if the log contains no such record.
    ///
    /// The default scans the log from the record on. It reads the other partitions too.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the log cannot be reached.
    async fn find(&self, index: u32, offset: u64) -> Result<Option<(Partition, LogRecord)>> {
        let start = Offsets::from([(index, offset)]);
        let mut scan = self.scan(&start, ScanEnd::Current).await?;
        // The scan starts elsewhere if `offset` is outside of the partition.
        if scan.start.get(&index) != Some(&offset) {
            return Ok(None);
        }
        while let Some(batch) = scan.batches.try_next().await? {
            if batch.partition.index == index
                && let Some(first_record) = batch.records.into_iter().next()
            {
                // Without a record at `offset`, the first record is a later one.
                let is_at_offset = first_record.offset == offset;
                return Ok(is_at_offset.then_some((batch.partition, first_record)));
            }
        }
        Ok(None)
    }

    /// Returns whether there is a dead letter about `record` of `partition`, pending or resolved.
    /// The epoch of `partition` is ignored.
    ///
    /// An operator can *park* a record over which the store keeps failing: a command puts its dead
    /// letter. Ingest runs in another process than the command. So ingest calls this function before
    /// it retries such a record, and continues behind a parked one.
    ///
    /// The default reads all dead letters of the log.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the log cannot be reached.
    async fn contains_dead_letter(
        &self,
        record: &LogRecord,
        partition: &Partition,
    ) -> Result<bool> {
        let id = RecordId::new(record, partition);
        let mut states = self.scan_dead_letters().await?;
        while let Some(state) = states.try_next().await? {
            if state.record_id() == id {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns one page of the pending dead letters that `filter` selects, in the order of their
    /// positions.
    ///
    /// The page contains all selected dead letters at the first `limit` positions. One position can
    /// have several dead letters, and they are on the same page: the next page begins after the last
    /// position of this one (the filter's `after`).
    ///
    /// The default reads all dead letters of the log. A log with an index of dead letters by position
    /// reads only the page.
    ///
    /// # Errors
    /// See [`scan_dead_letters`](Self::scan_dead_letters).
    async fn dead_letters(
        &self,
        filter: &DeadLetterFilter,
        limit: usize,
    ) -> Result<Vec<DeadLetter>> {
        let mut dead_letters: Vec<_> = self
            .scan_dead_letters()
            .await?
            .try_filter_map(|state| ready(Ok(filter.select_pending(state))))
            .try_collect()
            .await?;
        dead_letters.sort_by_key(DeadLetter::position);

        // The limit counts positions and not dead letters, so that a page does not end between two
        // dead letters of one position.
        let by_position = dead_letters.chunk_by(|one, next| one.position() == next.position());
        Ok(by_position.take(limit).flatten().cloned().collect())
    }
}
