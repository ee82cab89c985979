//! The durable progress of one partition: the position never passes a record that is not durable.
//!
//! Batches end in any order. A batch that ends before an earlier one waits in `runs` until all
//! batches before it are durable. Then the durable prefix moves over both.
//!
//! ```text
//! batches:   1 durable   │ 2 in flight   3 durable
//!                        ▲ └───────── runs ───────┘
//!              durable_offset: the end of the longest prefix of durable batches
//! ```

use std::collections::VecDeque;
use std::time::Instant;

use super::super::event::BatchState;
use super::drain::DrainDeadlines;
use crate::Timestamp;
use crate::log::{CommitOffset, Partition};

/// The progress of one partition in one epoch: its batches in flight, in the order of their
/// offsets.
///
/// The memory depends only on the batches in flight: adjacent durable batches share one
/// [`BatchRun`].
#[derive(Debug)]
pub(super) struct PartitionProgress {
    pub(super) partition: Partition,
    /// The batches behind the durable prefix, ascending by number.
    runs: VecDeque<BatchRun>,
    /// The next offset after the durable prefix. It never decreases.
    durable_offset: Option<u64>,
    /// The next offset that the log confirmed as committed.
    committed_offset: Option<u64>,
    /// The oldest record of the commit that is in progress, or that failed and is retried.
    oldest_in_commit: Option<FirstRecord>,
    /// The oldest record that became durable since the last commit began.
    oldest_durable: Option<FirstRecord>,
    /// Whether the batches were abandoned, because the drain is out of time. Their results are
    /// ignored.
    pub(super) is_abandoned: bool,
    /// The deadlines of the drain, if the partition is being drained.
    pub(super) drain_deadlines: Option<DrainDeadlines>,
    /// Whether the epoch is over: its batches are then ignored.
    pub(super) has_ended: bool,
}

/// One batch, or a run of adjacent durable batches.
#[derive(Debug)]
struct BatchRun {
    /// The number of the last batch.
    number: u64,
    /// The first record of the first batch.
    first_record: FirstRecord,
    state: BatchState,
}

/// The times of the first record of a batch, for the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FirstRecord {
    /// When the record was read.
    pub(super) read_at: Instant,
    /// The timestamp of the record in the log; `None` for a gap or the end of a partition, which
    /// contain no record.
    pub(super) time: Option<Timestamp>,
}

impl PartitionProgress {
    /// Creates the progress of a new epoch: without a batch, and without a durable or committed
    /// position.
    pub(super) const fn new(partition: Partition) -> Self {
        Self {
            partition,
            runs: VecDeque::new(),
            durable_offset: None,
            committed_offset: None,
            oldest_in_commit: None,
            oldest_durable: None,
            is_abandoned: false,
            drain_deadlines: None,
            has_ended: false,
        }
    }

    /// Checks whether `epoch` is over, so that its batches are ignored.
    pub(super) const fn is_stale_epoch(&self, epoch: u64) -> bool {
        let is_older = epoch < self.partition.epoch;
        let is_ended = epoch == self.partition.epoch && self.has_ended;
        is_older || is_ended
    }

    /// Ends the epoch, and forgets its batches and positions.
    pub(super) fn end_epoch(&mut self) {
        *self = Self {
            has_ended: true,
            ..Self::new(self.partition.clone())
        };
    }

    /// Begins a drain with these `deadlines`. If a drain has begun before, the earlier of both
    /// deadlines applies. Does nothing if the epoch is over.
    pub(super) fn begin_drain(&mut self, deadlines: DrainDeadlines) {
        if !self.has_ended {
            self.drain_deadlines = Some(deadlines.limited_by(self.drain_deadlines));
        }
    }

    /// Adds the batch `number`, which is in flight and begins with `first_record`.
    ///
    /// The number is greater than the numbers of all batches before.
    pub(super) fn add_batch(&mut self, number: u64, first_record: FirstRecord) {
        self.runs.push_back(BatchRun {
            number,
            first_record,
            state: BatchState::InFlight,
        });
    }

    /// Adds the end of the partition, like a batch without records that is durable already: the durable
    /// prefix moves to `next_offset` once all batches before the end are durable.
    ///
    /// The end has a `number` of its own among the batches, and was read at `read_at`.
    pub(super) fn add_end(&mut self, number: u64, next_offset: u64, read_at: Instant) {
        let first_record = FirstRecord {
            read_at,
            time: None,
        };
        self.add_batch(number, first_record);
        self.finish_batch(number, BatchState::Durable(next_offset));
    }

    /// Ends the batch `number` in the state `state`, and moves the durable prefix forward over
    /// durable batches.
    ///
    /// A batch that stopped before its end moves the prefix up to the offset where it stopped. Its
    /// run stays, so the prefix never passes the batch.
    pub(super) fn finish_batch(&mut self, number: u64, state: BatchState) {
        if let Ok(index) = self.runs.binary_search_by_key(&number, |run| run.number) {
            self.runs[index].state = state;
            // The run after the batch is merged into it first. The other order would change the
            // index of the batch.
            self.merge_into_previous(index + 1);
            self.merge_into_previous(index);
        }

        while let Some(run) = self.runs.front()
            && let BatchState::Durable(next_offset) = run.state
        {
            // A redelivered batch ends at an offset that is durable already, so it adds nothing to
            // commit.
            if self.durable_offset < Some(next_offset) {
                self.durable_offset = Some(next_offset);
                self.oldest_durable = self.oldest_durable.or(Some(run.first_record));
            }
            self.runs.pop_front();
        }

        if let Some(run) = self.runs.front()
            && let BatchState::StoppedAt(offset) = run.state
        {
            self.durable_offset = self.durable_offset.max(Some(offset));
        }
    }

    /// Merges the run at `index` into the run before it, if both exist and are durable.
    ///
    /// The merged run gets the number of its last batch.
    fn merge_into_previous(&mut self, index: usize) {
        if let Some(previous_index) = index.checked_sub(1)
            && let Some(run) = self.runs.get(index)
            && let BatchState::Durable(end) = run.state
            && let BatchState::Durable(previous_end) = self.runs[previous_index].state
        {
            let last_number = run.number;
            self.runs.remove(index);
            let merged_run = &mut self.runs[previous_index];
            merged_run.number = last_number;
            // A redelivered batch may end before the previous one.
            merged_run.state = BatchState::Durable(previous_end.max(end));
        }
    }

    /// Checks whether no batch is in flight.
    pub(super) fn is_idle(&self) -> bool {
        self.runs
            .iter()
            .all(|run| run.state != BatchState::InFlight)
    }

    /// Returns the durable position, if it is not committed yet.
    pub(super) fn uncommitted_offset(&self) -> Option<u64> {
        self.durable_offset
            .filter(|durable_offset| self.committed_offset != Some(*durable_offset))
    }

    /// Returns the durable position with its partition, if it is not committed yet.
    pub(super) fn commit_offset(&self) -> Option<CommitOffset> {
        self.uncommitted_offset()
            .map(|next_offset| CommitOffset::new(self.partition.clone(), next_offset))
    }

    /// Records that a commit of the durable position begins.
    pub(super) fn begin_commit(&mut self) {
        // The new commit contains all durable records, so `oldest_durable` is taken in any case. A
        // record of a failed commit is older than all records that became durable since.
        let oldest_durable = self.oldest_durable.take();
        self.oldest_in_commit = self.oldest_in_commit.or(oldest_durable);
    }

    /// Records that the log confirmed the position `next_offset`.
    pub(super) fn confirm_commit(&mut self, next_offset: u64) {
        self.committed_offset = Some(next_offset);
        self.oldest_in_commit = None;
    }

    /// Returns the oldest record that was read and is not committed, if there is one.
    ///
    /// Records in a commit are older than durable ones without a commit, and these are older than
    /// the batches in flight.
    pub(super) fn oldest_uncommitted(&self) -> Option<FirstRecord> {
        let oldest_in_flight = self.runs.front().map(|run| run.first_record);
        self.oldest_in_commit
            .or(self.oldest_durable)
            .or(oldest_in_flight)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(read_at: Instant) -> FirstRecord {
        FirstRecord {
            read_at,
            time: None,
        }
    }

    fn progress() -> PartitionProgress {
        PartitionProgress::new(Partition::new("cluster".into(), "purchases".into(), 0, 1))
    }

    fn start(progress: &mut PartitionProgress, numbers: std::ops::Range<u64>) {
        numbers.for_each(|number| progress.add_batch(number, at(Instant::now())));
    }

    #[test]
    fn redelivered_batches_wait_for_no_commit() {
        let mut progress = progress();
        start(&mut progress, 0..2);
        progress.finish_batch(0, BatchState::Durable(10));
        progress.begin_commit();
        progress.confirm_commit(10);
        progress.finish_batch(1, BatchState::Durable(10));
        assert_eq!(
            (progress.uncommitted_offset(), progress.oldest_uncommitted()),
            (None, None)
        );
    }

    #[test]
    fn commits_stop_at_a_batch_that_ended_early() {
        let mut progress = progress();
        start(&mut progress, 0..2);
        progress.finish_batch(1, BatchState::Durable(20));
        assert!(!progress.is_idle(), "the first batch is in flight");
        progress.finish_batch(0, BatchState::StoppedAt(7));
        assert_eq!(progress.uncommitted_offset(), Some(7));
        assert!(progress.is_idle());
    }

    #[test]
    fn durable_batches_behind_a_slow_one_share_one_entry() {
        let mut progress = progress();
        start(&mut progress, 0..1);
        for number in 1..=10_000 {
            start(&mut progress, number..number + 1);
            progress.finish_batch(number, BatchState::Durable(number + 1));
            assert!(progress.runs.len() <= 2, "{}", progress.runs.len());
        }
        assert_eq!(progress.uncommitted_offset(), None);
        progress.finish_batch(0, BatchState::Durable(1));
        assert_eq!(
            (progress.uncommitted_offset(), progress.runs.len()),
            (Some(10_001), 0)
        );
    }

    #[test]
    fn durable_batches_that_end_in_reverse_share_one_entry() {
        let mut progress = progress();
        start(&mut progress, 0..8);
        for number in (1..8).rev() {
            progress.finish_batch(number, BatchState::Durable(number + 1));
            assert_eq!(
                progress.runs.len() as u64,
                number + 1,
                "those in flight, and one"
            );
        }
    }

    #[test]
    fn the_age_is_that_of_the_oldest_record_that_is_not_committed() {
        let begun = Instant::now();
        let second = |number| at(begun + Duration::from_secs(number));
        let mut progress = progress();
        assert_eq!(progress.oldest_uncommitted(), None);
        (0..4).for_each(|number| progress.add_batch(number, second(number)));
        progress.finish_batch(1, BatchState::Durable(20));
        assert_eq!(
            progress.oldest_uncommitted(),
            Some(at(begun)),
            "the first is in flight"
        );
        progress.finish_batch(0, BatchState::Durable(10));
        progress.begin_commit();
        assert_eq!(
            progress.oldest_uncommitted(),
            Some(at(begun)),
            "it is durable, but not committed"
        );
        progress.finish_batch(2, BatchState::Durable(30));
        progress.confirm_commit(20);
        assert_eq!(
            progress.oldest_uncommitted(),
            Some(second(2)),
            "it was not among those"
        );
        progress.begin_commit();
        // That commit fails, and the next one takes more along.
        progress.finish_batch(3, BatchState::Durable(40));
        progress.begin_commit();
        assert_eq!(progress.oldest_uncommitted(), Some(second(2)));
        progress.confirm_commit(40);
        assert_eq!(progress.oldest_uncommitted(), None);
    }

    proptest! {
        /// In whatever order batches end, the position is the end of the longest finished prefix, and
        /// adjacent durable batches share one entry.
        #[test]
        fn the_position_is_the_finished_prefix(order in Just((0..12_u64).collect::<Vec<_>>()).prop_shuffle()) {
            let mut progress = progress();
            start(&mut progress, 0..12);
            let mut done = std::collections::BTreeSet::new();
            for number in order {
                progress.finish_batch(number, BatchState::Durable((number + 1) * 10));
                done.insert(number);
                let prefix = (0..).take_while(|number| done.contains(number)).count() as u64;
                prop_assert_eq!(progress.uncommitted_offset(), (prefix > 0).then_some(prefix * 10));
                let in_flight = 12 - done.len();
                prop_assert!(progress.runs.len() <= 2 * in_flight);
            }
        }
    }
}
