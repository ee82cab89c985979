//! Follows the offsets of the owned partitions, and finds records that the log no longer has.
//!
//! Offsets may be missing without a loss: the markers of transactions and the records of aborted ones are not
//! delivered, and compaction removes records. All of them are above the partition's low watermark. What is missing
//! below it was deleted.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use shop_core::log::{Gap, GapCause};
use shop_core::{ErrorKind, Result};

use super::membership::Membership;
use crate::error::kafka_error;
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
                Ok(gap) => gaps.extend(gap),
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
        let read = std::mem::take(&mut self.partitions).into_iter();
        let read = read.filter_map(|(index, position)| Some((index, position.next?)));
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
    ) -> Result<Option<Gap>> {
        let earlier = self.earlier.get(&index).map(|next| (*next, true));
        let committed = member.committed(index, timeout)?.or(earlier);
        let (low, mut high) = member.watermarks(index, timeout)?;
        let (mut next, mut gap) = (committed.map(|(committed, _)| committed), None);
        match committed {
            Some((committed, true)) => {
                member.seek(index, low, timeout)?;
                gap = Some((committed, committed, GapCause::Recreated));
                next = Some(low);
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
            Some((committed, _)) if committed < low => {
                gap = Some((committed, low, GapCause::Deleted));
                next = Some(low);
            }
            Some((committed, _)) if committed > high => {
                member.pause(CONFIRM_AFTER);
                high = member.watermarks(index, timeout)?.1;
                if committed > high {
                    gap = Some((high, committed, GapCause::Truncated));
                    // librdkafka starts again at the earliest record.
                    next = Some(low);
                }
            }
            Some(_) => {}
        }
        self.partitions.insert(
            index,
            Position {
                epoch,
                next,
                checked_at: None,
            },
        );
        self.earlier.remove(&index);
        let gap = gap.and_then(|(from, to, cause)| new_gap(member, index, epoch, from..to, cause));
        Ok(gap.map(|gap| gap.followed_by(unsigned(next.unwrap_or_default()))))
    }

    /// Compares a record's `offset` with the position of its partition, and moves the position behind it. Returns the
    /// gaps before it, which exclude offsets that were never visible; `None` if offsets went backwards: the log was
    /// truncated or created again, and the partition needs a new epoch.
    ///
    /// # Errors
    /// If the brokers do not respond. The record must not be delivered: it may follow a gap.
    pub(super) fn arrive(
        &mut self,
        member: &impl Membership,
        index: u32,
        epoch: u64,
        offset: i64,
    ) -> Result<Option<Vec<Gap>>> {
        let mut gaps = Vec::new();
        if !self.is_known(index, epoch) {
            gaps.extend(self.check(member, index, epoch, REQUEST_TIMEOUT)?);
            if gaps.iter().any(|gap| gap.cause == GapCause::Recreated) {
                // The record was fetched at the position in the earlier topic.
                return Err(kafka_error(
                    ErrorKind::Unavailable,
                    "the topic was deleted and created again",
                ));
            }
        }
        let Some(position) = self.partitions.get_mut(&index) else {
            return Ok(Some(gaps));
        };
        match position.next.replace(offset + 1) {
            Some(next) if offset < next => {
                position.next = Some(next);
                return Ok(None);
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
                    let deleted = next..low.min(offset);
                    gaps.extend(new_gap(member, index, epoch, deleted, GapCause::Deleted));
                }
            }
            _ => {}
        }
        Ok(Some(gaps))
    }

    /// Starts `epoch` of a partition whose offsets went back to `offset`. Returns the gap, if the log ends before the
    /// position.
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
        let (_, high) = member.watermarks(index, REQUEST_TIMEOUT)?;
        self.partitions.insert(
            index,
            Position {
                epoch,
                next: Some(offset + 1),
                checked_at: None,
            },
        );
        let range = before.filter(|next| *next > high).map(|next| high..next);
        let gap = range.and_then(|range| new_gap(member, index, epoch, range, GapCause::Truncated));
        Ok(gap.map(|gap| gap.followed_by(unsigned(offset))))
    }
}

fn new_gap(
    member: &impl Membership,
    index: u32,
    epoch: u64,
    offsets: Range<i64>,
    cause: GapCause,
) -> Option<Gap> {
    Some(Gap::new(
        member.partition(index, epoch)?,
        unsigned(offsets.start),
        unsigned(offsets.end),
        cause,
    ))
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use shop_core::log::Partition;

    use super::*;

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

        fn committed(&self, _index: u32, timeout: Duration) -> Result<Option<(i64, bool)>> {
            assert!(timeout > Duration::from_millis(500), "{timeout:?}");
            self.call(
                "committed",
                self.committed
                    .get()
                    .map(|offset| (offset, self.is_replaced.get())),
            )
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
            Some(gaps) if gaps.is_empty() => "in order".to_owned(),
            Some(gaps) => described(&gaps),
            None => "backwards".to_owned(),
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
        let confirmed = || format!("{CHECK}, pause, watermarks");
        let (order, back) = ("in order".to_owned(), "backwards".to_owned());
        assert_eq!(
            check(1, None),
            (
                "Deleted 1..3, then 3".to_owned(),
                CHECK.to_owned(),
                order.clone()
            )
        );
        assert_eq!(
            check(3, None),
            (String::new(), CHECK.to_owned(), order.clone())
        );
        assert_eq!(
            check(9, None),
            (String::new(), CHECK.to_owned(), back.clone())
        );
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
            assert!(Positions::default().arrive(&member, 0, 1, 5).is_err());
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
            (String::new(), CHECK.to_owned())
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
            (String::new(), CHECK.to_owned())
        );
    }

    #[test]
    fn skipped_offsets_are_a_gap_if_they_were_deleted() {
        let (member, mut positions) = (Fake::new(Some(3), (3, 9)), Positions::default());
        assert_eq!(arrive(&mut positions, &member, 3), "in order");
        assert_eq!(member.calls(), CHECK);
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
    fn a_record_may_follow_two_gaps() {
        let (member, mut positions) = (Fake::new(Some(11), (3, 9)), Positions::default());
        // The log ends before the position. Then its oldest records are deleted.
        member.later.set(Some((6, 9)));
        let gaps = "Truncated 9..11, then 3, Deleted 3..6, then 6";
        assert_eq!(arrive(&mut positions, &member, 7), gaps);
    }

    #[test]
    fn a_partition_whose_offsets_went_back_restarts() {
        let (member, mut positions) = (Fake::new(Some(3), (0, 9)), Positions::default());
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
