//! Histories: what each call to the services was, when it began and ended, and what came of it.
//!
//! [`judge`] finds what no correct service can have done, in the whole history and not only in what is left at the end.

mod judge;
#[cfg(test)]
mod judge_test;

use std::sync::Mutex;

use shop_client::{Price, Purchase, PurchaseId, Summary, UserId};

pub(crate) use judge::judge;

/// A call to a service.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    /// `id` is known if the key is the id.
    Buy {
        id: Option<PurchaseId>,
        user: UserId,
        price: Price,
    },
    /// Reads all purchases of a user, the oldest first.
    List {
        user: UserId,
        sees: Sees,
    },
    Sum {
        user: UserId,
        sees: Sees,
    },
}

/// What a read that succeeds must include.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sees {
    /// What an earlier read has included.
    Earlier,
    /// This acknowledged purchase as well: the service has waited for it.
    Own(PurchaseId),
    /// Everything that was acknowledged before: ingest has caught up.
    All,
}

/// What came of a call.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Bought {
        id: PurchaseId,
        /// The offset in the log, if the receipt has one.
        offset: Option<u64>,
    },
    Listed(Vec<Purchase>),
    Summed(Summary),
    /// It has certainly had no effect.
    NotApplied,
    /// It may have had its effect, or may still have it.
    Unknown,
}

/// A call with its begin and its end, in the order of all begins and ends.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) call: Call,
    pub(crate) outcome: Outcome,
}

/// The calls so far.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// The number of begins and ends.
    time: u64,
    entries: Vec<Entry>,
}

impl Entries {
    const fn tick(&mut self) -> u64 {
        self.time += 1;
        self.time
    }
}

impl History {
    /// Writes a call down before it is made. Until it has [ended](Self::end), its outcome is unknown.
    pub(crate) fn begin(&self, call: Call) -> usize {
        let mut entries = self.0.lock().unwrap();
        let begin = entries.tick();
        entries.entries.push(Entry { begin, end: u64::MAX, call, outcome: Outcome::Unknown });
        entries.entries.len() - 1
    }

    pub(crate) fn end(&self, call: usize, outcome: Outcome) {
        let mut entries = self.0.lock().unwrap();
        let end = entries.tick();
        let entry = &mut entries.entries[call];
        (entry.end, entry.outcome) = (end, outcome);
    }

    /// All calls, in the order in which they began.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap().entries.clone()
    }
}
