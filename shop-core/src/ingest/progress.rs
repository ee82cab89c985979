//! How far a partition is: the position never passes a record that is not durable.

use std::collections::VecDeque;

use tokio_util::sync::CancellationToken;

/// The batches of one partition and epoch that are on their way, in the order of their offsets.
#[derive(Debug, Default)]
pub(super) struct Progress {
    slots: VecDeque<(u64, Slot)>,
    /// The next offset after all that is durable without a gap; it only grows.
    durable: Option<u64>,
    /// The next offset that the log has been told.
    committed: Option<u64>,
    /// Tells the partition's batches to give up.
    pub(super) stop: CancellationToken,
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
    /// A batch sets out under a number that no other batch has or had.
    pub(super) fn open(&mut self, number: u64) {
        self.slots.push_back((number, Slot::Open));
    }

    /// The batch with this number has come to its end.
    pub(super) fn settle(&mut self, number: u64, end: Slot) {
        if let Some((_, slot)) = self.slots.iter_mut().find(|(open, _)| *open == number) {
            *slot = end;
        }
        while let Some((_, Slot::Durable(next))) = self.slots.front() {
            self.durable = self.durable.max(Some(*next));
            self.slots.pop_front();
        }
        if let Some((_, Slot::Ends(next))) = self.slots.front() {
            self.durable = self.durable.max(Some(*next));
        }
    }

    /// Whether no batch is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.slots.iter().all(|(_, slot)| *slot != Slot::Open)
    }

    /// The position to commit, if the log does not know it yet.
    pub(super) fn to_commit(&self) -> Option<u64> {
        self.durable.filter(|durable| self.committed != Some(*durable))
    }

    /// The log knows the position.
    pub(super) fn committed(&mut self, next: u64) {
        self.committed = Some(next);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_unbroken_prefix_counts() {
        let mut progress = Progress::default();
        (0..3).for_each(|number| progress.open(number));
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
    fn nothing_passes_a_batch_that_ended_early() {
        let mut progress = Progress::default();
        (0..2).for_each(|number| progress.open(number));
        progress.settle(1, Slot::Durable(20));
        progress.settle(0, Slot::Ends(7));
        assert_eq!(progress.to_commit(), Some(7));
        assert!(progress.is_idle());
    }

    proptest! {
        /// In whatever order batches end, the position is the end of the longest finished prefix.
        #[test]
        fn the_position_is_the_finished_prefix(order in Just((0..12_u64).collect::<Vec<_>>()).prop_shuffle()) {
            let mut progress = Progress::default();
            (0..12).for_each(|number| progress.open(number));
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
