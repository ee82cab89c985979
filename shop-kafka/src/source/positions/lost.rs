//! Tells which of the records that a member did not receive are lost.
//!
//! A record is lost if the log deleted it before it was read, or if the log was cut before it after
//! it was read. All other offsets without a record never had one for this group.

use std::ops::Range;

use shop_core::Result;
use shop_core::log::{Gap, GapCause, Partition};

use super::REQUEST_TIMEOUT;
use crate::source::membership::{Membership, new_gap};

/// Returns the gap of the deleted records among the `skipped` offsets, at which no record arrived.
/// Returns `None` if none of the offsets was deleted.
///
/// Offsets before the low watermark were deleted. The other offsets never had a record. Records
/// behind `skipped` are not lost, even if the log has deleted them since, because they are fetched
/// already.
///
/// # Errors
/// If the brokers do not respond.
pub(super) fn find_deleted(
    membership: &impl Membership,
    partition: &Partition,
    skipped: Range<i64>,
) -> Result<Option<Gap>> {
    let (low, _) = membership.watermarks(partition.index, REQUEST_TIMEOUT)?;
    if low <= skipped.start {
        return Ok(None);
    }
    let end = low.min(skipped.end);
    let gap = new_gap(partition, skipped.start..end, GapCause::Deleted, end);
    Ok(Some(gap))
}

/// Returns the offset at which a log was cut, after librdkafka went back to the record at
/// `resumed_at`. The records from the cut to `read_end` were read, and are no longer in the log.
///
/// `log` ranges from the oldest record to the end of the log now. `read_end` is the offset after the
/// last record that was read.
///
/// | librdkafka went back to | the log now ends | topic id | cut |
/// |---|---|---|---|
/// | a later record than the oldest | anywhere | any | that record |
/// | the oldest record | before `read_end` | any | the end of the log |
/// | the oldest record | at `read_end` or after | unknown | the end of the log |
/// | the oldest record | at `read_end` or after | known | the oldest record |
pub(super) fn find_cut(
    resumed_at: i64,
    read_end: i64,
    log: Range<i64>,
    knows_topic_id: bool,
) -> i64 {
    // librdkafka knew the epoch of the leader that wrote the last record it read. By this epoch, it
    // found the place where the log was cut.
    if resumed_at > log.start {
        return resumed_at;
    }

    // Without such an epoch, librdkafka goes back to the oldest record if its position is after the
    // end of the log. Without a topic id, this may also be another topic of the same name. In both
    // cases, the records up to the end may be the ones that were read: only the offsets after the end
    // are certainly lost.
    if read_end > log.end || !knows_topic_id {
        return log.end;
    }

    // The position is within the log of the topic that was read, so librdkafka went back because the
    // log was cut at its oldest record. The log has grown again since.
    log.start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_where_reading_resumed_unless_it_resumed_at_the_oldest_record() {
        let log = 10..20;
        for (resumed_at, read_end, knows_topic_id, cut) in [
            (11, 15, true, 11),
            (11, 15, false, 11),
            (11, 25, true, 11),
            (10, 21, true, 20),
            (10, 21, false, 20),
            (10, 20, false, 20),
            (10, 15, false, 20),
            (10, 20, true, 10),
            (10, 15, true, 10),
        ] {
            assert_eq!(
                find_cut(resumed_at, read_end, log.clone(), knows_topic_id),
                cut,
                "resumed at {resumed_at}, read up to {read_end}, {knows_topic_id}"
            );
        }
    }
}
