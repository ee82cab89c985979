//! Counts of steps and events, to check that all interleavings were reached.

use std::collections::BTreeMap;
use std::fmt;

use shop_core::conformance::fault::Call;

/// Counts of steps and events.
#[derive(Debug, Clone, Default)]
pub(crate) struct Summary(BTreeMap<String, u64>);

/// The events that a long run must reach, separated by semicolons.
const EVENTS: &str = "\
    step: publish; step: time passes; step: turns; step: fault of an insert; step: fault of dead letters; \
    step: fault of a commit; step: fault of a read; step: the store is unavailable; \
    step: the store recovers; step: the dead letters are unavailable; step: the dead letters recover; \
    step: join; step: leave; step: crash; step: the power is cut; step: lose membership; \
    event: a batch is delivered; event: a partition ends; event: a record is redelivered; \
    event: a purchase is inserted; \
    event: purchases are lost that were not durable; event: a duplicate is inserted; \
    event: a conflict is inserted; event: an insert ends after its member has crashed; \
    event: an insert ends after the membership was lost; event: poison is dead-lettered; \
    event: a conflict is dead-lettered; event: a dead letter is put again; \
    event: a foreign purchase is published; event: a purchase that the store rejects is dead-lettered; \
    event: a position is committed; event: a commit is fenced; event: partitions are revoked; \
    event: a revocation is drained in time; event: a revocation is out of time; \
    event: a membership is lost; event: a partition goes to another member; event: a partition comes back; \
    event: a member crashes with batches in flight; event: a member restarts; \
    event: a member leaves and nothing is redelivered; event: a member stops at the limit of dead letters; \
    event: everything is processed without a restart; fault: Insert PartialInsert; \
    fault: Insert LoseAnswer; fault: Insert Reject; fault: Insert CompleteAfterTimeout; \
    fault: PutDeadLetters LoseAnswer; fault: PutDeadLetters Refuse; fault: Commit LoseCommit; \
    fault: Commit CompleteAfterTimeout; fault: Next DeliverTwice";

impl Summary {
    pub(crate) fn add(&mut self, what: &str, times: u64) {
        match self.0.get_mut(what) {
            Some(count) => *count += times,
            None => drop(self.0.insert(what.to_owned(), times)),
        }
    }

    pub(crate) fn add_faults(&mut self, injected: &BTreeMap<(Call, &'static str), u64>) {
        for ((call, fault), times) in injected {
            self.add(&format!("fault: {call:?} {fault}"), *times);
        }
    }

    pub(crate) fn add_all(&mut self, other: &Self) {
        other
            .0
            .iter()
            .for_each(|(what, times)| self.add(what, *times));
    }

    /// The expected events that were not reached.
    pub(crate) fn never_happened(&self) -> Vec<&'static str> {
        EVENTS
            .split("; ")
            .filter(|what| !self.0.contains_key(*what))
            .collect()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|(what, times)| writeln!(f, "{times:>10}  {what}"))
    }
}
