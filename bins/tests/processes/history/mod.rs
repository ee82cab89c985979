//! Histories: what each call to the services was, when it began and ended, and what came of it.
//!
//! [`History::judge`] finds what no correct service can have done, in the whole history and not only in what is left at the end.

mod calls;
mod judge;
mod judge_test;
mod rows;
mod rows_test;

use std::collections::BTreeSet;
use std::sync::Mutex;

use shop_client::{Price, Purchase, PurchaseId, Summary, UserId};
use shop_core::orders::{NewOrder, Order, OrderNumber};
use shop_core::users::{NewUser, User, UserNumber};

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
    Register(NewUser),
    Place(NewOrder),
    FindUser(UserNumber),
    FindOrder(OrderNumber),
    /// Reads the orders of a user, as far as the users' role knows them.
    OrdersOf(UserNumber),
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
        /// The partition and the offset in the log, if the receipt has them.
        position: Option<(u32, u64)>,
    },
    Listed(Vec<Purchase>),
    Summed(Summary),
    Registered(User),
    Placed(Order),
    /// The user is not known to the orders' role yet.
    UnknownUser,
    FoundUser(Option<User>),
    FoundOrder(Option<Order>),
    OrdersFound(Vec<OrderNumber>),
    /// What no correct service returns.
    Unexpected(String),
    /// It has certainly had no effect.
    NotApplied,
    /// It may have had its effect, or may still have it.
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
pub(crate) struct History(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// The number of begins and ends.
    time: u64,
    /// The number of calls that have ended.
    ended: u64,
    acknowledged: BTreeSet<PurchaseId>,
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
        entries.ended += 1;
        if let Outcome::Bought { id, .. } = &outcome {
            entries.acknowledged.insert(*id);
        }
        let entry = &mut entries.entries[call];
        (entry.end, entry.outcome) = (end, outcome);
    }

    /// Makes a call, and writes it down.
    async fn record(&self, call: Call, outcome: impl Future<Output = Outcome> + Send) -> Outcome {
        let call = self.begin(call);
        let outcome = outcome.await;
        self.end(call, outcome.clone());
        outcome
    }

    /// The number of calls that have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.0.lock().unwrap().ended
    }

    /// The number of acknowledged purchases.
    pub(crate) fn bought(&self) -> usize {
        self.0.lock().unwrap().acknowledged.len()
    }

    /// All calls, in the order in which they began.
    fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap().entries.clone()
    }
}
