//! The bounds of the log: the offsets at which its partitions begin and end, and the offsets in
//! between that no scan yields.
//!
//! Two kinds of offsets are without a record:
//!
//! - *Holes* are between records. They are markers of transactions, or show that the log was
//!   compacted.
//! - *Unstable* offsets are behind the readable end of a partition, where a transaction of another
//!   producer is open.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::VerifyReport;
use super::scan::{FIRST_PAUSE, MAX_PAUSE};
use crate::log::{Log, Offsets, ScanEnd};
use crate::{ErrorKind, Result};

/// The number of offsets without a record, beyond the number of records, that does not yet count as
/// compaction.
///
/// A transaction consists of a record and one marker in each of its partitions, so there are fewer
/// markers than records. Exceptions are aborted transactions, and transactions whose records
/// retention deleted.
const MAX_UNEXPLAINED: u64 = 100;

/// The bounds of the partitions when the verification began, and the holes between the records that
/// were scanned since.
#[derive(Debug, Default)]
pub(super) struct LogBounds {
    /// The number of offsets between the bounds of all partitions. `None` if the log cannot be
    /// followed.
    pub(super) offset_count: Option<u64>,
    /// The offset up to which each partition could be read.
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
#[derive(Debug)]
struct PartitionHoles {
    /// The first offset of the partition when the verification began.
    start: u64,
    /// The offset after the last record that was scanned; `start` before the first one.
    next_offset: u64,
    /// The number of scanned offsets without a record.
    count: u64,
}

impl LogBounds {
    /// Reads the first offset and the end of each partition. Sets two values of `report`: the first
    /// offsets, and the number of offsets that were ever assigned.
    ///
    /// The bounds of a log that cannot be followed are unknown. `report` then stays as it is, and the
    /// scan sets the first offsets.
    ///
    /// # Errors
    /// Returns the errors of the log, except for [`Unsupported`](ErrorKind::Unsupported).
    pub(super) async fn read(log: &dyn Log, report: &mut VerifyReport) -> Result<Self> {
        let scan = match log.scan(&Offsets::new(), ScanEnd::Never).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(Self::default()),
            scan => scan?,
        };

        let first_offset = log.info().first_offset;
        let mut written_count = 0;
        let mut offset_count = 0;
        for (partition, end) in &scan.end {
            written_count += end.saturating_sub(first_offset);
            // A partition without a start contains no record to scan.
            let Some(start) = scan.start.get(partition) else {
                continue;
            };
            offset_count += end.saturating_sub(*start);
            if *end > first_offset {
                let topic_partition = (scan.topic.to_string(), *partition);
                report.first_offsets.insert(topic_partition, *start);
            }
        }
        report.written = Some(written_count);

        let mut bounds = Self {
            offset_count: Some(offset_count),
            readable_ends: scan.end,
            unstable: scan.unstable,
            holes: BTreeMap::new(),
        };
        bounds
            .unstable
            .retain(|partition, _count| bounds.readable_ends.contains_key(partition));
        if scan.is_sparse {
            for (partition, start) in scan.start {
                let holes = PartitionHoles {
                    start,
                    next_offset: start,
                    count: 0,
                };
                bounds.holes.insert(partition, holes);
            }
        }
        Ok(bounds)
    }

    /// Counts the offsets between the record that was scanned last in `partition` and the record at
    /// `offset`. They are markers of transactions, or show that the log was compacted.
    ///
    /// Counts nothing for a log that is not sparse.
    pub(super) fn count_holes_before(&mut self, partition: u32, offset: u64) {
        if let Some(holes) = self.holes.get_mut(&partition) {
            holes.count += offset.saturating_sub(holes.next_offset);
            holes.next_offset = holes.next_offset.max(offset + 1);
        }
    }

    /// Returns the number of offsets that cannot be read, because transactions of other producers
    /// do not end.
    ///
    /// Waits for at most `quiet_period` until the transactions end. While a transaction is open, the
    /// readable end of its partition does not move. So a partition whose end moved is not counted.
    ///
    /// # Errors
    /// Returns the errors of the log.
    pub(super) async fn count_unstable(
        &mut self,
        log: &dyn Log,
        quiet_period: Duration,
    ) -> Result<u64> {
        let wait_start = Instant::now();
        let mut pause = FIRST_PAUSE;
        while !self.unstable.is_empty() {
            let current_ends = log.scan(&Offsets::new(), ScanEnd::Never).await?.end;
            self.unstable.retain(|partition, _count| {
                current_ends.get(partition) == self.readable_ends.get(partition)
            });

            let quiet_time_left = quiet_period.saturating_sub(wait_start.elapsed());
            if quiet_time_left.is_zero() {
                break;
            }
            sleep(pause.min(quiet_time_left)).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
        Ok(self.unstable.values().sum())
    }

    /// Returns the number of offsets without a record if the log was probably compacted, and 0 if it
    /// was not.
    ///
    /// The log was probably compacted if there are more such offsets than markers of transactions:
    /// there are about as many markers as records at most. `record_count` is the number of records
    /// that were scanned.
    ///
    /// # Errors
    /// Returns the errors of the log.
    pub(super) async fn count_compacted(
        &mut self,
        log: &dyn Log,
        record_count: u64,
    ) -> Result<u64> {
        let max_markers = record_count + MAX_UNEXPLAINED;
        if self.hole_count() <= max_markers {
            return Ok(0);
        }

        // If the first offset of a partition moved, retention may have deleted records before they
        // were scanned. The offsets of this partition are not counted then.
        let current_starts = log.scan(&Offsets::new(), ScanEnd::Never).await?.start;
        self.holes
            .retain(|partition, holes| current_starts.get(partition) == Some(&holes.start));
        let hole_count = self.hole_count();
        if hole_count > max_markers {
            return Ok(hole_count);
        }
        Ok(0)
    }

    /// Returns the number of scanned offsets without a record, in all partitions.
    fn hole_count(&self) -> u64 {
        self.holes.values().map(|holes| holes.count).sum()
    }
}
