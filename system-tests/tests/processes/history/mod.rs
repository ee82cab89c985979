//! Histories: each call to the services with its start, its end and its outcome.
//!
//! [`History::judge`] finds violations in the whole history, not only in the final state.

mod calls;
mod judge;
mod judge_test;

use std::collections::BTreeSet;
use std::sync::Mutex;

use shop_client::{Price, Purchase, PurchaseId, Summary, UserId};

/// A call to a service.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    /// `id` is known if the key is the id.
    Buy {
        id: Option<PurchaseId>,
        user: UserId,
        price: Price,
    },
    /// Reads all purchases of a user, oldest first.
    List {
        user: UserId,
        sees: Sees,
    },
    Sum {
        user: UserId,
        sees: Sees,
    },
}

/// The minimum that a successful read must include.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sees {
    /// The purchases of earlier reads.
    Earlier,
    /// Also this acknowledged purchase: the service has waited for it.
    Own(PurchaseId),
    /// Everything acknowledged before: ingest has caught up.
    All,
}

/// The outcome of a call.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Bought {
        id: PurchaseId,
        /// The partition and the offset in the log, if the receipt has them.
        position: Option<(u32, u64)>,
    },
    Listed(Vec<Purchase>),
    Summed(Summary),
    /// The call has had no effect.
    NotApplied,
    /// The call may have had its effect, or may still have it.
    Unknown,
}

/// A call with its begin and its end, in the order of all begins and ends.
#[derive(Debug, Clone)]
struct Entry {
    begin: u64,
    end: u64,
    call: Call,
    outcome: Outcome,
}

/// The calls so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    /// The number of begins and ends.
    time: u64,
    /// The number of calls that have ended.
    ended: u64,
    acknowledged: BTreeSet<PurchaseId>,
    entries: Vec<Entry>,
}

impl Calls {
    const fn tick(&mut self) -> u64 {
        self.time += 1;
        self.time
    }
}

impl History {
    /// Records a call before it starts. Until it has [ended](Self::end), its outcome is unknown.
    pub(crate) fn begin(&self, call: Call) -> usize {
        let mut calls = self.calls.lock().unwrap();
        let begin = calls.tick();
        calls.entries.push(Entry {
            begin,
            end: u64::MAX,
            call,
            outcome: Outcome::Unknown,
        });
        calls.entries.len() - 1
    }

    pub(crate) fn end(&self, call: usize, outcome: Outcome) {
        let mut calls = self.calls.lock().unwrap();
        let end = calls.tick();
        calls.ended += 1;
        if let Outcome::Bought { id, .. } = &outcome {
            calls.acknowledged.insert(*id);
        }
        let entry = &mut calls.entries[call];
        entry.end = end;
        entry.outcome = outcome;
    }

    /// Counts a call that is judged elsewhere.
    pub(crate) fn count_call(&self) {
        self.calls.lock().unwrap().ended += 1;
    }

    /// Runs a call, and records it.
    async fn record(&self, call: Call, outcome: impl Future<Output = Outcome>) -> Outcome {
        let call = self.begin(call);
        let outcome = outcome.await;
        self.end(call, outcome.clone());
        outcome
    }

    /// The number of calls that have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.calls.lock().unwrap().ended
    }

    /// All calls, in the order in which they began.
    fn entries(&self) -> Vec<Entry> {
        self.calls.lock().unwrap().entries.clone()
    }
}
