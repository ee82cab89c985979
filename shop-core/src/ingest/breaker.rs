//! The circuit breaker that stops ingest at the limit of dead letters.
//!
//! A bad deployment can make the records of the log undecodable. The breaker counts dead letters in
//! two ways, because such a deployment shows in two ways:
//!
//! - The *streak* is the latest dead letters in a row. Its length recognizes a deployment that
//!   fails every record, after a fifth of the dead letters that the window needs.
//! - The *window* is the last records. The number of dead letters among them recognizes a
//!   deployment that fails about every second record: a good record ends the streak, so no streak
//!   grows long.
//!
//! At either limit the breaker allows no further dead letter, and the pipeline stops with an error.

use std::collections::{BTreeSet, VecDeque};
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

    /// Counts `stored_count` stored records of a batch that needs no turn.
    ///
    /// These records end the current streak of dead letters when the next turn begins.
    pub(super) fn count_stored(&self, stored_count: usize) {
        self.stored_since_turn
            .fetch_add(stored_count as u64, Ordering::Relaxed);
    }

    /// Waits for the turn of the batch `batch_number`, counts its records, and decides how many of
    /// its `rejected` records may be dead-lettered.
    ///
    /// The turn lasts while the returned counts are locked. The caller puts the admitted dead
    /// letters during its turn, and calls [`undo_admission`](DeadLetterCounts::undo_admission) if
    /// that fails.
    pub(super) async fn wait_for_turn(
        &self,
        batch_number: u64,
        batch: &Batch,
        rejected: &[RejectedRecord],
    ) -> (MutexGuard<'_, DeadLetterCounts>, BatchAdmission) {
        let mut counts = self.counts.lock().await;
        counts.add_stored(self.stored_since_turn.swap(0, Ordering::Relaxed));

        let admission = counts.admit_batch(batch_number, batch, rejected);
        (counts, admission)
    }
}

/// The counts of records and dead letters. A batch locks them while it puts its dead letters.
#[derive(Debug, Default)]
pub(super) struct DeadLetterCounts {
    limit: DeadLetterLimit,
    /// The number of records that were counted, and so the number of the next record.
    record_count: u64,
    /// The number of the first record that may be in the current streak of dead letters.
    streak_start: u64,
    /// The dead letters in the window of the last records, oldest first: the record number and the
    /// position of each.
    window_dead_letters: VecDeque<(u64, RecordPosition)>,
    /// The positions in `window_dead_letters`. A redelivered record has its position in this set,
    /// and is not counted again.
    counted_positions: BTreeSet<RecordPosition>,
    /// The number of the batch that reached the limit, and the error, once the limit was reached.
    opened_by: Option<(u64, Error)>,
}

impl DeadLetterCounts {
    /// Creates counts without a record.
    fn new(limit: DeadLetterLimit) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// Counts `stored_count` records that were not dead-lettered. They end the current streak, unless
    /// their number is zero.
    fn add_stored(&mut self, stored_count: u64) {
        if stored_count > 0 {
            self.record_count += stored_count;
            self.streak_start = self.record_count;
        }
    }

    /// Counts the records of the batch `batch_number`, and decides how many of its `rejected` records
    /// may be dead-lettered.
    ///
    /// Batches are counted in the order in which they finish, not in the order of the log. A batch
    /// may finish after the limit was reached by a batch that was read later. Its records are still
    /// dead-lettered, so that the position can pass them and a restart does not meet them again.
    fn admit_batch(
        &mut self,
        batch_number: u64,
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

        // Another batch reached the limit. Only batches that were read before that batch are still
        // dead-lettered.
        if let Some((opening_batch, error)) = &self.opened_by {
            let was_read_later = batch_number >= *opening_batch;
            if was_read_later {
                admission.admitted = 0;
            }
            admission.stop = Some(error.clone());
            return admission;
        }

        // The index in the batch of the first record that is not counted yet.
        let mut next_index = 0;
        for (rejected_index, record) in rejected.iter().enumerate() {
            // The records between two rejected ones count as stored.
            self.add_stored((record.index - next_index) as u64);
            next_index = record.index + 1;

            let position =
                RecordPosition::from_record(&batch.records[record.index], &batch.partition);
            // A record that does not count does not end the streak either. A record that is
            // redelivered was counted at its first delivery.
            if !record.counts_towards_limit() || self.counted_positions.contains(&position) {
                continue;
            }

            self.add_dead_letter(position);
            admission.counted += 1;
            if let Some(error) = self.limit_error(max_consecutive) {
                self.opened_by = Some((batch_number, error.clone()));
                // The dead letter that reaches the limit is still put, and the later ones are not.
                admission.admitted = rejected_index + 1;
                admission.stop = Some(error);
                return admission;
            }
        }

        // The records behind the last rejected one count as stored too.
        self.add_stored((batch.records.len() - next_index) as u64);
        admission
    }

    /// Counts the record at `position` as a dead letter, and removes the dead letters that have
    /// fallen out of the window of the last records.
    ///
    /// `record_count` is the number of this record. It advances here, and in `add_stored` for the
    /// records that are not dead letters.
    fn add_dead_letter(&mut self, position: RecordPosition) {
        self.counted_positions.insert(position.clone());
        self.window_dead_letters
            .push_back((self.record_count, position));
        self.record_count += 1;

        while let Some((oldest_record_number, oldest_position)) = self.window_dead_letters.front()
            && self.record_count - oldest_record_number > self.limit.window_size()
        {
            self.counted_positions.remove(oldest_position);
            self.window_dead_letters.pop_front();
        }
    }

    /// Undoes the `admission` of the batch `batch_number`, whose dead letters could not be put.
    ///
    /// Only the last admission can be undone. The caller still has the counts locked, so no other
    /// batch was counted since.
    pub(super) fn undo_admission(&mut self, batch_number: u64, admission: &BatchAdmission) {
        self.record_count = admission.previous_record_count;
        self.streak_start = admission.previous_streak_start;

        // The dead letters of the batch are the last ones in the window.
        let remaining_count = self
            .window_dead_letters
            .len()
            .saturating_sub(admission.counted);
        for (_number, position) in self.window_dead_letters.drain(remaining_count..) {
            self.counted_positions.remove(&position);
        }

        // If this batch had reached the limit, the limit is not reached any more.
        self.opened_by
            .take_if(|(opening_batch, _error)| *opening_batch == batch_number);
    }

    /// Returns the error that stops the pipeline if the limit is reached, and `None` if it is not.
    ///
    /// `max_consecutive` is the number of dead letters in a row at which the limit is reached.
    fn limit_error(&self, max_consecutive: usize) -> Option<Error> {
        let window_count = self.window_dead_letters.len();
        // The dead letters are sorted by record number, so the dead letters of the streak are the
        // last ones.
        let count_before_streak = self
            .window_dead_letters
            .partition_point(|(record_number, _)| *record_number < self.streak_start);
        let streak_length = window_count - count_before_streak;

        let reached_limit = if streak_length >= max_consecutive {
            format!("{max_consecutive} records in a row could not be stored")
        } else if window_count >= self.limit.max_in_window() {
            format!(
                "half of the last {} records could not be stored",
                self.limit.window_size()
            )
        } else {
            return None;
        };

        // Without a setting, there is no hint.
        let setting_hint = self
            .limit
            .setting
            .map(|name| format!(" ({name} changes the limit)"))
            .unwrap_or_default();
        let message = format!(
            "{reached_limit}: ingest has stopped before it dead-letters more; look at the dead letters, \
             fix the cause, then restart{setting_hint}"
        );
        Some(Error::new(ErrorKind::Corrupt, message).with_origin("ingest"))
    }
}

#[cfg(test)]
#[path = "breaker_test.rs"]
mod tests;
