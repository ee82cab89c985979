//! Finds the offset at which reading of a newly assigned partition starts.

use std::ops::Range;
use std::time::Duration;

use shop_core::Result;
use shop_core::log::{Gap, GapCause, Partition};

use crate::source::membership::{Committed, Membership, new_gap};

/// How long to wait before the high watermark is read again, if it is before the committed
/// position.
///
/// Right after its election, a leader may still report an end of the log that is too low.
const HIGH_WATERMARK_RECHECK_DELAY: Duration = Duration::from_millis(300);

/// The offset at which reading of a newly assigned partition starts, and what was lost before it.
#[derive(Default)]
pub(super) struct PartitionStart {
    /// The lowest possible offset of the first record after a seek. `None` if the partition was not
    /// sought: without a committed position, the group starts at the oldest record.
    pub(super) next_offset: Option<i64>,
    /// The end of the log, if the log was cut before the committed position. If the first record is
    /// before this end, the log was cut at this record, and was then written again up to the end.
    pub(super) truncated_end: Option<i64>,
    /// The gap that the comparison with the log found: the records that the log lost, if any.
    pub(super) gap: Option<Gap>,
}

impl PartitionStart {
    /// Returns the start in a topic that was created again: its oldest record, at `low`.
    ///
    /// The group's position `earlier_offset` means nothing in the present topic, so all its records
    /// are read. How many records of the earlier topic were not read is unknown: the gap contains no
    /// offset.
    fn in_recreated_topic(partition: &Partition, earlier_offset: i64, low: i64) -> Self {
        let no_offset = earlier_offset..earlier_offset;
        Self {
            next_offset: Some(low),
            truncated_end: None,
            gap: Some(new_gap(partition, no_offset, GapCause::Recreated, low)),
        }
    }

    /// Returns the start after a seek to the committed position `offset`.
    ///
    /// `log` ranges from the low to the high watermark.
    fn at_committed(partition: &Partition, offset: i64, log: Range<i64>) -> Self {
        if offset < log.start {
            // The records up to the low watermark were deleted, by retention for example.
            let deleted = offset..log.start;
            return Self {
                next_offset: Some(log.start),
                truncated_end: None,
                gap: Some(new_gap(partition, deleted, GapCause::Deleted, log.start)),
            };
        }

        if offset > log.end {
            // librdkafka continues where the log was cut, or at the oldest record if the committed
            // position carries no leader epoch. So the first record may be at any offset from the
            // low watermark on.
            let lost = log.end..offset;
            return Self {
                next_offset: Some(log.start),
                truncated_end: Some(log.end),
                gap: Some(new_gap(partition, lost, GapCause::Truncated, log.start)),
            };
        }

        Self {
            next_offset: Some(offset),
            truncated_end: None,
            gap: None,
        }
    }
}

/// Compares the group's committed position in `partition` with the log, and seeks the partition to
/// the offset at which reading continues. Returns this offset, and the gap that the comparison
/// found.
///
/// Called once for each assignment of a partition, before a record of the partition is delivered.
/// If there is no committed position, commits the oldest offset as the group's first position
/// instead of seeking.
///
/// | the group's committed position | the partition starts at | gap |
/// |---|---|---|
/// | none | the oldest record | none |
/// | in an earlier topic of the same name | the oldest record | recreated |
/// | before the low watermark | the low watermark | deleted |
/// | between the watermarks | the committed position | none |
/// | after the high watermark | where the log was cut, or the oldest record | truncated |
///
/// The low watermark is the offset of the oldest record in the log, and the high watermark is the
/// offset after the newest record. A log ends before a committed position if it was cut, which an
/// unclean leader election does.
///
/// `earlier_topic_position` is where this process stopped reading an earlier topic of the same
/// name, if it read one. This position counts if the brokers return no committed position: they
/// delete the commits of a topic together with the topic.
///
/// Each request to the brokers waits for at most `timeout`.
///
/// # Errors
/// If a request fails. Records of the partition must not be delivered then: they may follow a gap.
pub(super) fn seek_to_start(
    membership: &impl Membership,
    partition: &Partition,
    earlier_topic_position: Option<Committed>,
    timeout: Duration,
) -> Result<PartitionStart> {
    let index = partition.index;
    let committed = membership
        .committed(index, timeout)?
        .or(earlier_topic_position);
    let (low, high) = membership.watermarks(index, timeout)?;

    let Some(committed) = committed else {
        // librdkafka starts at the oldest record by itself (`auto.offset.reset`). With the commit,
        // a later deletion of unread records can be recognized.
        membership.commit_start(index, low)?;
        return Ok(PartitionStart::default());
    };
    let offset = committed.offset;
    if committed.is_of_earlier_topic {
        membership.seek_to(index, low, timeout)?;
        return Ok(PartitionStart::in_recreated_topic(partition, offset, low));
    }

    membership.seek_to_committed(committed, timeout)?;
    let mut log = low..high;
    if offset > log.end {
        // The end is read a second time, since a new leader may report it too low.
        membership.sleep_unless_closed(HIGH_WATERMARK_RECHECK_DELAY);
        let (_, confirmed_high) = membership.watermarks(index, timeout)?;
        log.end = confirmed_high;
    }
    Ok(PartitionStart::at_committed(partition, offset, log))
}
