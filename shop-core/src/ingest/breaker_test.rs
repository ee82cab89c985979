//! The counts of dead letters: streaks, the window, the undoing of admissions, and turns.

use super::*;
use crate::log::{LogRecord, Partition, Reason, ReasonKind};
use crate::record::Record as _;
use crate::{Purchase, Timestamp};

fn counts(limit: usize) -> DeadLetterCounts {
    DeadLetterCounts::new(DeadLetterLimit::consecutive(limit))
}

impl DeadLetterCounts {
    /// Counts batch `number`. The records at the indices `dead` do not decode.
    fn batch(&mut self, number: u64, records: usize, dead: &[usize]) -> BatchAdmission {
        self.mixed(number, records, dead, &[])
    }

    /// As `batch`. The records at the indices `conflicts` do not count.
    fn mixed(
        &mut self,
        number: u64,
        records: usize,
        dead: &[usize],
        conflicts: &[usize],
    ) -> BatchAdmission {
        let mut all: Vec<_> = dead
            .iter()
            .map(|index| rejected(*index, undecodable()))
            .collect();
        all.extend(
            conflicts
                .iter()
                .map(|index| rejected(*index, Reason::conflict(Purchase::TYPE))),
        );
        all.sort_by_key(|record| record.index);
        self.admit_batch(number, &batch(number * 1_000_000, records), &all)
    }
}

/// Records from `offset` on.
fn batch(offset: u64, records: usize) -> Batch {
    let records = (offset..)
        .take(records)
        .map(|offset| LogRecord::new(offset, Timestamp::MIN, None));
    let partition = Partition::new("cluster".into(), "purchases".into(), 0, 1);
    Batch::new(partition, records.collect())
}

fn undecodable() -> Reason {
    Reason::from_parts(ReasonKind::Undecodable, "by hand".to_owned())
}

fn rejected(index: usize, reason: Reason) -> RejectedRecord {
    RejectedRecord {
        index,
        reason,
        attempts: 1,
    }
}

#[test]
fn a_row_runs_across_batches() {
    let mut counts = counts(5);
    assert!(counts.batch(0, 10, &[7, 8, 9]).stop.is_none());
    let admission = counts.batch(1, 10, &[0, 1, 2, 3]);
    assert_eq!(
        admission.admitted, 2,
        "the fifth in a row is dead-lettered, the sixth is not"
    );
    assert!(
        admission
            .stop
            .unwrap()
            .to_string()
            .contains("5 records in a row")
    );
    assert_eq!(
        counts.batch(2, 1, &[0]).admitted,
        0,
        "nothing more after that"
    );
}

#[test]
fn earlier_batches_are_dead_lettered_beyond_the_limit() {
    let mut counts = counts(3);
    assert!(counts.batch(5, 3, &[0, 1, 2]).stop.is_some());
    let earlier = counts.batch(4, 10, &[0, 9]);
    assert!(earlier.admitted == 2 && earlier.stop.is_some());
    assert_eq!(counts.batch(6, 10, &[0]).admitted, 0);
}

#[test]
fn a_good_record_ends_the_row() {
    let mut counts = counts(3);
    for number in 0..20 {
        assert!(counts.batch(number, 20, &[0, 1, 18]).stop.is_none());
    }
    for number in 20..40 {
        assert!(counts.batch(number, 2, &[0, 1]).stop.is_none());
        counts.add_stored(20);
    }
}

#[test]
fn a_conflict_neither_counts_nor_ends_a_row() {
    let mut counts = counts(3);
    let conflicts: Vec<usize> = (0..1_000).collect();
    let admission = counts.mixed(0, 1_000, &[], &conflicts);
    assert!(admission.stop.is_none() && admission.admitted == 1_000);
    assert!(counts.mixed(1, 3, &[0, 2], &[1]).stop.is_none());
    let admission = counts.mixed(2, 4, &[1, 3], &[0, 2]);
    assert_eq!(
        admission.admitted, 2,
        "the third in a row, whatever conflicts are between"
    );
    assert!(
        admission
            .stop
            .unwrap()
            .to_string()
            .contains("3 records in a row")
    );
}

#[test]
fn a_redelivered_record_counts_once() {
    let mut counts = counts(5);
    for _ in 0..100 {
        let admission = counts.batch(0, 4, &[0, 1, 3]);
        assert!(admission.stop.is_none() && admission.admitted == 3);
    }
    assert!(
        counts.window_dead_letters.len() == 3 && counts.counted_positions.len() == 3,
        "{counts:?}"
    );
}

#[test]
fn undone_dead_letters_do_not_count() {
    let mut counts = counts(5);
    assert!(counts.batch(0, 2, &[0, 1]).stop.is_none());
    for number in 1..100 {
        // Below the limit, and at the limit.
        for dead in [&[0, 1][..], &[0, 1, 2]] {
            let admission = counts.batch(number, 4, dead);
            assert!(
                admission.admitted == dead.len() && admission.stop.is_some() == (dead.len() == 3)
            );
            counts.undo_admission(number, &admission);
        }
    }
    assert!(
        counts.window_dead_letters.len() == 2 && counts.counted_positions.len() == 2,
        "{counts:?}"
    );
    assert!(counts.batch(100, 2, &[0, 1]).stop.is_none());
    assert!(
        counts.batch(101, 2, &[0, 1]).stop.is_some(),
        "what was put is not forgotten"
    );
}

#[test]
fn half_of_the_window_is_too_many() {
    for (records, is_too_many) in [(100, true), (101, false)] {
        let mut counts = counts(10);
        counts.add_stored(1_000);
        // 50: the first record, and every second one up to the last.
        let dead: Vec<usize> = [0]
            .into_iter()
            .chain((records - 97..records).step_by(2))
            .collect();
        let admission = counts.batch(0, records, &dead);
        assert_eq!(admission.admitted, 50);
        let stop = admission.stop.map(|error| error.to_string());
        assert_eq!(
            stop.is_some_and(|error| error.contains("half of the last 100")),
            is_too_many
        );
    }
}

#[test]
fn a_rate_below_half_never_reaches_the_limit() {
    let mut counts = counts(10);
    for number in 0..20_000 {
        assert!(counts.batch(number, 5, &[0, 2]).stop.is_none());
    }
    assert!(
        counts.window_dead_letters.len() <= 100,
        "memory is bounded by the window"
    );
    assert_eq!(
        counts.window_dead_letters.len(),
        counts.counted_positions.len()
    );
}

#[test]
fn the_error_names_the_setting() {
    let mut counts =
        DeadLetterCounts::new(DeadLetterLimit::consecutive(1).with_setting_name("LIMIT"));
    assert!(
        counts
            .batch(0, 1, &[0])
            .stop
            .unwrap()
            .to_string()
            .contains("(LIMIT changes the limit)")
    );
}

#[test]
fn the_largest_limit_does_not_overflow() {
    assert!(counts(usize::MAX).batch(0, 2, &[0, 1]).stop.is_none());
}

#[test]
fn limit_off_admits_all() {
    let all: Vec<usize> = (0..100_000).collect();
    let admission = counts(0).batch(0, all.len(), &all);
    assert!(admission.stop.is_none() && admission.admitted == all.len());
}

#[tokio::test]
async fn a_batch_without_counted_dead_letters_needs_no_turn() {
    let breaker = DeadLetterBreaker::new(DeadLetterLimit::consecutive(2));
    let bad = [rejected(0, undecodable())];
    let turn = breaker.wait_for_turn(0, &batch(0, 1), &bad).await;
    breaker.count_stored(1);
    drop(turn);
    assert!(
        breaker
            .wait_for_turn(1, &batch(2, 1), &bad)
            .await
            .1
            .stop
            .is_none(),
        "a good one was between"
    );
    let (mut counts, admission) = breaker.wait_for_turn(2, &batch(3, 1), &bad).await;
    counts.undo_admission(2, &admission);
    drop(counts);
    let BatchAdmission { admitted, stop, .. } =
        breaker.wait_for_turn(3, &batch(4, 1), &bad).await.1;
    assert!(admitted == 1 && stop.is_some(), "the second in a row");
}
