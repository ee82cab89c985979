//! The bounds of the log: the offsets at which its partitions begin and end, and the offsets in
//! between that no scan yields.
//!
//! Two kinds of offsets are without a record: *holes* between records, which are markers of
//! transactions or show that the log was compacted, and *unstable* offsets behind the readable end
//! of a partition, where a transaction of another producer is open.

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
    /// Reads the first and the end offset of each partition, and writes into `report` the first
    /// offsets, and the number of offsets that were ever assigned.
    ///
    /// The bounds of a log that cannot be followed are unknown. Its first offsets are then the
    /// offsets of the first records that are scanned.
    ///
    /// # Errors
    /// Returns the errors of the log, except for [`Unsupported`](ErrorKind::Unsupported).
    pub(super) async fn read(log: &dyn Log, report: &mut VerifyReport) -> Result<Self> {
        let scan = match log.scan(&Offsets::new(), ScanEnd::Never).await {
            Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(Self::default()),
            scan => scan?,
        };

        let first_offset = log.info().first_offset;
        let mut written = 0;
        let mut offset_count = 0;
        for (partition, end) in &scan.end {
            written += end.saturating_sub(first_offset);
            let Some(start) = scan.start.get(partition) else {
                continue;
            };
            offset_count += end.saturating_sub(*start);
            if *end > first_offset {
                let topic_partition = (scan.topic.to_string(), *partition);
                report.first_offsets.insert(topic_partition, *start);
            }
        }
        report.written = Some(written);

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

    /// Counts the offsets between the record before and the record at `offset` of `partition`. They
    /// are markers of transactions, or the log was compacted.
    pub(super) fn count_holes_before(&mut self, partition: u32, offset: u64) {
        if let Some(holes) = self.holes.get_mut(&partition) {
            holes.count += offset.saturating_sub(holes.next_offset);
            holes.next_offset = holes.next_offset.max(offset + 1);
        }
    }

    /// Returns the number of offsets that cannot be read, because transactions of other producers
    /// do not end.
    ///
    /// While a transaction is open, the readable end of its partition does not move. A partition
    /// whose end moved is not counted. Waits at most for the quiet period.
    ///
    /// # Errors
    /// Returns the errors of the log.
    pub(super) async fn count_unstable(
        &mut self,
        log: &dyn Log,
        quiet_period: Duration,
    ) -> Result<u64> {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        while !self.unstable.is_empty() {
            let ends = log.scan(&Offsets::new(), ScanEnd::Never).await?.end;
            self.unstable.retain(|partition, _count| {
                ends.get(partition) == self.readable_ends.get(partition)
            });

            let quiet_left = quiet_period.saturating_sub(started.elapsed());
            if quiet_left.is_zero() {
                break;
            }
            sleep(pause.min(quiet_left)).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
        Ok(self.unstable.values().sum())
    }

    /// Returns the number of offsets without a record, if they are more than the markers of
    /// transactions could be, or else 0: each transaction contains at least as many records as
    /// markers.
    ///
    /// Then the log was probably compacted. `record_count` is the number of records that were
    /// scanned.
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
        // were scanned. Then the offsets of this partition are not counted.
        let starts = log.scan(&Offsets::new(), ScanEnd::Never).await?.start;
        self.holes
            .retain(|partition, holes| starts.get(partition) == Some(&holes.start));
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
