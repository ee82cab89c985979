//! Calls and the faults that can be injected into them.

use super::super::prelude::*;
use crate::{Error, Outcome};

/// A call of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Call {
    /// [`PurchaseSink::publish`](crate::ports::PurchaseSink::publish) and the like.
    Publish,
    /// [`LogSource::next`](crate::log::LogSource::next).
    Next,
    /// [`LogSource::commit`](crate::log::LogSource::commit).
    Commit,
    /// [`PurchaseStore::insert`](crate::ports::PurchaseStore::insert).
    Insert,
    /// [`Log::put_dead_letters`](crate::log::Log::put_dead_letters).
    PutDeadLetters,
    /// All reads, such as the calls of [`PurchaseQuery`](crate::ports::PurchaseQuery).
    Query,
    /// `check` of any port.
    Check,
    /// [`Log::append`](crate::log::Log::append).
    Append,
    /// `Outbox::pending`.
    Pending,
    /// `Outbox::delete`.
    Delete,
    /// `close` of any port.
    Close,
}

/// A fault of a call.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Fault {
    /// The call is not made and returns this error.
    Refuse(Error),
    /// The call is made, but its result is replaced by an error with an unknown outcome.
    LoseAnswer,
    /// The call is delayed by this time.
    Delay(Duration),
    /// Of an insert or a batch of publishes: every second record is skipped, and its outcome is
    /// unknown.
    PartialInsert,
    /// Of an insert: the first record is rejected for this reason, and not stored.
    Reject(Reason),
    /// Of a next: the batch is delivered a second time right after the first.
    DeliverTwice,
    /// Of an insert, an append, a put or a commit: returns an unknown outcome at once, and makes
    /// the call after this time, like a request that completes after its timeout.
    CompleteAfterTimeout(Duration),
    /// Of a commit: reported as successful, but not made, like a log that loses a commit.
    LoseCommit,
}

impl Fault {
    /// Returns the fault of an unavailable backend: the call is not made.
    #[must_use]
    pub fn unavailable() -> Self {
        let error = Error::new(ErrorKind::Unavailable, "unavailable on purpose")
            .with_outcome(Outcome::NotApplied);
        Self::Refuse(error.with_origin("fault"))
    }

    /// Returns the name of the variant.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Refuse(_) => "Refuse",
            Self::LoseAnswer => "LoseAnswer",
            Self::Delay(_) => "Delay",
            Self::PartialInsert => "PartialInsert",
            Self::Reject(_) => "Reject",
            Self::DeliverTwice => "DeliverTwice",
            Self::CompleteAfterTimeout(_) => "CompleteAfterTimeout",
            Self::LoseCommit => "LoseCommit",
        }
    }

    /// Checks that this fault can happen to `call`.
    ///
    /// # Panics
    /// Panics if it cannot.
    pub(super) fn must_fit(&self, call: Call) {
        let fits = match self {
            Self::Refuse(_) => true,
            Self::LoseAnswer | Self::Delay(_) => call != Call::Next,
            Self::PartialInsert => matches!(call, Call::Insert | Call::Publish),
            Self::Reject(_) => call == Call::Insert,
            Self::DeliverTwice => call == Call::Next,
            Self::CompleteAfterTimeout(_) => {
                matches!(
                    call,
                    Call::Insert | Call::Append | Call::PutDeadLetters | Call::Commit
                )
            }
            Self::LoseCommit => call == Call::Commit,
        };
        assert!(fits, "{self:?} cannot happen to {call:?}");
    }
}

/// Makes `call` after the time `delay`, in the background, and returns an error with an unknown
/// outcome at once.
pub(super) fn complete_later<T>(
    delay: Duration,
    call: impl Future<Output = Result<T>> + Send + 'static,
) -> Error {
    // The task is detached on purpose. It ends with the runtime at the latest.
    tokio::spawn(async move {
        tokio::time::sleep(delay).await;
        drop(call.await);
    });
    no_answer()
}

/// Returns the error of a call whose answer was lost, with an unknown outcome.
pub(super) fn no_answer() -> Error {
    let error = Error::new(
        ErrorKind::DeadlineExceeded,
        "the answer was lost on purpose",
    );
    error.with_outcome(Outcome::Unknown).with_origin("fault")
}
