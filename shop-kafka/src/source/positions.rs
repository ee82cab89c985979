//! Follows the offsets of the owned partitions, and finds records that the log no longer has.
//!
//! Offsets may be missing without a loss: the markers of transactions and the records of aborted ones are not
//! delivered, and compaction removes records. All of them are above the partition's low watermark. What is missing
//! below it was deleted.
//!
//! A leader that an unclean election has made may have fewer records than the group has read, and accept others at the
//! same offsets. Before a record of a newly assigned partition is delivered, the partition is sought to its committed
//! position, with which librdkafka goes back to where the log was cut: the offsets go backwards, and what was cut is a
//! gap.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use shop_core::Result;
use shop_core::log::{Gap, GapCause};

use super::membership::{Committed, Membership};
use crate::number::unsigned;

/// The positions of the reader thread.
#[derive(Debug, Default)]
pub(super) struct Positions {
    partitions: BTreeMap<u32, Position>,
    /// The offsets of the next records in an earlier topic of this name. The brokers delete commits with their topic.
    earlier: BTreeMap<u32, i64>,
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
    /// The end of the log when it was before the committed position. If the first record is before this end, it is the
    /// first one after the cut.
    shorter_end: Option<i64>,
}

impl Position {
    const fn new(epoch: u64, next: Option<i64>) -> Self {
        Self {
            epoch,
            next,
            checked_at: None,
            shorter_end: None,
        }
    }
}

/// The result of the comparison of a committed position with the log.
struct Checked {
    gap: Option<Gap>,
    /// Whether the partition was sought. What was fetched before is fetched again.
    was_sought: bool,
}

/// How a record follows the ones before it in its partition.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is the next one, after this gap.
    InOrder(Option<Gap>),
    /// It was fetched before its partition was sought to the committed position. It must not be delivered: it arrives
    /// again, if the log still has it.
    TooEarly(Option<Gap>),
    /// Offsets went backwards: the log was cut or created again, and the partition needs a new epoch.
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
    /// Compares the committed positions of the partitions that are `owned` with the log, if some are newly assigned, or
    /// were not checked because their brokers did not respond. Returns the gaps.
    pub(super) fn check_assigned(
        &mut self,
        member: &impl Membership,
        are_new: bool,
        owned: impl FnOnce() -> Vec<(u32, u64)>,
    ) -> Vec<Gap> {
        if self.retry_at.is_none_or(|at| at > Instant::now()) && !are_new {
            return Vec::new();
        }
        self.retry_at = None;
        let mut gaps = Vec::new();
        let deadline = Instant::now() + ASSIGNMENT_TIMEOUT;
        for (index, epoch) in owned() {
            if self.is_known(index, epoch) {
                continue;
            }
            let timeout = deadline
                .saturating_duration_since(Instant::now())
                .max(Duration::from_millis(50));
            match self.check(member, index, epoch, timeout) {
                Ok(checked) => gaps.extend(checked.gap),
                Err(error) => {
                    tracing::debug!(log.partition = index, %error, "failed to compare the position with the log");
                    self.retry_at = Some(Instant::now() + RETRY_INTERVAL);
                }
            }
        }
        gaps
    }

    /// The positions of the next membership, which reads another topic if this one was created again.
    pub(super) fn ended(&mut self, is_created_again: bool) -> Self {
        let read = std::mem::take(&mut self.partitions)
            .into_iter()
            .filter_map(|(index, position)| Some((index, position.next?)));
        let earlier = if is_created_again {
            read.collect()
        } else {
            std::mem::take(&mut self.earlier)
        };
        Self {
            earlier,
            ..Self::default()
        }
    }

    fn is_known(&self, index: u32, epoch: u64) -> bool {
        self.partitions
            .get(&index)
            .is_some_and(|position| position.epoch == epoch)
    }

    /// Compares the committed position of one partition with the log.
    fn check(
        &mut self,
        member: &impl Membership,
        index: u32,
        epoch: u64,
        timeout: Duration,
    ) -> Result<Checked> {
        let earlier = self
            .earlier
            .get(&index)
            .map(|next| Committed::new(*next, true));
        let committed = member.committed(index, timeout)?.or(earlier);
        let (low, mut high) = member.watermarks(index, timeout)?;
        let mut position = Position::new(epoch, committed.as_ref().map(|found| found.offset));
        let was_sought = committed.is_some();
        let mut gap = None;
        match committed {
            Some(Committed {
                offset,
                is_of_earlier_topic: true,
                ..
            }) => {
                member.seek(index, low, timeout)?;
                gap = Some((offset, offset, GapCause::Recreated));
                position.next = Some(low);
            }
            None => {
                if low > 0 {
                    tracing::warn!(
                        log.group = member.group(),
                        log.partition = index,
                        log.offset = low,
                        "no committed position: the group starts at the oldest record of a log that has deleted others"
                    );
                }
                // From now on, a deletion of unread records is a gap.
                member.commit_start(index, low)?;
            }
            Some(committed) => {
                member.seek_to_committed(&committed, timeout)?;
                let offset = committed.offset;
                if offset < low {
                    gap = Some((offset, low, GapCause::Deleted));
                    position.next = Some(low);
                } else if offset > high {
                    member.pause(CONFIRM_AFTER);
                    high = member.watermarks(index, timeout)?.1;
                    if offset > high {
                        gap = Some((high, offset, GapCause::Truncated));
                        // librdkafka goes on where the log was cut or, without the epoch of the position, at the
                        // oldest record.
                        position.next = Some(low);
                        position.shorter_end = Some(high);
                    }
                }
            }
        }
        let next = position.next.unwrap_or_default();
        self.partitions.insert(index, position);
        self.earlier.remove(&index);
        let gap =
            gap.and_then(|(from, to, cause)| new_gap(member, index, epoch, from..to, cause, next));
        Ok(Checked { gap, was_sought })
    }

    /// Compares a record's `offset` with the position of its partition, and moves the position behind it. A gap
    /// excludes offsets that were never visible.
    ///
    /// # Errors
    /// If the brokers do not respond. The record must not be delivered: it may follow a gap.
    pub(super) fn arrive(
        &mut self,
        member: &impl Membership,
        index: u32,
        epoch: u64,
        offset: i64,
    ) -> Result<Arrival> {
        if !self.is_known(index, epoch) {
            let checked = self.check(member, index, epoch, REQUEST_TIMEOUT)?;
            if checked.was_sought {
                return Ok(Arrival::TooEarly(checked.gap));
            }
        }
        let Some(position) = self.partitions.get_mut(&index) else {
            return Ok(Arrival::InOrder(None));
        };
        let shorter_end = position.shorter_end.take();
        let mut gap = None;
        match position.next.replace(offset + 1) {
            Some(next) if offset < next => {
                position.next = Some(next);
                return Ok(Arrival::Backwards);
            }
            Some(next) if offset > next && shorter_end.is_some_and(|end| offset < end) => {
                let replaced = offset..shorter_end.unwrap_or(offset);
                gap = new_gap(member, index, epoch, replaced, GapCause::Truncated, offset);
            }
            Some(next)
                if offset > next
                    && position
                        .checked_at
                        .is_none_or(|at| at.elapsed() >= CHECK_INTERVAL) =>
            {
                position.checked_at = Some(Instant::now());
                let (low, _) = member.watermarks(index, REQUEST_TIMEOUT)?;
                if low > next {
                    let end = low.min(offset);
                    gap = new_gap(member, index, epoch, next..end, GapCause::Deleted, end);
                }
            }
            _ => {}
        }
        Ok(Arrival::InOrder(gap))
    }

    /// Starts `epoch` of a partition whose offsets went back to `offset`. Returns the gap: what was read before from the
    /// offsets that the log no longer has, or has with other records.
    pub(super) fn restart(
        &mut self,
        member: &impl Membership,
        index: u32,
        epoch: u64,
        offset: i64,
    ) -> Result<Option<Gap>> {
        let before = self
            .partitions
            .get(&index)
            .and_then(|position| position.next);
        let (low, high) = member.watermarks(index, REQUEST_TIMEOUT)?;
        let restarted = Position::new(epoch, Some(offset + 1));
        self.partitions.insert(index, restarted);
        let cut_at = if offset > low {
            // librdkafka goes on where the log was cut.
            offset
        } else if before > Some(high) || !member.knows_topic_id() {
            // It goes on at the oldest record if the position is after the end. This may be another topic.
            high
        } else {
            low
        };
        let Some(next) = before.filter(|next| *next > cut_at) else {
            return Ok(None);
        };
        let replaced = cut_at..next;
        Ok(new_gap(
            member,
            index,
            epoch,
            replaced,
            GapCause::Truncated,
            offset,
        ))
    }
}

/// Returns the gap of these offsets, behind which the record at `next` is delivered.
fn new_gap(
    member: &impl Membership,
    index: u32,
    epoch: u64,
    offsets: Range<i64>,
    cause: GapCause,
    next: i64,
) -> Option<Gap> {
    let gap = Gap::new(
        member.partition(index, epoch)?,
        unsigned(offsets.start),
        unsigned(offsets.end),
        cause,
    );
    Some(gap.followed_by(unsigned(next)))
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use shop_core::ErrorKind;
    use shop_core::log::Partition;

    use super::*;
    use crate::error::kafka_error;

    /// A member of a group that owns partition 0, with a log whose watermarks are set.
    #[derive(Debug, Default)]
    struct Fake {
        epoch: Cell<u64>,
        is_unchecked: Cell<bool>,
        committed: Cell<Option<i64>>,
        watermarks: Cell<(i64, i64)>,
        /// The watermarks after the next pause.
        later: Cell<Option<(i64, i64)>>,
        fails: Cell<bool>,
        /// Whether the topic was created again.
        is_replaced: Cell<bool>,
        knows_topic_id: Cell<bool>,
        /// The calls since they were last taken.
        calls: RefCell<Vec<String>>,
    }

    impl Fake {
        fn new(committed: Option<i64>, watermarks: (i64, i64)) -> Self {
            let (committed, watermarks) = (Cell::new(committed), Cell::new(watermarks));
            Self {
                epoch: Cell::new(1),
                is_unchecked: Cell::new(true),
                committed,
                watermarks,
                ..Self::default()
            }
        }

        fn call<T>(&self, name: impl Into<String>, result: T) -> Result<T> {
            self.calls.borrow_mut().push(name.into());
            if self.fails.get() {
                Err(kafka_error(ErrorKind::Unavailable, "an outage"))
            } else {
                Ok(result)
            }
        }

        fn calls(&self) -> String {
            self.calls.take().join(", ")
        }
    }

    impl Membership for Fake {
        fn group(&self) -> &str {
            "group"
        }

        fn partition(&self, index: u32, epoch: u64) -> Option<Partition> {
            Some(Partition::new(
                "cluster".into(),
                "topic".into(),
                index,
                epoch,
            ))
        }

        fn committed(&self, _index: u32, timeout: Duration) -> Result<Option<Committed>> {
            assert!(timeout > Duration::from_millis(500), "{timeout:?}");
            let is_replaced = self.is_replaced.get();
            let committed = self.committed.get();
            self.call(
                "committed",
                committed.map(|offset| Committed::new(offset, is_replaced)),
            )
        }

        fn seek_to_committed(&self, committed: &Committed, _timeout: Duration) -> Result<()> {
            self.call(format!("validate {}", committed.offset), ())
        }

        fn knows_topic_id(&self) -> bool {
            self.knows_topic_id.get()
        }

        fn seek(&self, _index: u32, offset: i64, _timeout: Duration) -> Result<()> {
            self.call(format!("seek {offset}"), ())
        }

        fn watermarks(&self, _index: u32, _timeout: Duration) -> Result<(i64, i64)> {
            self.call("watermarks", self.watermarks.get())
        }

        fn commit_start(&self, _index: u32, low: i64) -> Result<()> {
            self.call(format!("commit {low}"), ())
        }

        fn pause(&self, _time: Duration) {
            let _infallible = self.call("pause", ());
            self.watermarks
                .set(self.later.get().unwrap_or_else(|| self.watermarks.get()));
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

    /// What a check of the assigned partitions finds.
    fn assigned(positions: &mut Positions, member: &Fake) -> String {
        let owned = || vec![(0, member.epoch.get())];
        described(&positions.check_assigned(member, member.is_unchecked.take(), owned))
    }

    fn arrive(positions: &mut Positions, member: &Fake, offset: i64) -> String {
        match positions
            .arrive(member, 0, member.epoch.get(), offset)
            .unwrap()
        {
            Arrival::InOrder(None) => "in order".to_owned(),
            Arrival::InOrder(gap) => described(&gap),
            Arrival::TooEarly(gap) => ["too early".to_owned(), described(&gap)].join(" "),
            Arrival::Backwards => "backwards".to_owned(),
        }
    }

    #[test]
    fn a_new_group_starts_at_the_oldest_record() {
        let (member, mut positions) = (Fake::new(None, (5, 9)), Positions::default());
        assert_eq!(assigned(&mut positions, &member), "");
        assert_eq!(member.calls(), format!("{CHECK}, commit 5"));
        for offset in 5..9 {
            assert_eq!(arrive(&mut positions, &member, offset), "in order");
        }
        assert_eq!(member.calls(), "");
    }

    #[test]
    fn a_position_outside_of_the_log_is_a_gap() {
        let check = |committed: i64, later: Option<(i64, i64)>| {
            let (member, mut positions) =
                (Fake::new(Some(committed), (3, 9)), Positions::default());
            member.later.set(later);
            let found = assigned(&mut positions, &member);
            (found, member.calls(), arrive(&mut positions, &member, 3))
        };
        let confirmed = || format!("{}, pause, watermarks", checked_at(11));
        let (order, back) = ("in order".to_owned(), "backwards".to_owned());
        assert_eq!(
            check(1, None),
            (
                "Deleted 1..3, then 3".to_owned(),
                checked_at(1),
                order.clone()
            )
        );
        assert_eq!(
            check(3, None),
            (String::new(), checked_at(3), order.clone())
        );
        assert_eq!(check(9, None), (String::new(), checked_at(9), back.clone()));
        assert_eq!(
            check(11, None),
            (
                "Truncated 9..11, then 3".to_owned(),
                confirmed(),
                order.clone()
            )
        );
        let shorter = check(11, Some((3, 10)));
        assert_eq!(
            shorter,
            ("Truncated 10..11, then 3".to_owned(), confirmed(), order)
        );
        assert_eq!(check(11, Some((3, 11))), (String::new(), confirmed(), back));
    }

    #[test]
    fn a_position_of_an_earlier_topic_is_a_gap_and_all_is_read() {
        for committed in [0, 5, 9, 11] {
            let (member, mut positions) =
                (Fake::new(Some(committed), (3, 9)), Positions::default());
            member.is_replaced.set(true);
            let gap = format!("Recreated {committed}..{committed}, then 3");
            assert_eq!(
                (assigned(&mut positions, &member), member.calls()),
                (gap, format!("{CHECK}, seek 3"))
            );
            assert_eq!(arrive(&mut positions, &member, 3), "in order");
            // A record that arrives before the check is not delivered.
            let early = format!("too early Recreated {committed}..{committed}, then 3");
            assert_eq!(arrive(&mut Positions::default(), &member, 5), early);
        }
    }

    #[test]
    fn partitions_are_checked_once_in_an_epoch_and_again_after_a_failure() {
        let (member, mut positions) = (Fake::new(Some(3), (3, 9)), Positions::default());
        member.fails.set(true);
        assert_eq!(
            (assigned(&mut positions, &member), member.calls()),
            (String::new(), "committed".to_owned())
        );
        assert!(
            positions.arrive(&member, 0, 1, 3).is_err(),
            "the record may follow a gap"
        );
        assert_eq!(member.calls(), "committed");
        member.fails.set(false);
        assert_eq!(
            (assigned(&mut positions, &member), member.calls()),
            Default::default(),
            "not yet"
        );
        positions.retry_at = Some(Instant::now());
        assert_eq!(
            (assigned(&mut positions, &member), member.calls()),
            (String::new(), checked_at(3))
        );
        member.is_unchecked.set(true);
        assert_eq!(
            (assigned(&mut positions, &member), member.calls()),
            Default::default(),
            "known"
        );
        member.epoch.set(2);
        assert_eq!(
            (assigned(&mut positions, &member), member.calls()),
            Default::default(),
            "not assigned"
        );
        member.is_unchecked.set(true);
        assert_eq!(
            (assigned(&mut positions, &member), member.calls()),
            (String::new(), checked_at(3))
        );
    }

    #[test]
    fn skipped_offsets_are_a_gap_if_they_were_deleted() {
        let (member, mut positions) = (Fake::new(Some(3), (3, 9)), Positions::default());
        assert_eq!(arrive(&mut positions, &member, 3), "too early ");
        assert_eq!(member.calls(), checked_at(3));
        assert_eq!(arrive(&mut positions, &member, 3), "in order");
        assert_eq!(member.calls(), "");
        assert_eq!(
            arrive(&mut positions, &member, 5),
            "in order",
            "4 was a marker"
        );
        assert_eq!(member.calls(), "watermarks");
        // Soon after, the watermarks are not read again.
        member.watermarks.set((20, 30));
        positions.partitions.get_mut(&0).unwrap().checked_at =
            Some(Instant::now() + REQUEST_TIMEOUT);
        assert_eq!(
            (arrive(&mut positions, &member, 7), member.calls()),
            ("in order".into(), String::new())
        );
        let mut check_again = |offset: i64, low: i64| {
            member.watermarks.set((low, 30));
            positions.partitions.get_mut(&0).unwrap().checked_at =
                Some(Instant::now() - CHECK_INTERVAL);
            arrive(&mut positions, &member, offset)
        };
        assert_eq!(check_again(10, 8), "in order", "8 is the oldest record");
        assert_eq!(check_again(15, 13), "Deleted 11..13, then 13");
        assert_eq!(check_again(20, 25), "Deleted 16..20, then 20");
        assert_eq!(check_again(20, 25), "backwards");
        assert_eq!(check_again(21, 25), "in order");
    }

    #[test]
    fn the_first_record_after_a_cut_shows_what_was_replaced() {
        let (member, mut positions) = (Fake::new(Some(11), (3, 9)), Positions::default());
        let found = assigned(&mut positions, &member);
        assert_eq!(found, "Truncated 9..11, then 3");
        let replaced = "Truncated 7..9, then 7";
        assert_eq!(arrive(&mut positions, &member, 7), replaced);
        assert_eq!(arrive(&mut positions, &member, 8), "in order");
    }

    #[test]
    fn a_log_that_was_cut_and_has_grown_is_read_from_the_cut() {
        for (cut_at, gap) in [
            (20, "Truncated 20..40, then 20"),
            (0, "Truncated 0..40, then 0"),
        ] {
            let (member, mut positions) = (Fake::new(Some(40), (0, 60)), Positions::default());
            member.knows_topic_id.set(true);
            assert_eq!(assigned(&mut positions, &member), "");
            assert_eq!(arrive(&mut positions, &member, cut_at), "backwards");
            let found = positions.restart(&member, 0, 2, cut_at).unwrap();
            assert_eq!(described(&found), gap);
        }
    }

    #[test]
    fn a_partition_whose_offsets_went_back_restarts() {
        let (member, mut positions) = (Fake::new(Some(3), (0, 9)), Positions::default());
        assert_eq!(assigned(&mut positions, &member), "");
        assert_eq!(arrive(&mut positions, &member, 3), "in order");
        assert_eq!(arrive(&mut positions, &member, 3), "backwards");
        let mut restart = |high: i64, offset: i64| {
            member.watermarks.set((0, high));
            member.epoch.set(member.epoch.get() + 1);
            let gap = positions
                .restart(&member, 0, member.epoch.get(), offset)
                .unwrap();
            member.calls();
            let found = [
                arrive(&mut positions, &member, offset),
                arrive(&mut positions, &member, offset + 1),
            ];
            assert_eq!(
                (found, member.calls()),
                (["backwards".into(), "in order".into()], String::new())
            );
            described(&gap)
        };
        assert_eq!(restart(4, 0), "", "the log has all up to the position");
        assert_eq!(restart(1, 0), "Truncated 1..2, then 0");
    }
}
