//! Which dead letters are read.

use std::collections::BTreeSet;

use super::{DeadLetter, ReasonKind, RecordPosition};
use crate::{Timestamp, options};

options! {
    /// Which pending dead letters are read.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct DeadLetterFilter {
        /// The reason.
        pub reason: Option<ReasonKind> = None,
        /// The earliest time of a record.
        pub since: Option<Timestamp> = None,
        /// The time before which records are.
        pub until: Option<Timestamp> = None,
        /// The position after which the page begins.
        pub after: Option<RecordPosition> = None,
        /// The positions, if it is about some only.
        pub positions: BTreeSet<RecordPosition> = BTreeSet::new(),
    }
}

impl DeadLetterFilter {
    /// Whether `dead_letter` is selected.
    #[must_use]
    pub fn selects(&self, dead_letter: &DeadLetter) -> bool {
        self.selects_at(&dead_letter.position(), dead_letter.reason.kind(), dead_letter.record.time)
    }

    /// Whether a dead letter with this position, reason and time of its record is selected.
    #[must_use]
    pub fn selects_at(&self, position: &RecordPosition, reason: ReasonKind, time: Timestamp) -> bool {
        self.reason.is_none_or(|kind| kind == reason)
            && self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time < until)
            && self.after.as_ref().is_none_or(|after| position > after)
            && (self.positions.is_empty() || self.positions.contains(position))
    }
}
