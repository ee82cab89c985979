//! Which call goes wrong, and how.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::hooked::{Hooked, Hooks};
use super::source::FaultySource;
use crate::log::{DeadLetters, LogSource, LogWriter, Reason};
use crate::outbox::Outbox;
use crate::ports::{PurchaseQuery, PurchaseSink, PurchaseStore, RecordStore};
use crate::record::Record;
use crate::{Error, ErrorKind, Outcome, Result};

/// A call of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Call {
    /// [`PurchaseSink::publish`].
    Publish,
    /// [`LogSource::next`].
    Next,
    /// [`LogSource::commit`].
    Commit,
    /// [`PurchaseStore::insert`].
    Insert,
    /// [`DeadLetters::put`].
    PutDeadLetters,
    /// What only reads: all calls of [`PurchaseQuery`], and those of stores of users and of orders.
    Query,
    /// `check` of any port.
    Check,
    /// [`LogWriter::append`].
    Append,
    /// [`RecordStore::apply`].
    Apply,
    /// [`Outbox::pending`].
    Pending,
    /// [`Outbox::forget`].
    Delete,
    /// [`UserStore::register`](crate::users::UserStore::register).
    Register,
    /// [`OrderStore::place`](crate::orders::OrderStore::place).
    Place,
    /// `close` of any port.
    Close,
}

/// What goes wrong with a call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Fault {
    /// The call is not made, and answers this error.
    Refuse(Error),
    /// The call is made, but its answer is lost: the error's outcome is unknown.
    LoseAnswer,
    /// The call is made after this time.
    Delay(Duration),
    /// Of an insert or an apply: every second record is left out, and its outcome is unknown.
    PartialInsert,
    /// Of an insert or an apply: the first record is rejected for this reason, and not stored.
    Reject(Reason),
    /// Of a next: the batch comes a second time right after the first.
    DeliverTwice,
    /// Of a next: the first record of the batch has this value instead of its own.
    Poison(Bytes),
    /// Of a next: the batch's partition is revoked while the batch is in flight, with this grace. What is not
    /// committed when the revocation is done comes again, in the partition's next epoch.
    Revoke(Duration),
    /// Of an insert, an apply, an append, a put or a commit: the outcome is unknown at once, and the call is made after
    /// this time all the same, as a request is that outlives its deadline.
    CompleteAfterTimeout(Duration),
    /// Of a commit: it is answered as made, but was not, as by a log that has lost it.
    LoseCommit,
}

impl Fault {
    /// The other side cannot be reached.
    #[must_use]
    pub fn unavailable() -> Self {
        let error =
            Error::new(ErrorKind::Unavailable, "unavailable on purpose").with_outcome(Outcome::NotApplied);
        Self::Refuse(error.with_origin("fault"))
    }

    /// The name of the variant.
    const fn name(&self) -> &'static str {
        match self {
            Self::Refuse(_) => "Refuse",
            Self::LoseAnswer => "LoseAnswer",
            Self::Delay(_) => "Delay",
            Self::PartialInsert => "PartialInsert",
            Self::Reject(_) => "Reject",
            Self::DeliverTwice => "DeliverTwice",
            Self::Poison(_) => "Poison",
            Self::Revoke(_) => "Revoke",
            Self::CompleteAfterTimeout(_) => "CompleteAfterTimeout",
            Self::LoseCommit => "LoseCommit",
        }
    }

    fn must_fit(&self, call: Call) {
        let fits = match self {
            Self::Refuse(_) => true,
            Self::LoseAnswer | Self::Delay(_) => call != Call::Next,
            Self::PartialInsert | Self::Reject(_) => matches!(call, Call::Insert | Call::Apply),
            Self::DeliverTwice | Self::Poison(_) | Self::Revoke(_) => call == Call::Next,
            Self::CompleteAfterTimeout(_) => matches!(
                call,
                Call::Insert | Call::Apply | Call::Append | Call::PutDeadLetters | Call::Commit
            ),
            Self::LoseCommit => call == Call::Commit,
        };
        assert!(fits, "{self:?} cannot happen to {call:?}");
    }
}

/// A script of faults, shared by all ports that it wraps. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    script: Arc<Mutex<Script>>,
}

#[derive(Debug, Default)]
struct Script {
    once: BTreeMap<Call, VecDeque<Fault>>,
    always: BTreeMap<Call, Fault>,
    calls: BTreeMap<Call, u64>,
    injected: BTreeMap<(Call, &'static str), u64>,
}

impl Faults {
    /// A script in which nothing goes wrong yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next `call` that has no fault of its own yet goes wrong.
    ///
    /// # Panics
    /// When that cannot happen to such a call: a test of nothing is no test.
    pub fn once(&self, call: Call, fault: Fault) {
        fault.must_fit(call);
        self.script().once.entry(call).or_default().push_back(fault);
    }

    /// Every `call` goes wrong until it is [cleared](Self::clear), after those that go wrong
    /// [`once`](Self::once).
    ///
    /// # Panics
    /// When that cannot happen to such a call.
    pub fn always(&self, call: Call, fault: Fault) {
        fault.must_fit(call);
        self.script().always.insert(call, fault);
    }

    /// No `call` goes wrong any more.
    pub fn clear(&self, call: Call) {
        let mut script = self.script();
        script.always.remove(&call);
        script.once.remove(&call);
    }

    /// How often `call` was made, faults included.
    #[must_use]
    pub fn calls(&self, call: Call) -> u64 {
        self.script().calls.get(&call).copied().unwrap_or_default()
    }

    /// How often each fault has happened so far, by the name of its variant: a fault that was told but never
    /// happened has tested nothing.
    #[must_use]
    pub fn injected(&self) -> BTreeMap<(Call, &'static str), u64> {
        self.script().injected.clone()
    }

    /// `sink`, going wrong by this script.
    #[must_use]
    pub fn sink(&self, sink: Arc<dyn PurchaseSink>) -> Arc<dyn PurchaseSink> {
        Hooked::new(sink, self.clone())
    }

    /// `store`, going wrong by this script.
    #[must_use]
    pub fn store(&self, store: Arc<dyn PurchaseStore>) -> Arc<dyn PurchaseStore> {
        Hooked::new(store, self.clone())
    }

    /// `query`, going wrong by this script.
    #[must_use]
    pub fn query(&self, query: Arc<dyn PurchaseQuery>) -> Arc<dyn PurchaseQuery> {
        Hooked::new(query, self.clone())
    }

    /// `letters`, going wrong by this script.
    #[must_use]
    pub fn dead_letters(&self, letters: Arc<dyn DeadLetters>) -> Arc<dyn DeadLetters> {
        Hooked::new(letters, self.clone())
    }

    /// `writer`, going wrong by this script.
    #[must_use]
    pub fn writer(&self, writer: Arc<dyn LogWriter>) -> Arc<dyn LogWriter> {
        Hooked::new(writer, self.clone())
    }

    /// `outbox`, going wrong by this script.
    #[must_use]
    pub fn outbox(&self, outbox: Arc<dyn Outbox>) -> Arc<dyn Outbox> {
        Hooked::new(outbox, self.clone())
    }

    /// `store`, going wrong by this script.
    #[must_use]
    pub fn record_store<R: Record>(&self, store: Arc<dyn RecordStore<R>>) -> Arc<dyn RecordStore<R>> {
        Hooked::new(store, self.clone())
    }

    /// `source`, going wrong by this script.
    #[must_use]
    pub fn source(&self, source: Arc<dyn LogSource>) -> Arc<dyn LogSource> {
        let source: Arc<dyn LogSource> = Arc::new(FaultySource::new(source, self.clone()));
        Hooked::new(source, self.clone())
    }

    /// What goes wrong with this `call`, if anything.
    pub(super) fn take(&self, call: Call) -> Option<Fault> {
        let mut script = self.script();
        *script.calls.entry(call).or_default() += 1;
        let once = script.once.get_mut(&call).and_then(VecDeque::pop_front);
        let fault = once.or_else(|| script.always.get(&call).cloned())?;
        *script.injected.entry((call, fault.name())).or_default() += 1;
        Some(fault)
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hooks for Faults {
    fn before(&self, call: Call) -> Option<Fault> {
        self.take(call)
    }
}

/// Makes `call` after `time`, and returns at once that its outcome is unknown.
pub(super) fn complete_later<T>(
    time: Duration,
    call: impl Future<Output = Result<T>> + Send + 'static,
) -> Error {
    // Nothing waits for it: that is the fault. It ends with the runtime at the latest.
    tokio::spawn(async move {
        tokio::time::sleep(time).await;
        drop(call.await);
    });
    no_answer()
}

pub(super) fn no_answer() -> Error {
    let error = Error::new(ErrorKind::DeadlineExceeded, "the answer was lost on purpose");
    error.with_outcome(Outcome::Unknown).with_origin("fault")
}
