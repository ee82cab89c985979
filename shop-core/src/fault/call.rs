//! What can go wrong with which call.

use std::time::Duration;

use bytes::Bytes;

use crate::log::Reason;
use crate::{Error, ErrorKind, Outcome, Result};

/// A call of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Call {
    /// [`PurchaseSink::publish`](crate::ports::PurchaseSink::publish).
    Publish,
    /// [`LogSource::next`](crate::log::LogSource::next).
    Next,
    /// [`LogSource::commit`](crate::log::LogSource::commit).
    Commit,
    /// [`PurchaseStore::insert`](crate::ports::PurchaseStore::insert).
    Insert,
    /// [`DeadLetters::put`](crate::log::DeadLetters::put).
    PutDeadLetters,
    /// What only reads: all calls of [`PurchaseQuery`](crate::ports::PurchaseQuery), the scans of [`LogAdmin`](crate::log::LogAdmin), and those
    /// of stores of users and of orders.
    Query,
    /// `check` of any port.
    Check,
    /// [`LogWriter::append`](crate::log::LogWriter::append).
    Append,
    /// [`RecordStore::apply`](crate::ports::RecordStore::apply).
    Apply,
    /// [`LogAdmin::replay`](crate::log::LogAdmin::replay).
    Replay,
    /// [`LogAdmin::discard`](crate::log::LogAdmin::discard).
    Discard,
    /// [`Outbox::pending`](crate::outbox::Outbox::pending).
    Pending,
    /// [`Outbox::forget`](crate::outbox::Outbox::forget).
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
    pub(super) const fn name(&self) -> &'static str {
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

    pub(super) fn must_fit(&self, call: Call) {
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
