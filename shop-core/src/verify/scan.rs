//! The scan of the log: verifies each record against the dead letters and the store.
//!
//! 1. The store was scanned before. A record whose purchase that scan found with the same content
//!    is verified.
//! 2. Other records are looked up in the store one by one, because they may have been stored since.
//! 3. Records that are not found are *pending*: they may still be in flight in a running pipeline.
//!    They are looked up again until none appears for the quiet period, and then reported as
//!    missing or mismatched.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, sleep};

use super::stored::StoredPurchases;
use super::{UnverifiedRecord, Verify, VerifyProgress, VerifyReport};
use crate::log::{
    Batch, DeadLetter, DeadLetterState, Gap, Log, LogRecord, Offsets, Partition, ReasonKind,
    RecordId, RecordPosition, Resolution, ScanEnd,
};
use crate::ports::{
    self, ListOrder, PageLimit, PageRequest, PurchaseQuery, Selector, TimeRange, call_with_retries,
};
use crate::record::{Record as _, header};
use crate::{ErrorKind, Purchase, PurchaseId, Result, Timestamp};

/// The first pause before pending records are looked up again. Each further pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The maximum pause before pending records are looked up again.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// The number of offsets without a record, beyond the number of records, that does not yet count as
/// compaction.
///
/// A transaction consists of a record and one marker in each of its partitions, so there are fewer
/// markers than records. Exceptions are aborted transactions, and transactions whose records
/// retention deleted.
const MAX_UNEXPLAINED: u64 = 100;

/// The state of one scan of the log. `T` is the function that shows the progress.
pub(super) struct LogScan<'a, T> {
    verify: &'a Verify,
    log: &'a dyn Log,
    progress: &'a T,
    /// The purchases that the earlier scan of the store found.
    stored: StoredPurchases,
    /// The dead letters at the start, which are read again before a record is reported as missing.
    dead_letters: DeadLetterIndex,
    /// The records that were not found yet and are looked up again.
    pending: Vec<PendingRecord>,
    /// The ids of purchases that were reported as missing, up to the window of ids. Each purchase
    /// is reported once.
    missing: BTreeSet<PurchaseId>,
    report: VerifyReport,
    /// The offset up to which each partition could be read when the scan began.
    readable_ends: Offsets,
    /// The number of offsets behind the readable end of each partition in which transactions of
    /// other producers are still open.
    unstable: BTreeMap<u32, u64>,
    /// The offsets without a record in each partition; empty for a log that is not sparse.
    ///
    /// A log is sparse if some offsets never hold a record, such as the markers of transactions.
    holes: BTreeMap<u32, PartitionHoles>,
}

/// The offsets without a record in one partition of a sparse log.
struct PartitionHoles {
    /// The first offset of the partition when the scan began.
    start: u64,
    /// The offset after the last record that was scanned; `start` before the first one.
    next_offset: u64,
    /// The number of scanned offsets without a record.
    count: u64,
}

/// A record that is looked up in the store.
#[derive(Debug)]
struct PendingRecord {
    record_id: RecordId,
    position: RecordPosition,
    /// The id of the purchase, or the id of the record if the record does not decode.
    id: PurchaseId,
    /// The purchase in the record; `None` if the record does not decode.
    purchase: Option<Purchase>,
    /// Whether the id is stored with other content.
    differs: bool,
    /// Whether the record carries no id, as another program wrote it.
    is_foreign: bool,
}

impl<'a, T: Fn(VerifyProgress) + Send + Sync> LogScan<'a, T> {
    /// Prepares the scan: reads the bounds of the log and the dead letters, and scans the store.
    ///
    /// # Errors
    /// Returns the errors of the log and of the store.
    pub(super) async fn begin(
        verify: &'a Verify,
        log: &'a dyn Log,
        progress: &'a T,
    ) -> Result<Self> {
        let mut scan = Self {
            verify,
            log,
            progress,
            stored: StoredPurchases::new(),
            dead_letters: DeadLetterIndex::default(),
            pending: Vec::new(),
            missing: BTreeSet::new(),
            report: VerifyReport::default(),
            readable_ends: Offsets::new(),
            unstable: BTreeMap::new(),
            holes: BTreeMap::new(),
        };
        scan.read_bounds().await?;
        scan.dead_letters = DeadLetterIndex::read(log).await?;

        let report_scanned = |scanned| {
            progress(VerifyProgress {
                scanned,
                ..VerifyProgress::default()
            });
        };
        // This is the first scan, so `scanned` is the number of purchases. `look_up` adds those that
        // were stored since.
        scan.report.unreadable = scan.stored.scan_partition(verify, report_scanned).await?;
        scan.report.purchases = scan.stored.scanned;
        Ok(scan)
    }

    /// Verifies the records of `batch`, and looks up the ones that the scan of the store did not
    /// find.
    ///
    /// At the maximum number of pending records, this function waits until they are found or given
    /// up.
    ///
    /// # Errors
    /// Returns the errors of the log and of the store.
    pub(super) async fn verify_batch(&mut self, batch: &Batch) -> Result<()> {
        let Partition { topic, index, .. } = &batch.partition;
        if let Some(first) = batch.records.first() {
            self.report
                .first_offsets
                .entry((topic.to_string(), *index))
                .or_insert(first.offset);
        }

        let mut unverified = Vec::new();
        for record in &batch.records {
            self.report.records += 1;
            // The offsets between two records hold no record: they are markers of transactions, or
            // the log was compacted.
            if let Some(holes) = self.holes.get_mut(index) {
                holes.count += record.offset.saturating_sub(holes.next_offset);
                holes.next_offset = holes.next_offset.max(record.offset + 1);
            }
            unverified.extend(self.verify_record(record, &batch.partition));
        }

        let not_found = self.look_up(unverified).await?;
        self.pending.extend(not_found);
        self.report_progress();
        if self.pending.len() >= self.verify.options.max_pending.max(1) {
            self.wait_for_pending().await?;
        }
        Ok(())
    }

    /// Verifies `record` by the dead letters and by the purchases that the scan of the store found.
    ///
    /// Returns the record if it must be looked up in the store.
    fn verify_record(
        &mut self,
        record: &LogRecord,
        partition: &Partition,
    ) -> Option<PendingRecord> {
        // An erased record carries no content to compare.
        if record.is_erased() {
            self.report.erased += 1;
            return None;
        }

        let record_id = RecordId::new(record, partition);
        if let Some(disposition) = self.dead_letters.records.get(&record_id) {
            self.report.count_disposition(*disposition);
            return None;
        }

        let purchase = self.verify.decoders.decode(record, partition).ok();
        if purchase.is_none() && self.verify.options.skip_undecodable {
            self.report.undecodable += 1;
            return None;
        }

        let is_foreign = !has_id(record);
        let is_stored = purchase
            .as_ref()
            .is_some_and(|purchase| self.stored.contains(purchase));
        // A record without an id may be stored a second time, by another consumer of the topic, so
        // it is looked up in any case.
        if is_stored && !is_foreign {
            return None;
        }
        Some(PendingRecord {
            record_id,
            position: RecordPosition::from_record(record, partition),
            id: purchase
                .as_ref()
                .map_or_else(|| record_id.into(), |purchase| purchase.id),
            purchase,
            differs: false,
            is_foreign,
        })
    }

    /// Ends the scan: waits for the pending records, and counts what could not be read.
    ///
    /// Returns the report, and the purchases of the store, whose further partitions the caller
    /// scans.
    ///
    /// # Errors
    /// Returns the errors of the log and of the store.
    pub(super) async fn finish(mut self) -> Result<(VerifyReport, StoredPurchases)> {
        self.wait_for_pending().await?;
        self.count_unstable().await?;
        self.count_compacted().await?;

        for gap in Gap::merge(self.dead_letters.gaps) {
            self.report.lost += gap.offset_count();
            self.report.gaps.add(gap, self.verify.options.max_reported);
        }
        Ok((self.report, self.stored))
    }

    /// Shows the number of records that were scanned and that are pending.
    fn report_progress(&self) {
        (self.progress)(VerifyProgress {
            records: self.report.records,
            pending: self.pending.len() as u64,
            scanned: self.stored.scanned,
        });
    }

    /// Returns the time that is left of the quiet period that began at `since`.
    fn quiet_time_left(&self, since: Instant) -> Duration {
        self.verify
            .options
            .quiet_period
            .saturating_sub(since.elapsed())
    }

    /// Looks up `records` in the store, several concurrently, and counts the ones whose state is
    /// known.
    ///
    /// Returns the records that are not stored with the same content: they are pending.
    ///
    /// # Errors
    /// Returns the errors of the store; transient errors only if they last for about half a minute.
    async fn look_up(&mut self, records: Vec<PendingRecord>) -> Result<Vec<PendingRecord>> {
        let verify = self.verify;
        let mut lookups = stream::iter(records)
            .map(move |record| look_up_one(verify, record))
            .buffered(verify.options.max_lookups.max(1));

        let mut not_found = Vec::new();
        while let Some(verdict) = lookups.try_next().await? {
            match verdict {
                RecordVerdict::Stored(purchase) => {
                    let max = verify.options.dedup_window;
                    self.report.purchases += u64::from(self.stored.add_late(&purchase, max));
                }
                RecordVerdict::StoredTwice(id) => {
                    self.report.duplicates.add(id, verify.options.max_reported);
                }
                RecordVerdict::StoredByOther => self.report.by_others += 1,
                RecordVerdict::Erased => self.report.erased += 1,
                RecordVerdict::Expired => self.report.expired += 1,
                RecordVerdict::Waiting => self.report.waiting += 1,
                // The log may contain several records of one refund. If the store refused the
                // refund, one of these records is a dead letter, and the others are not missing:
                // they count as that dead letter does.
                RecordVerdict::NotFound(record) => {
                    match self.dead_letters.refund_disposition(&record) {
                        Some(disposition) => self.report.count_disposition(disposition),
                        None => not_found.push(record),
                    }
                }
            }
        }
        Ok(not_found)
    }

    /// Looks up the pending records again until all are found, or none is found for the quiet
    /// period.
    ///
    /// In the second case, the records that were not dead-lettered since are reported as missing or
    /// mismatched.
    ///
    /// # Errors
    /// Returns the errors of the log and of the store.
    async fn wait_for_pending(&mut self) -> Result<()> {
        let mut pause = FIRST_PAUSE;
        // The quiet period begins after the first lookup, and again whenever a record is found.
        let mut quiet_since = None;
        while !self.pending.is_empty() {
            let pending_before = self.pending.len();
            let records = take(&mut self.pending);
            self.pending = self.look_up(records).await?;

            let quiet_left = self.quiet_time_left(*quiet_since.get_or_insert_with(Instant::now));
            if self.pending.len() == pending_before && quiet_left.is_zero() {
                // Records may have been dead-lettered since the scan began.
                self.dead_letters = DeadLetterIndex::read(self.log).await?;
                self.settle_dead_lettered();
                if self.pending.len() == pending_before {
                    self.report_not_found();
                    break;
                }
            }

            if self.pending.len() < pending_before {
                quiet_since = Some(Instant::now());
                pause = FIRST_PAUSE;
            }
            self.report_progress();
            sleep(pause.min(quiet_left)).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
        Ok(())
    }

    /// Counts the offsets that cannot be read, because transactions of other producers do not end.
    ///
    /// While a transaction is open, the readable end of its partition does not move. A partition
    /// whose end moved is no longer counted. Waits at most for the quiet period.
    async fn count_unstable(&mut self) -> Result<()> {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        while !self.unstable.is_empty() {
            let ends = self.log.scan(&Offsets::new(), ScanEnd::Never).await?.end;
            self.unstable.retain(|partition, _count| {
                ends.get(partition) == self.readable_ends.get(partition)
            });

            let quiet_left = self.quiet_time_left(started);
            if quiet_left.is_zero() {
                break;
            }
            sleep(pause.min(quiet_left)).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
        self.report.unstable = self.unstable.values().sum();
        Ok(())
    }

    /// Counts the offsets without a record, if they are more than the markers of transactions could
    /// be: each transaction contains at least as many records as markers. Then the log was probably
    /// compacted.
    async fn count_compacted(&mut self) -> Result<()> {
        let max_markers = self.report.records + MAX_UNEXPLAINED;
        if self.hole_count() <= max_markers {
            return Ok(());
        }

        // If the first offset of a partition moved, retention may have deleted records before they
        // were scanned. Then the offsets of this partition are not counted.
        let starts = self.log.scan(&Offsets::new(), ScanEnd::Never).await?.start;
        self.holes
            .retain(|partition, holes| starts.get(partition) == Some(&holes.start));
        let hole_count = self.hole_count();
        if hole_count > max_markers {
            self.report.compacted = hole_count;
        }
        Ok(())
    }

    /// Returns the number of scanned offsets without a record, in the partitions of `holes`.
    fn hole_count(&self) -> u64 {
        self.holes.values().map(|holes| holes.count).sum()
    }

    /// Counts the pending records that were dead-lettered since the scan began, and keeps the
    /// others pending.
    fn settle_dead_lettered(&mut self) {
        for record in take(&mut self.pending) {
            // By a replay, an operator decided which of two contents to store, so the other content
            // is no mismatch.
            let is_decided = record.differs && self.dead_letters.replayed.contains(&record.id);
            if let Some(disposition) = self.dead_letters.records.get(&record.record_id) {
                self.report.count_disposition(*disposition);
            } else if is_decided {
                self.report.resolved += 1;
            } else {
                self.pending.push(record);
            }
        }
    }

    /// Reports all pending records as mismatched, if their id is stored with other content, or else
    /// as missing.
    ///
    /// A missing purchase is reported once, with its first record. If more purchases are missing
    /// than the window of ids holds, each further record is reported.
    fn report_not_found(&mut self) {
        let options = &self.verify.options;
        for record in take(&mut self.pending) {
            let finding = UnverifiedRecord {
                id: record.id,
                position: record.position,
            };
            if record.differs {
                self.report.mismatched.add(finding, options.max_reported);
            } else if self.missing.len() >= options.dedup_window || self.missing.insert(record.id) {
                self.report.missing.add(finding, options.max_reported);
            }
        }
    }

    /// Reads the first and the end offset of each partition, and counts the offsets that were ever
    /// assigned.
    ///
    /// Also begins to count what the scan will not see: the records of open transactions behind the
    /// readable end of a partition, and the offsets without a record in a sparse log.
    ///
    /// The bounds of a log that cannot be followed are unknown. Its first offsets are then the
    /// offsets of the first records that are scanned.
    ///
    /// # Errors
    /// Returns the errors of the log, except for [`Unsupported`](ErrorKind::Unsupported).
    async fn read_bounds(&mut self) -> Result<()> {
        let bounds = match self.log.scan(&Offsets::new(), ScanEnd::Never).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(()),
            bounds => bounds?,
        };

        let first_offset = self.log.info().first_offset;
        let mut written = 0;
        for (partition, end) in &bounds.end {
            written += end.saturating_sub(first_offset);
            if *end > first_offset
                && let Some(start) = bounds.start.get(partition)
            {
                let topic_partition = (bounds.topic.to_string(), *partition);
                self.report.first_offsets.insert(topic_partition, *start);
            }
        }
        self.report.written = Some(written);
        self.readable_ends = bounds.end;
        self.unstable = bounds.unstable;
        self.unstable
            .retain(|partition, _count| self.readable_ends.contains_key(partition));

        if bounds.is_sparse {
            for (partition, start) in bounds.start {
                let holes = PartitionHoles {
                    start,
                    next_offset: start,
                    count: 0,
                };
                self.holes.insert(partition, holes);
            }
        }
        Ok(())
    }
}

impl VerifyReport {
    /// Counts a record by the state of its dead letter.
    fn count_disposition(&mut self, disposition: Disposition) {
        match disposition {
            Disposition::DeadLettered(reason) => {
                self.dead_lettered += 1;
                self.conflicts += u64::from(reason == ReasonKind::Conflict);
            }
            Disposition::Resolved => self.resolved += 1,
        }
    }
}

/// The result of a lookup of one record in the store.
enum RecordVerdict {
    /// The store contains the purchase with the same content.
    Stored(Purchase),
    /// The store contains the purchase twice: under its id, and under an `ObjectId` of another
    /// consumer.
    StoredTwice(PurchaseId),
    /// The store contains the purchase only under an `ObjectId` of another consumer.
    StoredByOther,
    /// The store contains a mark that the purchase was erased.
    Erased,
    /// The store does not contain the purchase, which is older than the retention.
    Expired,
    /// The store contains the refund, which waits for its purchase.
    Waiting,
    /// The store does not contain the purchase, or contains its id with other content; or the
    /// record does not decode.
    NotFound(PendingRecord),
}

/// Looks up the purchase of `record` in the store, and decides whether it is stored as published.
///
/// Transient errors of the store are retried.
///
/// # Errors
/// Returns the errors of the store; transient errors only if they last for about half a minute.
async fn look_up_one(verify: &Verify, mut record: PendingRecord) -> Result<RecordVerdict> {
    let Some(purchase) = &record.purchase else {
        return Ok(RecordVerdict::NotFound(record));
    };
    match call_with_retries(|| verify.query.look_up(&purchase.id)).await? {
        ports::Lookup::Stored(stored) if stored.same_content(purchase) => {
            if record.is_foreign && is_stored_by_other(&*verify.query, purchase).await? {
                return Ok(RecordVerdict::StoredTwice(record.id));
            }
            return Ok(RecordVerdict::Stored(stored));
        }
        // The id belongs to a purchase with other content. The record stays pending, because its
        // dead letter may still be on its way.
        ports::Lookup::Stored(_) => record.differs = true,
        ports::Lookup::Erased => return Ok(RecordVerdict::Erased),
        ports::Lookup::Waiting(_) => return Ok(RecordVerdict::Waiting),
        ports::Lookup::Missing => {
            record.differs = false;
            if record.is_foreign && is_stored_by_other(&*verify.query, purchase).await? {
                return Ok(RecordVerdict::StoredByOther);
            }
            let retained_from = verify.options.retained_from;
            if retained_from.is_some_and(|from| purchase.timestamp < from) {
                return Ok(RecordVerdict::Expired);
            }
        }
    }
    Ok(RecordVerdict::NotFound(record))
}

/// Checks whether `record` carries the id of its purchase, under which [ingest](crate::ingest)
/// stores it.
///
/// The records of other programs carry none.
pub(super) fn has_id(record: &LogRecord) -> bool {
    record.headers.contains(header::PURCHASE_ID)
}

/// Checks whether another consumer of the topic stored `purchase`: the same content and time, under
/// an `ObjectId`.
///
/// # Errors
/// Returns the errors of the store; transient errors only if they last for about half a minute.
pub(super) async fn is_stored_by_other(
    query: &dyn PurchaseQuery,
    purchase: &Purchase,
) -> Result<bool> {
    // The range contains the millisecond of the purchase, and no other one.
    let end = Timestamp::from_millis(purchase.timestamp.as_millis() + 1).ok();
    let range = TimeRange::new(Some(purchase.timestamp), end)?;
    let request = PageRequest::first(ListOrder::OldestFirst, PageLimit::MAX).with_range(range);
    let selector = Selector::User(purchase.user_id.clone());
    let page = call_with_retries(|| query.page(&selector, &request)).await?;

    Ok(page
        .items
        .iter()
        .any(|other| other.id.as_object_id().is_some() && other.same_content(purchase)))
}

/// The dead letters of the log, by record and by purchase.
#[derive(Debug, Default)]
struct DeadLetterIndex {
    /// The state of the dead letter of each record.
    ///
    /// Pending takes precedence over resolved, because a dead letter may be put again after it was
    /// resolved.
    records: BTreeMap<RecordId, Disposition>,
    /// The ids of purchases whose dead letter an operator replayed.
    replayed: BTreeSet<PurchaseId>,
    /// The state of the dead letters about refunds, by the id of the refund.
    ///
    /// A refund that waited in the store is dead-lettered under one of several records of the
    /// refund.
    refunds: BTreeMap<PurchaseId, Disposition>,
    /// The gaps whose dead letter is pending: the ranges of offsets that the log lost.
    gaps: Vec<Gap>,
}

/// The state of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disposition {
    /// The dead letter is pending, for this reason.
    DeadLettered(ReasonKind),
    /// An operator replayed or discarded the dead letter.
    Resolved,
}

impl DeadLetterIndex {
    /// Reads all dead letters of `log`, pending and resolved.
    ///
    /// # Errors
    /// Returns the errors of the log.
    async fn read(log: &dyn Log) -> Result<Self> {
        let mut index = Self::default();
        let mut dead_letters = log.scan_dead_letters().await?;
        while let Some(state) = dead_letters.try_next().await? {
            match state {
                DeadLetterState::Pending(dead_letter) => {
                    let disposition = Disposition::DeadLettered(dead_letter.reason.kind());
                    index.gaps.extend(dead_letter.gap());
                    index.records.insert(dead_letter.record_id(), disposition);
                    if let Some(id) = refund_id(&dead_letter) {
                        index.refunds.insert(id, disposition);
                    }
                }
                DeadLetterState::Resolved(dead_letter) => {
                    index
                        .records
                        .entry(dead_letter.record_id)
                        .or_insert(Disposition::Resolved);
                    let Some(id) = dead_letter.id.and_then(|id| id.parse().ok()) else {
                        continue;
                    };
                    if dead_letter.resolution == Resolution::Replayed {
                        index.replayed.insert(id);
                    }
                    index.refunds.entry(id).or_insert(Disposition::Resolved);
                }
            }
        }
        Ok(index)
    }

    /// Returns the state of the refund in `record`, if another record of the same refund was
    /// dead-lettered.
    fn refund_disposition(&self, record: &PendingRecord) -> Option<Disposition> {
        if !record.purchase.as_ref()?.is_refund() {
            return None;
        }
        self.refunds.get(&record.id).copied()
    }
}

/// Returns the id of the record of `dead_letter`, if the record contains a header with a type, as
/// all records of refunds do.
///
/// Another producer may use this header for purposes of its own. The id of such a record does no
/// harm, because only refunds are searched for by their id.
fn refund_id(dead_letter: &DeadLetter) -> Option<PurchaseId> {
    if !dead_letter.record.headers.contains(header::TYPE) {
        return None;
    }
    dead_letter.id(Purchase::TYPE)?.parse().ok()
}
