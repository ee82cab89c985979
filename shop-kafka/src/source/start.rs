//! Finds out where a newly assigned partition starts, and which of its unread records the log has lost.
//!
//! | the group's committed position | the partition starts at | gap |
//! |---|---|---|
//! | none | the oldest record | none |
//! | in an earlier topic of the same name | the oldest record | recreated |
//! | before the low watermark | the low watermark | deleted |
//! | between the watermarks | the committed position | none |
//! | after the high watermark | where librdkafka continues | truncated |

use std::time::Duration;

use shop_core::Result;
use shop_core::log::{Gap, GapCause};

use super::membership::{Committed, Membership, OwnedPartition};

/// How long an end of the log before the committed position may last: a new leader may not know the end yet.
const CONFIRM_AFTER: Duration = Duration::from_millis(300);

/// The start of a newly assigned partition.
#[derive(Default)]
pub(super) struct Start {
    /// The offset that the partition was sought to, or `None` if the group starts at the oldest record without a seek.
    pub(super) next: Option<i64>,
    /// The end of the log, if it is before the committed position. A first record before this end is the first one
    /// after the place where the log was cut.
    pub(super) shorter_end: Option<i64>,
    /// The records that the group has not read and the log has lost.
    pub(super) gap: Option<Gap>,
}

/// Compares the group's committed position with the log, and seeks the partition to the place where reading continues.
///
/// `earlier` is the position in an earlier topic of the same name. It is used if the brokers return no position, because
/// they delete the commits of a topic together with the topic. Each request waits for at most `timeout`.
///
/// # Errors
/// If a request fails. Records of the partition must not be delivered then: they may follow a gap.
pub(super) fn find_start(
    membership: &impl Membership,
    partition: OwnedPartition,
    earlier: Option<Committed>,
    timeout: Duration,
) -> Result<Start> {
    let index = partition.index;
    let committed = membership.committed(index, timeout)?.or(earlier);
    let (low, high) = membership.watermarks(index, timeout)?;

    let Some(committed) = committed else {
        membership.commit_start(index, low)?;
        return Ok(Start::default());
    };
    let offset = committed.offset;
    let mut start = Start {
        next: Some(offset),
        ..Start::default()
    };
    if committed.is_of_earlier_topic {
        membership.seek_to(index, low, timeout)?;
        start.next = Some(low);
        start.gap = membership.new_gap(partition, offset..offset, GapCause::Recreated, low);
        return Ok(start);
    }

    membership.seek_to_committed(committed, timeout)?;
    if offset < low {
        start.next = Some(low);
        start.gap = membership.new_gap(partition, offset..low, GapCause::Deleted, low);
    } else if offset > high {
        membership.pause(CONFIRM_AFTER);
        let (_, high) = membership.watermarks(index, timeout)?;
        if offset > high {
            // librdkafka continues where the log was cut or, if the position has no leader epoch, at the oldest record.
            start.next = Some(low);
            start.shorter_end = Some(high);
            start.gap = membership.new_gap(partition, high..offset, GapCause::Truncated, low);
        }
    }
    Ok(start)
}
