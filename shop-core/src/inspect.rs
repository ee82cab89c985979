//! Inspections of a log: its retention, its disk space, its dead letters, and the progress of a
//! consumer group.
//!
//! Commands, `/health` and metrics render the values of this module.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use serde::Serialize;
use tokio::time::timeout;

use crate::log::{Batch, DeadLetterFilter, Gap, Log, LogRecord, LogUsage, ReasonKind, ScanEnd};
use crate::{Result, Timestamp};

/// The number of positions whose dead letters are read at once.
const PAGE_SIZE: usize = 50;
/// The maximum time to wait for the oldest unread records. There may be no such record, because the
/// last offsets of a partition may contain none.
const UNREAD_TIMEOUT: Duration = Duration::from_secs(1);

/// The state of the topic of a log, as the log reports it.
#[derive(Debug, Clone, Default)]
pub struct LogInspection {
    /// How long the log keeps a record that no group has read; `None` if the time is unlimited or
    /// unknown.
    pub retention: Option<Duration>,
    /// The disk space and the groups of the log, if the log manages them itself.
    pub usage: Option<LogUsage>,
    /// The number of pending dead letters by the kind of their reason.
    pub dead_letters: BTreeMap<ReasonKind, u64>,
    /// The gaps among the pending dead letters, merged. A gap is a range of records that the log
    /// lost.
    pub gaps: Vec<Gap>,
}

impl LogInspection {
    /// Inspects `log`, and reads all its pending dead letters.
    ///
    /// # Errors
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if the dead letters cannot be read.
    pub async fn read(log: &dyn Log) -> Result<Self> {
        let mut inspection = Self {
            retention: log.info().retention,
            ..Self::default()
        };
        if let Some(groups) = log.info().groups {
            // A failure to read the usage is ignored, because the dead letters and gaps are worth
            // reporting without it.
            inspection.usage = groups.usage().await.ok();
        }

        // The dead letters are read in pages, because a log finds the pages in its index. A scan
        // would take longer: it also reads the resolved dead letters, which a log keeps for ever.
        let mut filter = DeadLetterFilter::default();
        loop {
            let page = log.dead_letters(&filter, PAGE_SIZE).await?;
            let Some(last) = page.last() else { break };
            filter.after = Some(last.position());
            for dead_letter in &page {
                let count = inspection
                    .dead_letters
                    .entry(dead_letter.reason.kind())
                    .or_default();
                *count += 1;
                inspection.gaps.extend(dead_letter.gap());
            }
        }
        inspection.gaps = Gap::merge(inspection.gaps);
        Ok(inspection)
    }
}

/// The progress of a consumer group in one partition.
#[derive(Debug, Clone, Serialize)]
pub struct GroupProgress {
    /// The number of the partition.
    pub partition: u32,
    /// The next offset of the group, if the group committed one.
    pub committed: Option<u64>,
    /// The end of the partition, which is the offset of the next record to be appended.
    pub end: u64,
    /// The number of offsets from the next offset of the group to the end of the partition.
    pub lag: u64,
    /// The time of the first record that the group has not consumed, if the record was read in
    /// time.
    pub oldest_unread: Option<Timestamp>,
}

impl GroupProgress {
    /// Reads the progress of `group` in each partition of `log`.
    ///
    /// Waits for at most a second to read the first unread record of each partition. A partition
    /// without such a record by then is returned without its time.
    ///
    /// # Errors
    /// Returns the errors of [`Log::positions`], of [`Log::scan`], and of reading
    /// records.
    pub async fn read(group: &str, log: &dyn Log) -> Result<Vec<Self>> {
        let positions = log.positions(group).await?;
        let mut unread_records = log.scan(&positions, ScanEnd::Never).await?;

        let mut partitions = Vec::with_capacity(unread_records.end.len());
        for (partition, end) in &unread_records.end {
            let first_unread = unread_records.start.get(partition).unwrap_or(end);
            partitions.push(Self {
                partition: *partition,
                committed: positions.get(partition).copied(),
                end: *end,
                lag: end.saturating_sub(*first_unread),
                oldest_unread: None,
            });
        }

        let read_times = read_oldest_unread(&mut partitions, &mut unread_records.batches);
        // The timeout is no error: the partitions that were not reached stay without a time.
        timeout(UNREAD_TIMEOUT, read_times)
            .await
            .unwrap_or(Ok(()))?;
        Ok(partitions)
    }

    /// Returns whether the partition may contain an unread record whose time is not known yet.
    fn may_need_time(&self) -> bool {
        self.lag > 0 && self.oldest_unread.is_none()
    }
}

/// Reads `batches`, and sets the time of the oldest unread record of each of `partitions`.
///
/// `batches` begin at the positions of the group, so the first record of a partition is its oldest
/// unread one. The function waits for a record of each partition that may contain one. The caller
/// limits the time.
///
/// # Errors
/// Returns the errors of the scan.
async fn read_oldest_unread(
    partitions: &mut [GroupProgress],
    batches: &mut BoxStream<'static, Result<Batch>>,
) -> Result<()> {
    while partitions.iter().any(GroupProgress::may_need_time) {
        let Some(batch) = batches.try_next().await? else {
            break;
        };
        // A further batch of the same partition is not its oldest one.
        let progress = partitions.iter_mut().find(|progress| {
            progress.partition == batch.partition.index && progress.may_need_time()
        });
        if let Some(progress) = progress {
            progress.oldest_unread = batch.records.first().and_then(LogRecord::known_time);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{CommitOffset, GapCause, LogExt as _, LogSource as _, SourceEvent};
    use crate::memory::InMemoryLog;

    #[tokio::test(start_paused = true)]
    async fn a_log_says_how_far_a_group_is_and_what_is_pending() {
        let log = InMemoryLog::default();
        let positions =
            [(); 3].map(|()| log.append(LogRecord::new(0, Timestamp::MIN, Some("x".into()))));
        let source = log.source("group");
        let SourceEvent::Batch(batch) = source.next().await.unwrap() else {
            panic!("a batch")
        };
        let lost = Gap::new(batch.partition.clone(), 0, 1, GapCause::Deleted)
            .to_dead_letter(Timestamp::MIN);
        source
            .commit(&[CommitOffset::new(batch.partition.clone(), 1)])
            .await
            .unwrap();
        let consumed = &GroupProgress::read("group", &log).await.unwrap()[0];
        assert_eq!(
            (consumed.committed, consumed.end, consumed.lag),
            (Some(1), 3, 2)
        );
        assert_eq!(consumed.oldest_unread, batch.records[1].known_time());
        let parked = log
            .parked_dead_letter(&positions[1], "by hand")
            .await
            .unwrap()
            .unwrap();
        log.put_dead_letters(&[lost, parked]).await.unwrap();
        let found = LogInspection::read(&log).await.unwrap();
        assert_eq!(
            found.dead_letters,
            BTreeMap::from([(ReasonKind::Gap, 1), (ReasonKind::Parked, 1)])
        );
        assert_eq!(
            found.gaps.iter().map(Gap::offset_count).collect::<Vec<_>>(),
            [1]
        );
    }
}
