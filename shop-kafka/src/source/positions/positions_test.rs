//! The positions of a reader in one partition, whose brokers are a [`Fake`].

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

#[test]
fn a_record_is_before_at_or_after_the_position() {
    for (next_offset, truncated_end, offset, step, then) in [
        (None, None, 7, Step::Next, Some(8)),
        (Some(7), None, 7, Step::Next, Some(8)),
        (Some(7), Some(9), 7, Step::Next, Some(8)),
        (Some(7), None, 6, Step::Backwards, Some(7)),
        (Some(7), Some(9), 6, Step::Backwards, Some(7)),
        (Some(3), None, 7, Step::Skipped(3..7), Some(8)),
        (Some(3), Some(7), 7, Step::Skipped(3..7), Some(8)),
        (Some(3), Some(9), 7, Step::Replaced(7..9), Some(8)),
    ] {
        let mut position = Position {
            epoch: 1,
            next_offset,
            checked_at: None,
            truncated_end,
        };
        assert_eq!(position.step_past(offset), step, "{next_offset:?} {offset}");
        assert_eq!(position.next_offset, then);
        assert_eq!(position.truncated_end, None, "it counts for one record");
    }
}
