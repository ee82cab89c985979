//! Follows the offsets of the owned partitions, and finds records that the log no longer contains.
//!
//! Offsets may be missing without a loss: the markers of transactions and the records of aborted
//! transactions are not delivered, and compaction removes records. All such offsets are at or above
//! the partition's low watermark, which is the offset of the oldest record. Missing offsets below
//! the low watermark were deleted. At the end of a partition, no record follows that would move the
//! group's position over such offsets, so the end itself does, see [`Positions::pass_end`].
//!
//! After an unclean election, the new leader may lack records that the group read, and accept other
//! records at the same offsets. For this reason, a newly assigned partition is sought to its
//! committed position before a record is delivered, see [`seek_to_start`]. librdkafka then goes
//! back to where the log was cut: the offsets go backwards, and the offsets after the cut are a
//! gap.
//!
//! | module | responsibility |
//! |---|---|
//! | `start` | where reading of a newly assigned partition starts, and what was lost before it |
//! | `lost` | which of the skipped offsets were deleted, and where a log was cut |

mod lost;
#[cfg(test)]
mod positions_test;
mod start;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use shop_core::log::{Gap, GapCause, Partition};
use shop_core::{ErrorKind, Result};

use super::membership::{Committed, Membership, new_gap};
use crate::error::kafka_error;
use lost::{find_cut, find_deleted};
use start::{PartitionStart, seek_to_start};

/// The timeout of a request to the brokers that is made when a record arrives. The record waits for
/// the response.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// The time for the requests about all partitions of an assignment together. The reader thread does
/// not poll during these requests.
const ASSIGNMENT_TIMEOUT: Duration = Duration::from_millis(1_500);
/// The minimum timeout of a request about one assigned partition, even if the partitions before it
/// used up [`ASSIGNMENT_TIMEOUT`].
const MIN_TIMEOUT: Duration = Duration::from_millis(50);
/// The time until a failed comparison of a committed position with the log is retried.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// The minimum time between two reads of a partition's low watermark. A topic that is compacted or
/// written in transactions skips offsets all the time, and each read takes about a millisecond.
/// librdkafka needs longer to find the first record after a deletion.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// The read positions of the reader thread, by the index of the partition.
#[derive(Default)]
pub(super) struct Positions {
    partitions: BTreeMap<u32, Position>,
    /// The offsets at which this process stopped reading an earlier topic of the same name, by the
    /// index of the partition. An offset is removed once the partition of the present topic is
    /// compared with it.
    earlier_topic_offsets: BTreeMap<u32, i64>,
    /// The time to retry the failed comparisons of committed positions with the log, or `None` if
    /// no comparison failed.
    retry_at: Option<Instant>,
}

/// The position of the reader thread in one partition.
struct Position {
    /// The epoch of the ownership in which this position was set. In another epoch, the position
    /// counts as unknown.
    epoch: u64,
    /// The offset of the next record, or `None` until the first record if there is no committed
    /// position.
    next_offset: Option<i64>,
    /// When the low watermark was last read because an offset was skipped.
    checked_at: Option<Instant>,
    /// The end of the log if the log was cut before the committed position, until the first record
    /// arrives. See [`PartitionStart::truncated_end`].
    truncated_end: Option<i64>,
}

/// Offsets without a record at the end of a partition.
#[derive(Debug, PartialEq)]
pub(super) struct PassedEnd {
    /// The records among these offsets that the log deleted before they were read.
    pub(super) gap: Option<Gap>,
    /// The offset behind them.
    pub(super) next_offset: i64,
}

/// Whether the reader thread may deliver a record that arrived, and the gap before the record.
pub(super) enum Arrival {
    /// The record is at or after the position, and is delivered after this gap.
    InOrder(Option<Gap>),
    /// The record was fetched before its partition was sought to the committed position. The record
    /// must not be delivered: it arrives again after the seek, unless the log lost it. The gap is
    /// delivered.
    TooEarly(Option<Gap>),
    /// The record is before the position, because the log was cut or created again. The partition
    /// needs a new epoch, see [`Positions::restart`].
    Backwards,
}

/// How the offset of a record follows the position in its partition.
#[derive(Debug, PartialEq)]
enum Step {
    /// The record is the next one.
    Next,
    /// The record is before the position.
    Backwards,
    /// No record arrived at these offsets before the record.
    Skipped(Range<i64>),
    /// The log was cut at the record, which is the first one after a seek to a position behind the
    /// end of the log. The records at these offsets were written after the cut, and replace records
    /// that the group read.
    Replaced(Range<i64>),
}

impl Position {
    /// Moves this position past the record at `offset`, unless the record is before the position.
    ///
    /// | `offset` | step |
    /// |---|---|
    /// | before the position | backwards, and the position stays |
    /// | at the position, or no position is known | next |
    /// | after it, but before the end of a log that was cut | replaced: from the record to that end |
    /// | after it otherwise | skipped: from the position to the record |
    ///
    /// The end of a log that was cut counts for the first record only.
    fn step_past(&mut self, offset: i64) -> Step {
        let truncated_end = self.truncated_end.take();
        let expected = self.next_offset.unwrap_or(offset);
        if offset < expected {
            return Step::Backwards;
        }

        self.next_offset = Some(offset + 1);
        if offset == expected {
            return Step::Next;
        }
        match truncated_end {
            // librdkafka went back to this record, because the log was cut here.
            Some(end) if offset < end => Step::Replaced(offset..end),
            _ => Step::Skipped(expected..offset),
        }
    }

    /// Returns whether the low watermark was read less than [`CHECK_INTERVAL`] ago.
    fn was_checked_recently(&self) -> bool {
        self.checked_at
            .is_some_and(|checked_at| checked_at.elapsed() < CHECK_INTERVAL)
    }
}

impl Positions {
    /// Seeks newly assigned partitions to their committed positions, and returns a gap for each
    /// partition whose log lost records before its position.
    ///
    /// The reader thread calls this method before each poll. Requests are made only if
    /// `has_new_assignment` is set, or if it is time to retry the partitions whose requests failed.
    /// Partitions that are initialized already are skipped: each ownership of a partition starts an
    /// epoch, and the requests succeed once in an epoch.
    pub(super) fn initialize_assigned(
        &mut self,
        membership: &impl Membership,
        has_new_assignment: bool,
    ) -> Vec<Gap> {
        let now = Instant::now();
        let is_retry_due = self.retry_at.is_some_and(|retry_at| retry_at <= now);
        if !has_new_assignment && !is_retry_due {
            return Vec::new();
        }

        self.retry_at = None;
        let mut gaps = Vec::new();
        let deadline = now + ASSIGNMENT_TIMEOUT;
        for partition in membership.owned_partitions() {
            if self.is_initialized(&partition) {
                continue;
            }

            let remaining = deadline.saturating_duration_since(Instant::now());
            match self.initialize_position(membership, &partition, remaining.max(MIN_TIMEOUT)) {
                Ok(start) => gaps.extend(start.gap),
                // A record that arrives before the retry is safe: `advance_past` repeats these
                // requests before the record is delivered.
                Err(error) => {
                    tracing::debug!(log.partition = partition.index, %error, "failed to compare the position with the log");
                    self.retry_at = Some(Instant::now() + RETRY_INTERVAL);
                }
            }
        }
        gaps
    }

    /// Removes the positions of a membership that ended.
    ///
    /// If the topic was created again, the next membership reads another topic of the same name.
    /// Its offsets are then kept as `earlier_topic_offsets`: the brokers deleted the group's
    /// commits together with the earlier topic, so only this process knows how far it was read.
    pub(super) fn reset(&mut self, is_topic_recreated: bool) {
        let partitions = std::mem::take(&mut self.partitions);
        if is_topic_recreated {
            self.earlier_topic_offsets = partitions
                .into_iter()
                .filter_map(|(index, position)| Some((index, position.next_offset?)))
                .collect();
        }
        self.retry_at = None;
    }

    /// Returns whether the position in `partition` was set in the partition's present epoch.
    fn is_initialized(&self, partition: &Partition) -> bool {
        self.partitions
            .get(&partition.index)
            .is_some_and(|position| position.epoch == partition.epoch)
    }

    /// Seeks a newly assigned partition to the offset at which reading starts, and stores this
    /// offset as the position in the partition.
    ///
    /// [`seek_to_start`] finds the offset, and makes the requests. Returns its result: the offset, and
    /// the gap before it.
    ///
    /// # Errors
    /// The errors of [`seek_to_start`]. The position then stays unknown, and the call can be
    /// repeated.
    fn initialize_position(
        &mut self,
        membership: &impl Membership,
        partition: &Partition,
        timeout: Duration,
    ) -> Result<PartitionStart> {
        // Set if this process read another topic of this name before, which was deleted.
        let earlier_topic_position = self
            .earlier_topic_offsets
            .get(&partition.index)
            .map(|offset| Committed::in_earlier_topic(*offset));
        let start = seek_to_start(membership, partition, earlier_topic_position, timeout)?;

        let position = Position {
            epoch: partition.epoch,
            next_offset: start.next_offset,
            checked_at: None,
            truncated_end: start.truncated_end,
        };
        self.partitions.insert(partition.index, position);
        // The earlier topic is compared once. After an error above, the next call compares it.
        self.earlier_topic_offsets.remove(&partition.index);
        Ok(start)
    }

    /// Compares the `offset` of a polled record with the position in its partition, and moves the
    /// position past the record unless the record must not be delivered.
    ///
    /// Called for each record. Makes requests only for the first record of a partition that is not
    /// initialized, and for records after skipped offsets. Skipped offsets are a gap if their
    /// records were deleted or replaced, but not if they belong to transaction markers, aborted
    /// transactions or compacted records.
    ///
    /// # Errors
    /// If the brokers do not respond. The record must not be delivered then: it may follow a gap.
    pub(super) fn advance_past(
        &mut self,
        membership: &impl Membership,
        partition: &Partition,
        offset: i64,
    ) -> Result<Arrival> {
        if !self.is_initialized(partition) {
            let start = self.initialize_position(membership, partition, REQUEST_TIMEOUT)?;
            // The partition was sought to the committed position just now. librdkafka discards the
            // records that it fetched before the seek and fetches them again, so this record must
            // be discarded as well.
            if start.next_offset.is_some() {
                return Ok(Arrival::TooEarly(start.gap));
            }
        }
        // The position exists, because it was initialized at the latest above.
        let Some(position) = self.partitions.get_mut(&partition.index) else {
            return Ok(Arrival::InOrder(None));
        };

        match position.step_past(offset) {
            Step::Next => Ok(Arrival::InOrder(None)),
            Step::Backwards => Ok(Arrival::Backwards),
            Step::Replaced(offsets) => {
                let gap = new_gap(partition, offsets, GapCause::Truncated, offset);
                Ok(Arrival::InOrder(Some(gap)))
            }
            Step::Skipped(_) if position.was_checked_recently() => Ok(Arrival::InOrder(None)),
            Step::Skipped(offsets) => {
                position.checked_at = Some(Instant::now());
                let gap = find_deleted(membership, partition, offsets)?;
                Ok(Arrival::InOrder(gap))
            }
        }
    }

    /// Moves the position in `partition` behind the offsets that follow the last record and contain
    /// no record, such as the marker of a transaction. Returns these offsets, or `None` if no
    /// offset follows the last record.
    ///
    /// Called when librdkafka has reached the end of the partition. Makes a request only if there
    /// are such offsets.
    ///
    /// # Errors
    /// If the brokers do not respond, or if the partition is not initialized because they did not.
    /// The call can be repeated.
    pub(super) fn pass_end(
        &mut self,
        membership: &impl Membership,
        partition: &Partition,
    ) -> Result<Option<PassedEnd>> {
        let Some(position) = self
            .partitions
            .get_mut(&partition.index)
            .filter(|position| position.epoch == partition.epoch)
        else {
            return Err(kafka_error(
                ErrorKind::Unavailable,
                "the position is not compared with the log yet",
            ));
        };

        let Some(end) = membership.polled_end(partition.index)? else {
            return Ok(None);
        };
        let gap = match position.next_offset {
            Some(expected) if end <= expected => return Ok(None),
            Some(expected) => find_deleted(membership, partition, expected..end)?,
            // The group started at the oldest record, and no record has arrived. What was deleted
            // before is no gap.
            None => None,
        };
        position.next_offset = Some(end);
        Ok(Some(PassedEnd {
            gap,
            next_offset: end,
        }))
    }

    /// Sets the position of a partition whose offsets went backwards: past the record at `offset`,
    /// and in the new epoch of `partition`.
    ///
    /// Called after [`Arrival::Backwards`], once the member owns the partition in a new epoch.
    ///
    /// Returns the gap: the offsets of the records that this process read before the log was cut.
    /// They are now missing from the log, or replaced by other records.
    ///
    /// # Errors
    /// If the brokers do not respond.
    pub(super) fn restart(
        &mut self,
        membership: &impl Membership,
        partition: &Partition,
        offset: i64,
    ) -> Result<Option<Gap>> {
        let read_end = self
            .partitions
            .get(&partition.index)
            .and_then(|position| position.next_offset);
        let (low, high) = membership.watermarks(partition.index, REQUEST_TIMEOUT)?;
        let restarted = Position {
            epoch: partition.epoch,
            next_offset: Some(offset + 1),
            checked_at: None,
            truncated_end: None,
        };
        self.partitions.insert(partition.index, restarted);

        let Some(read_end) = read_end else {
            return Ok(None);
        };
        let cut = find_cut(offset, read_end, low..high, membership.knows_topic_id());
        let lost_offsets = cut..read_end;
        if lost_offsets.is_empty() {
            return Ok(None);
        }
        let gap = new_gap(partition, lost_offsets, GapCause::Truncated, offset);
        Ok(Some(gap))
    }
}
