//! The circuit breaker that stops ingest at the limit of dead letters.
//!
//! A bad deployment can make each record of the log undecodable. The breaker counts dead letters in
//! two ways: those in a row (the *streak*), and those among the last records (the *window*). At
//! either limit it allows no further dead letter, and the pipeline stops with an error.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, MutexGuard};

use super::DeadLetterLimit;
use super::worker::RejectedRecord;
use crate::log::{Batch, RecordPosition};
use crate::{Error, ErrorKind};

/// The counts of dead letters, shared by all batches of a pipeline.
///
/// Batches with dead letters that count take turns: a dead letter counts once it was put, and the
/// next batch needs the result. Batches without such dead letters never wait.
#[derive(Debug)]
pub(super) struct DeadLetterBreaker {
    /// The counts. A batch locks the counts while it puts its dead letters, at the latest until the
    /// batch is abandoned.
    counts: Mutex<DeadLetterCounts>,
    /// The number of good records in batches that took no turn, since the last turn.
    stored_since_turn: AtomicU64,
}

/// The decision of the breaker about the dead letters of one batch.
#[derive(Debug)]
pub(super) struct BatchAdmission {
    /// The number of dead letters of the batch, from the first one on, that may be put.
    pub(super) admitted: usize,
    /// The error that stops the pipeline, if any.
    pub(super) stop: Option<Error>,
    /// The number of dead letters of the batch that were added to the counts.
    counted: usize,
    /// The `record_count` before the batch was counted, to undo the admission.
    previous_record_count: u64,
    /// The `streak_start` before the batch was counted, to undo the admission.
    previous_streak_start: u64,
}

impl DeadLetterBreaker {
    /// Creates a breaker with empty counts.
    pub(super) fn new(limit: DeadLetterLimit) -> Self {
        Self {
            counts: Mutex::new(DeadLetterCounts::new(limit)),
            stored_since_turn: AtomicU64::new(0),
        }
    }

    /// Counts the `stored` records of a batch that needs no turn.
    ///
    /// These records end the current streak of dead letters when the next turn begins.
    pub(super) fn count_stored(&self, stored: usize) {
        self.stored_since_turn
            .fetch_add(stored as u64, Ordering::Relaxed);
    }

    /// Waits for the turn of batch `number`, and decides how many of its `rejected` records may be
    /// dead-lettered.
    ///
    /// The turn lasts while the returned counts are locked. The caller puts the admitted dead
    /// letters during its turn, and calls [`undo_admission`](DeadLetterCounts::undo_admission) if
    /// that fails.
    pub(super) async fn wait_for_turn(
        &self,
        number: u64,
        batch: &Batch,
        rejected: &[RejectedRecord],
    ) -> (MutexGuard<'_, DeadLetterCounts>, BatchAdmission) {
        let mut counts = self.counts.lock().await;
        counts.add_stored(self.stored_since_turn.swap(0, Ordering::Relaxed));

        let admission = counts.admit_batch(number, batch, rejected);
        (counts, admission)
    }
}

/// The counts of records and dead letters. A batch locks them while it puts its dead letters.
#[derive(Debug)]
pub(super) struct DeadLetterCounts {
    limit: DeadLetterLimit,
    /// The number of records that were counted, and so the number of the next record.
    record_count: u64,
    /// The number of the first record that may be in the current streak of dead letters.
    streak_start: u64,
    /// The dead letters among the last records, oldest first: the number and the position of each.
    window_dead_letters: VecDeque<(u64, RecordPosition)>,
    /// The positions in `window_dead_letters`, to recognize records that are redelivered.
    counted_positions: BTreeSet<RecordPosition>,
    /// The number of the batch that reached the limit, and the error, once the limit was reached.
    opened_by: Option<(u64, Error)>,
}

impl DeadLetterCounts {
    /// Creates counts without a record.
    const fn new(limit: DeadLetterLimit) -> Self {
        Self {
            limit,
            record_count: 0,
            streak_start: 0,
            window_dead_letters: VecDeque::new(),
            counted_positions: BTreeSet::new(),
            opened_by: None,
        }
    }

    /// Counts `stored` records that were not dead-lettered, which end the current streak.
    fn add_stored(&mut self, stored: u64) {
        if stored > 0 {
            self.record_count += stored;
            self.streak_start = self.record_count;
        }
    }

    /// Counts the records of batch `number`, and decides how many of its `rejected` records may be
    /// dead-lettered.
    ///
    /// Batches are counted in the order in which they finish, not in the order of the log. A batch
    /// that was read before the one that reached the limit is still dead-lettered. Otherwise the
    /// position would stay before that batch at every restart at which it is overtaken again.
    fn admit_batch(
        &mut self,
        number: u64,
        batch: &Batch,
        rejected: &[RejectedRecord],
    ) -> BatchAdmission {
        let mut admission = BatchAdmission {
            admitted: rejected.len(),
            stop: None,
            counted: 0,
            previous_record_count: self.record_count,
            previous_streak_start: self.streak_start,
        };

        // Without a limit, nothing is counted.
        let Some(max_consecutive) = self.limit.max_consecutive() else {
            return admission;
        };

        // An earlier batch in the order of finishing has reached the limit. Only batches that were
        // read before that batch are still dead-lettered.
        if let Some((opening_batch, error)) = &self.opened_by {
            admission.admitted = if number < *opening_batch {
                rejected.len()
            } else {
                0
            };
            admission.stop = Some(error.clone());
            return admission;
        }

        // The index behind the previous rejected record. The records in between count as stored.
        let mut next_index = 0;
        for (admitted, record) in (1..).zip(rejected) {
            self.add_stored((record.index - next_index) as u64);
            next_index = record.index + 1;

            let position = RecordPosition::new(
                Arc::clone(&batch.partition.topic),
                batch.partition.index,
                batch.records[record.index].offset,
            );
            // A record that does not count does not end the streak either. A record that is
            // redelivered was counted before.
            if !record.counts_towards_limit() || self.counted_positions.contains(&position) {
                continue;
            }

            self.add_dead_letter(position);
            admission.counted += 1;
            if let Some(error) = self.limit_error(max_consecutive) {
                self.opened_by = Some((number, error.clone()));
                admission.admitted = admitted;
                admission.stop = Some(error);
                return admission;
            }
        }

        // The records behind the last rejected one count as stored too.
        self.add_stored((batch.records.len() - next_index) as u64);
        admission
    }

    /// Counts one dead letter at `position`, and forgets the dead letters that are older than the
    /// window.
    fn add_dead_letter(&mut self, position: RecordPosition) {
        self.counted_positions.insert(position.clone());
        self.window_dead_letters
            .push_back((self.record_count, position));
        self.record_count += 1;

        while let Some((oldest_number, oldest_position)) = self.window_dead_letters.front()
            && self.record_count - oldest_number > self.limit.window_size()
        {
            self.counted_positions.remove(oldest_position);
            self.window_dead_letters.pop_front();
        }
    }

    /// Undoes the `admission` of batch `number`, whose dead letters could not be put.
    ///
    /// Only the last admission can be undone. The caller still has its turn, so no other batch was
    /// counted since.
    pub(super) fn undo_admission(&mut self, number: u64, admission: &BatchAdmission) {
        self.record_count = admission.previous_record_count;
        self.streak_start = admission.previous_streak_start;

        // The dead letters of the batch are the last ones in the window.
        let remaining = self
            .window_dead_letters
            .len()
            .saturating_sub(admission.counted);
        for (_, position) in self.window_dead_letters.drain(remaining..) {
            self.counted_positions.remove(&position);
        }

        // If this batch had reached the limit, the limit is not reached any more.
        self.opened_by
            .take_if(|(opening_batch, _)| *opening_batch == number);
    }

    /// Returns the error that stops the pipeline, if the limit is reached, and `None` otherwise.
    ///
    /// `max_consecutive` is the number of dead letters in a row at which the limit is reached.
    fn limit_error(&self, max_consecutive: usize) -> Option<Error> {
        let window_count = self.window_dead_letters.len();
        // The dead letters are sorted by number, so those of the streak are the last ones.
        let before_streak = self
            .window_dead_letters
            .partition_point(|(number, _)| *number < self.streak_start);

        let finding = if window_count - before_streak >= max_consecutive {
            format!("{max_consecutive} records in a row could not be stored")
        } else if window_count >= self.limit.max_in_window() {
            format!(
                "half of the last {} records could not be stored",
                self.limit.window_size()
            )
        } else {
            return None;
        };

        let setting_hint = self
            .limit
            .setting()
            .map(|name| format!(" ({name} changes the limit)"))
            .unwrap_or_default();
        let message = format!(
            "{finding}: ingest has stopped before it dead-letters more; look at the dead letters, \
             fix the cause, then restart{setting_hint}"
        );
        Some(Error::new(ErrorKind::Corrupt, message).with_origin("ingest"))
    }
}

#[cfg(test)]
mod tests {
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
                    admission.admitted == dead.len()
                        && admission.stop.is_some() == (dead.len() == 3)
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
}
