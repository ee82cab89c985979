//! Follows the offsets of the owned partitions, and finds records that the log no longer has.
//!
//! Offsets may be missing without a loss: the markers of transactions and the records of aborted ones are not
//! delivered, and compaction removes records. All of them are above the partition's low watermark. What is missing
//! below it was deleted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use shop_core::log::{Gap, GapCause};
use shop_core::{ErrorKind, Result};

use super::member::{Consumer, Member};
use crate::error::{from_kafka, kafka_error};

/// The positions of the reader thread.
#[derive(Debug, Default)]
pub(super) struct Positions {
    partitions: BTreeMap<u32, Position>,
    /// When to check partitions again whose brokers did not respond.
    retry_at: Option<Instant>,
}

#[derive(Debug)]
struct Position {
    epoch: u64,
    /// The offset of the next record; `None` if the group starts at the earliest one.
    next: Option<i64>,
    /// When the low watermark was read for an offset that was not delivered.
    checked_at: Option<Instant>,
}

/// What a record's offset shows.
pub(super) enum Arrival {
    /// It follows the record before it, possibly after offsets that were never visible.
    InOrder,
    /// It follows a gap.
    AfterGap(Gap),
    /// Offsets went backwards: the log was truncated or created again. The partition needs a new epoch.
    Backwards,
}

/// The timeout of a request about a partition whose records are waiting.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// The timeout of requests about all partitions that were assigned. The reader thread does not poll meanwhile.
const ASSIGNMENT_TIMEOUT: Duration = Duration::from_millis(1_500);
/// The pause after a partition's broker did not respond.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// The minimum time between two reads of a partition's low watermark. A topic that is compacted or written in
/// transactions skips offsets all the time, and each read takes about a millisecond. librdkafka needs longer to find
/// the first record after a deletion.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// The time after which an end before the committed position is confirmed: a new leader may not know the end yet.
const CONFIRM_AFTER: Duration = Duration::from_millis(300);

impl Positions {
    /// Compares the committed positions of newly assigned partitions with the log. Partitions whose brokers do not
    /// respond are checked later. Returns the gaps.
    pub(super) fn check_assigned(&mut self, member: &Member, consumer: &Consumer) -> Vec<Gap> {
        if self.retry_at.is_none_or(|at| at > Instant::now()) && !member.take_unchecked() {
            return Vec::new();
        }
        self.retry_at = None;
        let mut gaps = Vec::new();
        let deadline = Instant::now() + ASSIGNMENT_TIMEOUT;
        for (index, epoch) in member.owned() {
            if self.is_known(index, epoch) {
                continue;
            }
            let timeout = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(50));
            match self.check(member, consumer, (index, epoch), timeout) {
                Ok(gap) => gaps.extend(gap),
                Err(error) => {
                    tracing::debug!(log.partition = index, %error, "failed to compare the position with the log");
                    self.retry_at = Some(Instant::now() + RETRY_INTERVAL);
                }
            }
        }
        gaps
    }

    fn is_known(&self, index: u32, epoch: u64) -> bool {
        self.partitions.get(&index).is_some_and(|position| position.epoch == epoch)
    }

    /// Compares the committed position of one partition with the log.
    fn check(
        &mut self,
        member: &Member,
        consumer: &Consumer,
        (index, epoch): (u32, u64),
        timeout: Duration,
    ) -> Result<Option<Gap>> {
        let committed = committed(member, consumer, index, timeout)?;
        let (low, mut high) = watermarks(member, consumer, index, timeout)?;
        let (mut next, mut gap) = (committed, None);
        match committed {
            None => {
                if low > 0 {
                    tracing::warn!(
                        log.group = %member.group,
                        log.partition = index,
                        log.offset = low,
                        "no committed position: the group starts at the oldest record of a log that has deleted others"
                    );
                }
                // From now on, a deletion of unread records is a gap.
                commit_start(member, consumer, index, low)?;
            }
            Some(committed) if committed < low => {
                gap = Some((committed, low, GapCause::Deleted));
                next = Some(low);
            }
            Some(committed) if committed > high => {
                member.queue.wait_for_close(CONFIRM_AFTER);
                high = watermarks(member, consumer, index, timeout)?.1;
                if committed > high {
                    gap = Some((high, committed, GapCause::Truncated));
                    // librdkafka starts again at the earliest record.
                    next = Some(low);
                }
            }
            Some(_) => {}
        }
        self.partitions.insert(index, Position { epoch, next, checked_at: None });
        let gap = gap.and_then(|(from, to, cause)| new_gap(member, (index, epoch), (from, to), cause));
        Ok(gap.map(|gap| gap.followed_by(unsigned(next.unwrap_or_default()))))
    }

    /// Compares a record's `offset` with the position of its partition, and moves the position behind it.
    ///
    /// # Errors
    /// If the brokers do not respond. The record must not be delivered: it may follow a gap.
    pub(super) fn arrive(
        &mut self,
        member: &Member,
        consumer: &Consumer,
        (index, epoch): (u32, u64),
        offset: i64,
    ) -> Result<Arrival> {
        let mut gap = None;
        if !self.is_known(index, epoch) {
            gap = self.check(member, consumer, (index, epoch), REQUEST_TIMEOUT)?;
        }
        let Some(position) = self.partitions.get_mut(&index) else { return Ok(Arrival::InOrder) };
        match position.next.replace(offset + 1) {
            Some(next) if offset < next => {
                position.next = Some(next);
                return Ok(Arrival::Backwards);
            }
            Some(next) if offset > next && position.may_check() => {
                position.checked_at = Some(Instant::now());
                let (low, _) = watermarks(member, consumer, index, REQUEST_TIMEOUT)?;
                if low > next {
                    // It continues a gap before it.
                    let from = gap.map_or(next, |gap| signed_offset(gap.from));
                    gap = new_gap(member, (index, epoch), (from, low.min(offset)), GapCause::Deleted);
                }
            }
            _ => {}
        }
        Ok(gap.map_or(Arrival::InOrder, Arrival::AfterGap))
    }

    /// Starts `epoch` of a partition whose offsets went back to `offset`. Returns the gap, if the log ends before the
    /// position.
    pub(super) fn restart(
        &mut self,
        member: &Member,
        consumer: &Consumer,
        (index, epoch): (u32, u64),
        offset: i64,
    ) -> Result<Option<Gap>> {
        let before = self.partitions.get(&index).and_then(|position| position.next);
        let (_, high) = watermarks(member, consumer, index, REQUEST_TIMEOUT)?;
        self.partitions.insert(index, Position { epoch, next: Some(offset + 1), checked_at: None });
        let range = before.filter(|next| *next > high).map(|next| (high, next));
        let gap = range.and_then(|range| new_gap(member, (index, epoch), range, GapCause::Truncated));
        Ok(gap.map(|gap| gap.followed_by(unsigned(offset))))
    }
}

impl Position {
    fn may_check(&self) -> bool {
        self.checked_at.is_none_or(|at| at.elapsed() >= CHECK_INTERVAL)
    }
}

fn new_gap(
    member: &Member,
    (index, epoch): (u32, u64),
    (from, to): (i64, i64),
    cause: GapCause,
) -> Option<Gap> {
    Some(Gap::new(member.partition(index, epoch)?, unsigned(from), unsigned(to), cause))
}

/// Returns the group's committed position; `None` if it has none.
fn committed(member: &Member, consumer: &Consumer, index: u32, timeout: Duration) -> Result<Option<i64>> {
    let mut list = TopicPartitionList::new();
    list.add_partition(&member.log.topic.name, signed(index)?);
    let found = consumer.committed_offsets(list, timeout).map_err(from_kafka)?;
    let mut committed = None;
    for element in found.elements() {
        element.error().map_err(from_kafka)?;
        if let Offset::Offset(offset) = element.offset() {
            committed = Some(offset);
        }
    }
    Ok(committed)
}

/// Commits the position of a group that has none, without waiting for the response.
fn commit_start(member: &Member, consumer: &Consumer, index: u32, low: i64) -> Result<()> {
    let mut list = TopicPartitionList::new();
    let topic = &member.log.topic.name;
    list.add_partition_offset(topic, signed(index)?, Offset::Offset(low)).map_err(from_kafka)?;
    consumer.commit(&list, CommitMode::Async).map_err(from_kafka)
}

fn watermarks(member: &Member, consumer: &Consumer, index: u32, timeout: Duration) -> Result<(i64, i64)> {
    consumer.fetch_watermarks(&member.log.topic.name, signed(index)?, timeout).map_err(from_kafka)
}

fn signed(index: u32) -> Result<i32> {
    i32::try_from(index)
        .map_err(|_too_large| kafka_error(ErrorKind::Invalid, "the partition is out of kafka's range"))
}

/// Kafka's offsets are signed, and never negative.
fn signed_offset(offset: u64) -> i64 {
    i64::try_from(offset).unwrap_or(i64::MAX)
}

fn unsigned(offset: i64) -> u64 {
    u64::try_from(offset).unwrap_or_default()
}
