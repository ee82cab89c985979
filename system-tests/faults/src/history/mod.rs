//! Histories: each call to a shop with its begin, its end and its outcome.
//!
//! A test records its calls in a [`History`]: [`begin`](History::begin) before a call, [`end`](History::end) when its
//! outcome is known. [`History::judge`] then finds what a correct shop cannot have returned. It checks the whole history,
//! not only the final state.

mod judge;
#[cfg(test)]
mod judge_test;
mod keys;
mod user;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shop_core::ports::{ListOrder, Summary};
use shop_core::{Price, PublishedPurchase, Purchase, PurchaseId, UserId};

pub use self::judge::{Verdict, judge, summary_of};

/// A call to a shop.
#[derive(Debug, Clone)]
pub enum Call {
    /// Buys something, or refunds it: a refund is a purchase with a negative price.
    Buy {
        /// The id, which is known before the purchase is made if the call has an idempotency key.
        id: Option<PurchaseId>,
        /// The buyer.
        user: UserId,
        /// The price, negative for a refund.
        price: Price,
    },
    /// Appends a record that no store accepts, with a number of its own.
    AppendPoison(u64),
    /// Erases all purchases of a user.
    Erase(UserId),
    /// Reads all purchases of a user.
    List {
        /// The user whose purchases are read.
        user: UserId,
        /// The purchases that the listing must include.
        sees: Sees,
        /// The order of the listing.
        order: ListOrder,
    },
    /// Sums up the purchases of a user.
    Sum {
        /// The user whose purchases are summed up.
        user: UserId,
        /// The purchases that the sum must include.
        sees: Sees,
    },
    /// Sums up the purchases of all users, in several ways.
    SumAll,
    /// Follows the events of all users, from the begin of the call to its end.
    Follow,
    /// Reads all pending dead letters, once ingest has caught up.
    ListDeadLetters,
}

/// The minimum that a successful read must include, beside the purchases that were stored when they were acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sees {
    /// The purchases of earlier reads.
    Earlier,
    /// Also this acknowledged purchase: the service has waited for it.
    Own(PurchaseId),
    /// Everything acknowledged before: ingest has caught up.
    All,
}

/// The response to a purchase.
#[derive(Debug, Clone)]
pub struct Acknowledgement {
    /// The id of the purchase.
    pub id: PurchaseId,
    /// The purchase, if the response has it.
    pub purchase: Option<Purchase>,
    /// The partition and the offset in the log, if the response has them.
    pub position: Option<(u32, u64)>,
    /// Whether the purchase was made by an earlier call with the same key.
    pub is_replayed: bool,
    /// Whether the purchase was stored before it was acknowledged, so that each later read includes it.
    pub is_stored: bool,
}

impl Acknowledgement {
    /// Creates the acknowledgement of a purchase that is on its way to the store.
    #[must_use]
    pub fn of_publish(published: PublishedPurchase) -> Self {
        let position = published.receipt.position;
        Self {
            id: published.purchase.id,
            purchase: Some(published.purchase.without_context()),
            position: position.map(|position| (position.partition, position.offset)),
            is_replayed: published.replayed,
            is_stored: false,
        }
    }

    /// Creates the acknowledgement of a purchase that is stored already.
    #[must_use]
    pub fn of_stored(published: PublishedPurchase) -> Self {
        Self {
            is_stored: true,
            ..Self::of_publish(published)
        }
    }
}

/// The sums over all users, of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sums {
    /// The sum that the shop returns for all users.
    pub of_shop: Summary,
    /// The sum of the days.
    pub of_days: Summary,
    /// The sum of the users.
    pub of_users: Summary,
}

/// The outcome of a call.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// A purchase was acknowledged.
    Bought(Acknowledgement),
    /// A purchase was refused, because its key was used for another one.
    Conflict,
    /// A purchase was refused, because the purchase of its key was erased.
    BoughtBeforeErasure,
    /// A record was appended, or a user erased.
    Done,
    /// All purchases of a user were read. The sum is of the same moment, if there is one.
    Listed(Arc<[Purchase]>, Option<Summary>),
    /// The purchases of a user were summed up.
    Summed(Summary),
    /// The purchases of all users were summed up.
    SummedAll(Sums),
    /// These events were seen until the end of the call.
    Followed(Arc<[Purchase]>),
    /// These numbers of records are dead letters.
    DeadLetters(Vec<u64>),
    /// The call has had no effect.
    NotApplied,
    /// The call may have had its effect, or may still have it.
    Unknown,
}

impl Outcome {
    /// Returns whether a purchase with this outcome may be stored.
    const fn may_have_bought(&self) -> bool {
        matches!(self, Self::Bought(_) | Self::Unknown)
    }
}

/// A call with its begin and its end, in the order of all begins and ends.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When the call began.
    pub begin: u64,
    /// When the call ended, or the maximum if it has not.
    pub end: u64,
    /// The call.
    pub call: Call,
    /// Its outcome, which is unknown until the call ends.
    pub outcome: Outcome,
}

/// The clock that gives purchases their times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Clock {
    /// The clock does not go back, so a later purchase does not have an earlier time.
    #[default]
    Steady,
    /// The clock is set while the shop runs.
    IsSet,
}

/// The calls so far, in the order in which they began.
#[derive(Debug, Default)]
pub struct History {
    calls: Mutex<Calls>,
}

#[derive(Debug, Clone, Default)]
struct Calls {
    clock: Clock,
    /// The number of begins and ends.
    time: u64,
    /// The number of calls that have ended.
    ended: u64,
    entries: Vec<Entry>,
}

impl Calls {
    const fn tick(&mut self) -> u64 {
        self.time += 1;
        self.time
    }
}

/// A copy has the calls until now. Those in flight have an unknown outcome in it.
impl Clone for History {
    fn clone(&self) -> Self {
        let calls = self.calls().clone();
        Self {
            calls: Mutex::new(calls),
        }
    }
}

impl History {
    /// Creates an empty history of a shop with this clock.
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        let calls = Calls {
            clock,
            ..Calls::default()
        };
        Self {
            calls: Mutex::new(calls),
        }
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a call before it starts. Until it has [ended](Self::end), its outcome is unknown. Returns its number.
    pub fn begin(&self, call: Call) -> usize {
        let mut calls = self.calls();
        let begin = calls.tick();
        calls.entries.push(Entry {
            begin,
            end: u64::MAX,
            call,
            outcome: Outcome::Unknown,
        });
        calls.entries.len() - 1
    }

    /// Records the end of a call.
    pub fn end(&self, number: usize, outcome: Outcome) {
        let mut calls = self.calls();
        let end = calls.tick();
        calls.ended += 1;
        if let Some(entry) = calls.entries.get_mut(number) {
            entry.end = end;
            entry.outcome = outcome;
        }
    }

    /// Runs a call, and records it.
    pub async fn record(&self, call: Call, outcome: impl Future<Output = Outcome>) -> Outcome {
        let number = self.begin(call);
        let outcome = outcome.await;
        self.end(number, outcome.clone());
        outcome
    }

    /// Counts a call that is judged elsewhere.
    pub fn count_call(&self) {
        self.calls().ended += 1;
    }

    /// Returns the number of calls that have ended.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.calls().ended
    }

    /// Returns the number of recorded calls, which is the number of the next one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls().entries.len()
    }

    /// Returns whether no call was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns all calls.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.calls().entries.clone()
    }

    /// Returns the number of begins and ends so far, which is the time of a history.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.calls().time
    }

    /// Returns the history of a copy of the shop's data, which was begun at the time `begin` and has ended now: the calls
    /// that had ended before are in it. Those that ended meanwhile may be, so their outcome is unknown.
    #[must_use]
    pub fn of_copy_since(&self, begin: u64) -> Self {
        let mut calls = self.calls().clone();
        for entry in &mut calls.entries {
            if entry.end > begin {
                entry.end = u64::MAX;
                entry.outcome = Outcome::Unknown;
            }
        }
        Self {
            calls: Mutex::new(calls),
        }
    }

    /// Judges all calls.
    #[must_use]
    pub fn judge(&self) -> Verdict {
        let Calls { clock, entries, .. } = self.calls().clone();
        judge(&entries, clock)
    }
}
