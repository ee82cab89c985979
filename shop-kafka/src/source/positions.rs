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

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use shop_core::log::{Gap, GapCause, Partition};
use shop_core::{ErrorKind, Result};

use super::membership::{Committed, Membership, new_gap};
use crate::error::kafka_error;

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

/// How long to wait before the high watermark is read again, if it is before the committed
/// position.
///
/// Right after its election, a leader may still report an end of the log that is too low.
const HIGH_WATERMARK_RECHECK_DELAY: Duration = Duration::from_millis(300);

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

/// The offset at which reading of a newly assigned partition starts, and what was lost before it.
#[derive(Default)]
struct PartitionStart {
    /// The lowest possible offset of the first record after a seek. `None` if the partition was not
    /// sought: without a committed position, the group starts at the oldest record.
    next_offset: Option<i64>,
    /// The end of the log, if the log was cut before the committed position. If the first record is
    /// before this end, the log was cut at this record, and was then written again up to the end.
    truncated_end: Option<i64>,
    /// The gap that the comparison with the log found: the records that the log lost, if any.
    gap: Option<Gap>,
}

/// Offsets without a record at the end of a partition.
#[derive(Debug, PartialEq)]
pub(super) struct PassedEnd {
    /// The records among these offsets that the log deleted before they were read.
    pub(super) gap: Option<Gap>,
    /// The offset behind them.
    pub(super) next_offset: i64,
}

/// How the offset of a record relates to the position in its partition.
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
                // A record that arrives before the retry is not delivered unseen: `advance_past`
                // makes the requests first.
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

        let truncated_end = position.truncated_end.take();
        let expected = position.next_offset.unwrap_or(offset);
        if offset < expected {
            return Ok(Arrival::Backwards);
        }

        position.next_offset = Some(offset + 1);
        if offset == expected {
            return Ok(Arrival::InOrder(None));
        }
        if let Some(end) = truncated_end
            && offset < end
        {
            // This is the first record after a seek to a position behind the end of the log.
            // librdkafka went back to this record because the log was cut here. The records from
            // here to the end were written after the cut, and replace records that the group read.
            let gap = new_gap(partition, offset..end, GapCause::Truncated, offset);
            return Ok(Arrival::InOrder(Some(gap)));
        }

        // Offsets were skipped.
        let checked_at = position.checked_at;
        if checked_at.is_some_and(|checked_at| checked_at.elapsed() < CHECK_INTERVAL) {
            return Ok(Arrival::InOrder(None));
        }
        position.checked_at = Some(Instant::now());
        let gap = find_deleted(membership, partition, expected..offset)?;
        Ok(Arrival::InOrder(gap))
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

        let cut_at = if offset > low {
            // librdkafka knew the epoch of the leader that wrote the last record it read. By this
            // epoch, it found the place where the log was cut, and went back to it.
            offset
        } else if read_end > Some(high) || !membership.knows_topic_id() {
            // librdkafka went back to the oldest record, which it does without such an epoch if its
            // position is after the end of the log. The records up to the end may be the ones that
            // were read. Without a topic id, this may also be another topic of the same name. In
            // both cases, only the offsets after the end are certainly lost.
            high
        } else {
            // The position is within the log of the topic that was read, so librdkafka went back
            // because the log was cut at its oldest record. The log has grown again since.
            low
        };
        let lost_end = read_end.filter(|read_end| *read_end > cut_at);
        Ok(lost_end.map(|end| new_gap(partition, cut_at..end, GapCause::Truncated, offset)))
    }
}

/// Returns the gap of the deleted records among the `skipped` offsets, at which no record arrived.
/// Returns `None` if none of the offsets was deleted.
///
/// Offsets before the low watermark were deleted. The other offsets never had a record. Records
/// behind `skipped` are not lost, even if the log has deleted them since, because they are fetched
/// already.
///
/// # Errors
/// If the brokers do not respond.
fn find_deleted(
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
fn seek_to_start(
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
    let mut start = PartitionStart {
        next_offset: Some(offset),
        ..PartitionStart::default()
    };
    if committed.is_of_earlier_topic {
        // The offset means nothing in the present topic, so all its records are read. How many
        // records of the earlier topic were not read is unknown: the gap contains no offset.
        membership.seek_to(index, low, timeout)?;
        start.next_offset = Some(low);
        let gap = new_gap(partition, offset..offset, GapCause::Recreated, low);
        start.gap = Some(gap);
        return Ok(start);
    }

    membership.seek_to_committed(committed, timeout)?;
    if offset < low {
        // The records up to the low watermark were deleted, by retention for example.
        start.next_offset = Some(low);
        start.gap = Some(new_gap(partition, offset..low, GapCause::Deleted, low));
    } else if offset > high {
        // The log ends before the committed position. The end is read a second time, since a new
        // leader may report it too low.
        membership.sleep_unless_closed(HIGH_WATERMARK_RECHECK_DELAY);
        let (_, confirmed_high) = membership.watermarks(index, timeout)?;
        if offset > confirmed_high {
            // librdkafka continues where the log was cut, or at the oldest record if the committed
            // position carries no leader epoch. So the first record may be at any offset from the
            // low watermark on.
            start.next_offset = Some(low);
            start.truncated_end = Some(confirmed_high);
            let lost_offsets = confirmed_high..offset;
            start.gap = Some(new_gap(partition, lost_offsets, GapCause::Truncated, low));
        }
    }
    Ok(start)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// A member of a group that owns partition 0, with a log whose watermarks are set.
    #[derive(Debug, Default)]
    struct Fake {
        epoch: u64,
        committed: Option<i64>,
        watermarks: Cell<(i64, i64)>,
        /// The watermarks after the next pause.
        later: Option<(i64, i64)>,
        fails: bool,
        polled_end: Option<i64>,
        /// Whether the topic was created again.
        is_replaced: bool,
        knows_topic_id: bool,
        /// The calls since they were last taken.
        calls: RefCell<Vec<String>>,
    }

    impl Fake {
        fn call<T>(&self, name: impl Into<String>, result: T) -> Result<T> {
            self.calls.borrow_mut().push(name.into());
            if self.fails {
                Err(kafka_error(ErrorKind::Unavailable, "an outage"))
            } else {
                Ok(result)
            }
        }

        fn calls(&self) -> String {
            self.calls.take().join(", ")
        }

        fn owned_partition(&self) -> Partition {
            Partition::new("cluster".into(), "topic".into(), 0, self.epoch)
        }
    }

    impl Membership for Fake {
        fn owned_partitions(&self) -> Vec<Partition> {
            vec![self.owned_partition()]
        }

        fn committed(&self, _index: u32, timeout: Duration) -> Result<Option<Committed>> {
            assert!(timeout > Duration::from_millis(500), "{timeout:?}");
            let committed = |offset| {
                if self.is_replaced {
                    Committed::in_earlier_topic(offset)
                } else {
                    Committed::in_present_topic(offset)
                }
            };
            self.call("committed", self.committed.map(committed))
        }

        fn seek_to_committed(&self, committed: Committed, _timeout: Duration) -> Result<()> {
            self.call(format!("validate {}", committed.offset), ())
        }

        fn knows_topic_id(&self) -> bool {
            self.knows_topic_id
        }

        fn seek_to(&self, _index: u32, offset: i64, _timeout: Duration) -> Result<()> {
            self.call(format!("seek {offset}"), ())
        }

        fn watermarks(&self, _index: u32, _timeout: Duration) -> Result<(i64, i64)> {
            self.call("watermarks", self.watermarks.get())
        }

        fn polled_end(&self, _index: u32) -> Result<Option<i64>> {
            Ok(self.polled_end)
        }

        fn commit_start(&self, _index: u32, low: i64) -> Result<()> {
            self.call(format!("commit {low}"), ())
        }

        fn sleep_unless_closed(&self, _time: Duration) {
            let _infallible = self.call("pause", ());
            self.watermarks
                .set(self.later.unwrap_or_else(|| self.watermarks.get()));
        }
    }

    const CHECK: &str = "committed, watermarks";

    /// The calls of a check of a committed position.
    fn checked_at(committed: i64) -> String {
        format!("{CHECK}, validate {committed}")
    }

    fn described<'a>(gaps: impl IntoIterator<Item = &'a Gap>) -> String {
        let of = |gap: &Gap| {
            format!(
                "{:?} {}..{}, then {}",
                gap.cause, gap.from, gap.to, gap.next_offset
            )
        };
        gaps.into_iter().map(of).collect::<Vec<_>>().join(", ")
    }

    /// A member and its positions.
    struct Reader {
        member: Fake,
        positions: Positions,
        is_unchecked: bool,
    }

    impl Reader {
        fn new(committed: Option<i64>, watermarks: (i64, i64)) -> Self {
            let member = Fake {
                epoch: 1,
                committed,
                watermarks: Cell::new(watermarks),
                ..Fake::default()
            };
            Self {
                member,
                positions: Positions::default(),
                is_unchecked: true,
            }
        }

        /// What a check of the assigned partitions finds, and its calls.
        fn check_assigned(&mut self) -> (String, String) {
            let is_unchecked = std::mem::take(&mut self.is_unchecked);
            let gaps = self
                .positions
                .initialize_assigned(&self.member, is_unchecked);
            (described(&gaps), self.member.calls())
        }

        /// What the arrival of the record at `offset` means, and its calls.
        fn arrive(&mut self, offset: i64) -> (String, String) {
            let partition = self.member.owned_partition();
            let arrival = self
                .positions
                .advance_past(&self.member, &partition, offset);
            let arrival = match arrival.unwrap() {
                Arrival::InOrder(None) => "in order".to_owned(),
                Arrival::InOrder(gap) => described(&gap),
                Arrival::TooEarly(gap) => ["too early".to_owned(), described(&gap)].join(" "),
                Arrival::Backwards => "backwards".to_owned(),
            };
            (arrival, self.member.calls())
        }

        /// What the end of the partition means after everything up to `polled_end` was polled, and
        /// its calls.
        fn end(&mut self, polled_end: i64) -> (String, String) {
            self.member.polled_end = Some(polled_end);
            let partition = self.member.owned_partition();
            let end = match self.positions.pass_end(&self.member, &partition) {
                Ok(Some(end)) => format!("{} end at {}", described(&end.gap), end.next_offset),
                Ok(None) => "nothing passed".to_owned(),
                Err(error) => error.message().to_owned(),
            };
            (end.trim_start().to_owned(), self.member.calls())
        }

        /// What a restart at `offset` finds, in the next epoch.
        fn restart(&mut self, offset: i64) -> String {
            self.member.epoch += 1;
            let partition = self.member.owned_partition();
            let gap = self.positions.restart(&self.member, &partition, offset);
            self.member.calls();
            described(&gap.unwrap())
        }
    }

    /// What is expected without any call.
    fn without_calls(expected: &str) -> (String, String) {
        (expected.to_owned(), String::new())
    }

    #[test]
    fn a_new_group_starts_at_the_oldest_record() {
        let mut reader = Reader::new(None, (5, 9));
        let calls = format!("{CHECK}, commit 5");
        assert_eq!(reader.check_assigned(), (String::new(), calls));
        for offset in 5..9 {
            assert_eq!(reader.arrive(offset), without_calls("in order"));
        }
    }

    #[test]
    fn a_position_outside_of_the_log_is_a_gap() {
        for (committed, later, gap, then) in [
            (1, None, "Deleted 1..3, then 3", "in order"),
            (3, None, "", "in order"),
            (9, None, "", "backwards"),
            (11, None, "Truncated 9..11, then 3", "in order"),
            (11, Some((3, 10)), "Truncated 10..11, then 3", "in order"),
            (11, Some((3, 11)), "", "backwards"),
        ] {
            let mut reader = Reader::new(Some(committed), (3, 9));
            reader.member.later = later;
            let mut calls = checked_at(committed);
            if committed > 9 {
                calls += ", pause, watermarks";
            }
            assert_eq!(reader.check_assigned(), (gap.to_owned(), calls));
            assert_eq!(reader.arrive(3).0, then, "{committed}");
        }
    }

    #[test]
    fn a_position_of_an_earlier_topic_is_a_gap_and_all_is_read() {
        for committed in [0, 5, 9, 11] {
            let gap = format!("Recreated {committed}..{committed}, then 3");
            let reader = || {
                let mut reader = Reader::new(Some(committed), (3, 9));
                reader.member.is_replaced = true;
                reader
            };
            let mut checked = reader();
            let calls = format!("{CHECK}, seek 3");
            assert_eq!(checked.check_assigned(), (gap.clone(), calls));
            assert_eq!(checked.arrive(3).0, "in order");
            // A record that arrives before the check is not delivered.
            assert_eq!(reader().arrive(5).0, format!("too early {gap}"));
        }
    }

    #[test]
    fn partitions_are_checked_once_in_an_epoch_and_again_after_a_failure() {
        let mut reader = Reader::new(Some(3), (3, 9));
        reader.member.fails = true;
        let failed = (String::new(), "committed".to_owned());
        assert_eq!(reader.check_assigned(), failed);
        let partition = reader.member.owned_partition();
        let arrival = reader.positions.advance_past(&reader.member, &partition, 3);
        assert!(arrival.is_err(), "the record may follow a gap");
        assert_eq!(reader.member.calls(), "committed");

        reader.member.fails = false;
        assert_eq!(reader.check_assigned(), without_calls(""), "not yet");
        reader.positions.retry_at = Some(Instant::now());
        let checked = (String::new(), checked_at(3));
        assert_eq!(reader.check_assigned(), checked);
        reader.is_unchecked = true;
        assert_eq!(reader.check_assigned(), without_calls(""), "known");
        reader.member.epoch = 2;
        assert_eq!(reader.check_assigned(), without_calls(""), "not assigned");
        reader.is_unchecked = true;
        assert_eq!(reader.check_assigned(), checked);
    }

    #[test]
    fn skipped_offsets_are_a_gap_if_they_were_deleted() {
        let mut reader = Reader::new(Some(3), (3, 9));
        let early = ("too early ".to_owned(), checked_at(3));
        assert_eq!(reader.arrive(3), early);
        assert_eq!(reader.arrive(3), without_calls("in order"));
        // 4 was a marker.
        let skipped = ("in order".to_owned(), "watermarks".to_owned());
        assert_eq!(reader.arrive(5), skipped);
        // Soon after, the watermarks are not read again.
        reader.member.watermarks.set((20, 30));
        let checked_at = |reader: &mut Reader, time| {
            reader.positions.partitions.get_mut(&0).unwrap().checked_at = Some(time);
        };
        checked_at(&mut reader, Instant::now() + REQUEST_TIMEOUT);
        assert_eq!(reader.arrive(7), without_calls("in order"));
        for (offset, low, expected) in [
            // 8 is the oldest record.
            (10, 8, "in order"),
            (15, 13, "Deleted 11..13, then 13"),
            (20, 25, "Deleted 16..20, then 20"),
            (20, 25, "backwards"),
            (21, 25, "in order"),
        ] {
            reader.member.watermarks.set((low, 30));
            checked_at(&mut reader, Instant::now() - CHECK_INTERVAL);
            assert_eq!(reader.arrive(offset).0, expected, "{offset} {low}");
        }
    }

    #[test]
    fn offsets_without_a_record_at_the_end_are_passed() {
        let mut reader = Reader::new(Some(3), (0, 20));
        let unknown = "the position is not compared with the log yet";
        assert_eq!(reader.end(3), without_calls(unknown));
        reader.check_assigned();
        assert_eq!(reader.end(3), without_calls("nothing passed"));
        let passed = |end: &str| (end.to_owned(), "watermarks".to_owned());
        assert_eq!(reader.end(5), passed("end at 5"));
        assert_eq!(reader.arrive(5), without_calls("in order"));
        assert_eq!(reader.end(6), without_calls("nothing passed"));

        // librdkafka went on at the oldest record, because the log had deleted what follows.
        reader.member.watermarks.set((9, 20));
        assert_eq!(reader.end(12), passed("Deleted 6..9, then 9 end at 12"));
        reader.member.fails = true;
        assert_eq!(reader.end(15), passed("an outage"));
        reader.member.fails = false;
        assert_eq!(reader.end(15), passed("end at 15"), "it is tried again");
        // The log was cut.
        assert_eq!(reader.end(14), without_calls("nothing passed"));
    }

    #[test]
    fn a_new_group_passes_a_partition_without_records() {
        let mut reader = Reader::new(None, (2, 4));
        reader.check_assigned();
        let partition = reader.member.owned_partition();
        let end = reader.positions.pass_end(&reader.member, &partition);
        assert_eq!(end.unwrap(), None, "nothing was polled");
        assert_eq!(reader.end(4).0, "end at 4");
        assert_eq!(reader.end(4).0, "nothing passed");
    }

    #[test]
    fn the_first_record_after_a_cut_shows_what_was_replaced() {
        let mut reader = Reader::new(Some(11), (3, 9));
        assert_eq!(reader.check_assigned().0, "Truncated 9..11, then 3");
        assert_eq!(reader.arrive(7).0, "Truncated 7..9, then 7");
        assert_eq!(reader.arrive(8).0, "in order");
    }

    #[test]
    fn a_log_that_was_cut_and_has_grown_is_read_from_the_cut() {
        for (cut_at, gap) in [
            (20, "Truncated 20..40, then 20"),
            (0, "Truncated 0..40, then 0"),
        ] {
            let mut reader = Reader::new(Some(40), (0, 60));
            reader.member.knows_topic_id = true;
            assert_eq!(reader.check_assigned().0, "");
            assert_eq!(reader.arrive(cut_at).0, "backwards");
            assert_eq!(reader.restart(cut_at), gap);
        }
    }

    #[test]
    fn a_partition_whose_offsets_went_back_restarts() {
        let mut reader = Reader::new(Some(3), (0, 9));
        assert_eq!(reader.check_assigned().0, "");
        assert_eq!(reader.arrive(3).0, "in order");
        assert_eq!(reader.arrive(3).0, "backwards");
        // The log has all up to the position, and then no longer.
        for (high, gap) in [(4, ""), (1, "Truncated 1..2, then 0")] {
            reader.member.watermarks.set((0, high));
            assert_eq!(reader.restart(0), gap);
            assert_eq!(reader.arrive(0), without_calls("backwards"));
            assert_eq!(reader.arrive(1), without_calls("in order"));
        }
    }
}
