//! How far a partition is: the position never passes a record that is not durable.

use std::collections::VecDeque;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The batches of one partition and epoch that are on their way, in the order of their offsets.
///
/// Its size depends on the batches in flight alone: durable neighbours share one slot, however long they wait for the
/// batch before them.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// By batch number, which ascends.
    slots: VecDeque<Batch>,
    /// The next offset after all that is durable without a gap; it only grows.
    durable: Option<u64>,
    /// The next offset that the log has been told.
    committed: Option<u64>,
    /// When the oldest record was read that is durable and not committed, of those that the last commit concerned...
    committing_since: Option<Instant>,
    /// ... and of those that became durable after it had begun.
    durable_since: Option<Instant>,
    /// Tells the partition's batches to give up.
    pub(super) stop: CancellationToken,
}

/// A batch, or several durable ones in a row.
#[derive(Debug)]
struct Batch {
    /// The number of the last one.
    number: u64,
    /// When the first one was read.
    read: Instant,
    slot: Slot,
}

/// What is known of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// It is on its way.
    Open,
    /// All of it is durable: the next offset after it.
    Durable(u64),
    /// It will never be durable beyond this offset: the position stays there.
    Ends(u64),
}

impl Progress {
    /// A batch that was read at `read` sets out under a number that is greater than that of every batch before it.
    pub(super) fn open(&mut self, number: u64, read: Instant) {
        self.slots.push_back(Batch { number, read, slot: Slot::Open });
    }

    /// The batch with this number has come to its end.
    pub(super) fn settle(&mut self, number: u64, end: Slot) {
        if let Ok(at) = self.slots.binary_search_by_key(&number, |batch| batch.number) {
            self.slots[at].slot = end;
            self.merge(at + 1);
            self.merge(at);
        }
        while let Some(Batch { slot: Slot::Durable(next), read, .. }) = self.slots.front() {
            // What is delivered twice ends where it did: there is nothing to commit for it.
            if self.durable < Some(*next) {
                self.durable = Some(*next);
                self.durable_since = self.durable_since.or(Some(*read));
            }
            self.slots.pop_front();
        }
        if let Some(Batch { slot: Slot::Ends(next), .. }) = self.slots.front() {
            self.durable = self.durable.max(Some(*next));
        }
    }

    /// Merges the slot at `at` into the one before it, if both are durable.
    fn merge(&mut self, at: usize) {
        let Some(before) = at.checked_sub(1) else { return };
        let (Some(earlier), Some(later)) = (self.slots.get(before), self.slots.get(at)) else { return };
        if let (Slot::Durable(one), Slot::Durable(other)) = (earlier.slot, later.slot) {
            // What is delivered twice does not end later.
            let (number, slot) = (later.number, Slot::Durable(one.max(other)));
            self.slots.remove(at);
            let merged = &mut self.slots[before];
            (merged.number, merged.slot) = (number, slot);
        }
    }

    /// Whether no batch is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.slots.iter().all(|batch| batch.slot != Slot::Open)
    }

    /// The position to commit, if the log does not know it yet.
    pub(super) fn to_commit(&self) -> Option<u64> {
        self.durable.filter(|durable| self.committed != Some(*durable))
    }

    /// What is durable by now is about to be committed.
    pub(super) fn begin_commit(&mut self) {
        self.committing_since = self.committing_since.or(self.durable_since.take());
    }

    /// The log knows the position.
    pub(super) fn committed(&mut self, next: u64) {
        self.committed = Some(next);
        self.committing_since = None;
    }

    /// When the oldest record was read whose position is not committed, if there is one.
    pub(super) fn oldest_uncommitted(&self) -> Option<Instant> {
        let on_its_way = self.slots.front().map(|batch| batch.read);
        self.committing_since.or(self.durable_since).or(on_its_way)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn open(progress: &mut Progress, numbers: std::ops::Range<u64>) {
        numbers.for_each(|number| progress.open(number, Instant::now()));
    }

    #[test]
    fn only_the_unbroken_prefix_counts() {
        let mut progress = Progress::default();
        open(&mut progress, 0..3);
        assert_eq!(progress.to_commit(), None);
        progress.settle(1, Slot::Durable(20));
        assert_eq!(progress.to_commit(), None, "the first batch is still on its way");
        progress.settle(0, Slot::Durable(10));
        assert_eq!(progress.to_commit(), Some(20));
        progress.committed(20);
        assert_eq!(progress.to_commit(), None);
        assert!(!progress.is_idle());
    }

    #[test]
    fn what_is_delivered_again_waits_for_no_commit() {
        let mut progress = Progress::default();
        for number in 0..2 {
            open(&mut progress, number..number + 1);
            progress.settle(number, Slot::Durable(10));
            progress.begin_commit();
            progress.committed(10);
            assert_eq!((progress.to_commit(), progress.oldest_uncommitted()), (None, None));
        }
    }

    #[test]
    fn nothing_passes_a_batch_that_ended_early() {
        let mut progress = Progress::default();
        open(&mut progress, 0..2);
        progress.settle(1, Slot::Durable(20));
        progress.settle(0, Slot::Ends(7));
        assert_eq!(progress.to_commit(), Some(7));
        assert!(progress.is_idle());
    }

    #[test]
    fn what_is_behind_a_batch_that_does_not_end_takes_one_slot() {
        let mut progress = Progress::default();
        open(&mut progress, 0..1);
        for number in 1..=10_000 {
            open(&mut progress, number..number + 1);
            progress.settle(number, Slot::Durable(number + 1));
            assert!(progress.slots.len() <= 2, "{}", progress.slots.len());
        }
        assert_eq!(progress.to_commit(), None);
        progress.settle(0, Slot::Durable(1));
        assert_eq!((progress.to_commit(), progress.slots.len()), (Some(10_001), 0));
    }

    #[test]
    fn batches_in_flight_bound_the_slots_in_whatever_order_they_end() {
        let mut progress = Progress::default();
        open(&mut progress, 0..8);
        for number in 8..1_000 {
            // Batch 0 stays; of the others on their way the one in the middle ends.
            progress.settle(number - 4, Slot::Durable(number));
            open(&mut progress, number..number + 1);
            assert!(progress.slots.len() <= 17, "{}", progress.slots.len());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_age_is_that_of_the_oldest_record_that_is_not_committed() {
        let begun = Instant::now();
        let second = |number| begun + Duration::from_secs(number);
        let mut progress = Progress::default();
        assert_eq!(progress.oldest_uncommitted(), None);
        (0..4).for_each(|number| progress.open(number, second(number)));
        progress.settle(1, Slot::Durable(20));
        assert_eq!(progress.oldest_uncommitted(), Some(begun), "the first is on its way");
        progress.settle(0, Slot::Durable(10));
        progress.begin_commit();
        assert_eq!(progress.oldest_uncommitted(), Some(begun), "it is durable, but not committed");
        progress.settle(2, Slot::Durable(30));
        progress.committed(20);
        assert_eq!(progress.oldest_uncommitted(), Some(second(2)), "it was not among those");
        progress.begin_commit();
        // That commit fails, and the next one takes more along.
        progress.settle(3, Slot::Durable(40));
        progress.begin_commit();
        assert_eq!(progress.oldest_uncommitted(), Some(second(2)));
        progress.committed(40);
        assert_eq!(progress.oldest_uncommitted(), None);
    }

    proptest! {
        /// In whatever order batches end, the position is the end of the longest finished prefix.
        #[test]
        fn the_position_is_the_finished_prefix(order in Just((0..12_u64).collect::<Vec<_>>()).prop_shuffle()) {
            let mut progress = Progress::default();
            open(&mut progress, 0..12);
            let mut done = std::collections::BTreeSet::new();
            for number in order {
                progress.settle(number, Slot::Durable((number + 1) * 10));
                done.insert(number);
                let prefix = (0..).take_while(|number| done.contains(number)).count() as u64;
                prop_assert_eq!(progress.to_commit(), (prefix > 0).then_some(prefix * 10));
            }
        }
    }
}
