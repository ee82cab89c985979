//! The scan of the log: verifies each record against the dead letters and the store.
//!
//! One pass works like this:
//!
//! 1. The store is scanned. Then the log is scanned, and a record whose purchase the scan of the
//!    store found with the same content is verified.
//! 2. Other records are looked up in the store one by one, because they may have been stored since.
//! 3. Records that are not found are *pending*: they may still be in flight in a running pipeline.
//!    They are looked up again until none appears for the quiet period, and then reported as
//!    missing or mismatched.
//!
//! A pass verifies the records whose ids are in its range, and skips the others. The ranges of all
//! passes contain each id once. What does not depend on an id is counted in the first pass.

use std::collections::BTreeMap;
use std::mem::take;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, sleep};

use super::bounds::LogBounds;
use super::dead_letters::DeadLetterIndex;
use super::fingerprint::{FingerprintKey, FingerprintSet};
use super::lookup::{PendingRecord, RecordVerdict, has_id, look_up_record};
use super::progress::ProgressMeter;
use super::stored::StoredPurchases;
use super::{UnverifiedRecord, Verify, VerifyProgress, VerifyReport};
use crate::log::{Batch, Gap, Log, LogRecord, LogScan, Partition, RecordId, RecordPosition};
use crate::record::purchase_id;
use crate::{Result, Timestamp};

/// The first pause before pending records are looked up again. Each further pause is twice as long.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The maximum pause before pending records are looked up again.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The state of a verification, over all its passes.
pub(super) struct LogVerifier<'a> {
    verify: &'a Verify,
    log: &'a dyn Log,
    meter: ProgressMeter<'a>,
    /// The time at which the verification began.
    started: Instant,
    key: FingerprintKey,
    /// The purchases that the scan of the store found, and the range of ids of the present pass.
    stored: StoredPurchases,
    /// The dead letters at the start, which are read again before a record is reported as missing.
    dead_letters: DeadLetterIndex,
    /// The records that were not found yet and are looked up again.
    pending: Vec<PendingRecord>,
    /// The ids that the present pass reported as missing, up to the window of ids. Each purchase is
    /// reported once.
    missing: FingerprintSet,
    report: VerifyReport,
    bounds: LogBounds,
    /// The offset after the last record of each partition that the first pass scanned. Later records
    /// are not verified.
    scanned_ends: BTreeMap<u32, u64>,
    is_first_pass: bool,
}

impl<'a> LogVerifier<'a> {
    /// Prepares the first pass: reads the bounds of the log and the dead letters.
    ///
    /// # Errors
    /// Returns the errors of the log.
    pub(super) async fn begin(
        verify: &'a Verify,
        log: &'a dyn Log,
        progress: &'a (dyn Fn(VerifyProgress) + Send + Sync),
    ) -> Result<Self> {
        let options = &verify.options;
        let mut report = VerifyReport::default();
        let bounds = LogBounds::read(log, &mut report).await?;
        let dead_letters = DeadLetterIndex::read(log).await?;

        let capacity = options.dedup_window as u64;
        let expected_passes = options
            .expected_purchases
            .map_or(1, |purchases| purchases.div_ceil(capacity.max(1)));
        let mut meter = ProgressMeter::new(progress, options.expected_purchases, expected_passes);
        meter.set_all_records(bounds.offset_count);

        let key = FingerprintKey::default();
        Ok(Self {
            verify,
            log,
            meter,
            started: Instant::now(),
            stored: StoredPurchases::new(key.clone(), options.dedup_window),
            key,
            dead_letters,
            pending: Vec::new(),
            missing: FingerprintSet::new(options.dedup_window),
            report,
            bounds,
            scanned_ends: BTreeMap::new(),
            is_first_pass: true,
        })
    }

    /// Runs one pass: scans the store, and verifies the records of `log_scan` whose ids are in the
    /// range of the pass.
    ///
    /// Returns whether a further pass is necessary. Its scan of the log begins later.
    ///
    /// # Errors
    /// Returns the errors of the log and of the store.
    pub(super) async fn run_pass(&mut self, mut log_scan: LogScan) -> Result<bool> {
        self.meter.begin_pass();
        self.scan_store().await?;

        if !self.is_first_pass {
            self.update_first_offsets(&log_scan);
        }
        while let Some(batch) = log_scan.batches.try_next().await? {
            self.verify_batch(&batch).await?;
        }
        self.wait_for_pending().await?;

        self.missing.clear();
        self.is_first_pass = false;
        let max_reported = self.verify.options.max_reported;
        Ok(self
            .stored
            .finish_pass(&mut self.report.duplicates, max_reported))
    }

    /// Ends the verification: counts what could not be read, and returns the report.
    ///
    /// # Errors
    /// Returns the errors of the log.
    pub(super) async fn finish(mut self) -> Result<VerifyReport> {
        let options = &self.verify.options;
        self.report.unstable = self
            .bounds
            .count_unstable(self.log, options.quiet_period)
            .await?;
        self.report.compacted = self
            .bounds
            .count_compacted(self.log, self.report.records)
            .await?;

        for gap in Gap::merge(self.dead_letters.gaps) {
            self.report.lost += gap.offset_count();
            self.report.gaps.add(gap, options.max_reported);
        }
        self.report.first_offset = self.log.info().first_offset;
        Ok(self.report)
    }

    /// Scans the store for the present pass.
    ///
    /// # Errors
    /// Returns the errors of the store.
    async fn scan_store(&mut self) -> Result<()> {
        let meter = &mut self.meter;
        let scanned_entries = self
            .stored
            .scan(self.verify, |count| meter.show_scanned(count))
            .await?;
        meter.end_store_scan(self.stored.passes_left());

        // Each pass scans the store again, and replaces the numbers of the pass before. `look_up`
        // adds the purchases that were stored since the scan.
        self.report.purchases = scanned_entries.purchases;
        self.report.unreadable = scanned_entries.unreadable;
        Ok(())
    }

    /// Moves the first verified offsets in the report forward to the start of `log_scan`, the scan
    /// of a further pass.
    ///
    /// Retention may delete records between two passes. These records were verified by some passes
    /// only, so the report does not count them as verified.
    fn update_first_offsets(&mut self, log_scan: &LogScan) {
        for ((topic, partition), first_offset) in &mut self.report.first_offsets {
            if **topic == *log_scan.topic
                && let Some(start) = log_scan.start.get(partition)
            {
                *first_offset = (*first_offset).max(*start);
            }
        }
    }

    /// Verifies the records of `batch`, and looks up the ones that the scan of the store did not
    /// find.
    ///
    /// At the maximum number of pending records, this function waits until they are found or given
    /// up.
    ///
    /// # Errors
    /// Returns the errors of the log and of the store.
    async fn verify_batch(&mut self, batch: &Batch) -> Result<()> {
        let partition = &batch.partition;
        if self.is_first_pass {
            self.count_records(batch);
        }

        // Records that were appended since the first pass are not verified.
        let scanned_end = self.scanned_ends.get(&partition.index).copied();
        let mut record_count = 0;
        let mut records_to_look_up = Vec::new();
        for record in &batch.records {
            if scanned_end.is_some_and(|end| record.offset < end) {
                record_count += 1;
                records_to_look_up.extend(self.verify_record(record, partition));
            }
        }

        let missing_records = self.look_up(records_to_look_up).await?;
        self.pending.extend(missing_records);
        self.meter
            .show_records(record_count, self.pending.len() as u64);
        if self.pending.len() >= self.verify.options.max_pending.max(1) {
            self.wait_for_pending().await?;
        }
        Ok(())
    }

    /// Counts the records of `batch` in the first pass, and remembers where they begin and end.
    fn count_records(&mut self, batch: &Batch) {
        let Partition { topic, index, .. } = &batch.partition;
        if let Some(first_record) = batch.records.first() {
            // The first batch of the partition sets the offset, and later ones leave it.
            self.report
                .first_offsets
                .entry((topic.to_string(), *index))
                .or_insert(first_record.offset);
        }
        for record in &batch.records {
            self.bounds.count_holes_before(*index, record.offset);
        }
        if let Some(last) = batch.records.last() {
            self.scanned_ends.insert(*index, last.offset + 1);
        }
        self.report.records += batch.records.len() as u64;
    }

    /// Verifies `record` by the dead letters and by the purchases that the scan of the store found.
    ///
    /// Returns the record if it must be looked up in the store. Returns `None` if the record is
    /// verified, or if another pass verifies it.
    fn verify_record(
        &mut self,
        record: &LogRecord,
        partition: &Partition,
    ) -> Option<PendingRecord> {
        if !self.is_covered(record, partition) {
            return None;
        }
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

        // A record that does not decode must have a dead letter. It is pending until it has one.
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

    /// Returns whether the present pass verifies `record`: whether its id is in the range of the
    /// pass.
    ///
    /// This is the id under which its purchase is stored. A record that does not decode has the id
    /// that is derived from its position.
    fn is_covered(&self, record: &LogRecord, partition: &Partition) -> bool {
        if self.stored.covers_all_ids() {
            return true;
        }
        let id = purchase_id(record, partition)
            .unwrap_or_else(|_undecodable| RecordId::new(record, partition).into());
        self.stored.covers(&id)
    }

    /// Returns the time that is left of the quiet period that began at `since`.
    fn quiet_time_left(&self, since: Instant) -> Duration {
        self.verify
            .options
            .quiet_period
            .saturating_sub(since.elapsed())
    }

    /// Returns the time before which the store deletes purchases at this moment. It advances while
    /// the verification runs.
    fn retained_from(&self) -> Option<Timestamp> {
        let retained_from = self.verify.options.retained_from?;
        Some(retained_from.saturating_add(self.started.elapsed()))
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
        let retained_from = self.retained_from();
        let mut lookups = stream::iter(records)
            .map(move |record| look_up_record(&*verify.query, retained_from, record))
            .buffered(verify.options.max_lookups.max(1));

        let mut not_found = Vec::new();
        while let Some(verdict) = lookups.try_next().await? {
            match verdict {
                RecordVerdict::Stored(purchase) => {
                    self.report.purchases += u64::from(self.stored.add_late(&purchase));
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
    /// After the quiet period, the dead letters are read again. Pending records that are still not
    /// accounted for are reported as missing or mismatched.
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

            let quiet_time_left =
                self.quiet_time_left(*quiet_since.get_or_insert_with(Instant::now));
            let is_quiet = self.pending.len() == pending_before;
            if is_quiet && quiet_time_left.is_zero() {
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
            // No further record was scanned: 0 leaves the number of scanned records as it is.
            self.meter.show_records(0, self.pending.len() as u64);
            sleep(pause.min(quiet_time_left)).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
        Ok(())
    }

    /// Counts the pending records that a dead letter accounts for, and keeps the others pending.
    ///
    /// Such a dead letter was put or resolved since the scan began.
    fn settle_dead_lettered(&mut self) {
        for record in take(&mut self.pending) {
            match self.dead_letters.pending_disposition(&record) {
                Some(disposition) => self.report.count_disposition(disposition),
                None => self.pending.push(record),
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
                continue;
            }
            let is_full = self.missing.len() >= options.dedup_window;
            if is_full || self.missing.insert(self.key.fingerprint_id(&record.id)) {
                self.report.missing.add(finding, options.max_reported);
            }
        }
    }
}
